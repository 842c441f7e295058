"""The values of Content-Type and Content-Disposition: a word and its parameters (RFC 2045 §5.1, RFC 2231).

Reading is tolerant, because mail programs are: what cannot be read is left out, and the rest stands. Never raises;
linear in the size of the value, of which no more than the first 64 KiB are looked at.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowengine.mail.encoded_words import decode, in_charset

_LONGEST = 65536
_PIECES = 200  # pieces of one value cut up by RFC 2231 §3
_TYPE = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:/[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+))?")
_PARAMETER = re.compile(rb';[ \t]*([^\s;="]{1,100})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_SEGMENT = re.compile(r"([^*]+)(?:\*([0-9]{1,3}))?(\*)?\Z")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Parametrized:
    """A value with parameters. word: in lower case, "type/subtype" or "attachment", "" when there is none to read.

    parameters: name in lower case → octets, as they stood or, if RFC 2231 gave them a charset, as UTF-8.
    """

    word: str = ""
    parameters: Mapping[str, bytes] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """A parameter as text without control characters, its encoded words decoded: RFC 2047 forbids them here,
        mail programs write them. None when it is not there."""
        octets = self.parameters.get(name.lower())
        return None if octets is None else _CONTROLS.sub(" ", decode(octets))


def parse(value: bytes) -> Parametrized:
    """Read an unfolded header value."""
    value = value[:_LONGEST]
    start = _TYPE.match(value)
    if start is None:
        return Parametrized()
    word = start[1] + (b"/" + start[2] if start[2] else b"")
    whole: dict[str, bytes] = {}
    cut: dict[str, list[tuple[int, bool, bytes]]] = {}
    for match in _PARAMETER.finditer(value, start.end()):
        octets = _QUOTED_PAIR.sub(rb"\1", match[2]) if match[2] is not None else match[3].strip(b" \t")
        segment = _SEGMENT.match(match[1].decode("latin-1").lower())
        if segment is None:
            continue
        name, number, percent = segment[1], segment[2], bool(segment[3])
        if number is None and not percent:
            whole.setdefault(name, octets)
        elif len(pieces := cut.setdefault(name, [])) < _PIECES:
            pieces.append((int(number or 0), percent, octets))
    return Parametrized(word.decode("ascii").lower(), {**whole, **{name: _joined(cut[name]) for name in cut}})


def _joined(pieces: list[tuple[int, bool, bytes]]) -> bytes:
    """The pieces of one value in order (RFC 2231 §3, §4), as UTF-8 when they name a charset."""
    pieces.sort(key=lambda piece: piece[0])
    charset, octets = "", b""
    found: list[bytes] = []
    for place, (_, percent, octets) in enumerate(pieces):
        if percent and place == 0 and octets.count(b"'") >= 2:
            name, _, octets = octets.split(b"'", 2)
            charset = name.decode("latin-1")
        found.append(_PERCENT.sub(lambda code: bytes([int(code[1], 16)]), octets) if percent else octets)
    joined = b"".join(found)
    return in_charset(joined, charset).encode("utf-8", "replace") if charset else joined
