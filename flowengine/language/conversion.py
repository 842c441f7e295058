"""What an annotation means: a flow's value into a Python argument, and a Python result back into a flow's value.

`argument(annotation)` and `result(annotation)` read an annotation once; what they give is called for every builtin call
whose value is not already of the right type. Nothing here knows which function it works for.
"""

import collections.abc
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from flowengine.language.values import (
    MAX_EXACT,
    NUMERIC,
    Array,
    Function,
    Secret,
    Text,
    Value,
    from_bytes,
    from_python,
    from_text,
    key,
    normal,
    number_text,
    to_bytes,
    to_number,
    to_text,
    type_name,
)


class Mismatch(Exception):  # named by what it says
    """A value of a type that the parameter does not take."""


class BadWord(Exception):  # named by what it says
    """The right type, but none of the words that the parameter knows."""


@dataclass(frozen=True, slots=True)
class Argument:
    """How a flow's value becomes the argument of one parameter.

    exact: the Python type that passes untouched; `object` when every value does; None when all are converted.
    passing: all types that pass untouched, when they are several.
    convert: the argument for any other value. Raises Mismatch or BadWord.
    says: what the parameter is, for messages: "a string".
    arrays: whether an array can be meant for it.
    """

    exact: type | None
    convert: Callable[[Value], Any]
    says: str
    arrays: bool = False
    passing: frozenset[type] = frozenset()


def refuse(value: Value) -> Any:
    """Nothing but the exact type will do."""
    raise Mismatch


def _string(value: Value) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int or type(value) is float:
        return number_text(value)
    raise Mismatch


def _secret_text(value: Value) -> str:
    text = to_text(_string(value))
    return Secret(text) if type(value) is Secret else text


def _number(value: Value) -> int | float:
    kind = type(value)
    if kind is int or kind is float:
        return value  # type: ignore[no-any-return]  # the kind was just looked at
    if kind is bool:
        return 1 if value else 0
    if isinstance(value, str) and NUMERIC.match(value):
        return to_number(value)
    raise Mismatch


def _whole(value: Value) -> int:
    number = _number(value)
    if type(number) is int:
        return number
    if not math.isfinite(number):
        raise Mismatch
    return int(number)


def _boolean(value: Value) -> bool:
    if isinstance(value, (bool, int, float)):
        return value != 0
    raise Mismatch


ANYTHING: Final = Argument(object, lambda value: value, "anything", arrays=True)
_PLAIN: dict[Any, Argument] = {
    str: Argument(str, _string, "a string"),
    bytes: Argument(None, lambda value: to_bytes(_string(value)), "a string"),
    Text: Argument(None, _secret_text, "a string"),
    int: Argument(int, _whole, "a number"),
    float: Argument(float, _number, "a number"),
    bool: Argument(bool, _boolean, "a boolean"),
    Array: Argument(Array, refuse, "an array", arrays=True),
    Function: Argument(Function, refuse, "a function"),
    collections.abc.Callable: Argument(Function, refuse, "a function"),
    object: ANYTHING,
    Any: ANYTHING,
}
_LISTS = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, list, tuple)
_MAPS = (collections.abc.Mapping, dict)


def argument(annotation: Any) -> Argument:
    """How a flow's value becomes what this annotation asks for. Raises TypeError for one without meaning here."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, typing.TypeVar):
        return ANYTHING
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is collections.abc.Callable:
        return _PLAIN[collections.abc.Callable]
    if origin is Literal:
        return _word(inner)
    if origin in (typing.Union, types.UnionType):
        return _either(inner)
    if origin in _LISTS or annotation in _LISTS:
        return _items(inner[0] if inner else Any)
    if origin in _MAPS or annotation in _MAPS:
        return _entries(inner[1] if len(inner) == 2 else Any)
    if isinstance(annotation, type):
        return _instance(annotation)
    raise TypeError(f"a builtin cannot take {annotation!r}")


def _word(words: tuple[Any, ...]) -> Argument:
    numbers = any(type(word) is int for word in words)
    known = {word: word for word in words}

    def convert(value: Value) -> Any:
        try:
            word = _number(value) if numbers and not (isinstance(value, str) and value in known) else _string(value)
        except Mismatch:
            if isinstance(value, str):
                raise BadWord from None
            raise
        if word not in known:
            raise BadWord
        return known[word]

    says = "one of " + ", ".join(f'"{word}"' if isinstance(word, str) else str(word) for word in words)
    return Argument(None, convert, says)


def _either(inner: tuple[Any, ...]) -> Argument:
    optional = type(None) in inner
    choices = [argument(one) for one in inner if one is not type(None)]
    exact = {one.exact for one in choices if one.exact not in (None, object)}
    if any(one.exact is object for one in choices):
        return ANYTHING

    def convert(value: Value) -> Any:
        if value is None and optional:
            return None
        if type(value) in exact:
            return value
        bad_word = False
        for one in choices:
            try:
                return one.convert(value)
            except Mismatch:
                continue
            except BadWord:
                bad_word = True
        raise BadWord if bad_word else Mismatch

    only = choices[0].exact if len(choices) == 1 else None
    passing = frozenset(kind for kind in exact if kind is not None)
    if optional:
        passing |= {type(None)}
    says = " or ".join(dict.fromkeys([one.says for one in choices] + (["none"] if optional else [])))
    return Argument(only, convert, says, any(one.arrays for one in choices), passing)


def _items(inner: Any) -> Argument:
    one = argument(inner)

    def convert(value: Value) -> list[Any]:
        if type(value) is not Array:
            raise Mismatch
        if one.exact is object:
            return list(value.values())
        return [item if type(item) is one.exact else one.convert(item) for item in value.values()]

    return Argument(None, convert, "an array" if one.exact is object else f"an array of {_many(one.says)}", arrays=True)


def _entries(inner: Any) -> Argument:
    one = argument(inner)

    def convert(value: Value) -> dict[str, Any]:
        if type(value) is not Array:
            raise Mismatch
        return {
            name if type(name) is str else number_text(name) if type(name) is int else "": (
                item if one.exact is object or type(item) is one.exact else one.convert(item)
            )
            for name, item in value.items()
        }

    return Argument(None, convert, "an array" if one.exact is object else f"an array of {_many(one.says)}", arrays=True)


def _many(says: str) -> str:
    return says.removeprefix("a ").removeprefix("an ") + ("s" if says.startswith("a") else "")


def _instance(wanted: type) -> Argument:
    if wanted is type(None):
        return Argument(type(None), refuse, "none")
    if not hasattr(wanted, "class_name") and not hasattr(wanted, "flow_value"):
        raise TypeError(f"a builtin cannot take {wanted.__name__}")

    def convert(value: Value) -> Any:
        if isinstance(value, wanted):
            return value
        raise Mismatch

    return Argument(wanted, convert, f"an object {getattr(wanted, 'class_name', wanted.__name__)}")


def got(value: Value) -> str:
    """A value's type with its article: "an array", "none", "an object File"."""
    name = type_name(value)
    if name == "none":
        return name
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


Result = Callable[[Any], Value]


def result(annotation: Any) -> Result | None:
    """How what a builtin returns becomes a flow's value; None when it is one already."""
    if annotation in (str, bool, None, type(None), Array, Function):
        return None
    if annotation in (int, float):
        return _normal
    if annotation is bytes:
        return from_bytes
    if annotation is Text:
        return from_text
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return None
    if origin in (typing.Union, types.UnionType):
        return _either_result(inner)
    if (origin in _LISTS and inner) or (origin in _MAPS and len(inner) == 2):
        return _array_result(origin in _MAPS, result(inner[-1] if origin in _MAPS else inner[0]))
    if isinstance(annotation, type) and hasattr(annotation, "class_name"):
        return None
    return value_of


def _either_result(inner: tuple[Any, ...]) -> Result | None:
    ways = {one: result(one) for one in inner}
    if not any(ways.values()):
        return None
    strings = [one for one in (bytes, Text) if one in inner]
    if len(inner) == 2 and type(None) in inner:
        way = next(way for way in ways.values() if way is not None)
        return lambda value: None if value is None else way(value)
    if Text in strings:
        return value_of  # Unicode text among other things: from_python makes UTF-8 of every str
    return lambda value: value if isinstance(value, str) else value_of(value)


def _array_result(entries: bool, way: Result | None) -> Result:
    if entries:

        def convert(value: Any) -> Value:
            if type(value) is Array:
                return value
            if way is None:
                return Array({key(from_python(name)): item for name, item in value.items()})
            return Array({key(from_python(name)): way(item) for name, item in value.items()})
    else:

        def convert(value: Any) -> Value:
            if type(value) is Array:
                return value
            return Array.of(value if way is None else map(way, value))

    return convert


_AS_THEY_ARE = frozenset({type(None), bool, str, Array, Function, Secret})


def value_of(value: Any) -> Value:
    """A result of unknown type as a flow's value. A `str` is taken for a flow's string already."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is int or kind is float:
        return _normal(value)
    if kind is dict:
        return Array({key(value_of(name)): value_of(item) for name, item in value.items()})
    if kind is list or kind is tuple:
        return Array.of(map(value_of, value))
    return from_python(value)


def _normal(value: int | float) -> int | float:
    if type(value) is int and -MAX_EXACT <= value <= MAX_EXACT:
        return value
    return normal(value) if type(value) is not bool else value
