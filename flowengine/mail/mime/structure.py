"""Where the parts of a message are: an index of byte ranges, made in one pass over the bytes as received.

The bytes are the sender's, and he may be an enemy: any bytes give an index, depth and number of parts are bounded, and
what is beyond the bounds or makes no sense stays one part that is not looked into, with a word about it. Only CRLF ends
a line. Of two delimiters that could be meant the outer multipart's counts, so no part reaches past the one it is in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from flowengine.mail.headers import Block, Headers, parse
from flowengine.mail.mime.encodings import decode
from flowengine.mail.mime.parameters import Parametrized
from flowengine.mail.mime.parameters import parse as parse_value

DEPTH = 32
"""Parts are looked for this deep, the message itself being 0."""
PARTS = 1000
"""So many parts a message may have."""
HEADERS = 1 << 20
"""Octets of the headers of all parts but the message's own; where they end, what follows is taken for body."""
_BOUNDARY = 200  # octets; RFC 2046 §5.1.1 allows 70
_WINDOW = 4096
_PLAIN = ("", "7bit", "8bit", "binary")


@dataclass(frozen=True, slots=True)
class Part:
    """One part, the message itself included. Offsets count from the first octet of the message as received.

    id: "0" for the message, "0.1" for the first part in it, "0.1.2" for the second in that.
    type: Content-Type as it stands, its word "" when there is none; `effective_type` has the default.
    lead: where the delimiter in front begins, with the CRLF that belongs to it. start, body, end: first octet of the
    header, first of the body, past the last. separated: an empty line stands between header and body.
    closing: past the text of the closing delimiter, -1 when there is none. parts: of a multipart those in it, of a
    message/rfc822 the message in it.
    """

    id: str
    headers: Headers
    type: Parametrized
    effective_type: str
    lead: int
    start: int
    body: int
    end: int
    separated: bool
    closing: int
    parts: tuple["Part", ...]
    problems: tuple[str, ...]

    @property
    def boundary(self) -> bytes | None:
        """The boundary of a multipart that has parts, else None."""
        multipart = self.parts and self.effective_type.startswith("multipart/")
        return self.type.parameters["boundary"] if multipart else None

    @property
    def encoding(self) -> str:
        """Content-Transfer-Encoding in lower case, "" when there is none."""
        return encoding_of(self.headers)

    @property
    def file_name(self) -> str | None:
        """The name for a file: `filename` of Content-Disposition, else `name` of Content-Type."""
        field = self.headers.first("content-disposition")
        named = parse_value(field.unfolded).text("filename") if field is not None else None
        return self.type.text("name") if named is None else named

    def walk(self) -> Iterator["Part"]:
        """This part and all that are in it, in the order in which they stand."""
        yield self
        for part in self.parts:
            yield from part.walk()


def encoding_of(headers: Headers) -> str:
    """The transfer encoding that a header names, in lower case, "" when there is none."""
    field = headers.first("content-transfer-encoding")
    return "" if field is None else parse_value(field.unfolded).word


class Structure:
    """The parts of one message as received."""

    __slots__ = ("_parts", "data", "root")

    def __init__(self, data: bytes, root: Part) -> None:
        self.data, self.root = data, root
        self._parts = {part.id: part for part in root.walk()}

    def part(self, id: str) -> Part | None:  # noqa: A002  # what a part's name is called everywhere
        """The part of this id."""
        return self._parts.get(id)

    def content(self, part: Part) -> bytes:
        """The body of a part, its transfer encoding undone."""
        return decode(self.data[part.body : part.end], part.encoding)

    def preamble(self, part: Part) -> bytes:
        """What stands in front of the first delimiter of a multipart, b"" for other parts."""
        return self.data[part.body : part.parts[0].lead] if part.boundary is not None else b""

    def epilogue(self, part: Part) -> bytes:
        """What stands behind the closing delimiter's line of a multipart, b"" for other parts."""
        if part.boundary is None or part.closing < 0:
            return b""
        return self.data[part.closing : part.end].removeprefix(b"\r\n")


def index(data: bytes, block: Block, headers: Headers) -> Structure:
    """Find the parts of a message. block, headers: those of the message itself. Never raises."""
    return _Scan(data).structure(_Open("0", headers, 0, 0, block.body, block.separated and block.complete))


@dataclass(slots=True)
class _Open:
    """A part whose end is not known yet."""

    id: str
    headers: Headers
    lead: int
    start: int
    body: int
    separated: bool
    default: str = "text/plain"
    end: int = 0
    closing: int = -1
    parts: list["_Open"] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    type: Parametrized = field(init=False)
    effective: str = field(init=False)
    boundary: bytes | None = None

    def __post_init__(self) -> None:
        found = self.headers.first("content-type")
        self.type = Parametrized() if found is None else parse_value(found.unfolded)
        if "/" not in self.type.word:  # RFC 2045 §5.2
            self.problems += ["Content-Type cannot be read"] if found is not None else []
            self.type = Parametrized("", self.type.parameters)
        self.effective = self.type.word or self.default

    def ends(self, end: int) -> None:
        self.end = end
        self.separated = self.separated and self.body <= end
        self.lead, self.start, self.body = min(self.lead, end), min(self.start, end), min(self.body, end)
        self.closing = min(self.closing, end)
        if self.boundary is not None and not self.parts:
            self.problems.append("a multipart without parts")
        elif self.boundary is not None and self.closing < 0:
            self.problems.append("a multipart without its closing delimiter")

    def frozen(self) -> Part:
        return Part(
            self.id, self.headers, self.type, self.effective, self.lead, self.start, self.body, self.end,
            self.separated, self.closing, tuple(part.frozen() for part in self.parts), tuple(self.problems),
        )  # fmt: skip


class _Scan:
    """The one pass. path: the parts that are open, each in the one before. levels: boundary → its multipart's place."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.path: list[_Open] = []
        self.levels: dict[bytes, int] = {}
        self.count = 0
        self.room = HEADERS

    def structure(self, root: _Open) -> Structure:
        position = self._enter(root)
        while self.levels:
            line = self._delimiter(position)
            if line is None:
                break
            start, end, level, closes = line
            multipart = self.path[level]
            floor = multipart.parts[-1].start if multipart.parts else multipart.body
            lead = max(floor, start - 2)
            self._leave(level + 1, lead)
            position = min(end + 2, len(self.data))
            if closes and multipart.parts:
                multipart.closing = end
                self.levels.pop(multipart.boundary or b"", None)
            elif self.count >= PARTS:
                multipart.problems.append(f"more than {PARTS} parts")
                break
            else:
                position = self._enter(self._part(multipart, lead, position))
        self._leave(0, len(self.data))
        return Structure(self.data, root.frozen())

    def _enter(self, part: _Open) -> int:
        """Open a part, and the message in it if it is one. Where to go on: at the beginning of a line."""
        while True:
            self.path.append(part)
            self.count += 1
            boundary = part.type.parameters.get("boundary", b"").rstrip(b" \t")
            if self.room == 0:
                part.problems.append("too much header to look into")
            elif part.effective.startswith("multipart/"):
                if not 0 < len(boundary) <= _BOUNDARY:
                    part.problems.append("a multipart without a usable boundary")
                elif boundary in self.levels:
                    part.problems.append("a multipart with the boundary of one that it is in")
                elif len(self.path) > DEPTH:
                    part.problems.append(f"parts deeper than {DEPTH}")
                else:
                    part.boundary = boundary
                    self.levels[boundary] = len(self.path) - 1
            elif part.effective in ("message/rfc822", "message/global") and encoding_of(part.headers) in _PLAIN:
                if len(self.path) <= DEPTH and self.count < PARTS:
                    inner = self._part(part, part.body, part.body)
                    part = inner
                    continue
                part.problems.append("a message that is too deep, or one part too many")
            return part.body

    def _part(self, parent: _Open, lead: int, start: int) -> _Open:
        block = self._header(start)
        default = "message/rfc822" if parent.effective == "multipart/digest" else "text/plain"  # RFC 2046 §5.1.5
        id_ = f"{parent.id}.{len(parent.parts) + 1}"
        separated = block.separated and block.complete
        part = _Open(id_, Headers(block.fields), lead, start, start + block.body, separated, default)
        parent.parts.append(part)
        return part

    def _header(self, start: int) -> Block:
        """The header block at `start`, which goes no further than the next delimiter of an open multipart."""
        window = _WINDOW
        while True:
            limit = start + min(window, self.room)
            line = self._delimiter(start, limit)
            piece = self.data[start : line[0] if line is not None else limit]
            block = parse(piece)
            if line is not None or (block.complete and block.body < len(piece)) or limit >= len(self.data):
                break
            if window >= self.room:
                self.room = 0  # so much header is an attack: what follows is taken for body
                break
            window *= 2
        self.room = max(0, self.room - block.body)
        return block

    def _leave(self, level: int, end: int) -> None:
        for part in self.path[level:]:
            part.ends(end)
            if part.boundary is not None:
                self.levels.pop(part.boundary, None)
        del self.path[level:]

    def _delimiter(self, position: int, limit: int | None = None) -> tuple[int, int, int, bool] | None:
        """The next delimiter of an open multipart from the line that begins at `position` on: the beginning of its
        line, the end, which multipart's it is, and whether it is the closing one (RFC 2046 §5.1.1)."""
        data = self.data
        stop = len(data) if limit is None else limit
        start = position if data.startswith(b"--", position) else data.find(b"\r\n--", position, stop) + 2
        while start >= 2 or start == position:
            if start >= stop:
                return None
            end = data.find(b"\r\n", start)
            end = len(data) if end < 0 else end
            if end - start <= _BOUNDARY + 100:
                text = data[start + 2 : end].rstrip(b" \t")
                level = self.levels.get(text)
                if level is not None:
                    return start, end, level, False
                if text.endswith(b"--") and (level := self.levels.get(text[:-2])) is not None:
                    return start, end, level, True
            start = data.find(b"\r\n--", end, stop) + 2
        return None
