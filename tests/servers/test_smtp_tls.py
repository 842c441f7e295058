"""TLS at the door: STARTTLS and from the first byte, and what a client must not be able to smuggle past it."""

import asyncio
import contextlib
import smtplib
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from flowengine.servers.smtp import Options
from flowengine.servers.smtp.listener import loop_factory
from flowengine.services.config.listeners import ListenerTLS
from flowengine.services.tls import UnusableTLS, days_left, server_context
from tests.servers.test_smtp_server import OPTIONS, serving
from tests.world.certificates import Authority

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def certificate(folder: Path) -> ListenerTLS:
    """A certificate as files, and in `authority.pem` that of who vouches for it."""
    return ListenerTLS(*Authority(folder).issue("mx.example.net"))


@pytest.fixture(params=["asyncio", "fastest"])
def play(request):
    factory = asyncio.new_event_loop if request.param == "asyncio" else loop_factory()

    def run(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(main(), 30))

    return run


def options_of(folder: Path, **changed) -> Options:
    return replace(OPTIONS, tls=server_context(certificate(folder)), **changed)


def client_context(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "authority.pem")
    context.check_hostname = False
    return context


def test_a_client_encrypts_authenticates_and_sends(tmp_path, play):
    async def main():
        def send():
            with smtplib.SMTP("127.0.0.1", house.port, timeout=10) as client:
                client.ehlo("before")
                assert client.has_extn("starttls") and not client.has_extn("auth")
                client.starttls(context=client_context(tmp_path))
                assert client.docmd("MAIL FROM:<a@example.org>")[0] == 503, "what was said before is forgotten"
                client.ehlo("after")
                assert not client.has_extn("starttls") and client.has_extn("auth") and client.has_extn("requiretls")
                assert client.docmd("STARTTLS")[0] == 502
                client.login("alice", "secret")
                client.sendmail("a@example.org", ["b@example.net"], MESSAGE * 50_000)

        async with serving(options_of(tmp_path, auth=("PLAIN", "LOGIN"))) as house:
            await asyncio.to_thread(send)
            visit = house.visits[0]
            assert [event[0] for event in visit.events][:4] == ["connect", "ehlo", "tls", "ehlo"]
            assert visit.messages[0][2] == MESSAGE * 50_000

    play(main)


def test_tls_from_the_first_byte(tmp_path, play):
    async def main():
        def send():
            with smtplib.SMTP_SSL("127.0.0.1", house.port, context=client_context(tmp_path), timeout=10) as client:
                client.ehlo("c.example")
                assert not client.has_extn("starttls")
                client.sendmail("a@example.org", ["b@example.net"], MESSAGE)

        async with serving(options_of(tmp_path, implicit_tls=True)) as house:
            await asyncio.to_thread(send)
            assert house.visits[0].events[0][0] == "tls" and house.visits[0].messages
            # somebody who speaks plain text is sent away, and nobody else notices
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(b"EHLO c.example\r\n")
            assert b"250" not in await reader.read(1000)
            writer.close()
            await asyncio.to_thread(send)

    play(main)


@pytest.mark.parametrize(
    "behind", [b"RSET\r\n", b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.net>\r\n", b"x" * 9000]
)
def test_commands_behind_starttls_are_not_carried_out(tmp_path, play, behind):
    """CVE-2011-0411: text that a man in the middle puts in front of what the client says under TLS."""

    async def main():
        async with serving(options_of(tmp_path)) as house:
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            await reader.readline()
            writer.write(b"EHLO c\r\nSTARTTLS\r\n" + behind)
            while not (await reader.readline()).startswith(b"220 "):
                pass
            context = client_context(tmp_path)
            await writer.start_tls(context)
            writer.write(b"EHLO inside\r\nQUIT\r\n")
            said = await reader.read()
            assert said.count(b"\r\n") > 3 and b"221 2.0.0" in said
            assert b"503" not in said and b"500" not in said and b"250 2.1" not in said
            assert [event for event in house.visits[0].events if event[0] == "mail"] == []
            writer.close()

    play(main)


def test_a_handshake_that_fails_or_never_comes_ends_the_connection(tmp_path, play):
    async def main():
        options = options_of(tmp_path)
        options = replace(options, limits=replace(options.limits, handshake_time=0.3))
        async with serving(options) as house:
            for answer in (b"no handshake at all\r\n", b""):
                reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
                await reader.readline()
                writer.write(b"EHLO c\r\nSTARTTLS\r\n")
                while not (await reader.readline()).startswith(b"220 "):
                    pass
                writer.write(answer)
                with contextlib.suppress(ConnectionError):
                    assert b"250" not in await reader.read()
                writer.close()
            await house.until(lambda: house.server.connections == 0)
            assert [name for name, _ in house.reported].count("smtp.handshake") == 2

    play(main)


def test_starttls_where_it_does_not_belong(tmp_path, play):
    async def main():
        async with serving(options_of(tmp_path)) as house:
            peer = await house.client()
            assert (await peer.say(b"STARTTLS now\r\n"))[0].startswith("501 ")
            assert (await peer.say(b"MAIL FROM:<a@example.org>\r\n"))[0].startswith("250 ")
            assert (await peer.say(b"STARTTLS\r\n"))[0].startswith("503 ")
            peer.writer.close()
        async with serving() as house:
            peer = await house.client()
            assert (await peer.say(b"STARTTLS\r\n"))[0].startswith("502 ")
            peer.writer.close()

    play(main)


def test_certificates_that_cannot_be_used_are_named(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    good, foreign = certificate(tmp_path), certificate(other)
    with pytest.raises(UnusableTLS, match="is not the key of"):
        server_context(ListenerTLS(good.certificate, foreign.key))
    (tmp_path / "rubbish.pem").write_text("rubbish")
    with pytest.raises(UnusableTLS, match="no certificate and key"):
        server_context(ListenerTLS(tmp_path / "rubbish.pem", good.key))
    assert 0.9 < days_left(good.certificate) < 1.1
    assert days_left(tmp_path / "rubbish.pem") is None


def test_old_versions_are_not_spoken(tmp_path):
    context = server_context(replace(certificate(tmp_path), minimum="1.3"))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert server_context(certificate(tmp_path)).minimum_version is ssl.TLSVersion.TLSv1_2
