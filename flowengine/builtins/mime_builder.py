"""MIME(): parts and messages that a flow builds, and `MIME("0")`, the received message as a part."""

from collections.abc import Mapping
from email.utils import formatdate
from typing import ClassVar

from flowengine.builtins.headers import COLUMNS
from flowengine.builtins.mail_messages import Signable, queued
from flowengine.builtins.mime import Entity, Letter, MIMEPart, from_name
from flowengine.builtins.smtp_words import send_at_once
from flowengine.language.functions import Text
from flowengine.language.natives import method
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Value, to_bytes
from flowengine.mail import dkim
from flowengine.mail.dkim import Seal
from flowengine.mail.edits import make_field
from flowengine.mail.encoded_words import written
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field, Headers
from flowengine.mail.message import Message
from flowengine.mail.mime.encodings import encode, text_lines
from flowengine.mail.mime.structure import encoding_of
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run

MOST = 1000  # header fields, parts


class MIME(Signable):
    """A part, or a whole message, to be built step by step: `MIME()->setType("text/html")->setBody($html)`.

    The body becomes base64 unless a Content-Transfer-Encoding field is added, the type is text/plain in UTF-8 unless
    one is set or a Content-Type field is added.
    """

    class_name: ClassVar[str] = "MIME"

    def __init__(self) -> None:
        self._fields: list[Field] = []
        self._body: bytes = b""
        self._type = ""
        self._boundary = b""
        self._file_name = ""
        self._disposition = ""
        self._parts: list[bytes] = []
        self._size = 0
        self._seals: tuple[Seal, ...] = ()

    @staticmethod
    @method
    def constructor(run: Run, id_: str | None = None) -> "MIMEPart | MIME":
        """Something to build; with an id the part of the received message that has it, "0" being all of it."""
        if id_ is None:
            return MIME()
        part = MIMEPart(Letter(), id_)
        part.part(run)
        return part

    # -- building -------------------------------------------------------------------------------------------------

    @method(name="addHeader")
    def add_header(self, run: Run, name: str, value: str, *, encode: bool = True) -> "MIME":
        """Add a header field at the bottom. encode: fold and write what is not ASCII as MIME words (default)."""
        text = to_bytes(value).decode("utf-8", "surrogateescape")
        self._add(from_name(name), written(name, text, encoded=encode, columns=COLUMNS if encode else None))
        run.budget.spend(1)
        return self

    def _add(self, name: str, value: str) -> None:
        if len(self._fields) >= MOST:
            raise FlowError(f"MIME: more than {MOST} header fields")
        try:
            self._fields.append(make_field(name, value))
        except MailError as error:
            raise FlowError(str(error)) from None

    @method(name="setBody")
    def set_body(self, run: Run, data: bytes) -> "MIME":
        """The body, without transfer encoding. Of a multipart it is the text in front of the first part."""
        run.budget.grow(len(data))
        self._body = data
        return self

    @method(name="setType")
    def set_type(self, type_: Text) -> "MIME":
        """The content type, such as "text/html", also with parameters. A multipart is one only when it is set here."""
        self._type = _line(type_)
        return self

    @method(name="setBoundary")
    def set_boundary(self, boundary: str) -> "MIME":
        """The boundary of a multipart; by default a random one."""
        octets = to_bytes(boundary)
        if not 0 < len(octets) <= 70 or not octets.isascii() or not boundary.isprintable() or '"' in boundary:
            raise FlowError("MIME: a boundary has 1 to 70 printable ASCII characters (RFC 2046 §5.1.1)")
        self._boundary = octets.rstrip(b" ")
        return self

    @method(name="appendPart")
    def append_part(self, run: Run, part: Entity) -> "MIME":
        """Put a part behind the others, as it now stands."""
        content = part.entity(run)
        self._size += len(content)
        run.budget.grow(self._size)
        if len(self._parts) >= MOST:
            raise FlowError(f"MIME: more than {MOST} parts")
        self._parts.append(content)
        return self

    @method(name="setDate")
    def set_date(self, run: Run, timestamp: float | None = None) -> "MIME":
        """Add a Date field: now, or a Unix time in seconds."""
        try:
            self._add("Date", formatdate(run.now() if timestamp is None else timestamp, localtime=False))
        except (OverflowError, ValueError, OSError):
            raise FlowError(f"setDate: {timestamp} is no time that a calendar has") from None
        return self

    @method(name="setFileName")
    def set_file_name(self, name: Text) -> "MIME":
        """The name for a file."""
        self._file_name = _line(name)
        return self

    @method(name="setDisposition")
    def set_disposition(self, type_: Text) -> "MIME":
        """How to show it: "inline" or "attachment"."""
        self._disposition = _line(type_)
        return self

    # -- what comes of it -----------------------------------------------------------------------------------------

    def entity(self, run: Run) -> bytes:
        """See Entity. With signatures, where they were asked for."""
        whole = bool(self._seals) or any(one.key == b"from" for one in self._fields)
        message = Message(self._text(run, whole=whole))
        try:
            for seal in self._seals:
                message = dkim.sealed(message, seal, run.now())
        except MailError as error:
            raise FlowError(f"signDKIM: {error}") from None
        return message.render()

    def _text(self, run: Run, *, whole: bool) -> bytes:
        """whole: it is a message rather than a part, and says that it uses MIME (RFC 2045 §4)."""
        run.budget.grow(self._size + 2 * len(self._body))
        headers = Headers(self._fields)
        added: list[Field] = []
        if self._parts and not self._type:
            self._type = "multipart/mixed"
        multipart = self._type.lower().startswith("multipart/")
        if multipart and not self._boundary:
            self._boundary = f"=_{run.world.random_octets(15).hex()}".encode()
        try:
            if whole and headers.first("mime-version") is None:
                added.append(make_field("MIME-Version", "1.0"))
            if headers.first("content-type") is None:
                added.append(make_field("Content-Type", self._content_type(multipart)))
            if (self._disposition or self._file_name) and headers.first("content-disposition") is None:
                disposition = self._disposition or "attachment"
                added.append(make_field("Content-Disposition", disposition + _parameter("filename", self._file_name)))
            encoding = "7bit" if multipart or self._parts else encoding_of(headers) or "base64"
            if encoding == "base64" and headers.first("content-transfer-encoding") is None:
                added.append(make_field("Content-Transfer-Encoding", "base64"))
        except MailError as error:
            raise FlowError(f"MIME: {error}") from None
        head = b"".join(one.raw + b"\r\n" for one in (*self._fields, *added))
        return head + b"\r\n" + (self._multipart() if multipart or self._parts else encode(self._body, encoding))

    def _content_type(self, multipart: bool) -> str:
        if multipart:
            return f'{self._type};\r\n\tboundary="{self._boundary.decode("ascii")}"'
        if self._parts:
            raise FlowError('MIME: only a multipart has parts; setType("multipart/mixed")')
        kind = self._type or "text/plain"
        if kind.lower().startswith("text/") and "charset" not in kind.lower():
            kind += "; charset=utf-8"
        return kind + _parameter("name", self._file_name)

    def _multipart(self) -> bytes:
        if not self._boundary:
            raise FlowError("MIME: parts need a boundary: use setType, or setBoundary with an added Content-Type field")
        opening = b"--" + self._boundary + b"\r\n"
        preamble = text_lines(self._body) + b"\r\n" if self._body else b""
        parts = b"".join(opening + part + b"\r\n" for part in self._parts or [b"\r\n"])
        return preamble + parts + b"--" + self._boundary + b"--\r\n"

    def to_be_signed(self, run: Run) -> Message:
        """See Signable."""
        return Message(self._text(run, whole=True))

    def sealed_with(self, run: Run, seal: Seal) -> None:
        """See Signable."""
        dkim.sign(self.to_be_signed(run), seal, run.now())  # what the header lacks is told at the call
        if seal not in self._seals:
            self._seals = (*self._seals, seal)

    @method
    def queue(
        self,
        run: Run,
        sender: str | Array,
        recipient: str | Array,
        transportid: str | None = None,
        *,
        metadata: Mapping[str, Value] | None = None,
        jobid: str = "",
        quotas: Value = None,
        delay: float = 0,
        hold: bool = False,
    ) -> Array:
        """Send what was built to a recipient, once the eod flow has accepted its message. Options as for a message's
        `queue`. Elsewhere than in eod it needs the queue, which this version does not have."""
        if run.phase != Phase.EOD:
            raise FlowError(f"MIME()->queue() in {run.phase} needs the queue, which this version does not have")
        message = self.to_be_signed(run)
        return queued(run, message, self._seals, sender, recipient, transportid, metadata, hold, jobid, delay, quotas)

    @method
    async def send(self, run: Run, sender: str | Array, recipients: Value, server: Value = None) -> Array:
        """Send what was built at once, in the middle of the script. Arguments and result as for a message's `send`."""
        return await send_at_once(run, self.entity(run), sender, recipients, server)


def _line(text: str) -> str:
    """A text of a flow for the inside of a header value: one line."""
    return " ".join(text.split()) if any(c < " " for c in text) else text


def _parameter(name: str, value: str) -> str:
    """A parameter, quoted, or as RFC 2231 has what is not ASCII; "" for an empty value."""
    if not value:
        return ""
    if value.isascii() and value.isprintable():
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f';\r\n\t{name}="{quoted}"'
    octets = value.encode("utf-8", "replace")
    coded = "".join(chr(o) if chr(o).isalnum() and o < 0x80 else f"%{o:02X}" for o in octets)
    return f";\r\n\t{name}*=utf-8''{coded}"
