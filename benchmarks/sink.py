"""The next hop of the benchmarks: takes everything, keeps nothing but the count and the last message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

_EHLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 99999999\r\n"


class Sink:
    """What arrived. last: the newest message as it travelled, with its dot-stuffing and the final dot."""

    def __init__(self) -> None:
        self.port = 0
        self.arrived = 0
        self.last = b""


class _Door(asyncio.Protocol):
    """One connection. Commands may come in one piece (RFC 2920)."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._content = False
        self._searched = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what a server on TCP gets
        self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        replies: list[bytes] = []
        while (reply := self._take_content() if self._content else self._take_command()) is not None:
            replies.append(reply)
        if replies:
            self._transport.write(b"".join(replies))
        if replies and replies[-1].startswith(b"221"):
            self._transport.close()

    def _take_content(self) -> bytes | None:
        end = self._buffer.find(b"\r\n.\r\n", max(0, self._searched - 4))
        if end < 0:
            self._searched = len(self._buffer)
            return None
        self._sink.arrived += 1
        self._sink.last = bytes(self._buffer[: end + 5])
        del self._buffer[: end + 5]
        self._content = False
        return b"250 2.0.0 taken\r\n"

    def _take_command(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        verb = bytes(self._buffer[:4]).upper()
        del self._buffer[: end + 2]
        if verb == b"DATA":
            self._content, self._searched = True, 0
            return b"354 go on\r\n"
        if verb in (b"EHLO", b"HELO"):
            return _EHLO
        return b"221 2.0.0 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 ok\r\n"


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    """The sink, on a free port of 127.0.0.1."""
    one = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: _Door(one), "127.0.0.1", 0, backlog=512)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
