"""The values of HSL and how one becomes another (HSL reference §1.2, §1.5, §1.6).

none is None, a boolean is bool, a number is int or float (an IEEE double: whole numbers are int up to 2^53), a string
is bytes held in a `str` with one character a byte, an array is an ordered `Array`. Functions and objects are `Function`
and `Object`. Nothing else may enter a flow.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NewType, Protocol

from flowengine.language.problems import FlowError

MAX_EXACT = 2**53  # beyond it a double no longer holds every whole number

Text = NewType("Text", str)
"""A builtin's parameter or result that is Unicode text; bytes that are not UTF-8 arrive as U+FFFD."""


class Secret(str):
    """A string that may be compared, hashed and handed to builtins, but never shown (DESIGN §7)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<secret of {len(self)} bytes>"


class Array(dict[Any, Any]):
    """An ordered map with automatic indexes. Keys are int, str, None, or objects by identity, already cast by `key`.

    Arrays are values: whoever stores one in a second place calls `share` first, and whoever writes to a shared one
    copies it before (`own`). So nothing is copied that nobody writes to. It is made like a dict, of pairs or of another
    dict, and has no `__init__` of its own: arrays are made often.
    """

    _next: int | None = None
    shared: bool = False

    @classmethod
    def of(cls, values: Iterable[Any]) -> "Array":
        """A list: the values under 0, 1, 2, …"""
        array = cls(enumerate(values))
        array._next = len(array)
        return array

    @property
    def next_index(self) -> int:
        """The highest whole-number key + 1, at least 0."""
        if self._next is None:
            self._next = max((k for k in self if type(k) is int), default=-1) + 1
            self._next = max(self._next, 0)
        return self._next

    def append(self, value: Any) -> None:
        """Store a value under the next automatic index."""
        index = self.next_index
        self[index] = value
        self._next = index + 1

    def put(self, key: Any, value: Any) -> None:
        """Store a value under a key that `key()` has cast."""
        self[key] = value
        if self._next is not None and type(key) is int and key >= self._next:
            self._next = key + 1

    def remove(self, key: Any) -> bool:
        """Take a key out; whether it was there."""
        if key not in self:
            return False
        del self[key]
        self._next = None
        return True

    def own(self) -> "Array":
        """This array if nobody shares it, else a copy that nobody shares."""
        if not self.shared:
            return self
        for value in self.values():
            if type(value) is Array:
                value.shared = True
        return Array(self)

    def is_list(self) -> bool:
        """Whether the keys are 0, 1, 2, … in this order."""
        return all(type(key) is int and key == index for index, key in enumerate(self))

    __hash__ = None  # type: ignore[assignment,unused-ignore]  # an array is no key


class Function:
    """A function as a value: named, anonymous, a builtin or a method bound to its object.

    least, most: how many arguments it takes; most is None when there is no end or `call` checks itself.
    origin: what makes two function values the same function; None when only identity does.
    """

    __slots__ = ("call", "least", "most", "name", "origin")

    def __init__(
        self, name: str, call: Callable[..., Any], least: int = 0, most: int | None = None, origin: object = None
    ) -> None:
        self.name, self.call, self.least, self.most, self.origin = name, call, least, most, origin

    def __call__(self, *arguments: Any) -> Any:
        given = len(arguments)
        if given < self.least or (self.most is not None and given > self.most):
            takes = f"at least {self.least}" if self.most is None else f"{self.least}"
            if self.most not in (None, self.least):
                takes += f" to {self.most}"
            name = self.name or "the function"
            raise FlowError(f"{name} takes {takes} argument{'' if takes[-2:] in ('1', ' 1') else 's'}, got {given}")
        return self.call(*arguments)

    def __repr__(self) -> str:
        return f"function {self.name}"


class Object(Protocol):
    """An instance of a class: written in HSL, or native (`functions.NativeObject`)."""

    class_name: str


Value = Any  # None | bool | int | float | str | Array | Function | Object: too wide for the type checker to help


def share(value: Value) -> Value:
    """A value on its way into a second place."""
    if type(value) is Array:
        value.shared = True
    return value


_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,9})\Z")
NUMERIC = re.compile(r"[ \t\r\n]*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))[ \t\r\n]*\Z")
_HEX = re.compile(r"[ \t\r\n]*0[xX]([0-9a-fA-F]{1,256})[ \t\r\n]*\Z")


def key(value: Value) -> Any:
    """A value cast to an array key (§1.6): booleans to 0 and 1, numbers to 32 bits, whole-number text to numbers.

    Raises TypeError for an array, which cannot be a key.
    """
    kind = type(value)
    if kind is str:
        if (
            value
            and (value[0].isdigit() or value[0] == "-")
            and len(value) < 12
            and _WHOLE.match(value)
            and value != "-0"
        ):
            number = int(value)
            return number if -(2**31) <= number < 2**31 else value
        return value
    if kind is int:
        return value if -(2**31) <= value < 2**31 else (value + 2**31) % 2**32 - 2**31
    if kind is bool:
        return int(value)
    if kind is float:
        if not math.isfinite(value):
            return 0
        return (int(value) + 2**31) % 2**32 - 2**31
    if kind is Array:
        raise TypeError("an array cannot be a key")
    return value


def normal(number: int | float) -> int | float:
    """A number in its one form: whole numbers as int as far as a double holds them exactly, the others as float."""
    if type(number) is int:
        return number if -MAX_EXACT <= number <= MAX_EXACT else _to_double(number)
    if float(number).is_integer() and -MAX_EXACT <= number <= MAX_EXACT:
        return int(number)
    return number


def _to_double(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def to_number(value: Value) -> int | float:
    """number(x): decimal and 0x text; anything that is no number gives 0 (§1.5)."""
    kind = type(value)
    if kind is int or kind is float:
        return value  # type: ignore[no-any-return]  # the kind was just looked at
    if kind is bool:
        return 1 if value else 0
    if isinstance(value, str) and len(value) <= 1024:  # a double has at most some 800 significant characters
        if match := NUMERIC.match(value):
            text = match[1]
            return normal(int(text)) if text.lstrip("+-").isdigit() else normal(float(text))
        if match := _HEX.match(value):
            return normal(int(match[1], 16))
    return 0


def truth(value: Value) -> bool:
    """Whether a value counts as true (§1.5): "" and [] and 0 and none do not, "0" does."""
    kind = type(value)
    if kind is bool:
        return value  # type: ignore[no-any-return]  # the kind was just looked at
    if value is None:
        return False
    if kind is int or kind is float:
        return bool(value != 0)
    if kind is str or kind is Array or kind is Secret:
        return len(value) > 0
    return True


def number_text(number: int | float) -> str:
    """The shortest exact text of a number: 1.0 is "1", 0.1 is "0.1", never an exponent."""
    if type(number) is int:
        return str(number)
    if number != number:
        return "nan"
    if number in (math.inf, -math.inf):
        return "inf" if number > 0 else "-inf"
    if float(number).is_integer():
        return str(int(number))
    text = repr(number)
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    digits = mantissa.replace(".", "").lstrip("-")
    sign = "-" if number < 0 else ""
    return f"{sign}0.{'0' * (-int(exponent) - 1)}{digits}"  # only small numbers get here: large doubles are whole


def type_name(value: Value) -> str:
    """What a flow calls the type of a value, for messages."""
    kind = type(value)
    if value is None:
        return "none"
    if kind is bool:
        return "boolean"
    if kind is int or kind is float:
        return "number"
    if isinstance(value, str):
        return "string"
    if kind is Array:
        return "array"
    if isinstance(value, Function):
        return "function"
    return f"object {getattr(value, 'class_name', kind.__name__)}"


def from_bytes(data: bytes | bytearray | memoryview) -> str:
    """Bytes as a flow's string."""
    return bytes(data).decode("latin-1")


def to_bytes(text: str) -> bytes:
    """A flow's string as bytes."""
    return text.encode("latin-1")


def from_text(text: str) -> str:
    """Unicode text as a flow's string: its UTF-8 bytes, one character each."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def to_text(text: str) -> str:
    """A flow's string as Unicode text; bytes that are not UTF-8 become U+FFFD."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


def from_python(value: object) -> Value:
    """A Python value (JSON, TOML, a result) as a flow's value: lists and maps become arrays, text its UTF-8 bytes.

    Raises TypeError for what has no counterpart. Iterative in depth is not needed: JSON is depth-limited where read.
    """
    if value is None or isinstance(value, (bool, Array, Function, Secret)):
        return value
    if isinstance(value, (int, float)):
        return normal(value)
    if isinstance(value, str):
        return from_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return from_bytes(value)
    if isinstance(value, dict):
        return Array((key(from_python(k)), from_python(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return Array.of(from_python(item) for item in value)
    if hasattr(value, "class_name"):
        return value
    raise TypeError(f"{type(value).__name__} has no counterpart in a flow")
