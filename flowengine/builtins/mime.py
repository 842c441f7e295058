"""The parts of a message as objects: `MIME("0")`, `$part->findByType(...)`, edits of parts.

What an object tells is the message as received; what it changes shows in `toString()`, `toFile()` and in what leaves.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from typing import ClassVar, Literal

from flowengine.builtins.files import File
from flowengine.builtins.headers import COLUMNS
from flowengine.builtins.run import worked
from flowengine.language.functions import Text
from flowengine.language.natives import method
from flowengine.language.problems import FlowError
from flowengine.language.regex import compiled
from flowengine.language.values import from_bytes, from_text, to_bytes
from flowengine.mail.edits import DeleteField, Edit, InsertField, ReplaceField
from flowengine.mail.encoded_words import written
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field, Headers, parse
from flowengine.mail.message import Message
from flowengine.mail.mime import (
    AddPart,
    EditPartField,
    Part,
    RemovePart,
    ReplacePart,
    SetPartBody,
    SetSurroundings,
    Structure,
)
from flowengine.runtime.actions import AnySeal
from flowengine.runtime.run import Run

FieldEdit = InsertField | ReplaceField | DeleteField


@contextmanager
def told() -> Iterator[None]:
    """What does not fit a message is the mistake of the flow that asks for it."""
    try:
        yield
    except MailError as error:
        raise FlowError(str(error)) from None


class Letter:
    """The message that an object is about: the run's, which all of a run's objects share, or one of its own."""

    def __init__(self, own: Message | None = None) -> None:
        self._now = self._was = own
        self._seals: tuple[AnySeal, ...] = ()

    @property
    def own(self) -> bool:
        """Whether it is another message than the run's."""
        return self._now is not None

    def now(self, run: Run) -> Message:
        """The message with its edits."""
        return run.mail if self._now is None else self._now

    def was(self, run: Run) -> Message:
        """The message as received, or as it was made."""
        return run.original if self._was is None else self._was

    def seals(self, run: Run) -> tuple[AnySeal, ...]:
        """The signatures to be made when it leaves."""
        return run.seals if self._now is None else self._seals

    def put(self, run: Run, message: Message, seals: tuple[AnySeal, ...]) -> None:
        """Another edition of the message."""
        if self._now is None:
            run.message, run.seals = message, seals
        else:
            self._now, self._seals = message, seals

    def edit(self, run: Run, *edits: Edit) -> None:
        """Change the message. Raises FlowError for an edit that does not fit."""
        with told():
            self.put(run, self.now(run).edit(*edits), self.seals(run))

    def structure(self, run: Run) -> Structure:
        """The parts as received; the first look is paid for."""
        received = self.was(run).received
        if not received.indexed:
            worked(run, received.content.size)
        return received.structure

    def text(self, run: Run) -> bytes:
        """The message as it now stands, paid for. Signatures are made when it leaves."""
        message = self.now(run)
        run.budget.grow(message.size)
        return message.render()


class Entity:
    """What can be put into a message: a part of one, or one that a flow has built."""

    flow_value: ClassVar[bool] = True

    def entity(self, run: Run) -> bytes:
        """Header and body as they now stand."""
        raise NotImplementedError

    @method(name="toString")
    def to_string(self, run: Run) -> bytes:
        """All of it as it now stands, header and body, with every change."""
        data = self.entity(run)
        run.budget.grow(len(data))
        return data

    @method(name="toFile")
    def to_file(self, run: Run) -> File:
        """What `toString` gives, as a File."""
        return File(self.to_string(run))


class MIMEPart(Entity):
    """A part of a message: `MIME("0")` is all of the received one, other ids come from `getID()`."""

    class_name: ClassVar[str] = "MIMEPart"

    def __init__(self, letter: Letter, id_: str = "0") -> None:
        self.letter, self._id = letter, id_

    def part(self, run: Run) -> Part:
        """Where the part is."""
        found = self.letter.structure(run).part(self._id)
        if found is None:
            raise FlowError(f"the message has no part {self._id}")
        return found

    def entity(self, run: Run) -> bytes:
        """See Entity."""
        return self.letter.text(run) if self._id == "0" else self.letter.now(run).part(self.part(run))

    def _headers(self, run: Run) -> Headers:
        return self.letter.was(run).headers if self._id == "0" else self.part(run).headers

    # -- what it is -----------------------------------------------------------------------------------------------

    @method(name="getID")
    def id(self) -> str:
        """The part's id: "0" for the message, "0.1" for the first part in it, "0.1.2" for the second in that."""
        return self._id

    @method(name="getSize")
    def size(self, run: Run) -> int:
        """The size in bytes, header included, transfer encoding as it stands."""
        if self._id == "0":
            return self.letter.was(run).received_size
        part = self.part(run)
        return part.end - part.start

    @method(name="getFileName")
    def file_name(self, run: Run) -> Text | None:
        """The name for a file, decoded; none when there is none."""
        name = self.part(run).file_name
        return None if name is None else Text(name)

    @method(name="getType")
    def type(self, run: Run) -> str | None:
        """The content type in lower case, such as "text/plain"; none when the header names none."""
        return self.part(run).type.word or None

    @method(name="getTypeParameter")
    def type_parameter(self, run: Run, name: str) -> Text | None:
        """A parameter of the content type, such as "charset"; none when it is not there."""
        value = self.part(run).type.text(from_name(name))
        return None if value is None else Text(value)

    @method(name="getErrors")
    def errors(self, run: Run) -> Sequence[str]:
        """What is wrong with the structure of this part and those in it, as texts; [] when it is sound."""
        return [f"{part.id}: {problem}" for part in self.part(run).walk() for problem in part.problems]

    # -- its header -----------------------------------------------------------------------------------------------

    @method(name="getHeader")
    def header(self, run: Run, name: str, *, index: int = 0, field: bool = False, decode: bool = True) -> str | None:
        """The value of a header field; none when there is none.

        index: which of several, 0 the topmost, -1 the last. field: the raw field with its name instead of its value.
        decode: MIME words become UTF-8 (default).
        """
        found = self._headers(run).all(from_name(name))
        if not -len(found) <= index < len(found):
            return None
        return _shown(found[index], field, decode)

    @method(name="getHeaders")
    def headers(
        self, run: Run, name: str | bool, *, index: int | None = None, field: bool = False, decode: bool = True
    ) -> list[str]:
        """The values of all header fields of a name, from top to bottom; of all fields when the name is true.

        index: only this one. field: raw fields with their names. decode: MIME words become UTF-8 (default).
        """
        headers = self._headers(run)
        found = headers.fields if name is True else () if isinstance(name, bool) else headers.all(from_name(name))
        if index is not None:
            found = found[index : index + 1 or None]
        run.budget.grow(sum(len(one.raw) for one in found))
        return [_shown(one, field, decode) for one in found]

    @method(name="getHeaderNames")
    def header_names(self, run: Run) -> list[str]:
        """The names of all header fields in lower case, from top to bottom."""
        headers = self._headers(run)
        run.budget.grow_items(len(headers))
        return headers.names()

    @method(name="setHeader")
    def set_header(self, run: Run, name: str, value: str, *, index: int | None = None, encode: bool = True) -> int:
        """Give all header fields of a name a value, or add one on top. How many were changed.

        index: only this one of them. encode: fold and write what is not ASCII as MIME words (default).
        """
        fields, places = self._places(run, name, index)
        text = _value(name, value, encode)
        if not places:
            if index is None:
                with told():
                    self._edit(run, [InsertField(0, from_name(name), text)])
            return 0
        with told():
            self._edit(run, [ReplaceField(place, fields[place].name, text) for place in places])
        return len(places)

    @method(name="addHeader")
    def add_header(self, run: Run, name: str, value: str, *, index: int = 0, encode: bool = True) -> "MIMEPart":
        """Add a header field. The part.

        index: its place among all fields, 0 the top (default), -1 the bottom. encode: as for `setHeader`.
        """
        place = index if index >= 0 else len(self._fields(run)) + 1 + index
        with told():
            self._edit(run, [InsertField(place, from_name(name), _value(name, value, encode))])
        return self

    @method(name="setDateLater")
    def set_date_later(self, run: Run) -> "MIMEPart":
        """Give the Date field the time at which the message leaves: now, for delivery does not wait. The part."""
        fields, places = self._places(run, "date", None)
        date = formatdate(run.now(), localtime=False)
        self._edit(run, [ReplaceField(places[0], "Date", date) if places else InsertField(len(fields), "Date", date)])
        return self

    @method(name="delHeader")
    def delete_header(self, run: Run, name: str, *, index: int | None = None) -> int:
        """Take out the header fields of a name; with `index` only this one of them. How many were taken out."""
        _, places = self._places(run, name, index)
        self._edit(run, [DeleteField(place) for place in reversed(places)])
        return len(places)

    @method(name="renameHeader")
    def rename_header(self, run: Run, old: str, new: str) -> int:
        """Give all header fields of a name another name, their values as they are. How many."""
        fields, places = self._places(run, old, None)
        edits: list[FieldEdit] = []
        with told():
            for place in places:
                value = fields[place].value.removeprefix(b" ").decode("utf-8", "surrogateescape")
                edits.append(ReplaceField(place, from_name(new), value))
            self._edit(run, edits)
        return len(places)

    def _fields(self, run: Run) -> Headers:
        """The header as it now stands."""
        message = self.letter.now(run)
        return message.fields if self._id == "0" else message.part_fields(self.part(run))

    def _places(self, run: Run, name: str, index: int | None) -> tuple[Headers, Sequence[int]]:
        fields = self._fields(run)
        places = fields.places(from_name(name))
        if index is not None:
            places = places[index : index + 1 or None]
        return fields, places

    def _edit(self, run: Run, edits: Sequence[FieldEdit]) -> None:
        if edits:
            self.letter.edit(run, *(edits if self._id == "0" else [EditPartField(self._id, one) for one in edits]))

    # -- its body -------------------------------------------------------------------------------------------------

    @method(name="getBody")
    def body(self, run: Run, *, decode: bool = True) -> bytes:
        """The body, its transfer encoding undone, its charset as it is. decode: false leaves the encoding too."""
        structure, part = self.letter.structure(run), self.part(run)
        run.budget.grow(part.end - part.body)
        return structure.content(part) if decode else structure.data[part.body : part.end]

    @method(name="setBody")
    def set_body(
        self,
        run: Run,
        data: bytes,
        *,
        encoding: Literal["7bit", "8bit", "binary", "quoted-printable", "base64"] | None = None,
    ) -> "MIMEPart":
        """Another body, in the plainest encoding that carries it: 7bit, quoted-printable or base64. The part.

        encoding: quoted-printable or base64 where one of these is wanted; others stand for the plainest.
        Line ends of text become CRLF. An error for a multipart, whose body is its parts.
        """
        run.budget.grow(len(data))
        wanted = encoding if encoding in ("quoted-printable", "base64") else None
        self.letter.edit(run, SetPartBody(self._id, data, wanted))
        return self

    @method(name="getPreamble")
    def preamble(self, run: Run) -> bytes | None:
        """The text in front of the first part of a multipart; none for what is no multipart."""
        part = self.part(run)
        return None if part.boundary is None else self.letter.structure(run).preamble(part)

    @method(name="setPreamble")
    def set_preamble(self, run: Run, data: bytes) -> "MIMEPart":
        """Another text in front of the first part of a multipart. The part."""
        self.letter.edit(run, SetSurroundings(self._id, preamble=data))
        return self

    @method(name="getEpilogue")
    def epilogue(self, run: Run) -> bytes | None:
        """The text behind the last part of a multipart; none for what is no multipart."""
        part = self.part(run)
        return None if part.boundary is None else self.letter.structure(run).epilogue(part)

    @method(name="setEpilogue")
    def set_epilogue(self, run: Run, data: bytes) -> "MIMEPart":
        """Another text behind the last part of a multipart. The part."""
        self.letter.edit(run, SetSurroundings(self._id, epilogue=data))
        return self

    # -- the parts in it ------------------------------------------------------------------------------------------

    @method(name="getParts")
    def parts(self, run: Run) -> list["MIMEPart"]:
        """The parts in a multipart, the message in a message/rfc822; [] for others."""
        return self._found(run, [one.id for one in self.part(run).parts])

    @method(name="getByID")
    def by_id(self, run: Run, id_: str) -> "MIMEPart | None":
        """The part of this id; none when there is none."""
        return MIMEPart(self.letter, id_) if self.letter.structure(run).part(id_) is not None else None

    @method(name="findByType")
    def by_type(self, run: Run, regex: str) -> list["MIMEPart"]:
        """This part and those in it, at any depth, whose content type matches a pattern. Without one it is text/plain.

        `$mail->findByType("^text/html$")`
        """
        return self._matching(run, regex, lambda part: part.effective_type)

    @method(name="findByFileName")
    def by_file_name(self, run: Run, regex: str) -> list["MIMEPart"]:
        """This part and those in it, at any depth, whose file name matches a pattern, such as "\\\\.exe$"."""
        return self._matching(run, regex, lambda part: part.file_name)

    def _matching(self, run: Run, regex: str, about: Callable[[Part], str | None]) -> list["MIMEPart"]:
        pattern = compiled(regex)
        found = []
        for part in self.part(run).walk():
            run.budget.spend(1)
            subject = about(part)
            if subject is not None and len(pattern.match(run, from_text(subject))):
                found.append(part.id)
        return self._found(run, found)

    def _found(self, run: Run, ids: Sequence[str]) -> list["MIMEPart"]:
        run.budget.grow_items(len(ids))
        return [MIMEPart(self.letter, one) for one in ids]

    @method(name="prependPart")
    def prepend_part(self, run: Run, part: Entity, *, type_: str = "multipart/mixed") -> "MIMEPart":
        """Put a part in front of the others. The part.

        type: what kind of multipart it goes into. Where there is another kind, or none, one of this kind is put
        around what is there.
        """
        return self._add(run, part, type_, first=True)

    @method(name="appendPart")
    def append_part(self, run: Run, part: Entity, *, type_: str = "multipart/mixed") -> "MIMEPart":
        """Put a part behind the others. The part. type: as for `prependPart`."""
        return self._add(run, part, type_, first=False)

    def _add(self, run: Run, part: Entity, kind: str, *, first: bool) -> "MIMEPart":
        content = part.entity(run)
        run.budget.grow(len(content))
        boundary = f"=_{run.world.random_octets(15).hex()}".encode()
        self.letter.edit(run, AddPart(self._id, content, first, multipart_type(kind), boundary))
        return self

    @method(name="replacePart")
    def replace_part(self, run: Run, part: Entity) -> "MIMEPart":
        """Put another part in place of this one. Of the message itself only the content is replaced. The part."""
        content = part.entity(run)
        run.budget.grow(len(content))
        block = parse(content)
        self.letter.edit(run, ReplacePart(self._id, tuple(block.fields), content[block.body :]))
        return self

    @method
    def remove(self, run: Run) -> None:
        """Take the part out. An error for the message itself."""
        self.letter.edit(run, RemovePart(self._id))


def from_name(name: str) -> str:
    """A header or parameter name of a flow as `mail` has them."""
    return to_bytes(name).decode("utf-8", "surrogateescape")


def multipart_type(kind: str) -> str:
    """The type of a multipart that a flow names. Raises FlowError."""
    kind = kind.lower()
    main, _, sub = kind.partition("/")
    if main != "multipart" or not sub.replace("-", "").replace(".", "").isalnum() or not sub.isascii():
        raise FlowError(f'"{kind}" is no type of a multipart, such as "multipart/mixed"')
    return kind


def _shown(field: Field, raw: bool, decode: bool) -> str:
    if raw:
        return from_bytes(field.raw)
    return from_text(field.text if decode else field.undecoded)


def _value(name: str, value: str, encode: bool) -> str:
    """A flow's value as field text. A line break that a flow put in is a fold, never a new field."""
    text = to_bytes(value).decode("utf-8", "surrogateescape")
    return written(name, text, columns=COLUMNS) if encode else written(name, text, encoded=False, columns=None)
