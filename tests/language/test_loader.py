"""Where includes and imports are found, and where not."""

from pathlib import Path

import pytest

from flowengine.language.compiler import check, compile_flow
from flowengine.language.loader import Loader, Source
from tests.language.host import TestHost
from tests.language.vocabulary import predefined, vocabulary

VOCABULARY = vocabulary()


def problems(text: str, path: Path, loader: Loader) -> list[tuple[str, str]]:
    return [(one.id, one.message) for one in check(Source("main.hsl", text, path), VOCABULARY, "data", loader)]


def output(text: str, path: Path, loader: Loader) -> list[str]:
    host = TestHost(**predefined())
    compile_flow(Source("main.hsl", text, path), VOCABULARY, "data", loader).run(host)
    return host.output


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for name in ("flows", "root", "stdlib", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"in_{name}.hsl").write_text(f'function where() {{ return "{name}"; }}')
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("in_flows", "flows"),
        ("in_flows.hsl", "flows"),
        ("file:in_flows.hsl", "flows"),
        ("file://in_flows.hsl", "flows"),
        ("./in_flows", "flows"),
        ("in_root", "root"),
        ("stdlib/in_stdlib", "stdlib"),
        ("extras://in_stdlib", "stdlib"),
        ("../root/in_root", "root"),
    ],
)
def test_a_name_is_looked_for_beside_the_file_then_under_the_root(house: Path, name: str, found: str) -> None:
    loader = Loader(root=house / "root", stdlib=house / "stdlib")
    text = f'import {{ where }} from "{name}"; echo where();'
    assert output(text, house / "flows" / "main.hsl", loader) == [found]


@pytest.mark.parametrize(
    "name",
    ["../outside/in_outside", "/etc/passwd", "link", "stdlib/../outside/in_outside", "in_nowhere", "", "a\\x00b"],
)
def test_what_lies_elsewhere_is_refused(house: Path, name: str) -> None:
    (house / "flows" / "link.hsl").symlink_to(house / "outside" / "in_outside.hsl")
    loader = Loader(root=house / "root", stdlib=house / "stdlib")
    found = problems(f'include "{name}";', house / "flows" / "main.hsl", loader)
    assert [one[0] for one in found] == ["unresolved-import"]


def test_circles_are_found(house: Path) -> None:
    flows = house / "flows"
    (flows / "a.hsl").write_text('include "b";')
    (flows / "b.hsl").write_text('include "a";')
    (flows / "c.hsl").write_text('import { x } from "d"; function y() { }')
    (flows / "d.hsl").write_text('import { y } from "c"; function x() { }')
    loader = Loader()
    assert ("unresolved-import", '"a" includes itself') in problems('include "a";', flows / "main.hsl", loader)
    assert ("unresolved-import", '"c" imports itself') in problems(
        'import { y } from "c"; y();', flows / "main.hsl", loader
    )


def test_a_file_with_errors_reports_them_under_its_own_name(house: Path) -> None:
    (house / "flows" / "bad.hsl").write_text("echo ;\n")
    found = check(
        Source("flows/main.hsl", 'include "bad"; nope();', house / "flows" / "main.hsl"), VOCABULARY, "data", Loader()
    )
    assert [(one.span.file, one.id) for one in found] == [
        ("flows/bad.hsl", "syntax"),
        ("flows/main.hsl", "unknown-function"),
    ]


def test_a_module_runs_once_and_keeps_its_variables(house: Path) -> None:
    flows = house / "flows"
    (flows / "m.hsl").write_text('echo "running"; $n = 1; function bump() { global $n; return ++$n; }')
    (flows / "other.hsl").write_text('import { bump } from "m"; function twice() { bump(); return bump(); }')
    text = 'import { bump, $n } from "m"; import { twice } from "other"; echo bump() . twice() . $n;'
    assert output(text, flows / "main.hsl", Loader()) == ["running", "244"]


def test_an_override_reaches_included_code_but_not_modules(house: Path) -> None:
    flows = house / "flows"
    (flows / "part.hsl").write_text('echo length("x");')
    (flows / "m.hsl").write_text('function size() { return length("x"); }')
    text = 'import { size } from "m"; include "part"; function length($x) { return "own"; } echo size();'
    assert output(text, flows / "main.hsl", Loader()) == ["own", "1"]


def test_a_script_may_define_what_is_known_without_an_import(house: Path) -> None:
    (house / "stdlib" / "known.hsl").write_text('function known($x) { return "library $x"; }')
    loader = Loader(stdlib=house / "stdlib", known={"known": "stdlib/known"})
    assert output("echo known(1);", house / "flows" / "m.hsl", loader) == ["library 1"]
    own = 'function known($x) { return "own " . builtin known($x); } echo known(1);'
    assert output(own, house / "flows" / "m.hsl", loader) == ["own library 1"]
