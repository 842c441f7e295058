"""A next hop that follows a script, or breaks it: what relays are tested against."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from flowengine.services.relay import Patience, RelaySettings

QUICK = Patience(connect=0.5, greeting=0.5, command=0.5, data=0.5, end=0.5)


@dataclass
class NextHop:
    """An SMTP server. answers: verb (with its argument, or alone, or "." for the end of a message) → what to do.

    What to do is a reply line, octets as they are, or one of: "drop" (close), "silence", "garbage"; a list is used up, one a time.
    tls: STARTTLS is understood (and offered, when it is among the extensions). users: name → password, for AUTH.
    messages: (sender, recipients, content as received, dots undone). encrypted: for each, whether it came by TLS.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 10000000", "ENHANCEDSTATUSCODES")
    lmtp: bool = False
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    users: dict[str, str] = field(default_factory=dict)
    read_slowly: float = 0
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    commands: list[str] = field(default_factory=list)
    batches: list[bytes] = field(default_factory=list)
    messages: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)

    def settings(self, **changes: Any) -> RelaySettings:
        return RelaySettings(
            **{"host": "127.0.0.1", "port": self.port, "helo": "mx.example.net", "patience": QUICK, **changes}
        )

    def _what(self, command: str) -> Any:
        for key in (command, command.partition(" ")[0]):
            if key in self.answers:
                found = self.answers[key]
                if isinstance(found, list):
                    return found.pop(0) if found else None
                return found
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._serve(Lines(reader, self.batches), writer)
        except (OSError, asyncio.IncompleteReadError, DroppedError):
            pass
        finally:
            self.at_once -= 1
            writer.close()

    async def _serve(self, lines: "Lines", writer: asyncio.StreamWriter) -> None:
        async def say(command: str, default: str) -> str:
            what = self._what(command) or default
            if what == "drop":
                raise DroppedError
            if what == "silence":
                await asyncio.sleep(30)
            if isinstance(what, bytes):
                writer.write(what)
                return what.decode()
            writer.write(b"\x00\xff what\r\n" if what == "garbage" else what.encode() + b"\r\n")
            return str(what)

        await say("CONNECT", "220 next.example ESMTP")
        sender, recipients = "", []
        chunks = b""
        while True:
            command = (await lines.line()).decode()
            self.commands.append(command)
            verb = command.partition(" ")[0].upper()
            if verb in ("EHLO", "LHLO"):
                offered = ["next.example", *self.extensions]
                if writer.get_extra_info("ssl_object") is not None and "STARTTLS" in offered:
                    offered.remove("STARTTLS")
                lines_of_reply = [f"250-{one}" for one in offered[:-1]] + [f"250 {offered[-1]}"]
                await say(command, "\r\n".join(lines_of_reply))
            elif verb == "MAIL":
                sender, recipients = command[11:].partition(">")[0], []
                await say(command, "250 2.1.0 OK")
            elif verb == "RCPT":
                if (await say(command, "250 2.1.5 OK")).startswith("250"):
                    recipients.append(command[9:].partition(">")[0])
            elif verb == "DATA":
                reply = await say(command, "354 go on" if recipients else "554 5.5.1 no valid recipients")
                if reply.startswith("354"):
                    content = await self._content(lines)
                    if recipients:
                        for recipient in recipients if self.lmtp else (".",):
                            reply = await say(f". {recipient}" if self.lmtp else ".", "250 2.0.0 taken")
                        if self.lmtp or reply.startswith("250"):
                            self._take(writer, sender, recipients, content)
                    else:
                        await say(".", "554 5.5.1 no valid recipients")
            elif verb == "BDAT":
                chunks += await lines.octets(int(command.split(" ")[1]))
                if command.upper().endswith(" LAST"):
                    reply = await say(".", "250 2.0.0 taken" if recipients else "554 5.5.1 no valid recipients")
                    if reply.startswith("250"):
                        self._take(writer, sender, recipients, chunks)
                    chunks = b""
                else:
                    await say(command, "250 2.0.0 more")
            elif verb == "STARTTLS":
                if (await say(command, "220 2.0.0 go on")).startswith("220") and self.tls is not None:
                    await writer.start_tls(self.tls)
                    sender, recipients = "", []
            elif verb == "AUTH":
                await self._authenticate(command, lines, writer, say)
            elif verb == "QUIT":
                await say(command, "221 2.0.0 bye")
                return
            else:
                await say(command, "250 2.0.0 OK")
            if lines.empty:
                await writer.drain()

    def _take(self, writer: asyncio.StreamWriter, sender: str, recipients: list[str], content: bytes) -> None:
        self.messages.append((sender, tuple(recipients), content))
        self.encrypted.append(writer.get_extra_info("ssl_object") is not None)

    async def _authenticate(
        self, command: str, lines: "Lines", writer: asyncio.StreamWriter, say: Callable[[str, str], Awaitable[str]]
    ) -> None:
        words = command.split(" ")

        async def ask() -> str:
            writer.write(b"334 \r\n")
            return base64.b64decode(await lines.line()).decode()

        if words[1] == "LOGIN":
            name, password = await ask(), await ask()
        else:
            told = base64.b64decode(words[2]).decode() if len(words) > 2 else await ask()
            if words[1] == "XOAUTH2":
                name, _, password = told.removeprefix("user=").removesuffix("\1\1").partition("\1auth=Bearer ")
            else:
                _, name, password = told.split("\0")
        good = self.users.get(name) == password
        if not good and words[1] == "XOAUTH2":
            await ask()
        await say("AUTH", "235 2.7.0 welcome" if good else "535 5.7.8 who?")

    async def _content(self, lines: "Lines") -> bytes:
        found: list[bytes] = []
        early = self._what("content")
        while (line := await lines.line()) != b".":
            if early == "drop":
                raise DroppedError
            if self.read_slowly:
                await asyncio.sleep(self.read_slowly)
            found.append(line[1:] if line[:1] == b"." else line)
        return b"".join(line + b"\r\n" for line in found)


class DroppedError(Exception):
    pass


class Lines:
    """CRLF lines of a stream; `empty` when a batch has been used up."""

    def __init__(self, reader: asyncio.StreamReader, batches: list[bytes]) -> None:
        self._reader, self._batches = reader, batches
        self._buffer = b""

    @property
    def empty(self) -> bool:
        return not self._buffer

    async def line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            more = await self._reader.read(1 << 16)
            if not more:
                raise ConnectionError
            self._batches.append(more)
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    async def octets(self, count: int) -> bytes:
        while len(self._buffer) < count:
            more = await self._reader.read(1 << 16)
            if not more:
                raise ConnectionError
            self._batches.append(more)
            self._buffer += more
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found


@asynccontextmanager
async def listening(hop: NextHop, make: Callable[[], None] | None = None) -> AsyncIterator[NextHop]:
    """The next hop on a free port of loopback."""
    if hop.tls is not None:
        hop.tls.sni_callback = lambda _channel, name, _context: hop.server_names.append(name)
    server = await asyncio.start_server(hop.serve, hop.host, hop.port, ssl=hop.tls if hop.implicit else None)
    hop.port = server.sockets[0].getsockname()[1]
    try:
        yield hop
    finally:
        server.close()


def closed_port() -> int:
    """A port where nobody listens."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
