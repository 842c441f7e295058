"""Every limit that a client or a message can come to, on a live server with the real engine: what the client hears, and
the counter that the operator sees."""

import asyncio
import contextlib
import resource
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from flowengine.servers.engine import Engine
from flowengine.servers.serve import server_of
from flowengine.servers.smtp import bind
from flowengine.services.config import Limits, load
from tests.servers.test_smtp_server import ENVELOPE, Peer
from tests.world.certificates import Authority

CONFIG = """
hostname = "mx.example.net"
storage = "sqlite:{folder}/state.db"
[log]
level = "error"
[listeners.test]
address = "127.0.0.1:0"
recipient_domains = ["example.net"]
transport = "next"
{listener}
[transports.next]
{transport}
"""
FULL_LINE = b"x" * 998 + b"\r\n"
SINK = 'sink = "{folder}/sink"'


class Served:
    """The server of one test, its clients, and what it counted."""

    def __init__(self, engine: Engine, port: int) -> None:
        self.engine, self._port = engine, port

    async def come(self, hello: bytes = b"EHLO c.example\r\n") -> Peer:
        """A client that was greeted and has said its name."""
        peer = await self.connect()
        await peer.lines(1)
        if hello:
            await self.reply(peer, hello)
        return peer

    async def connect(self) -> Peer:
        """A client that has heard and said nothing."""
        return Peer(*await asyncio.open_connection("127.0.0.1", self._port))

    async def reply(self, peer: Peer, said: bytes) -> str:
        """The last line of the answer to one command."""
        (line,) = await peer.say(said)
        while line[3:4] == "-":
            (line,) = await peer.lines(1)
        return line

    async def deliver(self, message: bytes, envelope: bytes = ENVELOPE) -> str:
        """The last word about a message."""
        peer = await self.come()
        for command in (*envelope.splitlines(keepends=True), b"DATA\r\n"):
            last = await self.reply(peer, command)
            if last[0] in "45":
                return last
        return await self.reply(peer, message + b"\r\n.\r\n")

    def counted(self) -> dict[str, float]:
        """How often each limit was reached since this was asked last, by its name."""
        found: dict[str, float] = {}
        for name, labels, count in self.engine.tally.take():
            if name == "limits":
                found[labels["limit"]] = count
        return found


@contextlib.asynccontextmanager
async def served_by(folder: Path, limits: dict[str, Any], listener: str, transport: str) -> AsyncIterator[Served]:
    file = folder / "flowengine.toml"
    names = {"folder": folder}
    file.write_text(CONFIG.format(listener=listener.format(**names), transport=transport.format(**names), **names))
    file.chmod(0o600)
    config = load(file)
    config = replace(config, limits=replace(config.limits, **limits))
    engine = Engine.build(config)
    sockets = bind("127.0.0.1:0")
    server = server_of(engine, {"test": sockets})
    server._sweep = 0.05  # noqa: SLF001  # not a setting: how often it looks for silent clients
    async with engine, server:
        yield Served(engine, sockets[0].getsockname()[1])


@dataclass(frozen=True)
class Case:
    """A limit, how it is set, and what its client does: the answer has to begin like `says`."""

    limit: str
    value: Any
    play: Callable[[Served], Awaitable[str]]
    says: str
    listener: str = ""
    transport: str = SINK
    more: dict[str, Any] = field(default_factory=dict)


def repeated(command: bytes, times: int, hello: bytes = b"EHLO c.example\r\n") -> Callable[[Served], Awaitable[str]]:
    """A client that says the same again and again; its last answer."""

    async def play(served: Served) -> str:
        peer = await served.come(hello)
        for _ in range(times):
            last = await served.reply(peer, command)
        return last

    return play


def at_the_end(*said: bytes) -> Callable[[Served], Awaitable[str]]:
    """A client that says this after its name, and the last line that it hears."""

    async def play(served: Served) -> str:
        peer = await served.come()
        for one in said:
            peer.writer.write(one)
        return (await peer.rest()).rstrip("\r\n").rpartition("\n")[2]

    return play


async def two_at_a_time(served: Served) -> str:
    first = await served.come()
    second = await served.connect()
    (line,) = await second.lines(1)
    assert await served.reply(first, b"NOOP\r\n") == "250 2.0.0 OK", "who is in is served"
    return line


async def guesses(served: Served) -> str:
    peer = await served.come()
    return await served.reply(peer, b"AUTH PLAIN " + b64encode(b"\0nobody\0wrong") + b"\r\n")


async def talks_first(served: Served) -> str:
    peer = await served.connect()
    peer.writer.write(b"EHLO c.example\r\n")
    return (await peer.lines(1))[0]


async def no_header(served: Served) -> str:
    peer = await served.connect()
    return await peer.rest() or "closed"


async def no_handshake(served: Served) -> str:
    peer = await served.come()
    assert (await served.reply(peer, b"STARTTLS\r\n")).startswith("220 ")
    return await peer.rest() or "closed"


async def hears_late(served: Served) -> str:
    peer = await served.come()
    began = asyncio.get_running_loop().time()
    said = await served.reply(peer, b"NONSENSE\r\n")
    assert asyncio.get_running_loop().time() - began >= 0.09  # timers have a grain
    return said


async def too_large(served: Served) -> str:
    said = await served.deliver(b"Subject: x\r\n\r\n" + FULL_LINE * 3)
    declared = await served.deliver(b"", b"MAIL FROM:<a@example.org> SIZE=2000\r\n")
    assert declared.startswith("552 5.3.4 ")
    return said


async def drips(served: Served) -> str:
    peer = await served.come()
    await peer.say(ENVELOPE + b"DATA\r\n", 3)
    end = asyncio.create_task(peer.lines(1))
    while not end.done():
        peer.writer.write(b"x")
        await asyncio.wait([end], timeout=0.02)
    return end.result()[0]


@contextlib.contextmanager
def small_files(octets: int) -> Iterator[None]:
    """No file may become larger: the disk as good as full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def finds_no_room(served: Served) -> str:
    message = b"Subject: x\r\n\r\n" + FULL_LINE * 300
    with small_files(200_000):
        said = await served.deliver(message)
    assert (await served.deliver(message)).startswith("250 "), "it recovers"
    return said


async def stops_within(served: Served) -> str:
    peer = await served.come()
    await peer.say(ENVELOPE + b"DATA\r\n", 3)
    peer.writer.write(b"Subject: x\r\n\r\n" + FULL_LINE * 3)
    await asyncio.sleep(0.1)
    return (await peer.say(b".\r\n"))[0]


def message(fields_of_it: bytes, body: bytes = b"hello") -> Callable[[Served], Awaitable[str]]:
    return lambda served: served.deliver(fields_of_it + b"\r\n" + body)


TLS = 'tls = {{ certificate = "{folder}/mx.example.net.pem", key = "{folder}/mx.example.net.key" }}'
USERS = 'users = "{folder}/users.toml"\nallow_plaintext_auth = true'
CASES = [
    Case("connections", 1, two_at_a_time, "421 4.3.2 "),
    Case("connections_per_client", 1, two_at_a_time, "421 4.7.0 "),
    Case("client_commands", 20, repeated(b"NOOP\r\n", 50), "421 4.7.0 "),
    Case("session_commands", 10, repeated(b"NOOP\r\n", 10), "421 4.7.0 "),
    Case("session_errors", 2, at_the_end(b"NONSENSE\r\n", b"NONSENSE\r\n"), "421 4.7.0 "),
    Case("session_messages", 2, repeated(b"MAIL FROM:<>\r\nRSET\r\n", 5), "421 4.7.0 "),
    Case("session_auth_failures", 1, guesses, "535 5.7.8 ", listener=USERS),
    Case("command_line", 512, repeated(b"NOOP " + b"x" * 600 + b"\r\n", 1), "500 5.5.2 "),
    Case("auth_line", 700, repeated(b"NOOP " + b"x" * 800 + b"\r\n", 1), "500 5.5.2 "),
    Case("command_time", 0.2, at_the_end(), "421 4.4.2 "),
    Case("data_time", 0.2, at_the_end(ENVELOPE, b"DATA\r\nSubject: x\r\n"), "421 4.4.2 "),
    Case("message_time", 0.3, drips, "421 4.4.2 "),
    Case("idle_commands", 10, repeated(b"NOOP\r\n", 10), "421 4.7.0 "),
    Case("handshake_time", 0.2, no_handshake, "closed", listener=TLS),
    Case(
        "transaction_time",
        0.3,
        message(b"Subject: x\r\n"),
        "451 4.",
        'delivery = "inline"',
        'host = "127.0.0.1:{stalled}"',
    ),
    Case("greeting_delay", 0.3, talks_first, "554 5.5.1 "),
    Case("proxy_time", 0.2, no_header, "closed", listener='proxy = ["127.0.0.0/8"]'),
    Case("tarpit", 0.1, hears_late, "500 5.5.2 "),
    Case("message_size", 1500, too_large, "552 5.3.4 "),
    Case("line_length", 1000, message(b"Subject: x\r\n", b"y" * 1001), "550 5.6.0 "),
    Case("header_size", 1024, message(b"Subject: " + b"x" * 1100 + b"\r\n"), "552 5.3.4 "),
    Case("header_count", 10, message(b"Comments: x\r\n" * 11), "550 5.6.0 "),
    Case("hops", 2, message(b"Received: from a by b; Mon, 1 Jan 2029 00:00:00 +0000\r\n" * 3), "554 5.4.6 "),
    Case("recipients", 1, lambda served: served.deliver(b"", ENVELOPE + b"RCPT TO:<c@example.net>\r\n"), "452 4.5.3 "),
    Case("in_flight_bytes", 1000, stops_within, "452 4.3.1 "),
    Case("spool", None, finds_no_room, "452 4.3.1 ", more={"spool_above": 65536}),
]
BESIDES = {
    "client_prefix_v4",  # what counts as one client
    "client_prefix_v6",
    "drain_time",  # for the end, not for clients
    "destinations",  # at a time; the others are asked in their turn
    "signatures",  # of those that are verified, see tests/mail
    "spool_above",  # where a file begins; `spool` is when it has no room
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.limit)
def test_who_comes_to_a_limit_hears_it_and_is_counted(case: Case, tmp_path: Path) -> None:
    async def main() -> None:
        stalled = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0)
        transport = case.transport.replace("{stalled}", str(stalled.sockets[0].getsockname()[1]))
        limits = case.more if case.value is None else {case.limit: case.value, **case.more}
        async with served_by(tmp_path, limits, case.listener, transport) as served:
            said = await case.play(served)
            assert said.startswith(case.says), said
            assert case.limit in served.counted()
        stalled.close()

    (tmp_path / "sink").mkdir()
    (tmp_path / "users.toml").touch(0o600)
    Authority().issue(tmp_path, "mx.example.net")
    asyncio.run(asyncio.wait_for(main(), 20))


def test_no_limit_of_clients_and_messages_is_left_out() -> None:
    names = [one.name for one in fields(Limits)]
    of_clients = set(names[: names.index("script_steps")])
    assert of_clients - BESIDES == {case.limit for case in CASES} - {"spool"}


def test_a_client_within_the_limits_is_counted_nowhere(tmp_path: Path) -> None:
    async def main() -> None:
        async with served_by(tmp_path, {}, TLS, SINK) as served:
            assert (await served.deliver(b"Subject: x\r\n\r\n" + FULL_LINE * 100)).startswith("250 ")
            peer = await served.come()
            await served.reply(peer, b"STARTTLS\r\n")
            await peer.writer.start_tls(authority.trusting(), server_hostname="mx.example.net")
            assert served.counted() == {}

    (tmp_path / "sink").mkdir()
    authority = Authority()
    authority.issue(tmp_path, "mx.example.net")
    asyncio.run(asyncio.wait_for(main(), 20))
