"""The relay against next hops that keep to the protocol, and against those that do not."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from next_hop import NextHop, closed_port, listening

from flowengine.runtime.actions import Reply
from flowengine.servers.smtp import loop_factory
from flowengine.servers.smtp.content import Content
from flowengine.servers.smtp.intake import Bounds, Intake
from flowengine.services.relay import Answer, Envelope, Pool, RelaySettings, Stage
from flowengine.services.relay.answers import ReplyReader
from flowengine.services.relay.connection import Connection
from flowengine.services.relay.stuffing import stuffed

LOOPS = {"asyncio": asyncio.new_event_loop}
if loop_factory() is not asyncio.new_event_loop:
    LOOPS["uvloop"] = loop_factory()

ONE = Envelope("a@example.org", ("b@example.net",), 7)
TWO = Envelope("a@example.org", ("b@example.net", "c@example.net"), 7)
MESSAGE = [b"hello\r\n"]
TAKEN = Reply(250, "2.0.0", "taken")


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    def run_it(main: Any) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main, 25))

    return run_it


async def deliver(
    pool: Pool, envelope: Envelope = ONE, chunks: Iterable[bytes] = MESSAGE, **how: Any
) -> tuple[Answer, ...]:
    transaction = await pool.open(envelope, **how)
    if not transaction.accepted:
        await transaction.abort()
        return transaction.answers
    return await transaction.send(chunks)


def test_a_message_takes_three_round_trips_and_the_connection_serves_the_next(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop()) as hop:
            pool = Pool(hop.settings())
            for _ in range(3):
                assert await deliver(pool, TWO) == (Answer(TAKEN, Stage.END), Answer(TAKEN, Stage.END))
            assert hop.connections == 1
            assert hop.messages == [("a@example.org", ("b@example.net", "c@example.net"), b"hello\r\n")] * 3
            envelope = (
                b"MAIL FROM:<a@example.org> SIZE=7\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n"
            )
            assert hop.batches == [b"EHLO mx.example.net\r\n", *[envelope, b"hello\r\n.\r\n"] * 3]
            await pool.close()
            assert hop.commands[-1] == "QUIT" and pool.connections == 0

    run(main())


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("extensions", [("PIPELINING",), ("SIZE 0", "8BITMIME"), ()])
def test_one_command_at_a_time_without_pipelining(
    run: Callable[..., None], extensions: tuple[str, ...], eager: bool
) -> None:
    async def main() -> None:
        async with listening(NextHop(extensions=extensions)) as hop:
            pool = Pool(hop.settings())
            assert await deliver(pool, TWO, eager=eager) == (Answer(TAKEN, Stage.END),) * 2
            if "PIPELINING" not in extensions:
                assert all(batch.count(b"\r\n") == 1 for batch in hop.batches[:-1])
            await pool.close()

    run(main())


def test_an_old_server_gets_helo(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop({"EHLO": "500 what"})) as hop:
            pool = Pool(hop.settings())
            assert await deliver(pool) == (Answer(TAKEN, Stage.END),)
            assert hop.commands[:3] == ["EHLO mx.example.net", "HELO mx.example.net", "MAIL FROM:<a@example.org>"]
            await pool.close()

    run(main())


def test_lmtp_answers_for_each_recipient(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop({". c@example.net": "452 4.2.2 full"}, lmtp=True)) as hop:
            pool = Pool(hop.settings(protocol="lmtp"))
            first, second = await deliver(pool, TWO)
            assert (first.reply, second.reply) == (TAKEN, Reply(452, "4.2.2", "full"))
            assert hop.commands[0] == "LHLO mx.example.net"
            await pool.close()

    run(main())


@pytest.mark.parametrize("eager", [True, False])
def test_each_recipient_has_its_own_answer_and_nothing_is_sent(run: Callable[..., None], eager: bool) -> None:
    async def main() -> None:
        async with listening(NextHop({"RCPT TO:<c@example.net>": "550-5.1.1 no\r\n550 5.1.1 such user"})) as hop:
            pool = Pool(hop.settings())
            first, second = await deliver(pool, TWO, eager=eager)
            assert first == Answer(Reply(250, "2.1.5", "OK"), Stage.RCPT)
            assert second == Answer(Reply(550, "5.1.1", "no\nsuch user"), Stage.RCPT)
            assert hop.messages == []
            assert await deliver(pool, ONE) == (Answer(TAKEN, Stage.END),)
            assert hop.messages == [("a@example.org", ("b@example.net",), b"hello\r\n")]
            assert hop.connections == (2 if eager else 1), "after 354 only closing keeps the message back"
            await pool.close()

    run(main())


def test_a_message_goes_to_the_recipients_that_were_accepted(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop({"RCPT TO:<b@example.net>": "450 4.2.1 busy"})) as hop:
            pool = Pool(hop.settings())
            transaction = await pool.open(TWO)
            first, second = await transaction.send(MESSAGE)
            assert (first.reply.code, second.reply.code) == (450, 250)
            assert hop.messages == [("a@example.org", ("c@example.net",), b"hello\r\n")]
            await pool.close()

    run(main())


def test_354_without_a_recipient_is_answered_with_the_lone_dot(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop({"RCPT": "550 5.1.1 no", "DATA": "354 whatever"})) as hop:
            pool = Pool(hop.settings())
            assert [answer.reply.code for answer in await deliver(pool, TWO)] == [550, 550]
            assert hop.batches[-1] == b".\r\n" and hop.messages == []
            hop.answers.clear()
            assert await deliver(pool) == (Answer(TAKEN, Stage.END),)
            assert hop.connections == 1
            await pool.close()

    run(main())


SILENT, CLOSED, NO_REPLY = (451, "4.4.1"), (451, "4.4.2"), (451, "4.5.0")


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize(
    ("answers", "code", "enhanced", "stage"),
    [
        ({"CONNECT": "554 5.7.1 no"}, 554, "5.7.1", Stage.GREETING),
        ({"CONNECT": "drop"}, *CLOSED, Stage.GREETING),
        ({"CONNECT": "silence"}, *SILENT, Stage.GREETING),
        ({"CONNECT": "garbage"}, *NO_REPLY, Stage.GREETING),
        ({"CONNECT": "220 a\r\n250 b"}, *NO_REPLY, Stage.EHLO),
        ({"EHLO": "drop"}, *CLOSED, Stage.EHLO),
        ({"EHLO": "silence"}, *SILENT, Stage.EHLO),
        ({"EHLO": "garbage"}, *NO_REPLY, Stage.EHLO),
        ({"EHLO": "421 4.3.2 closing"}, 421, "4.3.2", Stage.EHLO),
        ({"EHLO": "500 what", "HELO": "550 5.7.1 no"}, 550, "5.7.1", Stage.EHLO),
        ({"MAIL": "550 5.7.1 no"}, 550, "5.7.1", Stage.MAIL),
        ({"MAIL": "drop"}, *CLOSED, Stage.MAIL),
        ({"MAIL": "silence"}, *SILENT, Stage.MAIL),
        ({"MAIL": "garbage"}, *NO_REPLY, Stage.MAIL),
        ({"MAIL": "421 4.3.2 closing"}, 421, "4.3.2", Stage.MAIL),
        ({"RCPT": "452 4.5.3 many"}, 452, "4.5.3", Stage.RCPT),
        ({"RCPT": "drop"}, *CLOSED, Stage.RCPT),
        ({"RCPT": "silence"}, *SILENT, Stage.RCPT),
        ({"RCPT": "garbage"}, *NO_REPLY, Stage.RCPT),
        ({"RCPT": "250 2.1.5 OK\r\n250 2.1.5 OK\r\n250 2.1.5 OK"}, *NO_REPLY, None),
        ({"RCPT": "421 4.3.2 closing"}, 421, "4.3.2", Stage.RCPT),
        ({"DATA": "451 4.3.0 not now"}, 451, "4.3.0", Stage.DATA),
        ({"DATA": "250 2.0.0 sure"}, *NO_REPLY, Stage.DATA),
        ({"DATA": "drop"}, *CLOSED, None),
        ({"DATA": "silence"}, *SILENT, None),
        ({"DATA": "garbage"}, *NO_REPLY, None),
        ({".": "550 5.7.1 spam"}, 550, "5.7.1", Stage.END),
        ({".": "421 4.3.2 closing"}, 421, "4.3.2", Stage.END),
        ({".": "drop"}, *CLOSED, Stage.END),
        ({".": "silence"}, *SILENT, Stage.END),
        ({".": "garbage"}, *NO_REPLY, Stage.END),
        ({"content": "drop"}, *CLOSED, Stage.END),
    ],
    ids=repr,
)
def test_whatever_a_next_hop_does_is_an_answer(
    answers: dict[str, str], code: int, enhanced: str, stage: Stage | None, eager: bool
) -> None:
    async def main() -> None:
        async with listening(NextHop(dict(answers))) as hop:
            pool = Pool(hop.settings())
            (answer,) = await deliver(pool, eager=eager)
            assert (answer.reply.code, answer.reply.enhanced) == (code, enhanced), answer
            assert stage in (answer.stage, None)
            assert not answer.positive
            assert answer.uncertain == (answer.stage is Stage.END and not answer.heard)
            assert hop.messages == []
            hop.answers.clear()
            assert await deliver(pool, eager=eager) == (Answer(TAKEN, Stage.END),), "and the pool goes on"
            await pool.close()
            assert pool.connections == 0

    asyncio.run(asyncio.wait_for(main(), 20))


def test_nobody_listening_is_an_answer_too(run: Callable[..., None]) -> None:
    async def main() -> None:
        pool = Pool(RelaySettings("127.0.0.1", closed_port()))
        transaction = await pool.open(TWO)
        assert {(a.reply.code, a.reply.enhanced, a.stage, a.heard) for a in transaction.answers} == {
            (451, "4.4.1", Stage.CONNECT, False)
        }
        assert transaction.elsewhere and not transaction.accepted
        await transaction.abort()
        await pool.close()
        unknown = Pool(RelaySettings("no.such.host.invalid"))
        assert (await unknown.open(ONE)).elsewhere
        await unknown.close()

    run(main())


@pytest.mark.parametrize("what", ["drop", "421 4.4.2 idle too long"])
def test_a_kept_connection_that_died_is_replaced_once(run: Callable[..., None], what: str) -> None:
    async def main() -> None:
        async with listening(NextHop({"MAIL": [None, what]})) as hop:
            pool = Pool(hop.settings())
            assert await deliver(pool) == (Answer(TAKEN, Stage.END),)
            assert await deliver(pool) == (Answer(TAKEN, Stage.END),)
            assert hop.connections == 2 and len(hop.messages) == 2
            hop.answers["MAIL"] = what
            (answer,) = await deliver(pool)
            assert not answer.positive and answer.stage is Stage.MAIL
            assert hop.connections == 3, "once"
            await pool.close()

    run(main())


def test_words_that_nobody_asked_for_end_an_idle_connection(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop({".": "250 2.0.0 taken\r\n250 2.0.0 taken"})) as hop:
            pool = Pool(hop.settings())
            await deliver(pool)
            await asyncio.sleep(0.05)
            hop.answers.clear()
            assert await deliver(pool) == (Answer(TAKEN, Stage.END),)
            assert hop.connections == 2
            await pool.close()

    run(main())


def test_connections_are_bounded_and_everybody_gets_a_turn(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop()) as hop:
            pool = Pool(hop.settings(connections=3, messages_per_connection=7))
            answers = await asyncio.gather(*(deliver(pool) for _ in range(60)))
            assert answers == [(Answer(TAKEN, Stage.END),)] * 60
            assert len(hop.messages) == 60 and hop.most_at_once <= 3 + 1  # one may still be saying goodbye
            assert hop.connections >= 60 // 7
            await pool.close()

    run(main())


def test_whoever_gives_up_waiting_takes_no_place_away(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop({"MAIL": ["silence"]})) as hop:
            pool = Pool(hop.settings(connections=1))
            stuck = asyncio.create_task(deliver(pool))
            await asyncio.sleep(0.05)
            waiting = [asyncio.create_task(deliver(pool)) for _ in range(5)]
            await asyncio.sleep(0.01)
            for one in waiting[::2]:
                one.cancel()
            stuck.cancel()
            await asyncio.gather(stuck, *waiting, return_exceptions=True)
            assert [one.result() for one in waiting[1::2]] == [(Answer(TAKEN, Stage.END),)] * 2
            assert await deliver(pool) == (Answer(TAKEN, Stage.END),)
            await pool.close()
            assert pool.connections == 0

    run(main())


def test_an_unused_connection_is_closed_politely(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop()) as hop:
            pool = Pool(hop.settings(idle=0.2))
            await deliver(pool)
            async with asyncio.timeout(5):
                while pool.connections:  # noqa: ASYNC110  # the pool tells nobody
                    await asyncio.sleep(0.02)
            assert hop.commands[-1] == "QUIT"
            await pool.close()

    run(main())


@pytest.mark.parametrize(
    ("envelope", "extensions", "expected"),
    [
        (Envelope("", ("b@example.net",), 9), ("SIZE 10",), "MAIL FROM:<> SIZE=9"),
        (Envelope("", ("b@example.net",), 11), ("SIZE 10",), (552, "5.3.4")),
        (Envelope("", ("b@example.net",), 11), ("SIZE 0",), "MAIL FROM:<> SIZE=11"),
        (Envelope("", ("b@example.net",), 11), ("SIZE",), "MAIL FROM:<> SIZE=11"),
        (Envelope("", ("b@example.net",), 11), ("SIZE ten",), "MAIL FROM:<> SIZE=11"),
        (Envelope("", ("b@example.net",), 9, eight_bit=True), ("8BITMIME",), "MAIL FROM:<> BODY=8BITMIME"),
        (Envelope("", ("b@example.net",), 9, eight_bit=True), (), (554, "5.6.3")),
        (Envelope("jörg@example.org", ("b@example.net",)), ("SMTPUTF8",), "MAIL FROM:<jörg@example.org> SMTPUTF8"),
        (Envelope("jörg@example.org", ("b@example.net",)), (), (550, "5.6.7")),
        (Envelope("joerg@exämple.org", ("b@example.net",)), (), "MAIL FROM:<joerg@xn--exmple-cua.org>"),
        (Envelope("a@exämple.org", ("b@example.net",), utf8_header=True), (), (550, "5.6.7")),
        (Envelope("", ("b@example.net",), utf8_header=True), ("SMTPUTF8",), "MAIL FROM:<> SMTPUTF8"),
        (Envelope("", ("b@example.net>\r\nDATA\r\n<c@d",)), (), (553, "5.1.3")),
        (Envelope("", ("b@example.net> NOTIFY=NEVER <c@d",)), (), (553, "5.1.3")),
        (Envelope("a@b>\r\nRCPT TO:<c@d", ("b@example.net",)), (), (553, "5.1.3")),
        (Envelope('"a > b"@example.org', ("b@example.net",)), (), 'MAIL FROM:<"a > b"@example.org>'),
    ],
    ids=repr,
)
def test_what_the_next_hop_cannot_carry_is_refused_here(
    envelope: Envelope, extensions: tuple[str, ...], expected: Any
) -> None:
    async def main() -> None:
        async with listening(NextHop(extensions=extensions)) as hop:
            pool = Pool(hop.settings())
            (answer,) = await deliver(pool, envelope)
            if isinstance(expected, str):
                assert hop.commands[1] == expected
                assert answer.positive
            else:
                assert (answer.reply.code, answer.reply.enhanced, answer.stage) == (*expected, Stage.ENVELOPE)
                assert not any(command.startswith("MAIL") for command in hop.commands)
            await pool.close()

    asyncio.run(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize("size", [0, 10, 200_000, 3_000_000])
def test_content_arrives_byte_for_byte(run: Callable[..., None], size: int) -> None:
    async def main() -> None:
        line = b".dots. .\r\n..\r\n.\r\n" + bytes(set(range(256)) - {10, 13}) + b"\r\n\r\n"
        message = (line * (size // len(line) + 1))[:size]
        message = message + b"\r\n" if not message.endswith(b"\r\n") else message
        chunks = [message[at : at + 9973] for at in range(0, len(message), 9973)]
        async with listening(NextHop()) as hop:
            pool = Pool(hop.settings(patience=RelaySettings().patience))
            assert await deliver(pool, ONE, [memoryview(chunk) for chunk in chunks]) == (Answer(TAKEN, Stage.END),)
            assert hop.messages[0][2] == message
            await pool.close()

    run(main())


def test_a_next_hop_that_stops_reading_is_given_up_and_may_not_have_the_message(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with listening(NextHop(read_slowly=5)) as hop:
            pool = Pool(hop.settings())
            (answer,) = await deliver(pool, ONE, [b"x" * 998 + b"\r\n"] * 20_000)
            assert (answer.reply.code, answer.reply.enhanced) == SILENT
            assert (answer.stage, answer.uncertain) == (Stage.CONTENT, False)
            await pool.close()

    run(main())


def test_a_refusal_within_the_content_is_heard(run: Callable[..., None]) -> None:
    async def main() -> None:
        async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 x\r\n")
            for reply in (b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                await reader.readuntil(b"\r\n")
                writer.write(reply)
            await reader.readexactly(100_000)
            writer.write(b"552 5.3.4 too large\r\n")
            await asyncio.sleep(5)

        server = await asyncio.start_server(early, "127.0.0.1", 0)
        pool = Pool(RelaySettings("127.0.0.1", server.sockets[0].getsockname()[1]))
        (answer,) = await deliver(pool, ONE, [b"x" * 998 + b"\r\n"] * 30_000)
        assert (answer.reply, answer.stage) == (Reply(552, "5.3.4", "too large"), Stage.CONTENT)
        await pool.close()
        server.close()

    run(main())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\n", b"\r", b"..", b"\r\n.\r\n"]), max_size=20), st.data())
def test_stuffed_content_ends_once_and_is_the_same_again(parts: list[bytes], data: st.DataObject) -> None:
    chunks = [b"".join(parts[at : at + 3]) for at in range(0, len(parts), data.draw(st.sampled_from([3])))]
    message = b"".join(chunks)
    wire = b"".join(stuffed(chunks))
    content = Content(Intake(Bounds()), normalize=True)
    assert content.feed(wire + b"NOOP\r\n") == len(wire)
    assert wire.count(b"\n.\r") + wire.startswith(b".\r") == 1, "no line looks like the end but the end"
    whole = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    if not content.bare:
        assert b"".join(content.intake.octets().buffers(0)) == whole


def test_a_large_message_without_dots_is_not_copied() -> None:
    chunks = [b"x" * 70_000 + b"\r\n", b"y" * 70_000 + b"\r\n"]
    assert [id(buffer) for buffer in stuffed(chunks)[:2]] == [id(chunk) for chunk in chunks]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"250 2.1.0 OK\r\n", [Reply(250, "2.1.0", "OK")]),
        (b"250\r\n", [Reply(250, "", "")]),
        (b"250 \r\n", [Reply(250, "", "")]),
        (b"250-one\r\n250 two\r\n", [Reply(250, "", "one\ntwo")]),
        (b"550-5.1.1 one\r\n550-5.1.1 two\r\n550 5.1.1\r\n", [Reply(550, "5.1.1", "one\ntwo\n")]),
        (b"550 4.1.1 odd\r\n", [Reply(550, "", "4.1.1 odd")]),
        (b"250 a\n354 b\n", [Reply(250, "", "a"), Reply(354, "", "b")]),
        (b"250 \xff\r\n", [Reply(250, "", "\ufffd")]),
    ],
)
def test_replies_are_read(data: bytes, expected: list[Reply]) -> None:
    assert ReplyReader().feed(data) == expected
    reader = ReplyReader()
    assert [reply for octet in data for reply in reader.feed(bytes([octet]))] == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        *(b"25 a", b"hello", b"2500 a", b"250+a", b"250-a\r\n251 b", b"100 a", b"650 a"),
        *(b"250 " + b"x" * 5000, b"250-a\r\n" * 1000),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_reply_is_an_error(data: bytes) -> None:
    reader = ReplyReader()
    assert reader.feed(b"250 before\r\n" + data + b"\r\n250 after\r\n") == [Reply(250, "", "before")]
    assert reader.broken
    assert reader.feed(b"250 later\r\n") == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_replies_or_an_error(chunks: list[bytes]) -> None:
    reader = ReplyReader()
    replies = [reply for chunk in chunks for reply in reader.feed(chunk)]
    assert all(200 <= reply.code <= 599 for reply in replies)


def test_a_greeting_that_comes_before_anybody_waits_for_it_is_the_greeting(run: Callable[..., None]) -> None:
    async def main() -> None:
        connection = Connection(RelaySettings(), lambda _: None)
        connection.data_received(b"220 at once\r\n")
        assert (await connection.greeting()).reply == Reply(220, "", "at once")

    run(main())
