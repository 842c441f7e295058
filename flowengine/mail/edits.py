"""What can be changed in a message, each change a value that a trace prints and a milter forwards.

An index is a place in the list of fields as it stood when the edit was made. A field that an edit writes cannot
break out of its place: names are RFC 5322 ftext, and values hold CR and LF only as folds in front of real text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from flowengine.mail.errors import MailError
from flowengine.mail.headers import Block, Field, is_name, parse

# Each fold must be followed by white space and then by something else: a line of white space alone
# ends the header for some programs.
_FOLDED = re.compile(rb"[^\r\n\x00]*(?:\r\n[ \t][^\r\n\x00]*)*")
_BLANK_LINE = re.compile(rb"\r\n[ \t]+(?=\r\n|\Z)")


class Edit(Protocol):
    """A change to the fields, the body, or both."""

    def fields(self, fields: Sequence[Field]) -> Sequence[Field]:
        """The fields after the change. Raises MailError for a place that is not there."""
        ...

    def body(self) -> bytes | None:
        """The new body, None where the change leaves it alone."""
        ...

    def describe(self) -> dict[str, str | int]:
        """The edit as plain data, ready for JSON."""
        ...


def make_field(name: str, value: str) -> Field:
    """A new field. Characters that are not ASCII are written as UTF-8 (RFC 6532), lone surrogates as the raw octets
    they stand for. Raises MailError for a name or value that could reach outside its field."""
    try:
        key, octets = name.encode(), value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise MailError(f"header {name!r}: a surrogate is no character") from error
    if not is_name(key):
        raise MailError(f"header name {name!r}: only printable ASCII without colon and space (RFC 5322 §3.6.8)")
    if _FOLDED.fullmatch(octets) is None:
        raise MailError(f"header {name}: a value may hold CR and LF only as a fold, and no NUL")
    if b"\r\n" in octets and _BLANK_LINE.search(octets) is not None:
        raise MailError(f"header {name}: a fold without text on its line")
    return Field(key.lower(), key + b": " + octets)


@dataclass(frozen=True, slots=True)
class InsertField:
    """A new field in front of the one at `index`; at or past the end it becomes the last."""

    kind: ClassVar[str] = "insert"
    index: int
    name: str
    value: str
    _made: Field = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_made", make_field(self.name, self.value))

    def fields(self, fields: Sequence[Field]) -> Sequence[Field]:
        """See Edit."""
        place = min(max(self.index, 0), len(fields))
        return (*fields[:place], self._made, *fields[place:])

    def body(self) -> None:
        """See Edit."""

    def describe(self) -> dict[str, str | int]:
        """See Edit."""
        return {"edit": self.kind, "index": self.index, "name": self.name, "value": _shown(self.value)}


@dataclass(frozen=True, slots=True)
class ReplaceField:
    """Another name and value for the field at `index`."""

    kind: ClassVar[str] = "replace"
    index: int
    name: str
    value: str
    _made: Field = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_made", make_field(self.name, self.value))

    def fields(self, fields: Sequence[Field]) -> Sequence[Field]:
        """See Edit."""
        _check(self.index, fields)
        return (*fields[: self.index], self._made, *fields[self.index + 1 :])

    def body(self) -> None:
        """See Edit."""

    def describe(self) -> dict[str, str | int]:
        """See Edit."""
        return {"edit": self.kind, "index": self.index, "name": self.name, "value": _shown(self.value)}


@dataclass(frozen=True, slots=True)
class DeleteField:
    """The field at `index` goes."""

    kind: ClassVar[str] = "delete"
    index: int

    def fields(self, fields: Sequence[Field]) -> Sequence[Field]:
        """See Edit."""
        _check(self.index, fields)
        return (*fields[: self.index], *fields[self.index + 1 :])

    def body(self) -> None:
        """See Edit."""

    def describe(self) -> dict[str, str | int]:
        """See Edit."""
        return {"edit": self.kind, "index": self.index}


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """Another body, in the form in which it travels (lines end in CRLF)."""

    kind: ClassVar[str] = "body"
    content: bytes

    def fields(self, fields: Sequence[Field]) -> Sequence[Field]:
        """See Edit."""
        return fields

    def body(self) -> bytes:
        """See Edit."""
        return self.content

    def describe(self) -> dict[str, str | int]:
        """See Edit."""
        return {"edit": self.kind, "size": len(self.content)}


@dataclass(frozen=True, slots=True)
class ReplaceContent:
    """Another message altogether: fields and body. It is written with an empty line between the two."""

    kind: ClassVar[str] = "content"
    content: bytes = field(repr=False)
    _block: Block = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_block", parse(self.content))

    def fields(self, fields: Sequence[Field]) -> Sequence[Field]:
        """See Edit."""
        return [Field(one.key, one.raw) for one in self._block.fields]

    def body(self) -> bytes:
        """See Edit."""
        return self.content[self._block.body :]

    def describe(self) -> dict[str, str | int]:
        """See Edit."""
        return {"edit": self.kind, "size": len(self.content)}


def _check(index: int, fields: Sequence[Field]) -> None:
    if not 0 <= index < len(fields):
        raise MailError(f"there is no header field {index}; the message has {len(fields)}")


def _shown(value: str) -> str:
    """The value as text that any JSON writer takes: octets that are no UTF-8 become U+FFFD."""
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
