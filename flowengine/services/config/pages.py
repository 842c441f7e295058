"""The sample file, the reference page and the JSON schema, made from the fields of model.py."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from flowengine.services.config.model import Config
from flowengine.services.config.reading import about, core, keys
from flowengine.services.config.values import PARSERS, TOLD, Storage

# Annotations have no common type: `hint` is whatever may stand behind the colon of a field, as in reading.py.


def sample() -> str:
    """A `flowengine.toml` with every key, each commented out at its default or an example, with its sentence."""
    lines = [
        "# flowengine.toml: every key there is, at its default or with an example. Take away the `#` of what you need.",
        "# Relative paths are relative to this file. `flowengine check -c FILE` says what is wrong with it.",
        "",
    ]
    for header, kind in tables():
        if header:
            lines += ["", *_comment(_about_table(kind)), f"#{header}"]
        for key, hint, default in _leaves(kind):
            meta = about(hint)
            lines.extend(_comment(meta.description or ""))
            lines.append(f"#{key} = {_toml(_shown(meta, default))}{_range(hint)}")
    return "\n".join(lines) + "\n"


def reference() -> str:
    """The page of all keys in Markdown: a section a table, a row a key."""
    lines = ["# flowengine.toml", "", "Relative paths are relative to the file. Unknown keys are errors.", ""]
    for header, kind in tables():
        lines += [f"## {header or 'At the top'}", ""]
        if header:
            lines += [_about_table(kind), ""]
        lines += ["| key | type | default | |", "|---|---|---|---|"]
        for key, hint, default in _leaves(kind):
            told = "required" if default is MISSING else "" if default in (None, ()) else f"`{_toml(_plain(default))}`"
            lines.append(f"| `{key}` | {_type(hint)} | {told} | {about(hint).description} |".replace("||", "| |"))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flowengine.toml",
        **_schema(Config),
    }


def tables() -> Iterator[tuple[str, type]]:
    """Each table with its header as an operator writes it, with an example name where the operator chooses one."""
    yield "", Config
    yield from _tables(Config, ())


def _tables(kind: type, path: tuple[str, ...]) -> Iterator[tuple[str, type]]:
    for key, (_, hint) in keys(kind).items():
        inner = core(hint)
        name: tuple[str, ...] = (*path, key)
        if (row := _row(hint)) is not None:
            yield f"[[{'.'.join(name)}]]", row
        elif get_origin(inner) is Mapping and is_dataclass(item := core(get_args(inner)[1])):
            name = (*name, (about(hint).extra or {}).get("name", "name"))
            yield f"[{'.'.join(name)}]", item  # type: ignore[misc]  # is_dataclass also lets instances through
            yield from _tables(item, name)  # type: ignore[arg-type]  # as above
        elif is_dataclass(inner) and inner not in PARSERS:
            yield f"[{'.'.join(name)}]", inner  # type: ignore[misc]  # as above
            yield from _tables(inner, name)  # type: ignore[arg-type]  # as above


def _row(hint: Any) -> type | None:
    inner = core(hint)
    if get_origin(inner) is tuple and is_dataclass(item := core(get_args(inner)[0])) and item not in PARSERS:
        return item  # type: ignore[return-value]  # as above
    return None


def _leaves(kind: type) -> Iterator[tuple[str, Any, Any]]:
    """The keys of a table that are not tables themselves: key, annotation, default (MISSING for none)."""
    for key, (attribute, hint) in keys(kind).items():
        inner = core(hint)
        table = is_dataclass(inner) and inner not in PARSERS
        named = get_origin(inner) is Mapping and is_dataclass(core(get_args(inner)[1]))
        if not table and not named and _row(hint) is None:
            yield key, hint, _default(kind, attribute)


def _default(kind: type, attribute: str) -> Any:
    field = next(one for one in fields(kind) if one.name == attribute)
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING


def _about_table(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


def _comment(text: str) -> list[str]:
    return [f"## {line}" for line in wrap(text, 112)]


def _shown(meta: Meta, default: Any) -> Any:
    """What the sample says: the example where there is no default that says anything."""
    if default is MISSING or default in (None, (), {}) or (default == "localhost" and meta.examples):
        return meta.examples[0] if meta.examples else []
    return _plain(default)


def _plain(value: Any) -> Any:
    if isinstance(value, Storage):
        return f"{value.kind}:{value.path}"
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _range(hint: Any) -> str:
    meta, inner = about(hint), core(hint)
    if get_origin(inner) is Literal:
        words = [_toml(one) for one in get_args(inner)]
        return f"  # {' | '.join(words)}"
    return f"  # {meta.ge} to {meta.le}" if meta.le is not None else ""


def _type(hint: Any) -> str:
    meta, inner = about(hint), core(hint)
    if get_origin(inner) is Literal:
        return " or ".join(f"`{_toml(one)}`" for one in get_args(inner))
    if get_origin(inner) is tuple:
        one = _type(get_args(inner)[0])
        return f"{one}, or list of them" if (meta.extra or {}).get("or one") else f"list of {one}"
    if get_origin(inner) is Mapping:
        return "table"
    words: dict[Any, str] = {int: "whole number", float: "number", bool: "boolean", str: "string", **TOLD}
    return f"{words[inner]}, {meta.ge} to {meta.le}" if meta.le is not None else words[inner]


def _schema(hint: Any) -> dict[str, Any]:
    meta, inner = about(hint), core(hint)
    described: dict[str, Any] = {"description": meta.description} if meta.description else {}
    if meta.examples:
        described["examples"] = meta.examples
    if inner in PARSERS:
        return {**described, "type": "string"}
    if is_dataclass(inner):
        known = keys(inner)  # type: ignore[arg-type]  # an annotation is a class, never an instance
        required = [key for key, (attribute, _) in known.items() if _default(inner, attribute) is MISSING]  # type: ignore[arg-type]  # as above
        return {
            "description": _about_table(inner),  # type: ignore[arg-type]  # as above
            "type": "object",
            "properties": {key: _with_default(inner, attribute, one) for key, (attribute, one) in known.items()},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }
    if get_origin(inner) is tuple:
        items = _schema(get_args(inner)[0])
        many: dict[str, Any] = {"type": "array", "items": items}
        if meta.min_length is not None:
            many["minItems"] = meta.min_length
        return {**described, "anyOf": [items, many]} if (meta.extra or {}).get("or one") else {**described, **many}
    if get_origin(inner) is Mapping:
        names, item = get_args(inner)
        if get_origin(names) is Literal:
            properties = {name: _schema(item) for name in get_args(names)}
            return {**described, "type": "object", "properties": properties, "additionalProperties": False}
        return {**described, "type": "object", "additionalProperties": _schema(item)}
    return msgspec.json.schema(Annotated[inner, meta])


def _with_default(kind: Any, attribute: str, hint: Any) -> dict[str, Any]:
    default = _default(kind, attribute)
    found, inner = _schema(hint), core(hint)
    if default is MISSING or default in (None, ()) or (is_dataclass(default) and inner not in PARSERS):
        return found
    return {**found, "default": _plain(default)}
