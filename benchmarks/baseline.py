"""The figures of an earlier run, and what moved since. Only ratios are compared."""

import json
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.timing import Row

FILE = Path(__file__).with_name("baseline.json")
MOVED = 0.15  # what changed by less than this share is noise


def save(rows: Sequence[Row]) -> None:
    """Keep these figures; rows that were not measured this time stay as they were."""
    kept = {**_stored(), **{row.name: {"ratio": round(row.ratio, 4), "µs": round(row.cost, 1)} for row in rows}}
    about = {"python": platform.python_version(), "machine": platform.machine()}
    FILE.write_text(json.dumps({"about": about, "rows": kept}, indent=1, ensure_ascii=False) + "\n")


def moved(rows: Sequence[Row]) -> Iterator[str]:
    """One line for every figure that moved, is new, or has no older one."""
    stored = _stored()
    for row in rows:
        if row.name not in stored:
            yield f"new     {row.name}: {row.ratio:.3f}"
            continue
        before = stored[row.name]["ratio"]
        change = row.ratio / before - 1
        if abs(change) > MOVED:
            yield f"{'slower' if change > 0 else 'faster'}  {row.name}: {before:.3f} → {row.ratio:.3f} ({change:+.0%})"


def _stored() -> dict[str, dict[str, float]]:
    if not FILE.exists():
        return {}
    rows: dict[str, dict[str, float]] = json.loads(FILE.read_text())["rows"]
    return rows
