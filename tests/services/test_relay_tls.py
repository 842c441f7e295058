"""TLS and authentication at the next hop: what is sent in clear, what is not, and what a bad host gets out of it."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from next_hop import NextHop, listening

from flowengine.servers.smtp import loop_factory
from flowengine.services.config import SASL, TransportTLS
from flowengine.services.outbox import safety
from flowengine.services.relay import Answer, Envelope, Login, Pool, RelaySettings, Stage
from tests.world.certificates import Office, office

LOOPS = {"asyncio": asyncio.new_event_loop}
if loop_factory() is not asyncio.new_event_loop:
    LOOPS["uvloop"] = loop_factory()

ONE = Envelope("a@example.org", ("b@example.net",), 7)
MESSAGE = [b"hello\r\n"]
OFFERED = ("PIPELINING", "STARTTLS", "8BITMIME", "AUTH PLAIN LOGIN XOAUTH2")
USER = Login("relay", "s3cret")


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    def run_it(main: Any) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main, 25))

    return run_it


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return office(tmp_path_factory.mktemp("tls"))


def towards(hop: NextHop, mode: str, ca: Office, name: str = "mx.example.net", **more: Any) -> Pool:
    tls = TransportTLS(mode=mode, authorities=ca.file, implicit=hop.implicit)  # type: ignore[arg-type]  # one of them
    return Pool(hop.settings(encryption=safety.encryption(tls, name), **more))


async def deliver(pool: Pool, envelope: Envelope = ONE) -> Answer:
    transaction = await pool.open(envelope)
    if not transaction.accepted:
        await transaction.abort()
        return transaction.answers[0]
    return (await transaction.send(MESSAGE))[0]


def hop(ca: Office, *names: str, answers: dict[str, Any] | None = None, **more: Any) -> NextHop:
    given = {"extensions": OFFERED, **more}
    return NextHop(answers or {}, tls=ca.server(*names) if names else None, **given)


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("mode", ["may", "require", "verify"])
def test_with_tls_the_message_comes_encrypted(
    run: Callable[..., None], ca: Office, mode: str, implicit: bool, protocol: str
) -> None:
    async def main() -> None:
        next_hop = hop(ca, "mx.example.net", implicit=implicit, lmtp=protocol == "lmtp")
        async with listening(next_hop) as one:
            pool = towards(one, mode, ca, protocol=protocol)
            for _ in range(2):
                assert (await deliver(pool)).positive
            transaction = await pool.open(ONE)
            assert transaction.tls.startswith("TLSv1.3 TLS_")
            await transaction.abort()
            assert one.encrypted == [True, True] and one.connections == 1
            assert one.server_names == ["mx.example.net"]
            hello = "LHLO" if protocol == "lmtp" else "EHLO"
            before = [] if implicit else [f"{hello} mx.example.net", "STARTTLS"]
            assert one.commands[: len(before) + 1] == [*before, f"{hello} mx.example.net"]
            await pool.close()

    run(main())


@pytest.mark.parametrize(
    ("mode", "names", "answers", "encrypted", "connections"),
    [
        ("off", ("mx.example.net",), {}, False, 1),
        ("may", (), {"STARTTLS": "454 4.7.0 not now"}, False, 1),
        ("may", (), {"STARTTLS": "220 go on"}, False, 2),  # and speaks no TLS then
        ("may", (), {"STARTTLS": "drop"}, False, 2),
        ("may", ("mx.example.net",), {"STARTTLS": "220 a\r\n250 injected"}, False, 2),
        ("may", ("mx.example.net",), {"STARTTLS": b"220 a\r\n25"}, False, 2),
        ("may", ("other.example",), {}, True, 1),
        ("require", ("other.example",), {}, True, 1),
        ("verify", ("*.example.net",), {}, True, 1),
    ],
    ids=repr,
)
def test_opportunistic_tls_goes_on_without_and_never_believes_what_came_before(
    run: Callable[..., None],
    ca: Office,
    mode: str,
    names: tuple[str, ...],
    answers: dict[str, Any],
    encrypted: bool,
    connections: int,
) -> None:
    async def main() -> None:
        async with listening(hop(ca, *names, answers=answers)) as one:
            pool = towards(one, mode, ca)
            assert (await deliver(pool)).positive
            assert (await deliver(pool)).positive
            assert one.encrypted == [encrypted] * 2 and one.connections == connections
            await pool.close()
            assert pool.connections == 0

    run(main())


@pytest.mark.parametrize(
    ("mode", "names", "answers", "told"),
    [
        ("require", None, {}, "offers no TLS"),
        ("verify", None, {}, "offers no TLS"),
        ("require", (), {"STARTTLS": "454 4.7.0 not now"}, "not now"),
        ("require", (), {"STARTTLS": "501 5.5.4 what"}, "what"),
        ("require", (), {"STARTTLS": "drop"}, "closed the connection"),
        ("require", (), {"STARTTLS": "220 go on"}, "127.0.0.1"),
        ("require", ("mx.example.net",), {"STARTTLS": "220 a\r\n250 injected"}, "nobody asked"),
        ("require", ("mx.example.net",), {"STARTTLS": b"220 a\r\n25"}, "before TLS"),
        ("require", ("mx.example.net",), {"STARTTLS": b"220 a\r\n250-half\r\n"}, "before TLS"),
        ("verify", ("other.example",), {}, "mismatch"),
        ("verify", ("mx.common.example",), {}, "mismatch"),
        ("verify", ("*.example",), {}, "mismatch"),
    ],
    ids=repr,
)
def test_required_tls_that_cannot_be_had_defers(
    run: Callable[..., None],
    ca: Office,
    mode: str,
    names: tuple[str, ...] | None,
    answers: dict[str, Any],
    told: str,
) -> None:
    async def main() -> None:
        offered = OFFERED if names is not None else ("PIPELINING",)
        async with listening(hop(ca, *(names or ()), answers=answers, extensions=offered)) as one:
            pool = towards(one, mode, ca)
            answer = await deliver(pool)
            assert answer.stage is Stage.TLS and told in answer.reply.text, answer
            assert one.messages == [] and not any(command.startswith("MAIL") for command in one.commands)
            assert pool.resting
            await pool.close()
            assert pool.connections == 0

    run(main())


def test_a_certificate_of_an_unknown_authority_is_none(run: Callable[..., None], ca: Office, tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(hop(Office(tmp_path), "mx.example.net")) as one:
            pool = towards(one, "verify", ca)
            answer = await deliver(pool)
            assert (answer.reply.code, answer.stage) == (451, Stage.TLS) and "mismatch" not in answer.reply.text
            await pool.close()

    run(main())


def test_an_address_is_named_by_the_certificate_too(run: Callable[..., None], ca: Office) -> None:
    async def main() -> None:
        async with listening(hop(ca, "127.0.0.1")) as one:
            pool = towards(one, "verify", ca, "127.0.0.1")
            assert (await deliver(pool)).positive and one.server_names == [None]
            await pool.close()

    run(main())


def test_a_client_certificate_is_shown_when_asked_for(run: Callable[..., None], ca: Office) -> None:
    async def main() -> None:
        context = ca.server("mx.example.net")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca.file)
        certificate, key = ca.issue("client.example")
        async with listening(NextHop(extensions=OFFERED, tls=context)) as one:
            tls = TransportTLS(mode="require", certificate=certificate, key=key)
            pool = Pool(one.settings(encryption=safety.encryption(tls, "mx.example.net")))
            assert (await deliver(pool)).positive
            await pool.close()

    run(main())


def test_a_server_that_only_speaks_an_old_tls_is_refused(run: Callable[..., None], ca: Office) -> None:
    async def main() -> None:
        context = ca.server("mx.example.net")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with listening(NextHop(extensions=OFFERED, tls=context)) as one:
            encryption = safety.encryption(TransportTLS(mode="require", minimum="1.3"), "mx.example.net")
            pool = Pool(one.settings(encryption=encryption))
            assert (await deliver(pool)).stage is Stage.TLS
            await pool.close()

    run(main())


def test_a_handshake_that_stalls_ends(run: Callable[..., None], ca: Office) -> None:
    async def main() -> None:
        async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 x\r\n")
            for reply in (b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n"):
                await reader.readuntil(b"\r\n")
                writer.write(reply)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(stall, "127.0.0.1", 0)
        one = NextHop(port=server.sockets[0].getsockname()[1])
        pool = towards(one, "require", ca)
        answer = await deliver(pool)
        assert answer.stage is Stage.TLS and answer.reply.code == 451
        assert pool.connections == 0
        giving_up = asyncio.create_task(deliver(towards(one, "require", ca)))
        await asyncio.sleep(0.1)
        giving_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving_up
        await pool.close()
        server.close()

    run(main())


# -- authentication ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2"])
def test_we_authenticate_under_tls(run: Callable[..., None], ca: Office, mechanism: str) -> None:
    async def main() -> None:
        offered = ("PIPELINING", "STARTTLS", f"AUTH CRAM-MD5 {mechanism}")
        async with listening(hop(ca, "mx.example.net", users={"relay": "s3cret"}, extensions=offered)) as one:
            login = replace(USER, mechanisms=(mechanism,) if mechanism == "XOAUTH2" else USER.mechanisms)
            pool = towards(one, "require", ca, login=login)
            assert (await deliver(pool)).positive and (await deliver(pool)).positive
            said = [command for command in one.commands if command.startswith("AUTH")]
            assert len(said) == 1 and said[0].split()[1] == mechanism
            assert one.commands.index(said[0]) > one.commands.index("STARTTLS")
            await pool.close()

    run(main())


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2"])
def test_refused_credentials_are_not_offered_again_at_once(
    run: Callable[..., None], ca: Office, mechanism: str
) -> None:
    async def main() -> None:
        offered = ("STARTTLS", f"AUTH {mechanism}")
        async with listening(hop(ca, "mx.example.net", users={"relay": "other"}, extensions=offered)) as one:
            pool = towards(one, "require", ca, login=replace(USER, mechanisms=(mechanism,)))
            for _ in range(2):
                answer = await deliver(pool)
                assert (answer.reply.code, answer.stage) == (535, Stage.AUTH)
            assert one.connections == 1 and one.messages == []
            assert "s3cret" not in repr(pool.settings)
            await pool.close()

    run(main())


@pytest.mark.parametrize(
    ("extensions", "answers", "told"),
    [
        (("AUTH CRAM-MD5",), {}, "offers none of PLAIN LOGIN"),
        ((), {}, "offers none of PLAIN LOGIN"),
        (("AUTH PLAIN",), {"AUTH": "454 4.7.0 later"}, "later"),
        (("AUTH PLAIN",), {"AUTH": "drop"}, "closed"),
        (("AUTH PLAIN",), {"AUTH": "334 more"}, "out of order"),
    ],
    ids=repr,
)
def test_no_authentication_no_mail(
    run: Callable[..., None], ca: Office, extensions: tuple[str, ...], answers: dict[str, str], told: str
) -> None:
    async def main() -> None:
        async with listening(hop(ca, answers=answers, extensions=extensions, users={"relay": "s3cret"})) as one:
            pool = Pool(one.settings(login=USER))  # loopback: no TLS needed
            answer = await deliver(pool)
            assert answer.stage is Stage.AUTH and told in answer.reply.text and not answer.positive
            assert one.messages == []
            await pool.close()

    run(main())


def test_no_password_goes_over_a_network_in_clear(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    from flowengine.services.relay.connection import Connection

    monkeypatch.setattr(Connection, "private", False)  # what a next hop on another machine is

    async def main() -> None:
        async with listening(NextHop(extensions=("AUTH PLAIN",), users={"relay": "s3cret"})) as one:
            pool = Pool(one.settings(login=USER))
            answer = await deliver(pool)
            assert answer.stage is Stage.AUTH and not any(command.startswith("AUTH") for command in one.commands)
            await pool.close()
            login = safety.login(SASL("relay", "s3cret", allow_plaintext=True))
            allowed = Pool(one.settings(login=login))
            assert (await deliver(allowed)).positive
            await allowed.close()

    run(main())


# -- large messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["CHUNKING", "8BITMIME"])
def test_a_large_message_arrives_by_tls_byte_for_byte(run: Callable[..., None], ca: Office, extension: str) -> None:
    async def main() -> None:
        async with listening(hop(ca, "mx.example.net", extensions=("STARTTLS", extension))) as one:
            pool = towards(one, "verify", ca, patience=RelaySettings().patience)
            message = b"".join(b".%d\r\n%s\r\n" % (number, b"x" * 970) for number in range(3000))
            transaction = await pool.open(ONE._replace(size=len(message)))
            chunks = [memoryview(message)[at : at + 100_003] for at in range(0, len(message), 100_003)]
            assert (await transaction.send(chunks))[0].positive
            assert one.messages[0][2] == message and one.encrypted == [True]
            await pool.close()

    run(main())


def test_a_next_hop_that_stops_reading_tls_is_given_up(run: Callable[..., None], ca: Office) -> None:
    async def main() -> None:
        async with listening(hop(ca, "mx.example.net", read_slowly=5)) as one:
            pool = towards(one, "require", ca)
            transaction = await pool.open(ONE)
            (answer,) = await transaction.send([b"x" * 998 + b"\r\n"] * 20_000)
            assert (answer.reply.code, answer.reply.enhanced, answer.stage) == (451, "4.4.1", Stage.CONTENT)
            assert not answer.uncertain
            await pool.close()

    run(main())
