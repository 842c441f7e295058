"""The outbox: everybody is asked before anybody gets the message, and a retry delivers to nobody twice."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from next_hop import NextHop, closed_port, listening

from flowengine.mail.addresses import parse_path
from flowengine.mail.edits import InsertField
from flowengine.mail.message import Message
from flowengine.runtime.actions import Deliver, Kept, Quarantine, Reply
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.services import Services
from flowengine.runtime.visit import Client, Connection, Recipient, Transaction
from flowengine.runtime.world import World
from flowengine.services import files
from flowengine.services.config import Config, QuarantineStore, Timeouts, Transport
from flowengine.services.config import NextHop as Hop
from flowengine.services.fakes import fake_services
from flowengine.services.outbox import Memory, Outbox
from flowengine.services.outbox.remembered import Remembered

OK = Reply(250, "2.0.0", "OK")
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
QUICK = Timeouts(connect=0.5, greeting=0.5, command=0.5, data=0.5, end=5.0)


class House:
    """An outbox with the transports of a test, and one client that sends through it."""

    def __init__(self, transports: dict[str, Transport], quarantine: dict[str, QuarantineStore], time: float) -> None:
        config = Config(hostname="mx.example.net", transports=transports, quarantine=quarantine)  # type: ignore[arg-type]
        self.parameters: dict[str, str] = {}
        self.recipient_parameters: dict[str, dict[str, str]] = {}
        self.use(replace(config, limits=replace(config.limits, transaction_time=time)), fake_services())
        self.connection = Connection(Client("192.0.2.1"), "inbound", helo="client.example", helo_verb="EHLO")

    def use(self, config: Config, services: Services, memory: Memory | None = None) -> None:
        """Another configuration, another world, another memory."""
        self.config, self.services = config, services
        self.outbox = Outbox(config, services, memory)

    async def commit(self, *kept: Kept, message: Message, reply: Reply = OK) -> Reply:
        world = World(self.services)
        transaction = Transaction("t1", 1_700_000_000.0, world, parse_path("<a@example.org>"), ip="192.0.2.1")
        transaction.parameters = self.parameters
        for address, parameters in self.recipient_parameters.items():
            transaction.recipients.append(Recipient(parse_path(f"<{address}>"), parameters))
        self.deliveries = transaction.deliveries
        return await self.outbox.commit(self.connection, Outcome(transaction, message, reply, (), kept, "Deliver"))

    async def deliver(self, *where: tuple[str, str], content: bytes = CONTENT, reply: Reply = OK) -> Reply:
        message = Message(content)
        return await self.commit(
            *(delivery(message, address, way) for address, way in where), message=message, reply=reply
        )

    def counted(self, result: str) -> float:
        sums = self.services.counters.sums  # type: ignore[attr-defined]  # a fake's
        return sum(n for (name, labels), n in sums.items() if name == "deliveries" and dict(labels)["result"] == result)

    def logged(self, event: str) -> list[dict[str, object]]:
        return self.services.log.of(event)  # type: ignore[attr-defined,no-any-return]  # a fake's


def delivery(message: Message, recipient: str, transport: str | None, **more: Any) -> Deliver:
    about = {"reply": OK, "message": message, "sender": "a@example.org", "recipient": recipient, **more}
    return Deliver(transportid=transport, **about)


def to(*hops: NextHop | int, **more: Any) -> Transport:
    ports = [hop if isinstance(hop, int) else hop.port for hop in hops]
    return Transport(host=tuple(Hop("127.0.0.1", port) for port in ports), **{"timeouts": QUICK, **more})


@asynccontextmanager
async def house(time: float = 20, quarantine: Path | None = None, **transports: Transport) -> AsyncIterator[House]:
    stores = {"spam": QuarantineStore(quarantine)} if quarantine else {}
    found = House(transports, stores, time)
    try:
        yield found
    finally:
        await found.outbox.close()


@asynccontextmanager
async def two_hops(
    first: dict[str, Any], second: dict[str, Any], time: float = 20, **more: Any
) -> AsyncIterator[tuple[NextHop, NextHop, House]]:
    """A house with the transports "one" and "two", and the next hops behind them."""
    async with listening(NextHop(first)) as one, listening(NextHop(second)) as two:  # noqa: SIM117  # two needs one
        async with house(time, one=to(one, **more), two=to(two)) as found:
            yield one, two, found


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def bodies(hop: NextHop) -> list[tuple[str, tuple[str, ...], bytes]]:
    """What arrived, without our trace field, which must be on top of each."""
    found = []
    for sender, recipients, content in hop.messages:
        trace, _, rest = content.partition(b" id t1;\r\n\t")
        assert trace == b"Received: from client.example ([192.0.2.1])\r\n\tby mx.example.net with ESMTP"
        found.append((sender, recipients, rest.partition(b"\r\n")[2]))
    return found


def test_recipients_of_the_same_content_by_the_same_way_go_together() -> None:
    async def main() -> None:
        async with listening(NextHop()) as one, listening(NextHop()) as two, house(one=to(one), two=to(two)) as h:
            assert await h.deliver(("b@x", "one"), ("c@x", "one"), ("d@x", "two")) == OK
            assert bodies(one) == [("a@example.org", ("b@x", "c@x"), CONTENT)]
            assert bodies(two) == [("a@example.org", ("d@x",), CONTENT)]
            assert h.counted("delivered") == 3

    run(main())


def test_edits_and_senders_of_their_own_go_apart() -> None:
    async def main() -> None:
        async with listening(NextHop()) as one, house(one=to(one)) as h:
            message = Message(CONTENT)
            edited = message.edit(InsertField(0, "X-Scanned", "yes"))
            kept = (
                delivery(message, "b@x", "one"),
                delivery(edited, "c@x", "one"),
                delivery(message, "d@x", "one", sender=""),
                delivery(message.edit(InsertField(0, "X-Scanned", "yes")), "e@x", "one"),
            )
            assert await h.commit(*kept, message=message) == OK
            assert sorted(bodies(one)) == [
                ("", ("d@x",), CONTENT),
                ("a@example.org", ("b@x",), CONTENT),
                ("a@example.org", ("c@x", "e@x"), b"X-Scanned: yes\r\n" + CONTENT),
            ]

    run(main())


@pytest.mark.parametrize(
    ("answers", "reply"),
    [
        ({"RCPT": "550 5.1.1 unknown"}, Reply(550, "5.1.1", "unknown")),
        ({"RCPT": "450 4.2.1 busy"}, Reply(450, "4.2.1", "busy")),
        ({"RCPT": "421 4.3.2 closing"}, Reply(451, "4.3.2", "closing")),
        ({"RCPT": "550 unknown"}, Reply(550, "5.0.0", "unknown")),
        ({"MAIL": "553 5.1.8 bad sender"}, Reply(553, "5.1.8", "bad sender")),
        ({"DATA": "554 5.7.1 no"}, Reply(554, "5.7.1", "no")),
        ({".": "550 5.7.1 spam"}, Reply(550, "5.7.1", "spam")),
        ({".": "452 4.3.1 full"}, Reply(452, "4.3.1", "full")),
        # how we speak to the next hop is our trouble, not the client's
        ({"CONNECT": "554 5.7.1 no"}, Reply(451, "4.4.0", "Cannot be delivered now, try again later")),
        ({"EHLO": "550 no", "HELO": "550 no"}, Reply(451, "4.4.0", "Cannot be delivered now, try again later")),
        ({"MAIL": "530 5.7.0 authenticate"}, Reply(451, "4.4.0", "Cannot be delivered now, try again later")),
        ({"RCPT": "503 5.5.1 order"}, Reply(451, "4.4.0", "Cannot be delivered now, try again later")),
        ({"MAIL": "drop"}, Reply(451, "4.4.0", "Cannot be delivered now, try again later")),
        ({".": "garbage"}, Reply(451, "4.4.0", "Cannot be delivered now, try again later")),
    ],
    ids=repr,
)
def test_the_next_hops_word_about_the_message_reaches_the_client(answers: dict[str, Any], reply: Reply) -> None:
    async def main() -> None:
        async with listening(NextHop(answers)) as one, house(one=to(one)) as h:
            assert await h.deliver(("b@x", "one")) == reply
            assert one.messages == []
            assert h.counted("refused" if reply.code >= 500 else "deferred") == 1
            (line,) = h.logged("not delivered")
            assert line["recipient"] == "b@x" and line["id"] == "t1"

    run(main())


@pytest.mark.parametrize(
    ("first", "second", "code", "text"),
    [
        ("550 5.1.1 unknown", None, 550, "<b@x>: unknown"),
        (None, "450 4.2.1 busy", 450, "<c@x>: busy"),
        ("550 5.1.1 unknown", "551 5.1.6 moved", 550, "<b@x>: unknown"),
        ("550 5.1.1 unknown", "450 4.2.1 busy", 450, "<c@x>: busy"),
        ("450 4.2.1 busy", "550 5.1.1 unknown", 450, "<b@x>: busy"),
    ],
)
def test_one_refused_recipient_keeps_the_message_from_all(
    first: str | None, second: str | None, code: int, text: str
) -> None:
    async def main() -> None:
        async with two_hops({"RCPT": first}, {"RCPT": second}) as (one, two, h):
            reply = await h.deliver(("b@x", "one"), ("c@x", "two"))
            assert (reply.code, reply.text) == (code, text)
            assert one.messages == two.messages == []
            one.answers.clear()
            two.answers.clear()
            await asyncio.sleep(0.05)  # the goodbye to the envelope goes on while the client has its reply
            assert await h.deliver(("b@x", "one"), ("c@x", "two")) == OK, "and the connections are as good as new"
            assert one.connections == two.connections == 1
            assert len(one.messages) == len(two.messages) == 1

    run(main())


def test_what_went_out_before_a_failure_is_not_sent_again() -> None:
    async def main() -> None:
        async with two_hops({}, {".": ["451 4.3.0 not now"]}) as (one, two, h):
            where = [("b@x", "one"), ("c@x", "two")]
            reply = await h.deliver(*where)
            assert (reply.code, reply.enhanced) == (451, "4.4.0")
            assert (len(one.messages), len(two.messages)) == (1, 0)
            assert await h.deliver(*where, content=CONTENT + b"another\r\n") == OK, "only the same octets are the same"
            assert (len(one.messages), len(two.messages)) == (2, 1)
            assert await h.deliver(*where) == OK
            assert (len(one.messages), len(two.messages)) == (2, 2)
            assert h.counted("remembered") == 1
            assert await h.deliver(*where) == OK, "a client that missed our 250 may come once more"
            assert (len(one.messages), len(two.messages)) == (2, 3)

    run(main())


def test_a_refusal_by_the_first_keeps_the_others_from_getting_it() -> None:
    async def main() -> None:
        async with two_hops({".": "550 5.7.1 spam"}, {}) as (one, two, h):
            assert await h.deliver(("b@x", "one"), ("c@x", "two")) == Reply(550, "5.7.1", "spam")
            assert one.messages == two.messages == []

    run(main())


def test_a_refusal_for_good_after_one_has_it_is_a_451_and_goes_on_being_one() -> None:
    async def main() -> None:
        async with two_hops({}, {".": "550 5.7.1 spam"}) as (one, _two, h):
            assert (await h.deliver(("b@x", "one"), ("c@x", "two"))).code == 451
            assert await h.deliver(("b@x", "one"), ("c@x", "two")) == Reply(550, "5.7.1", "spam")
            assert len(one.messages) == 1, "b had it, and only c is refused"

    run(main())


def test_several_hosts_are_tried_in_order() -> None:
    async def main() -> None:
        busy = {"CONNECT": "421 4.3.2 busy"}
        async with two_hops(busy, {}) as (one, two, _), listening(NextHop()) as three:
            h = House({"one": to(closed_port(), one, two, three)}, {}, 20)
            assert await h.deliver(("b@x", "one")) == OK
            assert (one.connections, len(two.messages), three.connections) == (1, 1, 0)
            two.answers["RCPT"] = "450 4.2.1 busy"
            assert (await h.deliver(("b@x", "one"))).code == 450
            assert three.connections == 0, "an answer about the message is an answer"
            await h.outbox.close()

    run(main())


def test_nobody_there_is_a_451_that_names_no_host() -> None:
    async def main() -> None:
        async with house(one=to(closed_port(), closed_port())) as h:
            reply = await h.deliver(("b@x", "one"))
            assert reply.code == 451 and "127" not in reply.text
            assert "127.0.0.1" in str(h.logged("not delivered"))

    run(main())


def test_a_message_that_takes_too_long_is_a_451_and_what_comes_later_is_remembered() -> None:
    class Late(NextHop):
        async def _content(self, lines: Any) -> bytes:
            content = await super()._content(lines)
            if not self.messages:
                await asyncio.sleep(1.0)
            return content

    async def main() -> None:
        async with listening(Late()) as one, house(0.3, one=to(one)) as h:
            reply = await h.deliver(("b@x", "one"))
            assert (reply.code, reply.enhanced) == (451, "4.4.0")
            assert h.counted("duplicate") == 1
            await asyncio.sleep(1.2)
            assert len(one.messages) == 1, "nothing is cancelled after the dot"
            assert await h.deliver(("b@x", "one")) == OK
            assert len(one.messages) == 1

    run(main())


def test_a_slow_envelope_is_called_off_in_time() -> None:
    async def main() -> None:
        slow = Timeouts(connect=9, greeting=9, command=9, data=9, end=9)
        async with two_hops({"RCPT": ["silence"]}, {}, 0.3, timeouts=slow) as (_one, two, h):
            assert (await h.deliver(("b@x", "one"), ("c@x", "two"))).enhanced == "4.4.5"
            assert two.messages == []
            assert await h.deliver(("b@x", "one"), ("c@x", "two")) == OK

    run(main())


def test_a_cancelled_commit_lets_the_message_arrive() -> None:
    async def main() -> None:
        async with listening(NextHop({"CONNECT": None})) as one, house(one=to(one)) as h:
            task = asyncio.create_task(h.deliver(("b@x", "one")))
            while "DATA" not in one.commands:  # noqa: ASYNC110  # the next hop tells nobody
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.1)
            assert len(one.messages) in (0, 1)
            assert await h.deliver(("b@x", "one")) == OK
            assert len(one.messages) == 1, "either it was called off whole, or it is known to have arrived"

    run(main())


def test_eight_bit_content_and_utf8_are_seen() -> None:
    async def main() -> None:
        async with listening(NextHop(extensions=("SIZE 1000",))) as one, house(one=to(one)) as h:
            assert await h.deliver(("b@x", "one"), content="Subject: x\r\n\r\nü\r\n".encode()) == Reply(
                554, "5.6.3", "The next hop cannot carry 8-bit content"
            )
            assert (await h.deliver(("b@x", "one"), content=b"x" * 2000)).enhanced == "5.3.4"
            assert one.messages == []

    run(main())


def test_a_delay_or_no_transport_is_a_451_and_said_in_the_log() -> None:
    async def main() -> None:
        async with listening(NextHop()) as one, house(one=to(one)) as h:
            message = Message(CONTENT)
            reply = await h.commit(delivery(message, "b@x", "one", delay=60), message=message)
            assert (reply.code, reply.enhanced) == (451, "4.3.5")
            for transport in (None, "other"):
                reply = await h.commit(
                    delivery(message, "b@x", "one"), delivery(message, "c@x", transport), message=message
                )
                assert (reply.code, reply.enhanced) == (451, "4.3.5")
            assert one.messages == []
            assert len(h.logged("no transport")) == 2

    run(main())


def test_nothing_kept_is_nothing_to_do() -> None:
    async def main() -> None:
        async with house() as h:
            refusal = Reply(550, "5.7.1", "no")
            assert await h.commit(message=Message(CONTENT), reply=refusal) == refusal

    run(main())


def read(directory: Path) -> list[tuple[bytes, dict[str, Any]]]:
    return [
        (path.read_bytes(), json.loads(path.with_suffix(".json").read_text()))
        for path in sorted(directory.glob("*.eml"))
    ]


def test_a_sink_keeps_what_would_have_left_and_for_whom(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(sink=Transport(sink=tmp_path / "deep" / "sink")) as h:
            assert await h.deliver(("b@x", "sink"), ("c@x", "sink"), content=b".dot\r\n\r\nno end") == OK
            ((content, about),) = read(tmp_path / "deep" / "sink")
            assert content.startswith(b"Received: from client.example ([192.0.2.1])\r\n\tby mx.example.net")
            assert content.endswith(b"\r\n.dot\r\n\r\nno end")
            assert about["sender"] == "a@example.org" and about["recipients"] == ["b@x", "c@x"]
            assert about["transaction"] == "t1" and about["client"] == "192.0.2.1"
            assert list((tmp_path / "deep" / "sink" / "tmp").iterdir()) == []
            for path in (tmp_path / "deep" / "sink").iterdir():
                assert path.stat().st_mode & 0o077 == 0, "mail is nobody else's"

    run(main())


def test_a_quarantine_keeps_the_message_as_it_stood(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(quarantine=tmp_path / "spam") as h:
            message = Message(CONTENT).edit(InsertField(0, "X-Spam", "yes"))
            refusal = Reply(550, "5.7.1", "spam")
            about: dict[str, Any] = {"reply": refusal, "message": message, "sender": "a@example.org"}
            kept = [Quarantine(id="spam", recipient=one, metadata={"score": "9"}, **about) for one in ("b@x", "c@x")]
            assert await h.commit(*kept, message=message, reply=refusal) == refusal
            ((content, found),) = read(tmp_path / "spam")
            assert content == b"X-Spam: yes\r\n" + CONTENT
            assert found["recipients"] == ["b@x", "c@x"] and found["metadata"] == {"score": "9"}
            other = Quarantine(id="other", recipient="b@x", **about)
            assert (await h.commit(other, message=message, reply=refusal)).code == 451, (
                "what is not kept is not refused"
            )

    run(main())


@pytest.mark.parametrize("call", ["mkdir", "open", "fsync", "rename", "second fsync"])
def test_a_disk_that_fails_is_a_451_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    where = tmp_path / "sink"
    calls = 0

    def broken(*_arguments: Any, **_more: Any) -> Any:
        raise OSError(28, "No space left on device")

    def sometimes(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= 5:
            broken()

    async def main() -> None:
        async with listening(NextHop()) as one, house(sink=Transport(sink=where), one=to(one)) as h:
            if call == "mkdir":
                where.write_text("a file where a directory should be")
            elif call == "rename":
                monkeypatch.setattr(Path, "rename", broken)
            elif call == "second fsync":
                monkeypatch.setattr(files.os, "fsync", sometimes)
            else:
                monkeypatch.setattr(files.os, call, broken)
            reply = await h.deliver(("b@x", "sink"), ("c@x", "one"))
            assert reply.code == 451, "trouble of ours is always a 4xx"
            assert one.messages == [], "the disk comes first"
            assert h.logged("cannot write")
            monkeypatch.undo()
            if call == "mkdir":
                where.unlink()
            assert list(where.rglob("*.eml")) == list(where.rglob("*.json")) == []
            assert await h.deliver(("b@x", "sink"), ("c@x", "one")) == OK
            assert len(read(where)) == len(one.messages) == 1

    run(main())


def test_everything_is_synced_before_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", note)
    kept = files.MessageFiles(tmp_path / "q")
    name = kept.keep([CONTENT], {})
    assert synced[-3:] == [f"{name}.json", f"{name}.eml", "q"]


def test_memory_is_bounded_in_number_and_time() -> None:
    async def main() -> None:
        now = [0.0]
        memory = Remembered(lambda: now[0], seconds=10, entries=3)
        fates = [(bytes([n]), "a", "b", "way", 0) for n in range(5)]
        for number, fate in enumerate(fates):
            await memory.add([fate], 100 + number)
        await memory.add([fates[4]], 104)
        assert len(memory) == 3
        assert await memory.known(fates) == set(fates[2:])
        assert not memory.may_know(100) and memory.may_know(104)
        now[0] = 11
        assert not memory.may_know(104) and len(memory) == 0

    run(main())
