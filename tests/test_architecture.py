"""The house stands as docs/ARCHITECTURE.md says: no import upwards, none in a circle."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowengine.services.metrics import COUNTERS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "flowengine"
FLOORS = ["language", "mail", "runtime", "builtins", "services", "servers", "cli"]
"""From the ground up: a floor may use what lies before it in this list."""
STRANGERS = [{"language", "mail"}]
"""Floors that do not know each other."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, *, typing: bool) -> Iterator[str]:
    """The modules of ours that a file imports; `typing` includes those for the type checker only."""
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing:
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("flowengine"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flowengine"):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))


def floor(module: str) -> str | None:
    """The floor of a module; None for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else None


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_only_from_its_floor_and_those_below(module: str) -> None:
    here = floor(module)
    if here is None:
        return
    for target in imports(modules()[module], typing=True):
        there = floor(target)
        if there is None or there == here:
            continue
        assert FLOORS.index(there) < FLOORS.index(here), f"{module} imports {target}, which lies above"
        assert {here, there} not in STRANGERS, f"{module} imports {target}: {here} and {there} do not know each other"


def test_every_folder_is_a_floor() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert folders - {"stdlib", "flows"} <= set(FLOORS)


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = {name: {t for t in imports(path, typing=False) if t in known and t != name} for name, path in known.items()}
    for name, path in known.items():  # a package's own __init__ is no use of the package by its parts
        if path.name != "__init__.py":
            graph[name] = {target for target in graph[name] if not name.startswith(f"{target}.")}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle of imports: {' → '.join([*trail[trail.index(name) :], name])}"
        if name in done:
            return
        for target in sorted(graph[name]):
            visit(target, (*trail, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_every_counter_is_counted_somewhere() -> None:
    text = "".join(path.read_text() for path in modules().values() if path.name != "metrics.py")
    assert [name for name in COUNTERS if f'increment("{name}"' not in re.sub(r"\(\s+", "(", text)] == []
