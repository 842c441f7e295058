"""TLS and a password towards the next hop: our own server on the other side, and one that lies."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from flowengine.services.config import TransportTLS
from flowengine.services.outbox.safety import _context, encryption
from flowengine.services.relay import Envelope, Login, Pool, RelaySettings, Stage
from flowengine.services.relay.connection import Connection
from flowengine.services.tls import server_context
from tests.servers.test_smtp_server import OPTIONS, serving
from tests.servers.test_smtp_tls import certificate, options_of, play  # noqa: F401  # a fixture
from tests.services.next_hop import QUICK, NextHop, listening

ONE = Envelope("a@example.org", ("b@example.net",), 7)
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


@asynccontextmanager
async def pool(port, tmp_path, tls="may", name="127.0.0.1", implicit=False, **changed):
    asked = TransportTLS(mode=tls, implicit=implicit, authorities=tmp_path / "cert.pem")
    _context.cache_clear()  # the next test has another certificate under the same name
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "helo": "out.example.net",
        "patience": replace(QUICK, command=5, end=5),
    }
    one = Pool(RelaySettings(**{**settings, "encryption": encryption(asked, name), **changed}))
    try:
        yield one
    finally:
        await one.close()


async def deliver(one, content=MESSAGE):
    transaction = await one.open(ONE)
    if all(answer.positive for answer in transaction.answers):
        return await transaction.send([content])
    return transaction.answers


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("tls", ["may", "require"])
def test_a_message_goes_out_encrypted_and_the_connection_serves_the_next(tmp_path, play, tls, implicit):  # noqa: F811
    async def main():
        async with serving(options_of(tmp_path, implicit_tls=implicit)) as house:
            async with pool(house.port, tmp_path, tls, implicit=implicit) as one:
                large = MESSAGE + b"x" * 70 + b"\r\n" * 100_000
                for content in (MESSAGE, large):
                    (answer,) = await deliver(one, content)
                    assert answer.positive, answer
            visit = house.visits[0]
            assert [event[0] for event in visit.events].count("tls") == 1
            assert [content for _, _, content in visit.messages] == [MESSAGE, large]
            assert len(house.visits) == 1

    play(main)


def test_a_certificate_must_name_the_host_and_come_from_somebody_we_trust(tmp_path, play):  # noqa: F811
    async def main():
        async with serving(options_of(tmp_path)) as house, pool(house.port, tmp_path, "verify") as one:
            (answer,) = await deliver(one)
            assert (answer.reply.code, answer.reply.enhanced, answer.stage) == (451, "4.7.5", Stage.TLS)
            assert "IP address mismatch" in answer.reply.text
        (tmp_path / "named").mkdir()
        async with serving(
            options_of(
                tmp_path / "named",
            )
        ) as house:
            certificate(tmp_path)  # another one, of nobody that we know of
            async with pool(house.port, tmp_path, "verify") as one:
                (answer,) = await deliver(one)
                assert not answer.positive and answer.reply.code == 451

    play(main)


def test_verify_succeeds_with_the_right_name(tmp_path, play):  # noqa: F811
    async def main():
        tls = certificate(tmp_path, "localhost")
        house = serving(replace(OPTIONS, tls=server_context(tls)))
        async with house as house, pool(house.port, tmp_path, "verify", name="localhost") as one:
            (answer,) = await deliver(one)
            assert answer.positive, answer

    play(main)


@pytest.mark.parametrize(("tls", "code"), [("may", 250), ("require", 451), ("verify", 451)])
def test_a_next_hop_without_tls(tmp_path, play, tls, code):  # noqa: F811
    certificate(tmp_path)

    async def main():
        async with serving() as house, pool(house.port, tmp_path, tls) as one:
            (answer,) = await deliver(one)
            assert answer.reply.code == code
            assert bool(house.visits[0].messages) is (code == 250)

    play(main)


@pytest.mark.parametrize(("tls", "arrived"), [("may", 1), ("require", 0)])
@pytest.mark.parametrize("lie", ["220 go on\r\n250 said too early", "220 go on"])
def test_a_next_hop_that_promises_tls_and_speaks_plain_text(tmp_path, play, tls, arrived, lie):  # noqa: F811
    certificate(tmp_path)

    async def main():
        hop = NextHop(answers={"STARTTLS": lie}, extensions=("STARTTLS",))
        async with listening(hop), pool(hop.port, tmp_path, tls, patience=QUICK) as one:
            (answer,) = await asyncio.wait_for(deliver(one), 10)
            assert len(hop.messages) == arrived, "in clear text only on a new connection, where that is allowed"
            assert answer.positive is bool(hop.messages) and (answer.positive or answer.reply.code == 451)

    play(main)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_we_say_who_we_are_under_tls(tmp_path, play, mechanism):  # noqa: F811
    async def main():
        async with serving(options_of(tmp_path, auth=(mechanism,))) as house:
            async with pool(house.port, tmp_path, login=Login("relay", "secret")) as one:
                assert (await deliver(one))[0].positive
            assert ("auth", f"{mechanism} relay secret") in house.visits[0].events
            async with pool(house.port, tmp_path, login=Login("relay", "wrong")) as one:
                (answer,) = await deliver(one)
                assert (answer.stage, answer.reply.code) == (Stage.AUTH, 535)
                assert house.visits[1].messages == []

    play(main)


def test_a_password_is_never_said_in_clear_text_to_another_machine(tmp_path, play, monkeypatch):  # noqa: F811
    certificate(tmp_path)
    monkeypatch.setattr(Connection, "private", False)

    async def main():
        hop = NextHop(extensions=("AUTH PLAIN LOGIN",))
        async with listening(hop), pool(hop.port, tmp_path, login=Login("relay", "secret")) as one:
            (answer,) = await deliver(one)
            assert answer.reply.code == 451 and not any("AUTH" in command for command in hop.commands)

    play(main)


def test_a_login_shows_no_password():
    assert "secret" not in repr(Login("relay", "secret"))
