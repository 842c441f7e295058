"""`python -m benchmarks [--save] [--only WORD]...`: measure, print, say what moved. Never fails on a time.

A row: CPU microseconds, their ratio to one RSA-2048 signature of the same seconds, and the goal where there is one.
"""

import argparse
import sys
from collections.abc import Callable, Iterable

from benchmarks import baseline, end_to_end, flows, openssl_speed, parts, start_up
from benchmarks.timing import Row

GROUPS: dict[str, Callable[[], Iterable[Row | str]]] = {
    "openssl": openssl_speed.rows,
    "parts": parts.rows,
    "flows": flows.rows,
    "start": start_up.rows,
    "end": end_to_end.rows,
}


def main() -> int:
    """Measure what was asked for. 1 only when something could not be measured at all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What a message costs.")
    parser.add_argument("--save", action="store_true", help=f"keep the figures in {baseline.FILE.name}")
    parser.add_argument("--only", action="append", choices=GROUPS, help="one group, repeatable")
    given = parser.parse_args()
    measured: list[Row] = []
    broken = False
    say(f"{'':44} {'CPU µs':>12} {'x signature':>12}")
    for name in given.only or GROUPS:
        try:
            for row in GROUPS[name]():
                if isinstance(row, Row):
                    measured.append(row)
                    say(f"{row.name:44} {row.cost:12.1f} {row.ratio:12.3f}  {row.goal}")
                else:
                    say(row)
        except Exception as error:  # noqa: BLE001 — one group that breaks must not hide the others
            broken = True
            say(f"{name}: could not be measured: {type(error).__name__}: {error}")
    changes = list(baseline.moved(measured))
    say("\nsince the baseline:" if changes else "\nnothing moved since the baseline")
    for line in changes:
        say(line)
    if given.save:
        baseline.save(measured)
    return int(broken)


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
