"""The header block of a message: one pass over the bytes, one value per field.

A field keeps its bytes exactly as they came, folds included, so that it can be written again and hashed exactly.
Only CRLF ends a line (RFC 5322 §2.1); a bare CR or LF is a byte of the field that holds it. The first line that is
not a header field ends the block and begins the body, as Postfix, Exim and Sendmail decide: what we check is then
what the next server sees. Nothing here raises, whatever the bytes, and every pass is linear.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

import msgspec

from flowengine.mail.encoded_words import decode, plain

_FTEXT = re.compile(rb"[\x21-\x39\x3b-\x7e]+")  # RFC 5322 §3.6.8
_OBSOLETE_FROM = re.compile(rb"From[ \t]+:")  # RFC 5322 §4.5.2: an author, who must not be taken for an mbox line


class Field(msgspec.Struct, frozen=True, gc=False):
    """One header field.

    key: the name in lower case, what comparisons use; b"" never occurs.
    raw: name, colon and value as they stand, with folds, without the final CRLF.
    offset: place of the first byte in the message as received; -1 for a field that an edit made.

    A msgspec struct, because one is made for every header field of every message: a third of a dataclass's cost.
    """

    key: bytes
    raw: bytes
    offset: int = -1

    @property
    def name(self) -> str:
        """The name as it is written."""
        return self.raw[: len(self.key)].decode("ascii")

    @property
    def value(self) -> bytes:
        """All bytes after the colon, folds and the usual first space included."""
        return self.raw[self.raw.index(b":") + 1 :]

    @property
    def unfolded(self) -> bytes:
        """The value on one line (RFC 5322 §2.2.3: each CRLF in front of white space goes), trimmed."""
        return self.value.replace(b"\r\n", b"").strip(b" \t")

    @property
    def text(self) -> str:
        """The value unfolded and decoded (RFC 2047, then UTF-8, then Latin-1). Never raises."""
        return decode(self.unfolded)

    @property
    def undecoded(self) -> str:
        """The value unfolded, its encoded words as they stand."""
        return plain(self.unfolded)


class Headers(Sequence[Field]):
    """The fields of a message from top to bottom, with look-up by name whatever its case."""

    __slots__ = ("_asked", "_places", "fields")

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = tuple(fields)
        self._places: dict[bytes, list[int]] | None = None
        self._asked = False

    def places(self, name: str | bytes) -> Sequence[int]:
        """Indices of the fields of this name, top to bottom."""
        places = self._places
        if places is None:
            places = {}
            for index, field in enumerate(self.fields):
                places.setdefault(field.key, []).append(index)
            self._places = places
        return places.get(key_of(name), ())

    def first(self, name: str | bytes) -> Field | None:
        """The topmost field of this name."""
        if self._places is None and not self._asked:  # an index pays from the second question on
            self._asked, key = True, key_of(name)
            return next((field for field in self.fields if field.key == key), None)
        places = self.places(name)
        return self.fields[places[0]] if places else None

    def all(self, name: str | bytes) -> tuple[Field, ...]:
        """Every field of this name, top to bottom."""
        return tuple(self.fields[index] for index in self.places(name))

    def names(self) -> list[str]:
        """Every name in lower case, top to bottom, repeated as often as it occurs."""
        return [field.key.decode("ascii") for field in self.fields]

    @overload
    def __getitem__(self, index: int) -> Field: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Field, ...]: ...
    def __getitem__(self, index: int | slice) -> Field | tuple[Field, ...]:
        return self.fields[index]

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __eq__(self, other: object) -> bool:
        return self.fields == other.fields if isinstance(other, Headers) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return f"Headers({', '.join(field.name for field in self.fields[:20])}{', …' if len(self) > 20 else ''})"


class Block(NamedTuple):
    """A header block and where it stops.

    preamble: an mbox "From " line with its CRLF, or b""; it stays on top and is no field.
    body: offset of the first byte of the body.
    separated: an empty line stands between the fields and the body (or the bytes ended in the block).
    complete: the end of the block was seen, not merely the end of the bytes.
    """

    fields: list[Field]
    preamble: bytes
    body: int
    separated: bool
    complete: bool


def is_name(name: bytes) -> bool:
    """Whether this may name a header field (RFC 5322 §3.6.8: printable ASCII without colon and space)."""
    return _FTEXT.fullmatch(name) is not None


def key_of(name: str | bytes) -> bytes:
    """The form of a name that comparisons use."""
    return (name.encode("utf-8", "replace") if isinstance(name, str) else name).lower()


# Names repeat from message to message; knowing them saves a regular expression and a lower() a line. Others are
# learned up to a limit; the usual ones are there from the start, so that nobody can crowd them out.
_USUAL = (
    b"Received Return-Path Delivered-To DKIM-Signature ARC-Seal ARC-Message-Signature"
    b" ARC-Authentication-Results Authentication-Results Received-SPF From Sender Reply-To To Cc Bcc"
    b" Subject Date Message-ID Message-Id In-Reply-To References MIME-Version Mime-Version Content-Type"
    b" Content-Transfer-Encoding Content-Language Content-Disposition List-Id List-Unsubscribe"
    b" List-Unsubscribe-Post List-Post List-Help List-Archive Precedence Auto-Submitted Feedback-ID"
    b" User-Agent X-Mailer X-Received X-Originating-IP X-Priority Thread-Topic Thread-Index"
)
_KNOWN: dict[bytes, bytes] = {name: name.lower() for name in _USUAL.split()}
_KNOWN_LIMIT = 2000


def _key(name: bytes) -> bytes | None:
    """The key of a name as written, None when it is none. White space before the colon is obsolete, and allowed."""
    name = name.rstrip(b" \t")
    if _FTEXT.fullmatch(name) is None:
        return None
    key = name.lower()
    if len(_KNOWN) < _KNOWN_LIMIT and len(name) <= 64:
        _KNOWN[name] = key
    return key


# A whole field: its name, a colon, and everything up to a CRLF that no white space follows.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:[^\r]*+(?:\r(?!\n[^ \t])[^\r]*+)*+\r\n").match


def parse(data: bytes) -> Block:
    """Read the header block at the start of `data`, which may go on with the body or stop anywhere."""
    fields: list[Field] = []
    position, known = 0, _KNOWN.get
    while (match := _FIELD(data, position)) is not None:
        end = match.end()
        name = match[1]
        fields.append(Field(known(name) or _key(name) or name, data[position : end - 2], position))
        position = end
    if fields and data.startswith(b"\r\n", position):
        return Block(fields, b"", position + 2, True, True)
    return _parse_slowly(data)


def _parse_slowly(data: bytes) -> Block:
    """The same for any bytes, line by line: headers that stop, that a body follows without an empty line, mbox."""
    find, known = data.find, _KNOWN.get
    fields: list[Field] = []
    position = _preamble(data)
    if position < 0:
        return Block([], b"", 0, False, False)
    preamble, size = data[:position], len(data)
    start, key, end = -1, b"", 0  # start and key of the field being read
    separated, complete = True, False
    while position < size:
        end = find(b"\r\n", position)
        if end == position:
            complete = True
            break
        colon = find(b":", position, end if end >= 0 else size)
        found = known(data[position:colon]) if colon > position else None
        if found is None and not (start >= 0 and data[position] in b" \t"):  # else the field goes on
            found = _key(data[position:colon]) if colon > position else None
            if found is None:  # no header line: the body begins with it
                separated, complete = False, end >= 0 or colon >= 0 or data[position] in b" \t"
                break
        if found is not None:
            if start >= 0:
                fields.append(Field(key, data[start : position - 2], start))
            start, key = position, found
        position = end + 2 if end >= 0 else size
    if start >= 0:
        fields.append(Field(key, data[start : position - 2 if end >= 0 or not separated else size], start))
    return Block(fields, preamble, position + 2 if separated and complete else position, separated, complete)


def _preamble(data: bytes) -> int:
    """Length of the "From " line that mail stores put on top, 0 when there is none, -1 when its end is not there."""
    if not data.startswith((b"From ", b">From ")) or _OBSOLETE_FROM.match(data):
        return 0
    end = data.find(b"\r\n")
    return end + 2 if end >= 0 else -1
