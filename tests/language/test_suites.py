"""The scripts printed in the documents that the project started from compile unchanged, apart from unknown builtins."""

import os
from pathlib import Path

import pytest

from flowengine.language.parser import decode, parse

ROOT = Path(__file__).parents[2]
SUITES = Path(os.environ.get("FLOWENGINE_SUITES", ROOT.parent / "shared" / "suites")) / "hsl"
SCRIPTS = sorted(SUITES.glob("*.hsl"))


@pytest.mark.skipif(not SCRIPTS, reason=f"no suite of scripts in {SUITES}")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_published_script_parses(path: Path) -> None:
    assert parse(decode(path.read_bytes()), path.name).body
