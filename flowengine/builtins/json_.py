"""JSON (RFC 8259) for flows: bounded, strict, and quiet about secrets.

A JSON string is Unicode, a flow's string its UTF-8. Values of the fields that [api] secret_fields names become secrets
the moment they are read, and what is written from a secret is one.
"""

import json
import math
import re
from typing import Any

from flowengine.builtins.run import Run, worked
from flowengine.language.functions import builtin
from flowengine.language.values import Array, Secret, Value, from_text, key, normal, number_text, to_text

MAX_DEPTH = 100
"""Arrays and objects inside one another, both ways."""
_STEP = 64  # bytes of JSON that one step pays for: each may become a value


class _UnfitError(Exception):
    """What JSON, or a flow, cannot say."""


@builtin
def json_encode(run: Run, value: Value, *, ensure_ascii: bool = True, pretty_print: bool = False) -> str | None:
    """A value as JSON. An array with the keys 0, 1, 2, … is a list, every other one an object; [] is [].

    ensure_ascii: write everything that is not ASCII as \\\\uXXXX (default). Bytes that are no UTF-8 become U+FFFD.
    pretty_print: on several lines, with indents of four.

    Returns none for functions, objects, infinite numbers and arrays more than 100 deep.

        json_encode(["a" => [1, true, none]]);  // "{\\"a\\":[1,true,null]}"
        json_encode("ö");  // "\\"\\\\u00f6\\""
        json_encode([]);  // "[]"
        json_encode(strlen);  // none
    """
    writer = _Writer(run)
    try:
        plain = writer.plain(value, MAX_DEPTH)
    except _UnfitError:
        return None
    indent, separators = (4, (",", ": ")) if pretty_print else (None, (",", ":"))
    made = json.dumps(plain, ensure_ascii=ensure_ascii, indent=indent, separators=separators, allow_nan=False)
    run.budget.paid(made)
    made = from_text(made)
    return Secret(made) if writer.secret else made


class _Writer:
    """Turns a flow's value into what `json` writes, and remembers whether a secret was among it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.secret = False

    def plain(self, value: Value, depth: int) -> Any:
        if isinstance(value, str):
            self.secret = self.secret or type(value) is Secret
            self._run.budget.grow(len(value) * 2)
            return to_text(value)
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if type(value) is not Array or depth == 0:
            raise _UnfitError
        self._run.budget.spend(1 + 4 * len(value))  # also for what is there many times, and was made once
        self._run.budget.grow_items(len(value))
        if value.is_list():
            return [self.plain(item, depth - 1) for item in value.values()]
        return {self._name(name): self.plain(item, depth - 1) for name, item in value.items()}

    def _name(self, name: Value) -> str:
        if isinstance(name, str):
            return to_text(name)
        if type(name) is int:
            return number_text(name)
        raise _UnfitError


@builtin
def json_decode(run: Run, string: str, *, allow_comments: bool = False) -> Value:
    """The value that JSON stands for. Objects become arrays; of a name that occurs twice, the last one counts.

    allow_comments: skip // and /* */ outside strings.

    Values of the fields named by [api] secret_fields are secrets.

    Returns none for what is no JSON, for more than 100 levels and for NaN, Infinity and numbers beyond a double.

        json_decode("{\\"a\\": [1, 2.5, true, null]}");  // ["a" => [1, 2.5, true, none]]
        json_decode("\\"\\\\u00f6\\"");  // "ö"
        json_decode("[1] // one", ["allow_comments" => true]);  // [1]
        json_decode("{'a': 1}");  // none
    """
    run.budget.grow(len(string))
    run.budget.spend(len(string) // _STEP)
    source = str(string)
    if allow_comments:
        worked(run, len(source) * 16)
        source = _COMMENT.sub(_without_comment, source)
    try:
        document = json.loads(to_text(source), parse_int=_whole, parse_float=_double, parse_constant=_no_number)
        return from_document(run, document, hidden=type(string) is Secret)
    except (ValueError, RecursionError, _UnfitError):
        return None


# a string, or a comment to its end or the end of the text: one pass, whatever is left open
_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|//[^\r\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)', re.DOTALL)


def _without_comment(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else " "


def _whole(digits: str) -> float:
    return normal(int(digits)) if len(digits) <= 17 else _double(digits)


def _double(digits: str) -> float:
    return _finite(float(digits))


def _finite(number: float) -> float:
    made = normal(number)
    if not math.isfinite(made):
        raise ValueError("beyond what a double holds")
    return made


def _no_number(word: str) -> float:
    raise _UnfitError(word)


def _paid(run: Run, entries: int) -> None:
    """Pay for an array of a document: YAML's aliases make many of few characters."""
    run.budget.spend(1 + 4 * entries)
    run.budget.grow_items(entries)


_SURROGATES = re.compile("[\ud800-\udfff]")


def from_document(run: Run, document: Any, *, hidden: bool = False) -> Value:
    """Lists, maps and text of a decoder as a flow's value, with the secrets of [api] secret_fields as secrets.

    hidden: everything came out of a secret. Raises ValueError below 100 levels, and for what a flow has no type for.
    """
    secret_fields = frozenset(name.lower() for name in run.settings.api.secret_fields)

    def value(item: Any, depth: int, secret: bool) -> Value:
        if isinstance(item, str):
            text = from_text(_SURROGATES.sub("\ufffd", item) if not item.isascii() else item)
            return Secret(text) if secret else text
        if isinstance(item, dict):
            if depth == 0:
                raise ValueError("nested too deep")
            _paid(run, len(item))
            found = Array()
            for name, one in item.items():
                inner = secret or (isinstance(name, str) and name.lower() in secret_fields)
                found.put(key(value(name, 0, False)), value(one, depth - 1, inner))
            return found
        if isinstance(item, list):
            if depth == 0:
                raise ValueError("nested too deep")
            _paid(run, len(item))
            return Array.of([value(one, depth - 1, secret) for one in item])
        if item is None or isinstance(item, bool):
            return item
        if isinstance(item, (int, float)):
            return _finite(item)
        raise ValueError(f"a flow has nothing for {type(item).__name__}")

    return value(document, MAX_DEPTH, hidden)
