"""The literals of HSL: what stands between quotes, and numbers (reference §1.2)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from flowengine.language.values import from_text, normal

_PART = re.compile(r"\\x([0-9a-fA-F]{2})|\\([\s\S])|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")
_ESCAPES = {"\\": "\\", '"': '"', "$": "$", "n": "\n", "r": "\r", "t": "\t"}


class Part(NamedTuple):
    """A piece of a double-quoted string: a variable's name or text, at an offset (in characters) inside the literal."""

    offset: int
    length: int
    text: str
    variable: bool = False
    unknown_escape: bool = False


def parts(literal: str) -> Iterator[Part]:
    """The pieces of a double-quoted literal, quotes included in `literal`. Text comes as a flow's string."""
    at = 1
    for match in _PART.finditer(literal, 1, len(literal) - 1):
        if match.start() > at:
            yield Part(at, match.start() - at, from_text(literal[at : match.start()]))
        at, length = match.end(), match.end() - match.start()
        byte, escape, braced, plain = match.groups()
        if byte is not None:
            yield Part(match.start(), length, chr(int(byte, 16)))
        elif escape is not None:
            known = _ESCAPES.get(escape)
            text = from_text("\\" + escape) if known is None else known
            yield Part(match.start(), length, text, unknown_escape=known is None)
        else:
            yield Part(match.start(), length, braced or plain, variable=True)
    if at < len(literal) - 1:
        yield Part(at, len(literal) - 1 - at, from_text(literal[at:-1]))


def raw(literal: str) -> str:
    """The text of `''…''` or `'TAG'…'TAG'`."""
    end = literal.index("'", 1) + 1
    return from_text(literal[end:-end])


def regex(literal: str) -> str:
    """The pattern string of `#/…/flags`: the wrapped form `/…/flags`."""
    return from_text(literal[1:])


def number(literal: str) -> int | float:
    """The value of a number literal. Raises ValueError when it has no digits."""
    text = literal.replace("_", "")
    base = {"x": 16, "o": 8, "b": 2}.get(text[1:2].lower() if text.startswith("0") else "", 10)
    if base != 10:
        return normal(int(text[2:][:300], base))
    if len(text) <= 15 and text.isdigit():
        return int(text)
    return normal(float(text))
