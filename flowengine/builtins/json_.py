"""JSON (RFC 8259) for flows: bounded, strict, and quiet about secrets.

A JSON string is Unicode, a flow's string its UTF-8. Values of the fields that [api] secret_fields names become secrets
the moment they are read, and what is written from a secret is one.
"""

import json
import math
import re
from typing import Any

from flowengine.builtins.run import Run, worked
from flowengine.language.budget import BYTES_AN_ITEM, Budget
from flowengine.language.functions import builtin
from flowengine.language.values import Array, Secret, Value, from_text, key, normal, number_text, to_text

MAX_DEPTH = 100
"""Arrays and objects inside one another, both ways."""
_SMALL = 4096  # bytes below which only the step counts
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
        self._budget = run.budget
        self.secret = False

    def plain(self, value: Value, depth: int) -> Any:
        kind = type(value)
        if kind is str or kind is Secret:
            if kind is Secret:
                self.secret = True
            if len(value) > _SMALL:
                self._budget.grow(len(value) * 2)
            return value if value.isascii() else to_text(value)
        if kind is int or value is None or kind is bool:
            return value
        if kind is float and math.isfinite(value):
            return value
        if kind is not Array or depth == 0:
            raise _UnfitError
        _paid(self._budget, len(value))  # also for what is there many times, and was made once
        if value.is_list():
            return [self.plain(item, depth - 1) for item in value.values()]
        return {
            name if type(name) is str and name.isascii() else self._name(name): self.plain(item, depth - 1)
            for name, item in value.items()
        }

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

    Values of the fields named by [api] secret_fields are secrets, and so is any text with a private key.

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
        document = json.loads(to_text(source), parse_constant=_no_number)
        return from_document(run, document, hidden=type(string) is Secret)
    except (ValueError, RecursionError, _UnfitError):
        return None


# a string, or a comment to its end or the end of the text: one pass, whatever is left open
_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|//[^\r\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)', re.DOTALL)


def _without_comment(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else " "


def _no_number(word: str) -> float:
    raise _UnfitError(word)


def _paid(budget: Budget, entries: int) -> None:
    """Pay for an array: what is there many times may have been made once, and YAML's aliases are short."""
    budget.spend(10 + 5 * entries)
    if entries > _SMALL // BYTES_AN_ITEM:
        budget.grow_items(entries)


_SURROGATES = re.compile("[\ud800-\udfff]")


def from_document(run: Run, document: Any, *, hidden: bool = False) -> Value:
    """Lists, maps and text of a decoder as a flow's value, with the secrets of [api] secret_fields as secrets.

    hidden: everything came out of a secret. Raises ValueError below 100 levels, and for what a flow has no type for.
    """
    return _Reader(run).value(document, MAX_DEPTH, hidden)


class _Reader:
    """Turns what a decoder made into a flow's value."""

    def __init__(self, run: Run) -> None:
        self._budget = run.budget
        self._secret_fields = frozenset(name.lower() for name in run.settings.api.secret_fields)

    def value(self, item: Any, depth: int, hidden: bool) -> Value:
        """One value. depth: how many levels it may have. hidden: its strings are secrets."""
        kind = type(item)
        if kind is str:
            text = item if item.isascii() else from_text(_SURROGATES.sub("\ufffd", item))
            return Secret(text) if hidden or "PRIVATE KEY-----" in text else text
        if item is None or kind is bool:
            return item
        if kind is int or kind is float:
            number = normal(item)
            if not math.isfinite(number):
                raise ValueError("beyond what a double holds")
            return number
        if kind is not dict and kind is not list:
            raise ValueError(f"a flow has nothing for {kind.__name__}")
        if depth == 0:
            raise ValueError("nested too deep")
        _paid(self._budget, len(item))
        if kind is list:
            return Array.of([self.value(one, depth - 1, hidden) for one in item])
        found = Array()
        for name, one in item.items():
            inner = hidden or (type(name) is str and name.lower() in self._secret_fields)
            found[key(self.value(name, 0, hidden=False))] = self.value(one, depth - 1, inner)
        return found
