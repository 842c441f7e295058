"""Data in files: `import $v from "data.json" with [...]` (HSL reference §1.11).

The loader is named before the name (`txt!dkim/*.key`) or follows from its ending. A glob gives an array keyed by path.
"""

import csv
import io
import json
import re
from typing import Any

from flowengine.language import tree
from flowengine.language.loader import Loader, Source, Unresolved
from flowengine.language.values import Array, Value, from_bytes, from_python, from_text, key, truth

DEEPEST = 100
_LOADER = re.compile(r"(?:([a-z0-9]{1,10})!)?([\s\S]+)\Z")
# a string, or a comment to its end or the end of the text: one pass, whatever is left open
_JSON_COMMENT = re.compile(r'("(?:[^"\\]|\\[\s\S])*+(?:"|\\?\Z))|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)')


def load_data(one: tree.Import, loader: Loader, importer: Source) -> Value:
    """The value that a data import brings. Raises Unresolved."""
    match = _LOADER.match(one.module)
    if match is None:
        raise Unresolved("this is no name of a file")
    kind, name = match[1], match[2]
    kind = kind or name.rpartition(".")[2].lower()
    if kind not in _KINDS:
        raise Unresolved(f'no loader for "{one.module}"', f"there are {', '.join(sorted(_KINDS))}; write `txt!{name}`")
    options = options_of(one.options)
    files = loader.data(name, importer)
    if any(each in name for each in "*?["):
        return Array((key(from_text(path)), _decoded(kind, data, options, path)) for path, data in files)
    return _decoded(kind, files[0][1], options, name)


def _decoded(kind: str, data: bytes, options: Array, name: str) -> Value:
    try:
        return _KINDS[kind](data, options)
    except Unresolved:
        raise
    except (ValueError, TypeError, RecursionError, csv.Error) as error:
        raise Unresolved(f'cannot read "{name}" as {kind}: {error}') from None


def options_of(given: tree.Expression | None) -> Array:
    """The options after `with`, which must be literals. Raises Unresolved."""
    if given is None:
        return Array()
    value = _constant(given)
    if type(value) is not Array:
        raise Unresolved("the options of an import are an array of literals")
    return value


def _constant(one: tree.Expression) -> Value:
    if isinstance(one, tree.Literal):
        return one.value
    if isinstance(one, tree.ArrayLiteral) and not any(item.spread for item in one.items):
        array = Array()
        for item in one.items:
            if item.key is None:
                array.append(_constant(item.value))
            else:
                array.put(key(_constant(item.key)), _constant(item.value))
        return array
    raise Unresolved("the options of an import are an array of literals")


def _json(data: bytes, options: Array) -> Value:
    text = _JSON_COMMENT.sub(lambda match: match[1] or " ", data.decode("utf-8-sig"))
    return from_python(shallow(json.loads(text, parse_int=_number)))


def _number(text: str) -> int | float:
    return int(text) if len(text) < 17 else float(text)


def shallow(value: Any) -> Any:
    """The value itself. Raises ValueError when it is nested too deep."""
    pending = [(value, 0)]
    while pending:
        one, level = pending.pop()
        if level > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} deep")
        if isinstance(one, (dict, list)):
            pending.extend((item, level + 1) for item in (one.values() if isinstance(one, dict) else one))
    return value


def _text(data: bytes, options: Array) -> Value:
    wants_lines = truth(options.get("array")) or options.get("type") == "array"
    if not wants_lines:
        return from_bytes(data)
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return Array.of(from_bytes(line) for line in lines)


def _csv(data: bytes, options: Array) -> Value:
    delimiter = options.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise Unresolved("delimiter is one character")
    rows = list(csv.reader(io.StringIO(from_bytes(data), newline=""), delimiter=delimiter))
    schema = options.get("schema")
    names: list[Any] | None = list(schema.values()) if type(schema) is Array else None
    if truth(options.get("header", True)) and rows:
        first = rows.pop(0)
        names = names or list(first)
    if names is None:
        return Array.of(Array.of(row) for row in rows if row)
    return Array.of(Array((key(name), cell) for name, cell in zip(names, row, strict=False)) for row in rows if row)


def _yaml(data: bytes, options: Array) -> Value:
    from flowengine.language.yamldata import load_yaml

    return load_yaml(data)


_KINDS = {"json": _json, "txt": _text, "csv": _csv, "yaml": _yaml, "yml": _yaml}
