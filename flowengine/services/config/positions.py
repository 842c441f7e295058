"""Where each key of a TOML text stands, which `tomllib` does not tell.

Reads only text that `tomllib` has accepted, so it looks for the ends of things and checks nothing.
"""

import contextlib
import re
from bisect import bisect_right
from dataclasses import dataclass

from flowengine.language.problems import Span

Path = tuple[str | int, ...]
"""A place in the document: keys, and indexes of arrays."""

_SPACE = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_INLINE_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\s]+(?:[ \t]+[^,\]}#\s]+)*")  # a date may have a space inside
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([btnfr"\\]))')
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Place:
    """Offsets of a key and of its value: start, end. A table has the place of its header for both."""

    key: tuple[int, int]
    value: tuple[int, int]


class Positions:
    """The places of all keys of one text."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._lines = [0] + [match.end() for match in re.finditer("\n", text)]
        scanner = _Scanner(text)
        with contextlib.suppress(LookupError, ValueError, RecursionError):  # then the later places are not known
            scanner.read()
        self._places = scanner.places

    def key(self, path: Path) -> Span:
        """Where the key is written, or the nearest table above it that is."""
        place = self._nearest(path)
        return self.span(*place.key) if place else self.span(0, 0)

    def value(self, path: Path) -> Span:
        """Where the value is written, or the nearest table above it that is."""
        place = self._nearest(path)
        if place is None:
            return self.span(0, 0)
        return self.span(*(place.value if path in self._places else place.key))

    def span(self, start: int, end: int) -> Span:
        """Offsets as lines and columns."""
        line, end_line = bisect_right(self._lines, start), bisect_right(self._lines, end)
        return Span(self._file, line, start - self._lines[line - 1] + 1, end_line, end - self._lines[end_line - 1] + 1)

    def _nearest(self, path: Path) -> Place | None:
        while path:
            if (place := self._places.get(path)) is not None:
                return place
            path = path[:-1]
        return None


class _Scanner:
    """One walk over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.places: dict[Path, Place] = {}
        self._arrays: dict[Path, int] = {}  # [[name]]: how many there were

    def read(self) -> None:
        """Find all places."""
        table: Path = ()
        self._skip(_SPACE)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_SPACE)

    def _header(self) -> Path:
        start, double = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if double else 1
        names = [name for name, _, _ in self._key()]
        self._at = self._text.index("]", self._at) + (2 if double else 1)
        path: Path = ()
        for number, name in enumerate(names):
            path += (name,)
            if double and number == len(names) - 1:
                self._arrays[path] = self._arrays.get(path, 0) + 1
            if path in self._arrays:
                self._mark(path, (start, self._at), (start, self._at))
                path += (self._arrays[path] - 1,)
            self._mark(path, (start, self._at), (start, self._at))
        return path

    def _pair(self, table: Path) -> None:
        path = table
        for name, start, end in self._key():
            path += (name,)
            self._mark(path, (start, end), (start, end))
            key = start, end
        self._at = self._text.index("=", self._at) + 1
        self._skip(_INLINE_SPACE)
        start = self._at
        self._value(path)
        self.places[path] = Place(key, (start, self._at))

    def _key(self) -> list[tuple[str, int, int]]:
        names = []
        while True:
            self._skip(_INLINE_SPACE)
            start = self._at
            if self._text[start] in "\"'":
                self._skip(_STRING)
                names.append((_unquoted(self._text[start : self._at]), start, self._at))
            else:
                self._skip(_BARE_KEY)
                names.append((self._text[start : self._at], start, self._at))
            self._skip(_INLINE_SPACE)
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _value(self, path: Path) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._skip(_STRING)
        elif first == "[":
            self._items(path)
        elif first == "{":
            self._inline(path)
        else:
            self._skip(_SCALAR)

    def _items(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_SPACE)
            if self._text[self._at] == "]":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            start = self._at
            self._value((*path, index))
            self.places[(*path, index)] = Place((start, self._at), (start, self._at))
            index += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_SPACE)
            if self._text[self._at] == "}":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._pair(path)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is None:  # tomllib accepts what we cannot follow: be at a loss, not in a loop
            raise LookupError(self._at)
        self._at = match.end()

    def _mark(self, path: Path, key: tuple[int, int], value: tuple[int, int]) -> None:
        self.places.setdefault(path, Place(key, value))


def _unquoted(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1]
    return _ESCAPE.sub(lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else _ESCAPED[m[3]], text[1:-1])
