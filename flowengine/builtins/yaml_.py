"""YAML 1.1 for flows, read safely: plain data only, bounded before and while it is read."""

from functools import cache
from importlib import import_module
from typing import Any

from flowengine.builtins.json_ import from_document
from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.values import Secret, Value, to_text

MAX_SIZE = 128 * 1024
"""Bytes. YAML is slow to read: this takes about a second where the parser is Python's own."""


@builtin
def yaml_decode(run: Run, string: str) -> Value:
    """The value that YAML stands for: maps, lists, strings, numbers, booleans and none. Dates stay strings.

    Values of the fields named by [api] secret_fields are secrets.

    Returns none for what is no YAML, for other types, more than 100 levels, and more than 128 KiB.

        yaml_decode("a: [1, yes, null]");  // ["a" => [1, true, none]]
        yaml_decode("on: 2026-01-01\\nto: x")["to"];  // "x"
        yaml_decode("[");  // none
    """
    if len(string) > MAX_SIZE:
        return None
    run.budget.spend(1 + len(string) // 2)
    yaml, loader = _yaml()
    try:
        document = yaml.load(to_text(str(string)), loader)  # a subclass of the safe loader
        return from_document(run, document, hidden=type(string) is Secret)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):  # what hostile text brings about
        return None


@cache
def _yaml() -> tuple[Any, Any]:
    """The library and a safe loader of ours, in C where it was built so."""
    try:
        yaml: Any = import_module("yaml")  # 20 ms, for the few scripts that use it
    except ImportError:
        raise FlowError("yaml_decode needs the package pyyaml, which is not installed") from None

    class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # whichever there is
        """Builds plain data, and no dates: a flow has no type for them."""

    PlainLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return yaml, PlainLoader
