"""Suspensions, policies and figures of the queue, as flows use them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from next_hop import NextHop, listening
from queue_world import NOW, new, opened, put, running
from test_queue import to

from flowengine.mail.addresses import parse_path
from flowengine.mail.message import Message
from flowengine.runtime.queue_view import Letter, PickupPolicy, QueueUnavailable, Suspension
from flowengine.services.queue.model import About
from flowengine.services.queue.pickup import Rule
from flowengine.services.queue.view import View

pytestmark = pytest.mark.anyio


async def test_what_is_suspended_waits_until_the_end(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port), "two": to(hop.port)}) as world:
        pace = world.queue.pace
        name = await pace.suspend({"recipientdomain": "*.example"}, 100, "too many")
        assert await pace.suspend({"recipientdomain": "*.example"}, 200, "longer") == name
        await pace.suspend({"transportid": "two"}, 100)
        await world.send("b@x.example")
        await world.send("c@other.test")
        await world.send("d@other.test", transport="two")
        await world.until(lambda: hop.messages)
        await asyncio.sleep(0.2)
        assert [one[1] for one in hop.messages] == [("c@other.test",)]
        await world.later(101)
        await world.until(lambda: len(hop.messages) == 2)
        await world.later(100)
        await world.empty()
        assert [one[1] for one in hop.messages][1:] == [("d@other.test",), ("b@x.example",)]


async def test_hosts_are_suspended_by_name_and_address(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        await world.queue.pace.suspend({"remoteip": "127.0.0.*"}, 50)
        await world.send("b@x")
        await asyncio.sleep(0.3)
        assert not hop.connections
        await world.later(51)
        await world.empty()
        assert len(hop.messages) == 1


async def test_a_rate_spreads_what_waits(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        await world.queue.pace.limit(["jobid"], {"jobid": "news"}, 10_000, rate=(5, 60))
        for number in range(20):
            await world.send(f"b{number}@x", about=About(jobid="news"))
        await world.send("c@x")
        await world.until(lambda: len(hop.messages) == 6)
        await asyncio.sleep(0.2)
        assert len(hop.messages) == 6
        for _ in range(6):
            before = len(hop.messages)
            await world.later(61)
            await asyncio.sleep(0.4)
            assert len(hop.messages) - before <= 5
        await world.empty()


@pytest.mark.parametrize("field", ["recipientdomain", "remoteip"])
async def test_so_many_at_a_time_over_all_workers(tmp_path: Path, field: str) -> None:
    hop = NextHop(read_slowly=0.02)
    async with listening(hop):
        transports = {"one": to(hop.port, idle=0.0)}
        async with running(tmp_path, transports) as one, running(tmp_path, transports, clock=one.clock) as two:
            await one.queue.pace.limit([field], {}, 10_000, concurrency=2)
            await two.queue.pace.learn()
            for world in (one, two):
                await asyncio.gather(*(world.send(f"b{number}@x") for number in range(6)))
            for _ in range(100):
                await one.later(2)
                two.queue.due()
                await asyncio.sleep(0.02)
                if len(hop.messages) == 12:
                    break
            await one.empty()
            assert hop.most_at_once <= 2 and len(hop.messages) == 12


async def test_places_of_an_entry_are_those_of_all_workers(tmp_path: Path) -> None:
    async with running(tmp_path, {}) as one:
        async with running(tmp_path, {}, clock=one.clock) as two:
            assert await one.queue.pace.connect("1", "ns", "x", 2) and await two.queue.pace.connect("2", "ns", "x", 2)
            assert not await one.queue.pace.connect("3", "ns", "x", 2) and await one.queue.pace.connect(
                "3", "nsx", "", 2
            )
            await one.queue.pace.disconnect("1")
            assert await one.queue.pace.connect("3", "ns", "x", 2)
        assert await one.queue.pace.connect("4", "ns", "x", 2), "a worker that is gone has none"


async def test_a_message_of_our_own(tmp_path: Path) -> None:
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        id_ = await world.queue.submit("", "b@x", "one", [b"Subject: x\r\n\r\nhello\r\n"])
        await world.empty()
        assert hop.messages == [("", ("b@x",), b"Subject: x\r\n\r\nhello\r\n")] and len(id_) == 24


async def test_flows_see_the_queue(tmp_path: Path) -> None:
    view = View()
    with pytest.raises(QueueUnavailable, match="without a queue"):
        await view.metric("count", {})
    async with listening(NextHop()) as hop, running(tmp_path, {"one": to(hop.port)}) as world:
        view.attach(world.queue)
        name = await view.suspend(Suspension({"recipientdomain": "x"}, 60))
        letter = Letter(
            parse_path("<>"), parse_path("<b@x>"), None, Message(b"Subject: x\r\n\r\nhello\r\n"), {"k": "v"}, "job"
        )
        await view.submit(letter)
        await world.until(lambda: not world.queue.slots.active)
        assert await view.metric("count", {"metadata.k": ["v"], "jobid": ["job"]}) == 1 and await view.quota(
            "none"
        ) == (0, 0)
        assert await view.unlimit(name)
        name = await view.limit(PickupPolicy(("jobid",), {}, 60, concurrency=1, about={"tag": "t"}))
        assert (
            await view.unlimit(name)
            and await view.connect("a", "ns", "x", 1)
            and not await view.connect("b", "ns", "x", 1)
        )
        with pytest.raises(QueueUnavailable, match="tenantid"):
            await view.suspend(Suspension({"tenantid": "x"}, 60))
        await world.later(61)
        await world.empty()
        assert hop.messages == [("", ("b@x",), b"Subject: x\r\n\r\nhello\r\n")]


async def test_rules_that_nobody_can_keep_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path, {}) as world:
        pace = world.queue.pace
        with pytest.raises(ValueError, match="colour"):
            await pace.suspend({"colour": "red"}, 1)
        with pytest.raises(ValueError, match="concurrency or rate"):
            await pace.limit(["jobid"], {}, 1)
        name = await pace.limit(["jobid"], {}, 100, concurrency=1)
        assert await pace.unlimit(name) and not await pace.unlimit(name)


def test_rules_have_their_number_and_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowengine.services.queue.sqlite_rules.MOST", 20)
    store = opened(tmp_path)
    with store.transaction():
        for number in range(70):
            store.add_rule("s", Rule({"jobid": str(number)}), NOW + number, NOW, update=False)
    assert len(store.rules(NOW)) == 20
    assert len(store.rules(NOW + 60)) == 9


@pytest.mark.parametrize(("filters", "count"), [
    ({}, 3), ({"senderip": ["192.0.2.1"]}, 2), ({"senderip": ["192.0.2.1", "192.0.2.2"]}, 3), ({"sender": ["A@Example.org"]}, 2),
    ({"senderdomain": ["example.com"]}, 1), ({"recipient": ["b@x"]}, 1), ({"recipientdomain": ["X"]}, 2), ({"transportid": ["mx"]}, 3),
    ({"retry": ["0"]}, 3), ({"metadata.kind": ["news"]}, 2), ({"metadata.kind": [""]}, 1), ({"saslusername": ["alice"]}, 1),
    ({"senderip": ["192.0.2.1"], "recipientdomain": ["x"]}, 2), ({"recipient": []}, 0), ({"metadata.a'b": ["x"]}, 0),
])  # fmt: skip
async def test_figures(tmp_path: Path, filters: dict[str, list[str]], count: int) -> None:
    store = opened(tmp_path)
    put(
        store, new("b@x", "c@x", about=About(client="192.0.2.1", metadata={"kind": "news"}, quotas=("customer", "all")))
    )
    other = About(client="192.0.2.2", user="alice", quotas=("all",))
    put(store, new("d@y", sender="o@example.com", about=other))
    async with running(tmp_path, {}, replace_store(store)) as world:
        pace = world.queue.pace
        assert await pace.metric("count", filters) == count
        if not filters:
            assert await pace.metric("bytes", {}) == 3 * 42
            assert await pace.quota("all") == (3, 126) and await pace.quota("customer") == (2, 84)
            with pytest.raises(ValueError, match="filtered"):
                await pace.metric("count", {"colour": ["red"]})


def replace_store(store: Any) -> Any:
    """A store of its own thread on the same file, on which nothing is due."""
    store.close()
    from flowengine.services.queue.sqlite import SQLiteStore

    class Still(SQLiteStore):
        def wake(self) -> float | None:
            return None

    return Still(store.path.parent)
