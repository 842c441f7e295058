"""A message: the bytes as received and an ordered list of edits.

It is a value. `edit` gives another message that shares the received bytes, their index and their hashes, and
nothing is ever written again through an e-mail library: what no edit touched leaves byte for byte as it came.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from flowengine.mail.body import Body, Content, Memory, head_of
from flowengine.mail.edits import Edit
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Block, Headers, parse
from flowengine.mail.mime.changes import Change, PartEdit
from flowengine.mail.mime.rendering import body as changed_body
from flowengine.mail.mime.rendering import part as changed_part
from flowengine.mail.mime.structure import Part, Structure, index


class Received:
    """The message as it came in, shared by all its editions: content, header index and body, each found once."""

    __slots__ = ("_block", "_body", "_headers", "_structure", "content")

    def __init__(self, content: Content) -> None:
        self.content = content
        self._block: Block | None = None
        self._headers: Headers | None = None
        self._body: Body | None = None
        self._structure: Structure | None = None

    @property
    def block(self) -> Block:
        """The header block."""
        if self._block is None:
            block = Block([], b"", 0, True, False)
            for head in head_of(self.content):
                block = parse(head)
                if block.complete and block.body < len(head):  # otherwise the next bytes could still change it
                    break
            self._block = block
        return self._block

    @property
    def headers(self) -> Headers:
        """The fields as received."""
        if self._headers is None:
            self._headers = Headers(self.block.fields)
        return self._headers

    @property
    def body(self) -> Body:
        """The body as received."""
        if self._body is None:
            self._body = Body(self.content, self.block.body)
        return self._body

    @property
    def indexed(self) -> bool:
        """Whether the parts are known already."""
        return self._structure is not None

    @property
    def structure(self) -> Structure:
        """The parts as received (RFC 2045). The first look gathers the message in one piece if it came in several."""
        if self._structure is None:
            self._structure = index(bytes(Body(self.content)), self.block, self.headers)
        return self._structure


class Message:
    """A message with its edits. Build one from bytes, from the chunks they came in, or from a Content.

    Two are equal when they are editions of one received message by equal edits.
    """

    __slots__ = ("_body", "_fields", "_parts", "edits", "received")

    received: Received
    edits: tuple[Edit, ...]

    def __init__(
        self,
        data: "bytes | Iterable[bytes] | Content | Received",
        edits: tuple[Edit, ...] = (),
        fields: Headers | None = None,
        body: Body | None = None,
        parts: Mapping[str, Change] | None = None,
    ) -> None:
        if isinstance(data, Received):
            self.received = data
        elif isinstance(data, bytes):
            self.received = Received(Memory((data,)))
        else:
            self.received = Received(Memory(data) if isinstance(data, Iterable) else data)
        self.edits = edits
        # As the edits made them, None where they changed nothing. A body with changed parts is put together on demand.
        self._fields, self._body, self._parts = fields, body, parts

    @property
    def received_size(self) -> int:
        """Octets as received."""
        return self.received.content.size

    @property
    def headers(self) -> Headers:
        """The fields as received, whatever was edited since."""
        return self.received.headers

    @property
    def fields(self) -> Headers:
        """The fields as they now stand, edits applied."""
        return self.received.headers if self._fields is None else self._fields

    @property
    def body(self) -> Body:
        """The body as it now stands, edits applied."""
        if self._body is None and self._parts is not None:
            self._body = Body(changed_body(self.received.structure, self._parts))
        return self.received.body if self._body is None else self._body

    @property
    def _untouched(self) -> bool:
        return self._fields is None and self._body is None and self._parts is None

    @property
    def original(self) -> "Message":
        """The message without its edits."""
        return self if not self.edits else Message(self.received)

    def edit(self, *edits: Edit) -> "Message":
        """The message with these edits after those it has. Raises MailError for one that does not fit."""
        fields, parts = self._fields, self._parts
        body = self._body if parts is None else None
        for edit in edits:
            before = self.received.headers if fields is None else fields
            if isinstance(edit, PartEdit):
                if body is not None:
                    raise MailError("the body was replaced as a whole, and its parts went with it")
                parts = {**(parts or {}), edit.part: self._changed(edit, before, parts or {})}
                after = parts["0"].fields if edit.part == "0" else before.fields
            else:
                after = edit.fields(before.fields)
                content = edit.body()
                if content is not None:
                    body, parts = Body(Memory((content,))), None
            if after is not before.fields:
                fields = Headers(after)
        return Message(self.received, (*self.edits, *edits), fields, body, parts)

    def _changed(self, edit: PartEdit, fields: Headers, parts: Mapping[str, Change]) -> Change:
        """A part after one more edit. fields: those of the message, which are those of part "0"."""
        part = self.received.structure.part(edit.part)
        if part is None:
            raise MailError(f"the message has no part {edit.part}")
        change = parts.get(edit.part) or Change(part.headers.fields)
        return edit.change(part, replace(change, fields=fields.fields) if part.id == "0" else change)

    def part(self, part: Part) -> bytes:
        """A part as it now stands, its header first; b"" once it is removed."""
        if part.id == "0":
            return self.render()
        if self._parts is None:
            return self.received.structure.data[part.start : part.end]
        return bytes(Body(changed_part(self.received.structure, self._parts, part)))

    def part_fields(self, part: Part) -> Headers:
        """The header of a part as it now stands."""
        if part.id == "0":
            return self.fields
        change = None if self._parts is None else self._parts.get(part.id)
        return part.headers if change is None else Headers(change.fields)

    def header_block(self) -> bytes:
        """The fields as they now stand, each with its CRLF, and the empty line if there is a body to set apart."""
        block = self.received.block
        lines = [field.raw for field in self.fields]
        lines.append(b"")
        if self.body.size or (block.separated and block.complete):
            lines.append(b"")
        return block.preamble + b"\r\n".join(lines)

    def chunks(self) -> list[bytes | memoryview]:
        """The message as it now stands, for writing: the header block if an edit touched anything, then the body
        without a copy; exactly the bytes received if none did."""
        if self._untouched:
            return Body(self.received.content).chunks()
        return [self.header_block(), *self.body.chunks()]

    def render(self) -> bytes:
        """The message as it now stands, in one piece."""
        chunks = self.chunks()
        if len(chunks) == 1 and isinstance(chunks[0], bytes):
            return chunks[0]
        return b"".join(chunks)

    @property
    def size(self) -> int:
        """Octets as it now stands."""
        if self._untouched:
            return self.received_size
        return len(self.header_block()) + self.body.size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self.received is other.received and self.edits == other.edits

    def __hash__(self) -> int:
        return hash((id(self.received), self.edits))

    def __repr__(self) -> str:
        return f"Message({self.received_size} octets, {len(self.edits)} edits)"
