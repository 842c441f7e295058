"""The scripts printed in the documents that the project started from run unchanged."""

import os
from pathlib import Path

import pytest

from flowengine.language.compiler import compile_flow
from flowengine.language.host import Final
from flowengine.language.loader import Loader, Source
from tests.language.host import TestHost
from tests.language.vocabulary import predefined, vocabulary

ROOT = Path(__file__).parents[2]
SUITES = Path(os.environ.get("FLOWENGINE_SUITES", ROOT.parent / "shared" / "suites")) / "hsl"
SIGNED = ("DKIMSign", "s1", "example.org", "Secret")
EXPECTED = {
    "dmarc-reject.hsl": ([], ("Reject", "The messages violates the DMARC policy of bank.example (m-1)")),
    "sign-by-api.hsl": ([("api_call", "", "example.org"), SIGNED], ()),
    "sign-by-from.hsl": ([("api_call", "", "example.com"), SIGNED], ()),
    "sign-every-exit.hsl": ([("api_call", "", "example.org"), SIGNED], ("Deliver", None, None, None)),
}


@pytest.mark.skipif(not SUITES.is_dir(), reason=f"no suite of scripts in {SUITES}")
@pytest.mark.parametrize("name", EXPECTED)
def test_a_published_script_runs(name: str) -> None:
    host, end = TestHost(**predefined()), ()
    program = compile_flow(Source.read(SUITES / name, name), vocabulary(), "data", Loader())
    try:
        program.run(host)
    except Final as final:
        end = final.args
    assert (host.calls, end) == EXPECTED[name]
    assert program.problems == ()
    assert program.waits is (name == "dmarc-reject.hsl")
