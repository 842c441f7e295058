"""A running queue and real next hops: what goes out, what waits, what goes back, and what is never lost."""

import asyncio
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from next_hop import NextHop, closed_port, listening
from queue_world import CONTENT, NOW, running

from flowengine.mail.dkim import verify
from flowengine.mail.message import Message
from flowengine.services.config import DSN, Timeouts, Transport
from flowengine.services.config import NextHop as Hop
from flowengine.services.config.queue import QueueRules
from flowengine.services.fakes import FakeClock
from flowengine.services.queue.desk import Choice, Desk
from flowengine.services.queue.desk_sqlite import SQLiteWindow
from flowengine.services.queue.model import About, StoreFull, StoreTrouble
from flowengine.services.queue.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio
QUICK = Timeouts(connect=0.5, greeting=0.5, command=0.5, data=0.5, end=5.0)


def to(port: int, **changes: Any) -> Transport:
    fields: dict[str, Any] = {"host": (Hop("127.0.0.1", port),), "timeouts": QUICK, "rest": 0.0, "retry": (60, 300)}
    return Transport(**{**fields, **changes})


async def test_a_message_goes_out_at_once_and_leaves_no_trace(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        id_ = await world.send("b@x", "c@y", sender="a@example.org")
        await world.until(lambda: hop.messages)
        await world.empty()
        assert hop.messages == [("a@example.org", ("b@x", "c@y"), CONTENT)]
        (line,) = world.log.of("attempt")
        assert line["id"] == id_ and line["delivered"] == ["b@x", "c@y"] and line["host"] == f"127.0.0.1:{hop.port}"
        assert world.counters.sums["attempts", (("result", "delivered"), ("transport", "one"))] == 2


async def test_a_message_is_on_disk_before_anybody_hears_of_it(tmp_path: Path) -> None:
    async with (
        listening(NextHop(answers={"CONNECT": "silence"})) as hop,
        running(tmp_path, {"one": to(hop.port)}) as world,
    ):
        id_ = await world.send("b@x")
        with Desk(SQLiteWindow(tmp_path)) as desk:
            (one,) = desk.entries(Choice((id_,)), 10)
            assert (one.state, one.id) == ("active", f"{id_}-1") and b"".join(desk.content(one.message)) == CONTENT


async def test_trouble_is_tried_again_when_it_is_time(tmp_path: Path) -> None:
    hop = NextHop(answers={"RCPT TO:<c@y>": ["451 4.7.1 later", "250 ok"]})
    async with listening(hop), running(tmp_path, {"one": to(hop.port)}) as world:
        await world.send("b@x", "c@y")
        await world.until(lambda: world.log.of("attempt"))
        assert world.log.of("attempt")[0]["replies"] == {"c@y": "451 4.7.1 later"}
        await asyncio.sleep(0.1)
        assert len(hop.messages) == 1
        await world.later(70)
        await world.empty()
        assert [one[1] for one in hop.messages] == [("b@x",), ("c@y",)]


async def test_a_dead_host_is_asked_again_and_mail_comes_when_it_lives(tmp_path: Path) -> None:
    port = closed_port()
    async with running(tmp_path, {"one": to(port)}) as world:
        for number in range(30):
            await world.send(f"b{number}@x")
        await world.until(lambda: len(world.log.of("attempt")) >= 1)
        await asyncio.sleep(0.2)
        await world.until(lambda: not world.queue.slots.active)
        tried = len(world.log.of("attempt"))
        assert tried <= 25, "who comes later waits for one that tries"
        hop = NextHop(port=port)
        async with listening(hop):
            await world.later(1000)  # it rests longer each time that an attempt in between failed
            await world.empty()
            assert len({one[1] for one in hop.messages}) == len(hop.messages) == 30


@pytest.mark.parametrize("answers", [{"CONNECT": "silence"}, {"EHLO": "drop"}, {"MAIL": "garbage"}, {"RCPT": "silence"}, {"DATA": "drop"},
                                     {"content": "drop"}, {".": "drop"}, {".": "garbage"}, {".": "421 4.3.2 bye"}])  # fmt: skip
async def test_a_next_hop_that_breaks_at_any_step_loses_nothing(tmp_path: Path, answers: dict[str, str]) -> None:
    hop = NextHop(answers=dict(answers))
    async with listening(hop), running(tmp_path, {"one": to(hop.port)}) as world:
        await world.send("b@x")
        await world.until(lambda: world.log.of("attempt"))
        assert not hop.messages
        hop.answers.clear()
        await world.later(100)
        await world.empty()
        assert [one[1] for one in hop.messages] == [("b@x",)]
        uncertain = world.counters.sums.get(("deliveries", (("result", "duplicate"), ("transport", "one"))), 0)
        assert bool(uncertain) == (answers in ({".": "drop"}, {".": "garbage"}, {"content": "drop"}))


async def test_what_is_refused_goes_back_to_its_sender(tmp_path: Path) -> None:
    hop = NextHop(answers={"RCPT TO:<b@x>": "550 5.1.1 no such user"})
    async with listening(hop), running(tmp_path, {"one": to(hop.port)}) as world:
        id_ = await world.send("b@x", "c@y", dsn=" ORCPT=rfc822;old@x", about=About(dsn=" ENVID=E1"))
        await world.until(lambda: len(hop.messages) == 2)
        await world.empty()
        (bounce,) = [one for one in hop.messages if one[0] == ""]
        assert bounce[1] == ("a@example.org",)
        for text in (b"Final-Recipient: rfc822; b@x\r\n", b"Original-Recipient: rfc822; old@x\r\n", b"Original-Envelope-Id: E1\r\n",
                     b"Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n", b"\r\nhello\r\n", b"To: <a@example.org>\r\n"):  # fmt: skip
            assert text in bounce[2]
        assert b"c@y" not in bounce[2]
        (line,) = world.log.of("report")
        assert (line["about"], line["action"]) == (id_, "failed")


@pytest.mark.parametrize(("sender", "dsn", "about"), [
    ("", "", About()), ("a@example.org", " NOTIFY=NEVER", About()), ("a@example.org", " NOTIFY=SUCCESS,DELAY", About()),
    ("a@example.org", "", About(report=True)),
])  # fmt: skip
async def test_nobody_is_told_who_must_not_be(tmp_path: Path, sender: str, dsn: str, about: About) -> None:
    hop = NextHop(answers={"RCPT TO:<b@x>": "550 5.1.1 no such user"})
    async with listening(hop), running(tmp_path, {"one": to(hop.port)}) as world:
        await world.send("b@x", sender=sender, dsn=dsn, about=about)
        await world.empty()
        assert not world.log.of("report") and not hop.messages
        assert bool(world.log.of("dropped")) == (not dsn)


async def test_success_is_reported_where_the_next_hop_does_not(tmp_path: Path) -> None:
    plain, knows = NextHop(), NextHop(extensions=("DSN",))
    async with (
        listening(plain),
        listening(knows),
        running(tmp_path, {"plain": to(plain.port), "knows": to(knows.port)}) as world,
    ):
        await world.send("b@x", transport="plain", dsn=" NOTIFY=SUCCESS", about=About(dsn=" RET=FULL"))
        await world.send("c@x", transport="knows", dsn=" NOTIFY=SUCCESS")
        await world.until(lambda: world.log.of("report"))
        await world.empty()
        ((_, _, content),) = [one for one in plain.messages if one[0] == ""]
        assert b"Action: relayed\r\n" in content and b"Status: 2.0.0\r\n" in content and b"hello" not in content
        assert "RCPT TO:<c@x> NOTIFY=SUCCESS" in knows.commands and len(knows.messages) == 1


async def test_a_late_message_is_told_of_once_and_an_expired_one_returned(tmp_path: Path) -> None:
    hop = NextHop(answers={"RCPT TO:<b@x>": "451 4.2.1 full"})
    patient = {"retry": (600,), "expire": 5000}
    rules = QueueRules(delay_notice=1000)
    async with listening(hop), running(tmp_path, {"one": to(hop.port, **patient)}, queue=rules) as world:
        await world.send("b@x")
        for attempt in range(1, 4):
            await world.until(
                lambda attempt=attempt: len(world.log.of("attempt")) - len(world.log.of("report")) >= attempt
            )
            await world.later(661)
        await world.until(lambda: [one["action"] for one in world.log.of("report")] == ["delayed"])
        await world.later(3100)
        await world.until(lambda: len(world.log.of("report")) == 2)
        await world.empty()
        delayed, failed = (one[2] for one in hop.messages)
        assert (
            b"Action: delayed\r\n" in delayed and b"Will-Retry-Until: " in delayed and b"Status: 4.2.1\r\n" in delayed
        )
        assert b"Action: failed\r\n" in failed and b"Status: 5.4.7\r\n" in failed


async def test_a_report_does_not_tell_where_our_hosts_are(tmp_path: Path) -> None:
    port = closed_port()
    async with (
        listening(NextHop()) as hop,
        running(
            tmp_path,
            {"one": to(port, expire=100), "back": to(hop.port)},
            dsn=DSN("bounces@example.net", transport="back"),
        ) as world,
    ):
        await world.send("b@x")
        await world.until(lambda: world.log.of("attempt"))
        await world.later(101)
        await world.empty()
        content = hop.messages[0][2]
        assert b"Status: 5.4.7\r\n" in content and b"The next hop could not take it" in content
        assert b"127.0.0.1" not in content and str(port).encode() not in content


async def test_reports_are_signed_by_the_key_of_dsn(tmp_path: Path) -> None:
    from flowengine.mail.keys import PrivateKey
    from flowengine.services.config import PKI
    from flowengine.services.fakes import FakeKeys, FakeResolver

    key = PrivateKey.generate("ed25519")
    hop = NextHop(answers={"RCPT TO:<b@x>": "550 5.1.1 no such user"})
    settings = {"dsn": DSN("bounces@example.net", "pki:k"), "pki": {"k": PKI(selector="s1", domain="example.net")}}
    async with listening(hop), running(tmp_path, {"one": to(hop.port)}, keys=FakeKeys({"k": key}), **settings) as world:
        await world.send("b@x")
        await world.until(lambda: hop.messages)
        content = hop.messages[0][2]
        assert b"From: Mail Delivery System <bounces@example.net>" in content
        resolver = FakeResolver({"s1._domainkey.example.net": key.record()})
        (result,) = await verify(Message(content), resolver, now=NOW)
        assert result.result == "pass", result


async def test_a_delayed_delivery_waits_for_its_time(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        await world.send("b@x", delay=300)
        await asyncio.sleep(0.2)
        assert not hop.messages
        await world.later(301)
        await world.empty()
        assert len(hop.messages) == 1


async def test_what_is_held_waits_for_somebody(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        id_ = await world.send("b@x", hold=True)
        await world.later(500)
        await asyncio.sleep(0.2)
        assert not hop.messages
        with Desk(SQLiteWindow(tmp_path)) as desk:
            assert [one.state for one in desk.entries(Choice((id_,)), 10)] == ["held"]
            assert list(desk.order("release", Choice((id_,)))) == [(1, 0)]
        world.queue.due()
        await world.empty()
        assert len(hop.messages) == 1


async def test_a_sink_takes_what_was_delayed(tmp_path: Path) -> None:
    async with running(tmp_path, {"sink": Transport(sink=tmp_path / "sink")}) as world:
        await world.send("b@x", delay=10, transport="sink")
        await world.later(11)
        await world.empty()
        assert next((tmp_path / "sink").glob("*.eml")).read_bytes() == CONTENT


async def test_a_transport_that_is_no_more_keeps_its_mail(tmp_path: Path) -> None:
    async with running(tmp_path, {}) as world:
        await world.send("b@x", transport="gone")
        await world.until(lambda: world.log.of("attempt"))
        assert world.log.of("attempt")[0]["reply"].startswith("451 4.3.5")
        assert (await world.queue.committer.read(lambda store: store.stand())).queued == 1


async def test_a_changed_body_is_parked_and_told(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        await world.send("b@x", delay=10)
        await world.send("c@x", delay=10)
        with sqlite3.connect(tmp_path / "queue.db") as database:
            database.execute("update message set body = x'00' where id = 1")
        await world.later(11)
        await world.until(lambda: hop.messages and world.log.of("parked"))
        assert [one[1] for one in hop.messages] == [("c@x",)]


async def test_large_messages_lie_in_files_and_arrive_whole(tmp_path: Path) -> None:
    content = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 40_000
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        await world.send("b@x", content=content, delay=10)
        (body,) = (tmp_path / "queue").glob("*-*")
        assert body.stat().st_size == len(content)
        await world.later(11)
        await world.empty()
        assert hop.messages[0][2] == content and not body.exists()


async def test_messages_of_many_sessions_share_a_commit(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        committer = world.queue.committer
        before = committer.commits
        await asyncio.gather(*(world.send(f"b{number}@x") for number in range(200)))
        assert committer.commits - before < 50
        await world.empty()
        assert len(hop.messages) == 200


async def test_one_change_that_fails_does_not_take_the_others_along(tmp_path: Path) -> None:
    async with running(tmp_path, {"one": to(closed_port())}, queue=QueueRules(entries=5)) as world:
        sent = await asyncio.gather(*(world.send(f"b{number}@x") for number in range(9)), return_exceptions=True)
        assert sum(isinstance(one, StoreFull) for one in sent) == 4
        assert (await world.queue.committer.read(lambda store: store.stand())).queued == 5


class Failing(SQLiteStore):
    """A store whose disk has its days."""

    broken = False

    def put(self, new: Any) -> Any:
        if self.broken:
            raise StoreTrouble("disk I/O error")
        return super().put(new)

    def settle(self, *args: Any) -> None:
        if self.broken:
            raise StoreFull("database or disk is full")
        super().settle(*args)


async def test_a_disk_that_fails_when_a_delivery_is_written_down_makes_no_duplicate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowengine.services.queue.attempts.AGAIN", 0.05)
    store = Failing(tmp_path)
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}, store) as world:
        await world.send("b@x", delay=5)
        store.broken = True
        await world.later(6)
        await world.until(lambda: hop.messages)
        with pytest.raises(StoreTrouble):
            await world.send("c@x")
        await asyncio.sleep(0.2)
        store.broken = False
        await world.empty()
        assert [one[1] for one in hop.messages] == [("b@x",)]
        assert len(world.log.of("queue storage")) == 1, "it complains now and then"


@pytest.mark.parametrize(
    "where", ["flowengine.services.queue.attempts.Relayed.send", "flowengine.mail.delivery_status.Report.render"]
)
async def test_a_mistake_of_ours_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a mistake")

    hop = NextHop(answers={"RCPT TO:<b@x>": "550 5.1.1 no such user"})
    async with listening(hop), running(tmp_path, {"one": to(hop.port)}) as world:
        with monkeypatch.context() as patched:
            patched.setattr(where, fails)
            await world.send("b@x", "c@x")
            await world.until(lambda: world.log.of("attempt failed"))
            await asyncio.sleep(0.1)
        await world.later(1000)
        await world.empty()
        assert sorted(one[1] for one in hop.messages) == [("a@example.org",), ("c@x",)]


async def test_who_does_not_wait_for_the_disk_is_served_all_the_same(tmp_path: Path) -> None:
    class Slow(SQLiteStore):
        def put(self, new: Any) -> Any:
            time.sleep(0.3)
            return super().put(new)

    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}, Slow(tmp_path)) as world:
        sent = asyncio.create_task(world.send("b@x"))
        await asyncio.sleep(0.1)
        sent.cancel()
        await world.until(lambda: hop.messages)
        await world.empty()
        await world.until(lambda: not world.queue.slots.active)


async def test_a_mistake_in_a_look_does_not_end_the_looking(tmp_path: Path) -> None:
    class Mistaken(SQLiteStore):
        mistakes = 2

        def claim(self, *args: Any) -> Any:
            self.mistakes -= 1
            if self.mistakes >= 0:
                raise RuntimeError("a mistake")
            return super().claim(*args)

    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}, Mistaken(tmp_path)) as world:
        await world.send("b@x", delay=5)
        await world.later(6)
        await world.empty()
        assert len(world.log.of("queue")) == 2


async def test_a_slow_disk_holds_up_nobody_but_who_waits_for_it(tmp_path: Path) -> None:
    class Slow(SQLiteStore):
        def put(self, new: Any) -> Any:
            time.sleep(0.3)
            return super().put(new)

    async with running(tmp_path, {"one": to(closed_port())}, Slow(tmp_path)) as world:
        began = time.monotonic()
        sent = asyncio.create_task(world.send("b@x"))
        longest = 0.0
        while not sent.done():
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before)
        assert time.monotonic() - began >= 0.3 and longest < 0.2


async def test_a_few_dead_places_do_not_keep_mail_from_the_living(tmp_path: Path) -> None:
    """Half of many destinations keep silent; the others get theirs long before the silent ones have timed out."""
    from flowengine.services.fakes import FakeResolver

    silent = NextHop(answers={"CONNECT": "silence"}, host="127.0.0.3")
    async with listening(NextHop()) as hop:
        silent.port = hop.port
        zone: dict[tuple[str, str], Any] = {}
        for number in range(200):
            zone[f"d{number}.example", "mx"] = [f"10 mx{number % 2}.example."]
        zone["mx0.example", "a"], zone["mx1.example", "a"] = ["127.0.0.1"], ["127.0.0.3"]
        for host in ("mx0.example", "mx1.example"):
            zone[host, "aaaa"] = "empty"
        patient = replace(QUICK, greeting=5.0)
        transport = Transport(mx=True, port=hop.port, timeouts=patient, rest=0.0, connections=400)
        async with (
            listening(silent),
            running(
                tmp_path,
                {"one": transport},
                queue=QueueRules(deliveries=50),
                network=_loopback(),
                dns=FakeResolver(zone),
                clock=Ticking(NOW),
            ) as world,
        ):
            for number in range(200):
                await world.send(f"b@d{number}.example")
            await world.until(lambda: len(hop.messages) == 100, 12)
            assert world.queue.slots.active, "the silent ones are still being waited for"


class Ticking(FakeClock):
    """A clock whose monotonic side goes on by itself."""

    def monotonic(self) -> float:
        return time.monotonic()


def _loopback() -> Any:
    from ipaddress import ip_network

    from flowengine.services.config import NetworkRules

    return NetworkRules((ip_network("127.0.0.0/8"),))


async def test_at_the_end_attempts_finish_and_the_rest_is_given_back(tmp_path: Path) -> None:
    hop = NextHop(answers={"RCPT TO:<b@x>": "silence"})
    async with listening(hop):
        async with running(tmp_path, {"one": to(hop.port, timeouts=replace(QUICK, command=20.0))}) as world:
            await world.send("b@x")
            await world.until(lambda: "RCPT TO:<b@x>" in hop.commands)
        hop.answers.clear()
        async with running(tmp_path, {"one": to(hop.port)}) as world:
            await world.empty()
            assert [one[1] for one in hop.messages] == [("b@x",)]


async def test_two_workers_deliver_each_message_once(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop:
        transports = {"one": to(hop.port, connections=5)}
        async with running(tmp_path, transports) as one, running(tmp_path, transports) as two:
            await asyncio.gather(
                *(world.send(f"b{number}@{world is one}") for number in range(100) for world in (one, two))
            )
            await one.empty()
            assert len(hop.messages) == len({message[1] for message in hop.messages}) == 200
