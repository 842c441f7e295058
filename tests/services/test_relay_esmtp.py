"""What goes along to a next hop that offers more: DSN, REQUIRETLS, CHUNKING; and several hosts of one destination."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from next_hop import NextHop, listening
from test_outbox import OK, House, run, to, two_hops
from test_relay import MESSAGE, ONE, TAKEN, TWO, deliver

from flowengine.runtime.actions import Reply
from flowengine.services.config import TransportTLS
from flowengine.services.outbox.dsn import MAIL_DSN, RCPT_DSN, passed_on
from flowengine.services.relay import Answer, Pool, Stage, open_first
from flowengine.services.relay.stuffing import counted
from tests.world.certificates import office

CHUNKING = ("PIPELINING", "8BITMIME", "CHUNKING", "DSN")

# -- BDAT -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [True, False])
def test_content_goes_in_one_chunk_as_it_is(eager: bool) -> None:
    async def main() -> None:
        async with listening(NextHop(extensions=CHUNKING)) as hop:
            pool = Pool(hop.settings())
            message = [b"..dots\r\n.\r\n", memoryview(b".\r\nend")]
            for _ in range(2):
                assert await deliver(pool, TWO, message, eager=eager) == (Answer(TAKEN, Stage.END),) * 2
            assert hop.messages[0][2] == b"..dots\r\n.\r\n.\r\nend\r\n" and hop.connections == 1
            assert hop.batches[1].startswith(b"MAIL") and hop.batches[1].endswith(b"RCPT TO:<c@example.net>\r\n")
            assert hop.batches[2].startswith(b"BDAT 19 LAST\r\n..dots")
            await pool.close()

    run(main())


@pytest.mark.parametrize(
    ("chunks", "octets"),
    [
        ([], b""),
        ([b""], b""),
        ([b"a"], b"a\r\n"),
        ([b"a\r", b"\n"], b"a\r\n"),
        ([b"a\r", b"\n", b""], b"a\r\n"),
        ([b"a\n"], b"a\n\r\n"),
        ([b"a\r\n", b"\r"], b"a\r\n\r\r\n"),
    ],
)
def test_a_chunk_has_the_octets_that_it_says(chunks: Sequence[bytes], octets: bytes) -> None:
    assert b"".join(counted(chunks)) == b"BDAT %d LAST\r\n" % len(octets) + octets


@pytest.mark.parametrize(
    ("answers", "code", "uncertain", "connections"),
    [
        ({".": ["550 5.7.1 spam"]}, 550, False, 1),
        ({".": ["452 4.3.1 full"]}, 452, False, 1),
        ({".": ["421 4.3.2 closing"]}, 421, False, 2),
        ({".": ["drop"]}, 451, True, 2),
        ({".": ["silence"]}, 451, True, 2),
        ({"RCPT": ["550 5.1.1 unknown"]}, 550, False, 1),
    ],
    ids=repr,
)
def test_a_chunk_that_is_not_taken(answers: dict[str, Any], code: int, uncertain: bool, connections: int) -> None:
    async def main() -> None:
        async with listening(NextHop(answers, extensions=CHUNKING)) as hop:
            pool = Pool(hop.settings())
            (answer,) = await deliver(pool)
            assert (answer.reply.code, answer.uncertain) == (code, uncertain) and hop.messages == []
            assert await deliver(pool) == (Answer(TAKEN, Stage.END),)
            assert hop.connections == connections
            if connections == 1:
                assert "RSET" in hop.commands, "after a chunk that failed the rest is uncertain"
            await pool.close()

    run(main())


def test_chunks_only_where_they_are_wanted_and_never_with_lmtp() -> None:
    async def main() -> None:
        for change in ({"chunking": False}, {"protocol": "lmtp"}):
            async with listening(NextHop(extensions=CHUNKING, lmtp="protocol" in change)) as hop:
                pool = Pool(hop.settings(**change))
                assert (await deliver(pool))[0].positive
                assert "DATA" in hop.commands
                await pool.close()

    run(main())


# -- DSN and REQUIRETLS -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", [True, False])
def test_parameters_for_reports_go_along_where_they_are_known(offered: bool) -> None:
    async def main() -> None:
        async with listening(NextHop(extensions=("PIPELINING", "DSN") if offered else ("PIPELINING",))) as hop:
            h = House({"one": to(hop)}, {}, 20)
            h.parameters = {"RET": "HDRS", "ENVID": "q+2Bx", "SIZE": "99"}
            h.recipient_parameters = {"b@x": {"NOTIFY": "NEVER", "ORCPT": "rfc822;b+2Bc@y"}, "c@x": {}}
            assert await h.deliver(("b@x", "one"), ("c@x", "one")) == OK
            mail, ret, notify = (
                " RET=HDRS ENVID=q+2Bx",
                "MAIL FROM:<a@example.org>",
                " NOTIFY=NEVER ORCPT=rfc822;b+2Bc@y",
            )
            wanted = [ret + mail, "RCPT TO:<b@x>" + notify] if offered else [ret, "RCPT TO:<b@x>"]
            assert hop.commands[1:4] == [*wanted, "RCPT TO:<c@x>"]
            await h.outbox.close()

    run(main())


def test_a_parameter_cannot_break_out_of_its_command() -> None:
    given = {"ENVID": "a\r\nRCPT TO:<x@y>", "RET": "FULL", "NOTIFY": "a b", "ORCPT": "x" * 501, "SIZE": "1"}
    assert passed_on(given, MAIL_DSN) == " RET=FULL"
    assert passed_on(given, RCPT_DSN) == ""


@pytest.mark.parametrize(
    ("extensions", "names", "expected"),
    [
        (("PIPELINING", "STARTTLS", "REQUIRETLS"), ("127.0.0.1",), OK),
        (("PIPELINING", "STARTTLS"), ("127.0.0.1",), (550, "5.7.30")),
        (("PIPELINING", "STARTTLS", "REQUIRETLS"), ("other.example",), (451, "4.4.0")),
        (("PIPELINING", "REQUIRETLS"), (), (451, "4.4.0")),
    ],
    ids=repr,
)
def test_tls_that_the_sender_required(
    tmp_path_factory: pytest.TempPathFactory, extensions: tuple[str, ...], names: tuple[str, ...], expected: Any
) -> None:
    ca = office(tmp_path_factory.mktemp("tls"))

    async def main() -> None:
        async with listening(NextHop(extensions=extensions, tls=ca.server(*names) if names else None)) as hop:
            h = House({"one": to(hop, tls=TransportTLS(authorities=ca.file))}, {}, 20)
            assert await h.deliver(("a@x", "one")) == OK, "without REQUIRETLS opportunistic TLS will do"
            h.parameters = {"REQUIRETLS": ""}
            reply = await h.deliver(("b@x", "one"))
            assert (reply if reply == OK else (reply.code, reply.enhanced)) == expected
            if reply == OK:
                assert "MAIL FROM:<a@example.org> REQUIRETLS" in hop.commands and hop.encrypted[-1]
            else:
                assert len(hop.messages) == 1
            await h.outbox.close()

    run(main())


def test_where_a_message_went_is_noted_with_its_tls(tmp_path: Path) -> None:
    ca = office(tmp_path)

    async def main() -> None:
        tls = ca.server("x.example")
        async with listening(NextHop({".": "250 2.0.0 queued as Q1"}, ("STARTTLS",), tls=tls)) as hop:
            h = House({"one": to(hop)}, {}, 20)
            assert await h.deliver(("b@x", "one")) == OK
            (about,) = h.deliveries
            assert about.pop("tls", "").startswith("TLSv1.3 TLS_")  # type: ignore[attr-defined]  # a dict
            host = f"127.0.0.1:{hop.port}"
            assert about == {"transport": "one", "host": host, "reply": "250 2.0.0 queued as Q1"}
            await h.outbox.close()

    run(main())


# -- several hosts, many destinations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        {"CONNECT": "drop"},
        {"CONNECT": "421 4.3.2 busy"},
        {"CONNECT": "450 4.7.1 not now"},
        {"CONNECT": "554 5.7.1 no"},
        {"CONNECT": "silence"},
        {"EHLO": "451 4.3.0 no"},
        {"EHLO": "drop"},
        {"MAIL": "421 4.3.2 closing"},
        {"MAIL": "drop"},
        {"RCPT": "421 4.3.2 closing"},
        {"DATA": "drop"},
    ],
    ids=repr,
)
def test_another_host_is_asked_when_one_cannot_be_talked_to(first: dict[str, str]) -> None:
    async def main() -> None:
        async with listening(NextHop(first)) as one, listening(NextHop()) as two:
            pools = [Pool(one.settings()), Pool(two.settings())]
            transaction = await open_first(pools, ONE)
            assert transaction.accepted and (await transaction.send(MESSAGE))[0].positive
            assert (one.messages, len(two.messages)) == ([], 1)
            for pool in pools:
                await pool.close()

    run(main())


@pytest.mark.parametrize(
    "first", [{"MAIL": "550 5.7.1 no"}, {"RCPT": "450 4.2.1 busy"}, {"DATA": "451 4.3.0 no"}], ids=repr
)
def test_an_answer_about_the_message_is_an_answer(first: dict[str, str]) -> None:
    async def main() -> None:
        async with listening(NextHop(first)) as one, listening(NextHop()) as two:
            pools = [Pool(one.settings()), Pool(two.settings())]
            transaction = await open_first(pools, ONE)
            assert not transaction.accepted and two.connections == 0
            for pool in pools:
                await pool.close()

    run(main())


def test_a_silent_host_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowengine.services.relay.pool.SLOW", 0.4)

    async def main() -> None:
        async with listening(NextHop({"CONNECT": ["silence"]})) as hop:
            pool = Pool(hop.settings(rest=0.4))
            loop = asyncio.get_running_loop()
            (first,) = await deliver(pool)
            start = loop.time()
            (second,) = await deliver(pool)
            assert first == second and loop.time() - start < 0.2 and hop.connections == 1
            await asyncio.sleep(0.45)
            assert (await deliver(pool))[0].positive and not pool.resting
            await pool.close()

    run(main())


def test_many_destinations_are_asked_in_turns() -> None:
    async def main() -> None:
        hops = [NextHop() for _ in range(7)]
        hops[5].answers["RCPT"] = ["550 5.1.1 unknown"]

        async def with_hops(left: list[NextHop], done: Callable[[], Awaitable[None]]) -> None:
            if not left:
                await done()
                return
            async with listening(left[0]):
                await with_hops(left[1:], done)

        async def all_there() -> None:
            h = House({f"t{n}": to(hop) for n, hop in enumerate(hops)}, {}, 20)
            h.outbox.destinations = 3
            where = [(f"b{n}@x", f"t{n}") for n in range(7)]
            assert (await h.deliver(*where)).code == 451
            assert [len(hop.messages) for hop in hops] == [1, 1, 1, 1, 1, 0, 1]
            assert await h.deliver(*where) == OK
            assert [len(hop.messages) for hop in hops] == [1] * 7
            await h.outbox.close()

        await with_hops(hops, all_there)

    run(main())


def test_nothing_more_begins_after_the_deadline() -> None:
    async def main() -> None:
        async with two_hops({".": "silence"}, {}, time=0.4) as (one, two, h):
            assert (await h.deliver(("b@x", "one"), ("c@x", "two"))).code == 451
            await asyncio.sleep(0.3)
            assert one.messages == two.messages == []

    run(main())


def test_lmtp_answers_of_both_kinds_are_a_451_and_the_retry_is_for_the_rest() -> None:
    async def main() -> None:
        async with listening(NextHop({". c@x": ["452 4.2.2 full"]}, lmtp=True)) as hop:
            h = House({"one": to(hop, protocol="lmtp")}, {}, 20)
            where = [("b@x", "one"), ("c@x", "one")]
            assert (await h.deliver(*where)).code == 451
            assert await h.deliver(*where) == OK
            assert hop.messages[-1][1] == ("c@x",)
            assert h.deliveries == [{"transport": "one", "host": f"127.0.0.1:{hop.port}", "tls": "",
                                     "reply": str(Reply(250, "2.0.0", "taken"))}]  # fmt: skip
            await h.outbox.close()

    run(main())
