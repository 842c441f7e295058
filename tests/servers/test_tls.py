"""TLS towards clients on real sockets, under asyncio's loop and uvloop's."""

import asyncio
import contextlib
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from smtp_visit import OPTIONS, with_limits
from test_smtp_server import ENVELOPE, MESSAGE, House, Peer, run, serving, slow

from flowengine.servers.smtp import Capacity, Options
from flowengine.services.config.listeners import ListenerTLS
from flowengine.services.fakes import FakeClock, FakeCounters, FakeLog
from flowengine.services.server_tls import ServerTLS
from tests.world.certificates import Authority

__all__ = ["run"]  # the fixture

NAME = "mx.example.net"
AUTHORITY = Authority()
Run = Callable[..., None]


class Secured:
    """A listener's TLS with files of its own, and the server that speaks it."""

    def __init__(self, folder: Path, time: float = 5.0, **keys: Any) -> None:
        self.folder = folder
        self.clock, self.log, self.counters = FakeClock(), FakeLog(), FakeCounters()
        certificate, key = AUTHORITY.issue(folder, NAME, "127.0.0.1")
        self.files = ListenerTLS(certificate, key, **keys)
        self.tls = ServerTLS("test", self.files, time, self.clock, self.log, self.counters)
        self.context = AUTHORITY.trusting()
        self.options: Options = replace(OPTIONS, encryption=self.tls)

    @contextlib.asynccontextmanager
    async def serving(self, options: Options | None = None, **about: Any) -> AsyncIterator[House]:
        async with serving(options or self.options, **about) as house:
            yield house

    async def client(self, house: House) -> Peer:
        """A client that is under TLS and has said nothing yet."""
        if self.files.implicit:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", house.port, ssl=self.context, server_hostname=NAME
            )
            peer = Peer(reader, writer)
            await peer.lines(1)
            return peer
        peer = await house.client(greeted=False)
        await peer.lines(1)
        assert await peer.say(b"STARTTLS\r\n") == ["220 2.0.0 Ready to start TLS"]
        await self.shake(peer)
        await peer.say(b"NOOP\r\n")  # in TLS 1.3 the client is done before the server is
        return peer

    async def shake(self, peer: Peer) -> None:
        await peer.writer.start_tls(self.context, server_hostname=NAME)

    @property
    def handshakes(self) -> dict[str, float]:
        """How many, by result."""
        sums = self.counters.sums.items()
        return {dict(labels)["result"]: count for (name, labels), count in sums if name == "tls_handshakes"}


SETTINGS = [
    pytest.param({}, id="starttls"),
    pytest.param({"minimum": "1.3"}, id="1.3 only"),
    pytest.param({"implicit": True}, id="implicit"),
]


@pytest.mark.parametrize("keys", SETTINGS)
def test_a_message_comes_in_under_tls(run: Run, tmp_path: Path, keys: dict[str, Any]) -> None:
    async def main() -> None:
        world = Secured(tmp_path, **keys)
        async with world.serving(make=slow(0.001)) as house:
            peer = await world.client(house)
            assert await peer.say(b"MAIL FROM:<a@example.org>\r\n") == ["503 5.5.1 EHLO first"]
            heard = await peer.say(b"EHLO c\r\n", 10)
            assert heard[0] == "250-mx.example.net" and not any("STARTTLS" in line for line in heard)
            assert await peer.say(b"STARTTLS\r\n") == ["503 5.5.1 TLS is active"]
            body = MESSAGE + b"x" * 70 + b"\r\n" + b"0123456789" * 30_000 + b"\r\n"
            assert await peer.say(ENVELOPE + b"DATA\r\n" + body + b".\r\n", 4) == [
                "250 2.1.0 OK", "250 2.1.5 OK", "354 End data with <CR><LF>.<CR><LF>", "250 2.0.0 Taken",
            ]  # fmt: skip
            assert house.visits[0].messages == [("a@example.org", ("b@example.net",), body)]
            assert house.visits[0].tls["protocol"] == "TLSv1.3"
            assert house.visits[0].tls["keysize"] == 256 and "peercert" not in house.visits[0].tls
            assert await peer.say(b"QUIT\r\n") == ["221 2.0.0 Goodbye"]
            assert await peer.rest() == ""
            assert world.handshakes == {"TLSv1.3": 1}

    run(main())


def test_tls_1_2_is_spoken_and_older_is_not(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path)
        world.context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with world.serving() as house:
            peer = await world.client(house)
            assert house.visits[0].tls["protocol"] == "TLSv1.2"
            assert "ECDHE" in house.visits[0].tls["cipher"]
            peer.writer.close()
        world = Secured(tmp_path, minimum="1.3")
        world.context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with world.serving() as house:
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                await world.client(house)
            await house.until(lambda: world.handshakes == {"failed": 1})

    run(main())


def test_what_was_said_in_clear_text_is_forgotten(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path)
        options = replace(world.options, auth=("PLAIN",), allow_plaintext_auth=True)
        async with world.serving(options) as house:
            peer = await house.client(greeted=False)
            await peer.lines(1)
            heard = await peer.say(b"EHLO c\r\n", 11)
            assert "250-STARTTLS" in heard
            assert await peer.say(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n") == ["235 2.7.0 Welcome"]
            await peer.say(ENVELOPE, 2)
            assert await peer.say(b"STARTTLS\r\n") == ["503 5.5.1 Not within a transaction"]
            await peer.say(b"RSET\r\nSTARTTLS\r\n", 2)
            await world.shake(peer)
            assert await peer.say(b"MAIL FROM:<a@example.org>\r\n") == ["503 5.5.1 EHLO first"]
            assert await peer.say(b"RCPT TO:<a@example.org>\r\n") == ["503 5.5.1 MAIL first"]
            await peer.say(b"EHLO c\r\n", 11)
            assert await peer.say(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n") == ["235 2.7.0 Welcome"]
            peer.writer.close()

    run(main())


@pytest.mark.parametrize("injected", [b"MAIL FROM:<evil@example.org>\r\n", b"NOOP\r\n" * 50, b"DATA", b"\0" * 4000])
def test_commands_behind_starttls_are_dropped(run: Run, tmp_path: Path, injected: bytes) -> None:
    """What an attacker on the way puts behind STARTTLS must not be taken for the client's (CVE-2011-0411, -2021-38371)."""

    async def main() -> None:
        world = Secured(tmp_path)
        async with world.serving() as house:
            peer = await house.client()
            assert await peer.say(b"STARTTLS\r\n" + injected) == ["220 2.0.0 Ready to start TLS"]
            await world.shake(peer)
            assert await peer.say(b"NOOP\r\n") == ["250 2.0.0 OK"]
            assert await peer.say(b"QUIT\r\n") == ["221 2.0.0 Goodbye"]
            assert [event for event in house.visits[0].events if event[0] in ("mail", "data")] == []

    run(main())


def test_commands_in_a_packet_of_their_own_behind_starttls_end_the_connection(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path)
        async with world.serving() as house:
            peer = await house.client()
            await peer.say(b"STARTTLS\r\n")
            peer.writer.write(b"EHLO c\r\nMAIL FROM:<evil@example.org>\r\n")
            heard = await peer.rest_of_bytes()
            assert b"250" not in heard
            await house.until(lambda: world.handshakes == {"failed": 1})
            await house.until(lambda: house.visits[0].gone == 1)
            (line,) = world.log.of("tls")
            assert line["client"] == "127.0.0.1" and line["failed"]

    run(main())


FIRST = "530 5.7.0 Must issue a STARTTLS command first"


def test_where_tls_is_required_hardly_anything_is_done_without(run: Run, tmp_path: Path) -> None:
    """RFC 3207 §4. The octets of a chunk are no commands, here neither."""

    async def main() -> None:
        world = Secured(tmp_path, required=True)
        options = replace(world.options, auth=("PLAIN",), allow_plaintext_auth=True)
        async with world.serving(with_limits(options, errors=99)) as house:
            peer = await house.client(greeted=False)
            await peer.lines(1)
            for command in (
                b"HELO c", b"HELP", b"HELP HELO", b"VRFY b", b"EXPN b", b"RSET", b"AUTH PLAIN AGFsaWNlAHNlY3JldA==",
                b"MAIL FROM:<a@example.org>", b"mail", b"RCPT TO:<b@example.net>", b"DATA", b"XFORWARD NAME=x",
                b"BDAT 6 LAST\r\nNOOP", b"bdat 0",
            ):  # fmt: skip
                assert await peer.say(command + b"\r\n") == [FIRST], command
            assert await peer.say(b"FOO\r\n") == ["500 5.5.2 Command not recognized"]
            assert await peer.say(b"NOOP\r\n") == ["250 2.0.0 OK"]
            heard = await peer.say(b"EHLO c\r\n", 11)
            assert "250-STARTTLS" in heard
            assert await peer.say(b"RCPT TO:<b@example.net>\r\n") == [FIRST]
            assert await peer.say(b"STARTTLS\r\n") == ["220 2.0.0 Ready to start TLS"]
            await world.shake(peer)
            assert await peer.say(b"RCPT TO:<b@example.net>\r\n") == ["503 5.5.1 MAIL first"]
            assert await peer.say(b"HELO c\r\n" + ENVELOPE + b"BDAT 0 LAST\r\n", 4) == [
                "250 mx.example.net", "250 2.1.0 OK", "250 2.1.5 OK", "250 2.0.0 Taken",
            ]  # fmt: skip
            other = await house.client(greeted=False)
            await other.lines(1)
            assert await other.say(b"QUIT\r\n") == ["221 2.0.0 Goodbye"]
            peer.writer.close()

    run(main())


def test_starttls_needs_no_ehlo_and_the_session_goes_on_to_quit(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path)
        options = replace(world.options, auth=("PLAIN",))
        async with world.serving(options) as house:
            for greeting, lines in ((b"", 0), (b"HELO c\r\n", 1), (b"EHLO c\r\n", 10)):
                peer = await house.client(greeted=False)
                await peer.lines(1)
                if greeting:
                    await peer.say(greeting, lines)
                if lines == 10:
                    heard = await peer.say(b"AUTH PLAIN AGFsaWNlAHdyb25n\r\n")
                    assert heard == ["538 5.7.11 Encryption is needed before a password is sent"]
                assert await peer.say(b"STARTTLS\r\n") == ["220 2.0.0 Ready to start TLS"]
                await world.shake(peer)
                assert await peer.say(b"MAIL FROM:<a@example.org>\r\n") == ["503 5.5.1 EHLO first"]
                await peer.say(b"EHLO c\r\n", 11)
                assert await peer.say(b"AUTH PLAIN AGFsaWNlAHdyb25n\r\n") == ["535 5.7.8 Wrong"]
                assert await peer.say(b"QUIT\r\n") == ["221 2.0.0 Goodbye"]
                assert await peer.rest() == ""

    run(main())


def test_starttls_as_it_must_not_be(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path, required=True)
        async with world.serving() as house:
            peer = await house.client()
            assert await peer.say(b"STARTTLS now\r\n") == ["501 5.5.4 This command takes no argument"]
            assert await peer.say(b"MAIL FROM:<a@example.org>\r\n") == ["530 5.7.0 Must issue a STARTTLS command first"]
            assert await peer.say(b"NOOP\r\n") == ["250 2.0.0 OK"]
            world.tls.context = None  # type: ignore[assignment,method-assign]  # trouble of ours
            assert await peer.say(b"STARTTLS\r\n") == ["454 4.7.0 TLS is not available now, try again later"]
            assert await peer.say(b"NOOP\r\n") == ["250 2.0.0 OK"]
            peer.writer.close()
            await house.until(lambda: house.visits[0].gone == 1)
            assert [fields["verb"] for name, fields in house.reported if name == "smtp.trouble"] == ["STARTTLS"]
            house.reported.clear()

    run(main())


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("how", ["silent", "gone", "reset", "plain", "cut"])
def test_a_handshake_that_comes_to_nothing_ends_cleanly(
    run: Run, tmp_path: Path, implicit: bool, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world = Secured(tmp_path, time=0.3, implicit=implicit)
        async with world.serving() as house:
            peer = await house.client(greeted=False)
            if not implicit:
                await peer.lines(1)
                await peer.say(b"STARTTLS\r\n")
            if how == "gone":
                peer.writer.close()
            elif how == "reset":
                peer.reset()
            elif how == "plain":
                peer.writer.write(b"EHLO client.example.org\r\n")
            elif how == "cut":
                peer.writer.write(b"\x16\x03\x01\x02\x00\x01")
            if how in ("silent", "plain", "cut"):
                await asyncio.wait_for(peer.rest_of_bytes(), 5)
            await house.until(lambda: house.server.connections == 0)
            assert world.handshakes == {"too slow" if how in ("silent", "cut") else "failed": 1}
            assert [visit.gone for visit in house.visits] == ([] if implicit else [1])

    run(main())
    assert caplog.records == []


@pytest.mark.parametrize("implicit", [False, True])
def test_a_drain_does_not_wait_for_a_handshake_that_never_ends(run: Run, tmp_path: Path, implicit: bool) -> None:
    async def main() -> None:
        world = Secured(tmp_path, time=60, implicit=implicit)
        async with world.serving() as house:
            peer = await house.client(greeted=False)
            if not implicit:
                await peer.lines(1)
                await peer.say(b"STARTTLS\r\n")
            await house.until(lambda: house.server.connections == 1)
            started = asyncio.get_running_loop().time()
            await house.server.drain(0.2)
            assert asyncio.get_running_loop().time() - started < 1.5
            assert await peer.rest_of_bytes() == b""

    run(main())


def test_connections_count_before_their_handshake(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path, implicit=True)
        async with world.serving(capacity=Capacity(connections=1)) as house:
            first = await house.client(greeted=False)
            await house.until(lambda: house.server.connections == 1)
            second = await house.client(greeted=False)
            assert await second.rest_of_bytes() == b"", "closed, with no clear text where TLS is spoken"
            first.writer.close()
            await house.until(lambda: house.server.connections == 0)
            peer = await world.client(house)
            peer.writer.close()

    run(main())


def test_replies_that_nobody_reads_hold_the_client_back_under_tls_too(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path)
        options = with_limits(world.options, idle_commands=10**7, command_time=0.5, farewell_time=0.3)
        async with world.serving(options) as house:
            peer = await world.client(house)
            peer.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                for _ in range(2000):
                    peer.writer.write(b"HELP\r\n" * 10_000)
                    await asyncio.wait_for(peer.writer.drain(), 8)
            await house.until(lambda: house.visits[0].gone == 1)
            peer.writer.transport.abort()

    run(main())


def test_silence_under_tls_is_answered_with_421(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path)
        async with world.serving(with_limits(world.options, command_time=0.3)) as house:
            peer = await world.client(house)
            assert await peer.rest() == "421 4.4.2 Timeout, closing the connection\r\n"

    run(main())


def test_a_message_is_decided_when_its_client_leaves_after_the_dot(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path)
        async with world.serving(make=slow(0.1)) as house:
            peer = await world.client(house)
            await peer.say(b"HELO c\r\n" + ENVELOPE + b"DATA\r\n", 4)
            peer.writer.write(MESSAGE + b".\r\n")
            peer.writer.close()
            await house.until(lambda: house.visits[0].gone == 1)
            assert len(house.visits[0].messages) == 1

    run(main())


# -- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_shows_its_certificate(run: Run, tmp_path: Path, protocol: ssl.TLSVersion) -> None:
    async def main() -> None:
        clients = Authority("Clients")
        world = Secured(tmp_path, client_ca=clients.write(tmp_path / "clients.pem"))
        world.context.maximum_version = protocol
        async with world.serving() as house:
            peer = await world.client(house)
            assert "peercert" not in house.visits[0].tls, "asked for, not demanded"
            peer.writer.close()
            world.context.load_cert_chain(*clients.issue(tmp_path, "relay.example.org", common="relay.example.org"))
            peer = await world.client(house)
            shown = house.visits[1].tls["peercert"]
            assert shown["error"] == 0 and shown["x509"].subject() == {"CN": "relay.example.org"}
            peer.writer.close()
            world.context = AUTHORITY.trusting()
            world.context.maximum_version = protocol
            world.context.load_cert_chain(*Authority("Others").issue(tmp_path, "forged.example.org"))
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                await world.client(house)
            await house.until(lambda: world.handshakes.get("failed") == 1)

    run(main())


def test_a_certificate_may_be_demanded(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        clients = Authority("Clients")
        world = Secured(tmp_path, client_ca=clients.write(tmp_path / "clients.pem"), client="require")
        async with world.serving() as house:
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                await world.client(house)
            await house.until(lambda: world.handshakes == {"failed": 1})
            world.context.load_cert_chain(*clients.issue(tmp_path, "relay.example.org", common="relay.example.org"))
            (await world.client(house)).writer.close()

    run(main())


def test_a_new_certificate_is_taken_up_and_a_broken_one_is_not(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        world = Secured(tmp_path)

        async def serial(house: House) -> int:
            peer = await world.client(house)
            shown = peer.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
            peer.writer.close()
            return int(shown, 16)

        async with world.serving() as house:
            first = await serial(house)
            AUTHORITY.issue(tmp_path, NAME)
            assert await serial(house) == first, "looked at most every few seconds"
            world.clock.moment += 6
            second = await serial(house)
            assert second != first
            AUTHORITY.issue(tmp_path, "another")
            world.files.key.write_bytes((tmp_path / "another.key").read_bytes())
            world.clock.moment += 6
            assert await serial(house) == second
            (line,) = [line for line in world.log.of("tls") if "problem" in line]
            assert "is not the key of" in str(line["problem"])
            world.clock.moment += 6
            assert await serial(house) == second and len(world.log.of("tls")) == 2, "told once"
            AUTHORITY.issue(tmp_path, NAME)
            assert world.tls.reload()
            assert await serial(house) not in (first, second)

    run(main())


# -- other clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implicit", [False, True])
def test_smtplib_delivers(run: Run, tmp_path: Path, implicit: bool) -> None:
    async def main() -> None:
        world = Secured(tmp_path, implicit=implicit)

        def send(port: int) -> dict[str, tuple[int, bytes]]:
            made = (
                smtplib.SMTP_SSL("127.0.0.1", port, context=world.context)
                if implicit
                else smtplib.SMTP("127.0.0.1", port)
            )
            with made as client:
                if not implicit:
                    assert client.starttls(context=world.context)[0] == 220
                client.login("alice", "secret")
                return client.sendmail("a@example.org", ["b@example.net"], MESSAGE)

        async with world.serving(replace(world.options, auth=("PLAIN", "LOGIN"))) as house:
            assert await asyncio.to_thread(send, house.port) == {}
            assert house.visits[0].messages == [("a@example.org", ("b@example.net",), MESSAGE)]

    run(main())


@pytest.mark.parametrize("implicit", [False, True])
def test_openssl_and_its_renegotiation(run: Run, tmp_path: Path, implicit: bool) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")

    async def main() -> None:
        world = Secured(tmp_path, implicit=implicit)
        ca = AUTHORITY.write(tmp_path / "ca.pem")
        async with world.serving() as house:
            words = ["s_client", "-connect", f"127.0.0.1:{house.port}", "-CAfile", str(ca), "-tls1_2", "-crlf"]
            process = await asyncio.create_subprocess_exec(
                openssl, *words, *([] if implicit else ["-starttls", "smtp"]),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            assert process.stdin is not None and process.stdout is not None
            output = await asyncio.wait_for(process.stdout.readuntil(b"Extended master secret"), 10)
            process.stdin.write(b"R\n")  # renegotiate
            output += await asyncio.wait_for(process.stdout.read(), 10)
            process.stdin.close()
            await process.wait()
            assert b"Verify return code: 0 (ok)" in output and b"Compression: NONE" in output
            assert b"no renegotiation" in output
            await house.until(lambda: house.server.connections == 0)

    run(main())
