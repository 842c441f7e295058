"""Every case file of the project passes: those beside the example flows, and those of the standard modules."""

import asyncio
from pathlib import Path

import pytest

from flowengine.servers.cases import find
from flowengine.servers.playing_cases import play_cases
from flowengine.services.config import default

ROOT = Path(__file__).parent.parent
CASES = find([ROOT / "flows", ROOT / "tests" / "stdlib"])


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.stem}/{case.stem}" for case in CASES])
def test_a_case_passes(case: Path) -> None:
    (played,) = asyncio.run(play_cases([case], default()))
    assert played.passed, played.difference


def test_every_flow_has_its_cases() -> None:
    flows = {flow for folder in ("flows", "tests/stdlib") for flow in (ROOT / folder).rglob("*.hsl")}
    assert flows == {case.parent.with_suffix(".hsl") for case in CASES}
