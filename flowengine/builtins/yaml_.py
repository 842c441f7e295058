"""YAML 1.1 for flows, read safely: plain data only, bounded before and while it is read."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal

from flowengine.builtins.json_ import from_document
from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Secret, Value, to_text

MAX_SIZE = 128 * 1024
"""Bytes. YAML is slow to read: this takes about a second where the parser is Python's own."""


@builtin
def yaml_decode(
    run: Run,
    string: str,
    *,
    tags: Mapping[str, Callable[..., Value]] | None = None,
    types: Sequence[Literal["Regex"]] = (),
) -> Value:
    """The value that YAML stands for: maps, lists, strings, numbers, booleans and none. Dates stay strings.

    Values of the fields named by [api] secret_fields are secrets.
    tags: functions by tag; what stands behind such a tag is given to the function, and its result takes the place.
    types: "Regex" reads `!Regex` as a pattern.

    Returns none for what is no YAML, for other types, more than 100 levels, and more than 128 KiB.

        yaml_decode("a: [1, yes, null]");  // ["a" => [1, true, none]]
        yaml_decode("on: 2026-01-01\\nto: x")["to"];  // "x"
        yaml_decode("a: !Twice x", ["tags" => ["!Twice" => function ($v) { return $v . $v; }]]);  // ["a" => "xx"]
        yaml_decode("[");  // none
    """
    if len(string) > MAX_SIZE:
        return None
    run.budget.spend(1 + len(string) // 2)
    yaml, loader = _yaml()
    if tags or types:
        loader = _with_tags(loader, tags or {}, types)
    try:
        document = yaml.load(to_text(str(string)), loader)  # a subclass of the safe loader
        return _called(from_document(run, document, hidden=type(string) is Secret), dict(tags or {}))
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):  # what hostile text brings about
        return None


_TAG = "\0tag"
"""The key of a map that stands for a tagged value until its function is called; no YAML has a NUL."""


def _with_tags(loader: Any, tags: Mapping[str, object], types: Sequence[str]) -> Any:
    """A loader that also reads these tags, as maps that `_called` understands."""

    class TagLoader(loader):  # type: ignore[misc]  # the class was made at run time
        """One call's own."""

    def tagged(reader: Any, node: Any) -> Any:
        kind = type(node).__name__
        if kind == "ScalarNode":
            value = reader.construct_scalar(node)
        else:
            made = reader.construct_sequence if kind == "SequenceNode" else reader.construct_mapping
            value = made(node, deep=True)
        return {_TAG: node.tag, "value": value}

    for tag in tags:
        TagLoader.add_constructor(tag, tagged)
    if "Regex" in types and "!Regex" not in tags:
        TagLoader.add_constructor("!Regex", lambda reader, node: reader.construct_scalar(node))
    return TagLoader


def _called(value: Value, tags: Mapping[str, Callable[..., Value]]) -> Value:
    """A value in which each tagged one is what the function of its tag makes of it, from the inside out."""
    if not tags or type(value) is not Array:
        return value
    done = Array({name: _called(item, tags) for name, item in value.items()})
    tag = done.get(_TAG)
    return tags[tag](done.get("value")) if isinstance(tag, str) and tag in tags else done


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
