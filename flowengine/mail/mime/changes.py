"""Changes to the parts of a message, each a value like those of `mail.edits`.

A part is named by its id in the message as received, so an earlier change never moves a later one's target. Content
that an edit brings is written as it travels: a body in its transfer encoding, a part with its header.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from flowengine.mail.edits import DeleteField, InsertField, ReplaceField, make_field
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field, Headers
from flowengine.mail.mime.encodings import TransferEncoding, choose, encode, text_lines
from flowengine.mail.mime.parameters import Parametrized
from flowengine.mail.mime.parameters import parse as parse_value
from flowengine.mail.mime.structure import Part

ADDED = 1000
"""So many parts may be added to one part."""


@dataclass(frozen=True, slots=True)
class Wrap:
    """A multipart put around a part. kind: multipart/mixed and so on. head: the header of what is inside.

    before, after: parts beside it.
    """

    kind: str
    boundary: bytes
    head: bytes
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one part. None, or nothing, where it is as received.

    fields: the header. body: the body as it travels. whole: another part in its place. before, after: parts added to a
    multipart. wraps: multiparts put around it, the innermost first.
    """

    fields: Sequence[Field]
    edited: bool = False
    body: bytes | None = None
    whole: bytes | None = None
    removed: bool = False
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()
    preamble: bytes | None = None
    epilogue: bytes | None = None
    wraps: tuple[Wrap, ...] = ()


class PartEdit(ABC):
    """An edit of one part. part: its id."""

    __slots__ = ()
    part: str

    @abstractmethod
    def change(self, part: Part, before: Change) -> Change:
        """The part after the change. Raises MailError for one that does not fit."""

    @abstractmethod
    def describe(self) -> dict[str, str | int]:
        """See Edit."""

    def fields(self, fields: Sequence[Field]) -> Sequence[Field]:
        """See Edit. What a part makes of the header of the message is a matter of `change`."""
        return fields

    def body(self) -> None:  # noqa: B027  # no part edit replaces the body as a whole
        """See Edit."""


@dataclass(frozen=True, slots=True)
class EditPartField(PartEdit):
    """A change to the header of a part."""

    part: str
    edit: InsertField | ReplaceField | DeleteField

    def change(self, part: Part, before: Change) -> Change:
        """See PartEdit."""
        return replace(before, fields=self.edit.fields(before.fields), edited=True)

    def describe(self) -> dict[str, str | int]:
        """See PartEdit."""
        return {**self.edit.describe(), "part": self.part}


@dataclass(frozen=True, slots=True)
class SetPartBody(PartEdit):
    """Another content for a part that is no multipart. It gets the plainest transfer encoding that it can have.

    content: the octets that the body stands for; line ends of text become those of mail.
    encoding: this one, where it can carry the content; None for the plainest.
    """

    kind: ClassVar[str] = "part-body"
    part: str
    content: bytes = field(repr=False)
    encoding: TransferEncoding | None = None

    def change(self, part: Part, before: Change) -> Change:
        """See PartEdit."""
        if part.effective_type.startswith(("multipart/", "message/")) or before.wraps:
            raise MailError(f"part {self.part} is made of parts and has no body of its own; replace it")
        declared = _type(before.fields).word
        text = declared.startswith("text/") or not declared
        content = text_lines(self.content) if text else self.content
        encoding = choose(content, text=text)
        if self.encoding is not None and self.encoding != "7bit":
            encoding = self.encoding
        fields = [one for one in before.fields if one.key != b"content-transfer-encoding"]
        if encoding != "7bit":
            fields = _with_version(fields, part)
            if not declared:
                fields = [*_without(fields, b"content-type"), make_field("Content-Type", "text/plain; charset=utf-8")]
            fields.append(make_field("Content-Transfer-Encoding", encoding))
        return replace(before, fields=fields, edited=True, body=encode(content, encoding))

    def describe(self) -> dict[str, str | int]:
        """See PartEdit."""
        return {"edit": self.kind, "part": self.part, "size": len(self.content)}


@dataclass(frozen=True, slots=True)
class AddPart(PartEdit):
    """One more part at the beginning or the end of a part: of a multipart of this kind it becomes one of the parts,
    around anything else a multipart of this kind is put first.

    multipart: its type, "multipart/mixed". boundary: for it, should it be needed; it must not occur in either part.
    """

    kind: ClassVar[str] = "part-add"
    part: str
    content: bytes = field(repr=False)
    first: bool
    multipart: str
    boundary: bytes

    def change(self, part: Part, before: Change) -> Change:
        """See PartEdit."""
        wrap = before.wraps[-1] if before.wraps else None
        if wrap is None and part.boundary is not None and part.effective_type == self.multipart:
            places = self._added(before.before, before.after)
            return replace(before, before=places[0], after=places[1])
        if wrap is None or wrap.kind != self.multipart:
            before, wrap = self._wrapped(part, before)
        places = self._added(wrap.before, wrap.after)
        return replace(before, wraps=(*before.wraps[:-1], replace(wrap, before=places[0], after=places[1])))

    def _added(self, before: tuple[bytes, ...], after: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], ...]:
        if len(before) + len(after) >= ADDED:
            raise MailError(f"more than {ADDED} parts added to part {self.part}")
        return ((self.content, *before), after) if self.first else (before, (*after, self.content))

    def _wrapped(self, part: Part, before: Change) -> tuple[Change, Wrap]:
        if len(before.wraps) >= 10:
            raise MailError(f"part {self.part} is wrapped in too many multiparts")
        inner = [one for one in before.fields if one.key.startswith(b"content-")]
        outer = _with_version([one for one in before.fields if not one.key.startswith(b"content-")], part)
        outer.append(make_field("Content-Type", f'{self.multipart};\r\n\tboundary="{self.boundary.decode("ascii")}"'))
        head = b"".join(one.raw + b"\r\n" for one in inner)
        wrap = Wrap(self.multipart, self.boundary, head)
        return replace(before, fields=outer, edited=True, wraps=(*before.wraps, wrap)), wrap

    def describe(self) -> dict[str, str | int]:
        """See PartEdit."""
        where = "first" if self.first else "last"
        return {"edit": self.kind, "part": self.part, "where": where, "size": len(self.content)}


@dataclass(frozen=True, slots=True)
class ReplacePart(PartEdit):
    """Another part in place of one, with its header. Of the message itself only the fields of the content change."""

    kind: ClassVar[str] = "part-replace"
    part: str
    header: tuple[Field, ...] = field(repr=False)
    content: bytes = field(repr=False)

    def change(self, part: Part, before: Change) -> Change:
        """See PartEdit."""
        if part.id != "0":
            head = b"".join(one.raw + b"\r\n" for one in self.header)
            return Change(before.fields, whole=head + b"\r\n" + self.content)
        kept = [one for one in before.fields if not one.key.startswith(b"content-")]
        brought = [one for one in self.header if one.key.startswith(b"content-")]
        fields = _with_version(kept, part) if brought else kept
        return Change([*fields, *brought], edited=True, body=self.content)

    def describe(self) -> dict[str, str | int]:
        """See PartEdit."""
        return {"edit": self.kind, "part": self.part, "size": len(self.content)}


@dataclass(frozen=True, slots=True)
class RemovePart(PartEdit):
    """The part goes, with its delimiter. A multipart that loses its last part keeps an empty one (RFC 2046 §5.1.1)."""

    kind: ClassVar[str] = "part-remove"
    part: str

    def change(self, part: Part, before: Change) -> Change:
        """See PartEdit."""
        if part.id == "0":
            raise MailError("the message itself cannot be removed")
        return replace(before, removed=True)

    def describe(self) -> dict[str, str | int]:
        """See PartEdit."""
        return {"edit": self.kind, "part": self.part}


@dataclass(frozen=True, slots=True)
class SetSurroundings(PartEdit):
    """Another text in front of the first delimiter of a multipart (preamble) or behind the last one (epilogue).

    Such text is for people whose program knows no MIME. None leaves one as it is.
    """

    kind: ClassVar[str] = "part-surroundings"
    part: str
    preamble: bytes | None = None
    epilogue: bytes | None = None

    def change(self, part: Part, before: Change) -> Change:
        """See PartEdit."""
        boundary = part.boundary
        if boundary is None:
            raise MailError(f"part {self.part} is no multipart")
        for text in (self.preamble, self.epilogue):
            if text is not None and (b"\n--" + boundary) in b"\n" + text:
                raise MailError("the text holds the multipart's own delimiter")
        return replace(
            before,
            preamble=before.preamble if self.preamble is None else text_lines(self.preamble),
            epilogue=before.epilogue if self.epilogue is None else text_lines(self.epilogue),
        )

    def describe(self) -> dict[str, str | int]:
        """See PartEdit."""
        return {"edit": self.kind, "part": self.part}


def _type(fields: Sequence[Field]) -> Parametrized:
    found = Headers(fields).first("content-type")
    return Parametrized() if found is None else parse_value(found.unfolded)


def _without(fields: Sequence[Field], key: bytes) -> list[Field]:
    return [one for one in fields if one.key != key]


def _with_version(fields: list[Field], part: Part) -> list[Field]:
    """The header of a message that uses MIME says so (RFC 2045 §4); parts need not."""
    if part.id != "0" or any(one.key == b"mime-version" for one in fields):
        return list(fields)
    return [*fields, make_field("MIME-Version", "1.0")]
