"""Every `.hsl` file here is a test: its comments say what each line prints, or what is wrong with it.

`// prints: text` is one line of output, in the order of the file. A line with `// error: message` is run alone with the
plain lines around it and must fail there with that message; one with `// problem: id message` must not compile, and
`// warning: id` and `// hint: id` are found but keep nothing from running.
"""

import re
from pathlib import Path

import pytest

from flowengine.language.compiler import check, compile_flow
from flowengine.language.host import Final
from flowengine.language.loader import Loader, Source
from flowengine.language.problems import FlowError, FlowProblems
from tests.language.host import TestHost
from tests.language.vocabulary import predefined, vocabulary

HERE = Path(__file__).parent
VOCABULARY = vocabulary()
SCRIPTS = sorted(one for one in HERE.rglob("*.hsl") if not one.name.startswith("_"))
_PRINTS = re.compile(r"// prints: ?(.*?)(?: // (?:warning|hint): .*)?$")
_FAILS = re.compile(r"// (error|problem): (.*)")
_NOTED = re.compile(r"// (warning|hint): ([a-z-]+)")


def cases() -> list[tuple[Path, int | None]]:
    """Each file as a whole, and each of its lines that must fail."""
    found: list[tuple[Path, int | None]] = []
    for path in SCRIPTS:
        found.append((path, None))
        lines = path.read_text(encoding="utf-8").split("\n")
        found.extend((path, number) for number, line in enumerate(lines) if _FAILS.search(line))
    return found


def named(case: object) -> str:
    return (
        str(case.relative_to(HERE)) if isinstance(case, Path) else "" if case is None else f"line {int(str(case)) + 1}"
    )


def loader() -> Loader:
    return Loader(root=HERE / "includes", stdlib=HERE / "includes" / "library", known={"known_one": "stdlib/known"})


@pytest.mark.parametrize(("path", "failing"), cases(), ids=named)
def test_a_script_does_what_its_comments_say(path: Path, failing: int | None) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    kept = [line if number == failing or not _FAILS.search(line) else "" for number, line in enumerate(lines)]
    source = Source(path.name, "\n".join(kept), path)
    expected = _FAILS.search(lines[failing]) if failing is not None else None
    if failing is not None and expected is not None and expected[1] == "problem":
        found = [
            f"{one.id} {one.message}"
            for one in check(source, VOCABULARY, "data", loader())
            if one.severity == "error" and one.span.line == failing + 1
        ]
        assert any(one.startswith(expected[2]) for one in found), found
        with pytest.raises(FlowProblems):
            compile_flow(source, VOCABULARY, "data", loader())
        return
    host = TestHost(**predefined())
    program = compile_flow(source, VOCABULARY, "data", loader())
    if failing is None:
        noted = [(one.severity, one.id, one.span.line) for one in program.problems]
        wanted = [(one[1], one[2], number + 1) for number, line in enumerate(kept) for one in _NOTED.finditer(line)]
        assert sorted(noted) == sorted(wanted)
    error = None
    try:
        program.run(host)
    except Final as final:
        host.output.append(" ".join("none" if one is None else str(one) for one in final.args))
    except FlowError as raised:
        error = raised
    if expected is not None and failing is not None:
        assert error is not None, f"nothing failed; it printed {host.output}"
        assert error.message == expected[2]
        assert error.span is not None
        assert error.span.line == failing + 1
        return
    assert error is None, error
    assert host.output == [match[1] for line in lines if (match := _PRINTS.search(line))]
