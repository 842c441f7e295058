"""The client of the benchmarks: so many sessions, each with so many messages, one command at a time.

Nothing is pipelined, so that every server is driven alike; a session that is done begins anew until all are sent.
"""

import asyncio
import time
from dataclasses import dataclass, field

from benchmarks.fixtures import RECIPIENT, SENDER

SESSION_TIME = 60.0  # seconds one session may take


class LoadError(Exception):
    """A server that did not take what it was to take."""


@dataclass(slots=True)
class Load:
    """What was sent. seconds: wall time. latencies: seconds from MAIL, or for a connection's first message from the
    connection, to the reply to the dot."""

    messages: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def latency(self, share: float) -> float:
        """The latency, in milliseconds, that this share of the messages kept."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def load(port: int, message: bytes, messages: int, sessions: int, per_connection: int) -> Load:
    """Send a message so many times. message: as it travels, without the final dot. Raises LoadError."""
    done = Load()
    left = iter(range(messages))
    stuffed = message.replace(b"\r\n.", b"\r\n..") + b".\r\n"

    async def session() -> None:
        number = next(left, None)
        while number is not None:
            async with asyncio.timeout(SESSION_TIME):
                number = await _connection(port, stuffed, number, per_connection)

    async def _connection(port: int, content: bytes, number: int | None, per_connection: int) -> int | None:
        """One connection; the number of the next message that is still to be sent."""
        born = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await _reply(reader, b"220")
            await _say(reader, writer, b"EHLO client.example.com\r\n", b"250")
            for _ in range(per_connection):
                if number is None:
                    break
                await _say(reader, writer, f"MAIL FROM:<{SENDER}>\r\n".encode(), b"250")
                await _say(reader, writer, f"RCPT TO:<{RECIPIENT}>\r\n".encode(), b"250")
                await _say(reader, writer, b"DATA\r\n", b"354")
                await _say(reader, writer, content, b"250")
                now = time.perf_counter()
                done.latencies.append(now - born)
                done.messages += 1
                born, number = now, next(left, None)
            writer.write(b"QUIT\r\n")
        finally:
            writer.close()
        return number

    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(sessions):
            group.create_task(session())
    done.seconds = time.perf_counter() - start
    return done


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: bytes, expected: bytes) -> None:
    writer.write(words)
    await writer.drain()
    await _reply(reader, expected)


async def _reply(reader: asyncio.StreamReader, expected: bytes) -> None:
    line = await reader.readline()
    while line[3:4] == b"-":
        line = await reader.readline()
    if not line.startswith(expected):
        raise LoadError(f"{line.decode('latin-1').strip() or 'the connection ended'} (expected {expected.decode()})")
