"""The server on real sockets, under asyncio's loop and uvloop's: whole messages, rude clients, limits, the end."""

import asyncio
import contextlib
import resource
import shutil
import smtplib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from smtp_visit import OPTIONS, Visit, with_limits

from flowengine.runtime.actions import Reply
from flowengine.servers.smtp import Capacity, Client, Listener, ListenError, Options, Server, bind, loop_factory

LOOPS = {"asyncio": asyncio.new_event_loop}
if loop_factory() is not asyncio.new_event_loop:
    LOOPS["uvloop"] = loop_factory()

ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    def run_it(main: Any) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main, 25))

    return run_it


class House:
    """A server on a free port, and the sessions it opened."""

    def __init__(
        self, options: Options, capacity: Capacity, make: Callable[[], Visit], address: str, sweep: float
    ) -> None:
        self.visits: list[Visit] = []
        self.clients: list[Client] = []
        self.reported: list[tuple[str, Mapping[str, object]]] = []
        self._make = make
        listener = Listener("test", address, options, self._open)
        self.server = Server(
            [listener], capacity, lambda name, fields: self.reported.append((name, fields)), sweep=sweep
        )

    def _open(self, client: Client) -> Visit:
        self.clients.append(client)
        self.visits.append(self._make())
        return self.visits[-1]

    @property
    def port(self) -> int:
        return int(self.server.addresses["test"][0].rpartition(":")[2])

    async def client(self, greeted: bool = True) -> "Peer":
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        if greeted:
            await peer.lines(1)
            await peer.say(b"HELO c\r\n")
        return peer

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # the server gives no event for what tests look at
                await asyncio.sleep(0.01)


class Peer:
    """A client that says and hears bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes, lines: int = 1) -> list[str]:
        self.writer.write(data)
        return await self.lines(lines)

    def reset(self) -> None:
        """Be gone at once: a FIN would only say that nothing more is to come."""
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def lines(self, count: int) -> list[str]:
        return [(await self.reader.readuntil(b"\r\n")).decode().rstrip("\r\n") for _ in range(count)]

    async def rest(self) -> str:
        return (await self.rest_of_bytes()).decode()

    async def rest_of_bytes(self) -> bytes:
        with contextlib.suppress(ConnectionResetError):
            return await self.reader.read()
        return b""


@contextlib.asynccontextmanager
async def serving(
    options: Options = OPTIONS,
    capacity: Capacity = Capacity(),  # noqa: B008  # a frozen value
    make: Callable[[], Visit] = Visit,
    address: str = "127.0.0.1:0",
    sweep: float = 0.05,
) -> AsyncIterator[House]:
    house = House(options, capacity, make, address, sweep)
    async with house.server:
        yield house
    assert house.server.connections == 0
    assert house.server.bytes_in_flight == 0
    assert all(visit.gone == 1 for visit in house.visits), "every visit ends, once"
    assert [fields for name, fields in house.reported if name == "smtp.trouble"] == []


def slow(seconds: float) -> Callable[[], Visit]:
    async def later(reply: Reply) -> Reply:
        await asyncio.sleep(seconds)
        return reply

    return lambda: Visit(later=later)


def test_smtplib_delivers(run: Callable[..., None]) -> None:
    async def main() -> None:
        def send() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP("127.0.0.1", house.port) as client:
                client.login("alice", "secret")
                return client.sendmail("a@example.org", ["b@example.net", "c@example.net"], MESSAGE + b".\r\n..\r\n")

        options = replace(OPTIONS, auth=("PLAIN", "LOGIN"), allow_plaintext_auth=True)
        async with serving(options, make=slow(0.001)) as house:
            assert await asyncio.to_thread(send) == {}
            assert house.visits[0].messages == [
                ("a@example.org", ("b@example.net", "c@example.net"), MESSAGE + b".\r\n..\r\n")
            ]
            assert house.clients[0].ip == "127.0.0.1" == house.clients[0].server_ip
            assert house.clients[0].server_port == house.port

    run(main())


def test_swaks_delivers(run: Callable[..., None]) -> None:
    swaks = shutil.which("swaks")
    if swaks is None:
        pytest.skip("swaks is not installed")

    async def main() -> None:
        async with serving() as house:
            arguments = ["--server", "127.0.0.1", "--port", str(house.port), "--pipeline", "-f", "a@example.org"]
            process = await asyncio.create_subprocess_exec(
                swaks, *arguments, "-t", "b@example.net", "--ehlo", "c.example", stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            assert process.returncode == 0, output.decode()
            assert b"PIPELINING" in output
            (sender, recipients, message), *_ = house.visits[0].messages
            assert (sender, recipients) == ("a@example.org", ("b@example.net",))
            assert message.endswith(b"\r\n") and b"This is a test mailing" in message

    run(main())


def test_a_pipelined_group_is_answered_in_one_write(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving() as house:
            peer = await house.client()
            peer.writer.write(ENVELOPE + b"RCPT TO:<c@example.net>\r\nDATA\r\n")
            replies = await peer.reader.read(4096)
            assert replies.count(b"\r\n") == 4 and replies.endswith(b"354 End data with <CR><LF>.<CR><LF>\r\n")
            peer.writer.close()

    run(main())


def test_a_client_that_half_closes_still_hears_the_reply(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(make=slow(0.05)) as house:
            peer = await house.client(greeted=False)
            peer.writer.write(b"HELO c\r\n" + ENVELOPE + b"DATA\r\n" + MESSAGE + b".\r\n")
            peer.writer.write_eof()
            assert (await peer.rest()).splitlines()[-2:] == ["354 End data with <CR><LF>.<CR><LF>", "250 2.0.0 Taken"]
            assert len(house.visits[0].messages) == 1

    run(main())


@pytest.mark.parametrize("after", [b"", b".", b".\r", b"\r\n."])
@pytest.mark.parametrize("half", [True, False])
def test_a_client_that_leaves_within_a_message_delivers_nothing(
    run: Callable[..., None], after: bytes, half: bool
) -> None:
    async def main() -> None:
        async with serving() as house:
            peer = await house.client()
            await peer.say(ENVELOPE + b"DATA\r\n", 3)
            peer.writer.write(MESSAGE + after)
            if half:
                peer.writer.write_eof()
                assert await peer.rest() == ""
            else:
                peer.writer.transport.abort()
            await house.until(lambda: house.visits[0].gone == 1)
            assert house.visits[0].messages == []

    run(main())


@pytest.mark.parametrize("how", ["reset", "closed", "half closed"])
@pytest.mark.parametrize("half", [b"", b"MAIL FR", b"NOOP " + b"x" * 20_000, b"BDAT 99 LAST\r\nhalf"])
def test_a_client_that_leaves_within_a_command_is_gone(run: Callable[..., None], half: bytes, how: str) -> None:
    async def main() -> None:
        async with serving() as house:
            peer = await house.client()
            await peer.say(ENVELOPE, 2)
            peer.writer.write(half)
            await peer.writer.drain()
            if how == "reset":
                peer.reset()
            elif how == "closed":
                peer.writer.close()
            else:
                peer.writer.write_eof()
                assert await peer.rest() == ""
            await house.until(lambda: house.visits[0].gone == 1)
            assert house.visits[0].messages == []

    run(main())


def test_a_client_that_leaves_after_the_dot_does_not_stop_the_message(run: Callable[..., None]) -> None:
    finished: list[bool] = []

    async def later(reply: Reply) -> Reply:
        if reply.text == "Taken":
            await asyncio.sleep(0.2)
            finished.append(True)
        return reply

    async def main() -> None:
        async with serving(make=lambda: Visit(later=later)) as house:
            peer = await house.client()
            await peer.say(ENVELOPE + b"DATA\r\n", 3)
            peer.writer.write(MESSAGE + b".\r\n")
            await house.until(lambda: bool(house.visits[0].messages))
            peer.writer.transport.abort()
            await house.until(lambda: house.visits[0].gone == 1)
            assert finished == [True]

    run(main())


def test_a_client_that_leaves_before_that_stops_what_it_waited_for(run: Callable[..., None]) -> None:
    cancelled: list[bool] = []

    async def later(reply: Reply) -> Reply:
        if reply.enhanced == "2.1.5":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
        return reply

    async def main() -> None:
        async with serving(make=lambda: Visit(later=later)) as house:
            peer = await house.client()
            await peer.say(ENVELOPE, 1)
            peer.reset()
            await house.until(lambda: house.visits[0].gone == 1)
            assert cancelled == [True]

    run(main())


def test_an_error_of_ours_is_a_451_and_the_visit_goes_on(run: Callable[..., None]) -> None:
    async def broken(reply: Reply) -> Reply:
        await asyncio.sleep(0)
        if reply.enhanced == "2.1.5":
            raise ZeroDivisionError("ours")
        return reply

    async def main() -> None:
        house = House(
            OPTIONS,
            Capacity(),
            lambda: Visit({("mail", "x@example.org"): ValueError("ours")}, broken),
            "127.0.0.1:0",
            1,
        )
        async with house.server:
            peer = await house.client()
            assert await peer.say(b"MAIL FROM:<x@example.org>\r\n") == ["451 4.3.0 Local error, try again later"]
            assert await peer.say(ENVELOPE, 2) == ["250 2.1.0 OK", "451 4.3.0 Local error, try again later"]
            assert await peer.say(b"QUIT\r\n") == ["221 2.0.0 Goodbye"]
        errors = [fields["error"] for name, fields in house.reported if name == "smtp.trouble"]
        assert errors == ["ValueError: ours", "ZeroDivisionError: ours"]

    run(main())


def test_silence_is_answered_with_421(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(with_limits(command_time=0.3, data_time=0.3)) as house:
            silent, dripping, writing = await house.client(), await house.client(), await house.client()
            await writing.say(ENVELOPE + b"DATA\r\n", 3)
            started = asyncio.get_running_loop().time()

            async def drip() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:  # a line that never ends is silence too
                        dripping.writer.write(b"N")
                        await dripping.writer.drain()
                        await asyncio.sleep(0.05)

            dripper = asyncio.create_task(drip())
            heard = await asyncio.gather(silent.rest(), dripping.rest(), writing.rest())
            assert heard == ["421 4.4.2 Timeout, closing the connection\r\n"] * 3
            assert 0.3 <= asyncio.get_running_loop().time() - started < 3
            dripper.cancel()

    run(main())


def test_a_message_may_not_drip_for_ever(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(with_limits(message_time=0.4)) as house:
            peer = await house.client()
            await peer.say(ENVELOPE + b"DATA\r\n", 3)

            async def drip() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:
                        peer.writer.write(b"x\r\n")
                        await peer.writer.drain()
                        await asyncio.sleep(0.05)

            dripper = asyncio.create_task(drip())
            assert await peer.rest() == "421 4.4.2 Timeout, closing the connection\r\n"
            dripper.cancel()
            assert house.visits[0].messages == []

    run(main())


def test_our_own_slowness_is_not_the_clients_silence(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(with_limits(command_time=0.2), make=slow(0.5)) as house:
            peer = await house.client()
            assert await peer.say(b"MAIL FROM:<a@example.org>\r\n") == ["250 2.1.0 OK"]
            peer.writer.close()

    run(main())


def test_connections_are_counted(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(capacity=Capacity(connections=3, connections_per_client=2)) as house:
            first, second = await house.client(), await house.client()
            third = await house.client(greeted=False)
            assert (await third.rest()).startswith("421 4.7.0 Too many connections from your address")
            _, writer = await asyncio.open_connection("127.0.0.1", house.port, local_addr=("127.0.0.2", 0))
            reader, full = await asyncio.open_connection("127.0.0.1", house.port, local_addr=("127.0.0.3", 0))
            assert (await reader.read()).startswith(b"421 4.3.2 Too many connections")
            for peer in (first, second):
                await peer.say(b"QUIT\r\n")
                assert await peer.rest() == ""
            again = await house.client()
            for one in (again.writer, writer, full):
                one.close()

    run(main())


def test_a_flood_of_commands_waits_in_the_kernel_while_a_step_is_under_way(run: Callable[..., None]) -> None:
    async def main() -> None:
        options = with_limits(pending_input=20_000, idle_commands=10**6)
        async with serving(options, make=slow(0.3)) as house:
            peer = await house.client()
            flood = b"NOOP\r\n" * 100_000
            peer.writer.write(b"MAIL FROM:<a@example.org>\r\n" + flood)
            await asyncio.sleep(0.15)
            (shell,) = house.server._lobby.shells  # noqa: SLF001  # what it holds is the point
            assert shell._machine.backlog < 20_000 + 300_000  # noqa: SLF001
            replies = await peer.lines(100_001)
            assert replies[0] == "250 2.1.0 OK" and set(replies[1:]) == {"250 2.0.0 OK"}
            peer.writer.close()

    run(main())


def test_a_client_that_reads_nothing_is_not_read_from(run: Callable[..., None]) -> None:
    async def main() -> None:
        options = with_limits(idle_commands=10**7, command_time=0.5, farewell_time=0.3)
        async with serving(options) as house:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", house.port))
            sending = asyncio.create_task(loop.sock_sendall(client, b"HELP\r\n" * 10_000_000))
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(sending, 15)
            client.close()
            assert house.visits[0].gone == 1, "and in the end it is shown out"
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000

    run(main())


def test_memory_over_the_limit_makes_clients_wait_for_messages_being_decided(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(capacity=Capacity(bytes_in_flight=3_000_000), make=slow(0.1)) as house:
            peers = [await house.client() for _ in range(6)]
            await asyncio.gather(*(peer.say(ENVELOPE + b"DATA\r\n", 3) for peer in peers))
            first = peers[0].say(b"x\r\n" * 666_666 + b"\r\n.\r\n")
            others = [peer.say(b"x\r\n" * 300_000 + b"\r\n.\r\n") for peer in peers[1:]]
            replies = [reply for (reply,) in await asyncio.gather(first, *others)]
            assert set(replies) <= {"250 2.0.0 Taken", "452 4.3.1 Too much mail at once, try again later"}
            assert "250 2.0.0 Taken" in replies
            assert sum(len(visit.messages) for visit in house.visits) == replies.count("250 2.0.0 Taken")
            for peer in peers:
                peer.writer.close()

    run(main())


def test_memory_over_the_limit_with_nothing_to_wait_for_refuses_the_message(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(capacity=Capacity(bytes_in_flight=1_000_000)) as house:
            one, two = await house.client(), await house.client()
            await asyncio.gather(one.say(ENVELOPE + b"DATA\r\n", 3), two.say(ENVELOPE + b"DATA\r\n", 3))
            one.writer.write(b"x\r\n" * 300_000)
            await house.until(lambda: house.server.bytes_in_flight > 800_000)
            refused = await two.say(b"x\r\n" * 300_000 + b"\r\n.\r\n")
            assert refused == ["452 4.3.1 Too much mail at once, try again later"]
            assert await one.say(b"\r\n.\r\n") == ["250 2.0.0 Taken"]
            assert await two.say(ENVELOPE + b"DATA\r\n" + MESSAGE + b".\r\n", 4) == [
                "250 2.1.0 OK",
                "250 2.1.5 OK",
                "354 End data with <CR><LF>.<CR><LF>",
                "250 2.0.0 Taken",
            ]
            one.writer.close()
            two.writer.close()

    run(main())


def test_a_drain_lets_transactions_end_and_sends_the_idle_away(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(make=slow(0.06)) as house:
            idle, busy, deciding = await house.client(), await house.client(), await house.client()
            await busy.say(ENVELOPE, 2)
            await deciding.say(ENVELOPE + b"DATA\r\n", 3)
            deciding.writer.write(MESSAGE + b".\r\n")
            await house.until(lambda: bool(house.visits[2].messages))
            draining = asyncio.create_task(house.server.drain(10))
            assert await idle.rest() == "421 4.3.2 Service is closing, try again later\r\n"
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", house.port)
            assert await deciding.rest() == "250 2.0.0 Taken\r\n421 4.3.2 Service is closing, try again later\r\n"
            assert await busy.say(b"DATA\r\n" + MESSAGE + b".\r\n", 2) == [
                "354 End data with <CR><LF>.<CR><LF>",
                "250 2.0.0 Taken",
            ]
            assert await busy.rest() == "421 4.3.2 Service is closing, try again later\r\n"
            await draining
            await asyncio.wait_for(house.server.serve_forever(), 1)

    run(main())


def test_a_drain_has_a_deadline(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(make=slow(60)) as house:
            peer = await house.client(greeted=False)
            await house.until(lambda: bool(house.visits))
            started = asyncio.get_running_loop().time()
            await house.server.drain(0.2)
            assert asyncio.get_running_loop().time() - started < 1.5
            assert (await peer.rest()).startswith("421 4.3.2 ")

    run(main())


def test_two_hundred_clients_at_once(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(capacity=Capacity(connections_per_client=200), make=slow(0.01)) as house:
            peers = await asyncio.gather(*(house.client() for _ in range(200)))

            async def deliver(peer: Peer, number: int) -> None:
                for turn in range(3):
                    body = b"%d %d\r\n" % (number, turn) * (1 + number)
                    replies = await peer.say(ENVELOPE + b"DATA\r\n" + body + b".\r\n", 4)
                    assert replies[-1] == "250 2.0.0 Taken"
                await peer.say(b"QUIT\r\n")

            await asyncio.gather(*(deliver(peer, number) for number, peer in enumerate(peers)))
            got = sorted(message for visit in house.visits for _, _, message in visit.messages)
            assert got == sorted(b"%d %d\r\n" % (n, turn) * (1 + n) for n in range(200) for turn in range(3))

    run(main())


def test_a_unix_socket_replaces_a_dead_one_and_not_a_living_one(run: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    async def main() -> None:
        async with serving(address=f"unix:{path}") as house:
            assert house.server.addresses == {"test": (f"unix:{path}",)}
            peer = Peer(*await asyncio.open_unix_connection(path))
            assert await peer.lines(1) == ["220 mx.example.net ESMTP"]
            assert house.clients == [Client()]
            with pytest.raises(ListenError, match="in use"):
                bind(f"unix:{path}")
            peer.writer.close()
        assert not path.exists()

    run(main())


def test_ipv6_and_an_address_in_use(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with serving(address="[::1]:0") as house:
            (address,) = house.server.addresses["test"]
            assert address == f"[::1]:{house.port}"
            peer = Peer(*await asyncio.open_connection("::1", house.port))
            assert await peer.lines(1) == ["220 mx.example.net ESMTP"]
            assert house.clients[0].ip == "::1"
            with pytest.raises(ListenError, match=r"cannot listen on \[::1\]"):
                bind(address)
            peer.writer.close()

    run(main())


@pytest.mark.parametrize("address", ["", "25", "host:", "host:x", "host:70000", "no.such.host.invalid:0"])
def test_an_address_that_is_none_is_an_error_that_names_it(address: str) -> None:
    with pytest.raises(ListenError, match=f"{address!r}|{address}"):
        bind(address)


def test_the_report_has_commands_and_no_content(run: Callable[..., None]) -> None:
    async def main() -> None:
        options = replace(OPTIONS, auth=("PLAIN",), allow_plaintext_auth=True, trace=True)
        async with serving(options) as house:
            peer = await house.client(greeted=False)
            await peer.say(
                b"EHLO c\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n" + ENVELOPE + b"DATA\r\nhush\r\n.\r\nQUIT\r\n", 14
            )
            await house.until(lambda: house.visits[0].gone == 1)
            verbs = [fields["verb"] for name, fields in house.reported if name == "smtp.command"]
            assert verbs == ["CONNECT", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", ".", "QUIT"]
            assert house.reported[-1][0] == "smtp.disconnect"
            assert house.reported[-1][1]["messages"] == 1
            assert not any(word in str(house.reported) for word in ("AGFs", "secret", "hush"))

    run(main())


def test_what_the_log_hears_of_a_client_names_it(run: Callable[[Awaitable[None]], None]) -> None:
    async def main() -> None:
        async with serving(with_limits(errors=2)) as house:
            peer = await house.client()
            await peer.say(b"XX\r\nXX\r\n", 3)
            assert await peer.rest() == ""
            await house.until(lambda: any(name == "smtp.disconnect" for name, _ in house.reported))
        (reached,) = [fields for name, fields in house.reported if name == "smtp.limit"]
        assert (reached["limit"], reached["client"]) == ("session_errors", "127.0.0.1")

    run(main())


def test_a_full_disk_is_an_error_in_the_log() -> None:
    from types import SimpleNamespace

    from flowengine.servers.engine import Engine
    from flowengine.services.fakes import FakeLog, fake_services

    log = FakeLog()
    engine: Any = SimpleNamespace(services=fake_services(log=log))
    for limit in ("spool", "session_errors"):
        Engine.report(engine, "smtp.limit", {"limit": limit, "client": "192.0.2.7"})
    assert [level for level, _, _ in log.lines] == ["error", "notice"]
