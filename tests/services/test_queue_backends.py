"""What every storage of the queue promises, played on each: SQLite, and PostgreSQL where it is installed."""

import asyncio

import pytest
from queue_backends import Backend
from queue_world import CONTENT, NOW, claim, content, new, put, settle

from flowengine.services.queue.desk import Choice, Desk
from flowengine.services.queue.model import About, Gone, Later, NewEntry, Parked, Rest, StoreFull
from flowengine.services.queue.pickup import Rule
from flowengine.services.queue.store import Store


def test_what_is_put_is_claimed_as_it_was_and_only_once(backend: Backend) -> None:
    one, two = backend.opened(), backend.opened()
    message = new("b@x", "c@x", "d@y", about=About(eight_bit=True, metadata={"k": "v"}, dsn=" RET=HDRS"))
    assert put(one, message) == []
    jobs = claim(one)
    assert {tuple(entry.recipient for entry in job.entries) for job in jobs} == {("b@x", "c@x"), ("d@y",)}
    assert all(
        (job.sender, job.transaction, job.about) == (message.sender, message.transaction, message.about) for job in jobs
    )
    assert content(two, jobs[0].message) == CONTENT
    assert claim(two) == [] and claim(one) == []


def test_what_is_taken_at_once_is_nobody_elses(backend: Backend) -> None:
    one, two = backend.opened(), backend.opened()
    (job,) = put(one, new("b@x", take=True))
    assert claim(two) == [] and two.wake() is None
    settle(one, job, [Later(job.entries[0], NOW + 60, "451 later", False)])
    assert two.wake() == NOW + 60 and claim(two, NOW + 59) == []
    (again,) = claim(two, NOW + 60)
    assert (again.entries[0].attempts, again.entries[0].fence) == (1, 2)


def test_an_overtaken_holder_changes_nothing_but_what_it_delivered(backend: Backend) -> None:
    slow, fast = backend.opened(), backend.opened()
    (job,) = put(slow, new("b@x", take=True))
    backend.kill(slow)
    assert backend.take_over(fast) == 1
    (mine,) = claim(fast)
    settle(slow, job, [Later(job.entries[0], NOW + 999, "late", False)])
    settle(fast, mine, [Later(mine.entries[0], NOW + 5, "451 mine", False)])
    assert fast.wake() == NOW + 5
    (mine,) = claim(fast, NOW + 5)
    settle(slow, job, [Gone(job.entries[0])])  # the next hop has it: nobody else is to deliver it
    assert fast.stand().queued == 0
    settle(fast, mine, [Later(mine.entries[0], NOW + 9, "451", False)])
    assert fast.stand().queued == 0


def test_who_leaves_gives_back_at_once(backend: Backend) -> None:
    one, two = backend.opened(), backend.opened()
    put(one, new("b@x", take=True))
    one.close()
    assert len(claim(two, now=NOW)) == 1


def test_a_place_that_fails_rests_and_is_tried_by_one(backend: Backend) -> None:
    store = backend.opened()
    for number in range(5):
        put(store, new(f"b{number}@dead", "c@living"))
    jobs = [job for job in claim(store, room=1) if job.place.domain == "dead"]
    assert len(jobs) == 1
    settle(store, jobs[0], [Later(jobs[0].entries[0], NOW + 60, "451", False)], Rest(NOW + 100, "451 refused"))
    assert [job.place.domain for job in claim(store, NOW + 99)] == ["living"] * 4
    (probe,) = claim(store, NOW + 100)
    assert probe.place.failures == 1
    assert put(store, new("e@dead", take=True, now=NOW + 50)) == [], "a new message waits, too"
    settle(store, probe, [Gone(probe.entries[0])], Rest(0.0))
    assert len(claim(store, NOW + 101)) == 5


def test_what_is_beyond_its_time_goes_back_when_its_place_failed_since(backend: Backend) -> None:
    store = backend.opened()
    for _ in range(3):
        put(store, new("b@dead", expires=NOW + 50))
    (job,) = claim(store, room=1)
    with store.transaction():
        assert store.overdue(NOW + 60, 10) == [], "its place has not failed yet"
    settle(store, job, [Gone(job.entries[0])], Rest(NOW + 900, "451 4.4.1 no answer"), NOW + 60)
    with store.transaction():
        found = store.overdue(NOW + 61, 10)
    assert [(one.place.domain, reply) for one, reply in found] == [("dead", "451 4.4.1 no answer")] * 2


def test_many_places_share_the_room(backend: Backend) -> None:
    store = backend.opened()
    with store.transaction():
        for number in range(500):
            store.put(new(f"b{number}@large"))
        for number in range(50):
            store.put(new(f"b@small{number}"))
    jobs = claim(store, free=100, room=100)
    assert {f"small{number}" for number in range(50)} <= {job.place.domain for job in jobs}
    busy = {("mx", "large"): 20}
    assert all(job.place.domain != "large" for job in claim(store, room=20, active=busy))


def test_one_holder_is_the_keeper(backend: Backend) -> None:
    one, two = backend.opened(), backend.opened()
    assert one.keeper() and one.keeper() and not two.keeper()
    one.close()
    assert two.keeper()


def test_the_desk_finds_and_orders(backend: Backend) -> None:
    store = backend.opened()
    first = new("b@x.example", "c@Y.example", sender="Bulk@example.org")
    put(store, first)
    put(store, new("d@y.example", sender=""))
    with Desk(backend.window()) as desk:

        def ids(**choice: object) -> list[str]:
            return sorted(one.recipient for one in desk.entries(Choice(**choice), 10))  # type: ignore[arg-type]

        assert ids(sender="bulk") == ["b@x.example", "c@Y.example"] and ids(sender="") == ["d@y.example"]
        assert ids(domain="y.example") == ["c@Y.example", "d@y.example"] and ids(domain="_.example") == []
        assert ids(ids=(first.transaction,)) == ["b@x.example", "c@Y.example"]
        assert ids(ids=(f"{first.transaction}-2",)) == ["c@Y.example"] and ids(recipient="B@") == ["b@x.example"]
        assert [one.recipient for one in desk.entries(Choice(), 1, desk.entries(Choice(), 1)[0].key)] == ["b@x.example"]
        list(desk.order("hold", Choice(sender="bulk")))
        assert store.stand().held == 2 and [job.sender for job in claim(store)] == [""]
        assert list(desk.order("delete", Choice(sender=""))) == [(0, 1)], "it is on its way"
        assert list(desk.order("release", Choice(recipient="b@"))) == [(1, 0)]
        assert list(desk.order("delete", Choice(recipient="c@"))) == [(1, 0)]
        (job,) = claim(store)
        settle(store, job, [Later(job.entries[0], NOW + 600, "451", False)], Rest(NOW + 900, "451"))
        assert claim(store, NOW + 1) == []
        assert list(desk.order("retry", Choice())) == [(1, 1)]
        (job,) = claim(store, 4e9)
        settle(store, job, [Later(job.entries[0], NOW + 600, "451", False)])
        assert list(desk.order("bounce", Choice())) == [(1, 1)]
        with store.transaction():
            ((back, reply),) = store.overdue(NOW, 10)
        assert back.entries[0].recipient == "b@x.example" and reply.startswith("554")
        assert desk.stand().queued == 2 and desk.destinations(5)[0]["recipients"] == 1


def test_a_hundred_recipients_are_one_attempt(backend: Backend) -> None:
    store = backend.opened()
    entries = tuple(NewEntry(number, f"b{number}@x", "x", take=True) for number in range(1, 251))
    jobs = put(store, new("b@x", entries=entries))
    assert [len(job.entries) for job in jobs] == [100, 100, 50]


def test_a_message_of_any_size_comes_back_as_it_was(backend: Backend) -> None:
    store = backend.opened()
    for size in (0, 1, 300_000, (1 << 20), (1 << 20) + 1, 3_000_000):
        octets = bytes(number % 251 for number in range(size))
        put(store, new("b@x", content=octets))
        (job,) = claim(store)
        assert content(store, job.message) == octets and store.stand().octets == size
        settle(store, job, [Gone(job.entries[0])])
    assert store.stand().octets == 0


def test_a_body_that_was_discarded_leaves_nothing(backend: Backend) -> None:
    store = backend.opened()
    prepared = store.prepare(new("b@x", content=b"x" * 2_000_000))
    store.discard(prepared)
    assert claim(store) == []


def test_a_transaction_that_fails_did_nothing(backend: Backend) -> None:
    store = backend.opened(most=2)
    put(store, new("b@x"))
    with pytest.raises(StoreFull), store.transaction():
        store.put(new("c@x"))
        store.put(new("d@x"))
    assert store.stand().queued == 1
    (job,) = claim(store)
    settle(store, job, [Parked(job.entries[0], "nobody can\0 read it")])
    assert store.stand().parked == 1


def test_places_that_attempts_take_are_counted_for_all(backend: Backend) -> None:
    one, two = backend.opened(), backend.opened()

    def take(store: Store, attempt: str) -> str | None:
        with store.transaction():
            return store.take_seats(attempt, [("p1\0x", 2)])

    assert take(one, "a") is None and take(two, "b") is None and take(one, "c") == "p1\0x"
    with one.transaction():
        one.free_seats("a")
    assert take(two, "c") is None
    backend.kill(two)
    backend.take_over(one)
    assert take(one, "d") is None and take(one, "e") is None


def test_rules_are_known_to_all(backend: Backend) -> None:
    one, two = backend.opened(), backend.opened()
    rule = Rule({"recipientdomain": "x"})
    with one.transaction():
        name = one.add_rule("s", rule, NOW + 60, NOW, update=True)
    with two.transaction():
        assert two.add_rule("s", rule, NOW + 90, NOW, update=True) == name
    assert [(found, until) for found, _, until in one.rules(NOW)] == [(name, NOW + 90)] and one.rules(NOW + 90) == []
    with one.transaction():
        assert one.remove_rule(name) and not one.remove_rule(name)


def test_flows_count_what_waits(backend: Backend) -> None:
    store = backend.opened()
    about = About(client="192.0.2.1", quotas=("q", "r"), metadata={"kind": "bulk", "nul": "a\0b"})
    put(store, new("b@x.example", "c@Y.example", sender="A@Z.example", about=about))
    put(store, new("d@y.example"))
    figures = backend.figures()

    async def counts() -> list[object]:
        asked = ({}, {"senderip": ["192.0.2.1"]}, {"senderdomain": ["z.example"]}, {"recipientdomain": ["Y.EXAMPLE"]},
                 {"metadata.kind": ["bulk"]}, {"metadata.other": ["bulk"]}, {"retry": ["0"]}, {"sender": []})  # fmt: skip
        found: list[object] = [await figures.metric("count", one) for one in asked]
        found += [await figures.quota("r"), await figures.quota("s")]
        await figures.close()
        return found

    assert asyncio.run(counts()) == [3, 2, 2, 2, 2, 0, 3, 0, (2, 2 * len(CONTENT)), (0, 0)]


def test_an_order_in_a_long_queue_goes_page_by_page(backend: Backend) -> None:
    store = backend.opened()
    with store.transaction():
        for number in range(6):
            entries = tuple(NewEntry(one, f"b{one}@x{number}", f"x{number}") for one in range(1, 101))
            store.put(new("b@x", entries=entries))
    with Desk(backend.window()) as desk:
        assert list(desk.order("delete", Choice())) == [(500, 0), (600, 0)]
        assert desk.stand() == store.stand() and store.stand().octets == 0 and store.wake() is None


def test_what_is_put_on_hold_waits_for_its_release(backend: Backend) -> None:
    store = backend.opened()
    assert put(store, new("b@x", take=True, hold=True)) == [] and claim(store) == [] and store.stand().held == 1
    with Desk(backend.window()) as desk:
        assert list(desk.order("release", Choice(sender="a@"))) == [(1, 0)]
    assert len(claim(store)) == 1
