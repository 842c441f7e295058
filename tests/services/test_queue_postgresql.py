"""What PostgreSQL adds to the promises of a storage: leases, several machines, a server that goes away."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from queue_backends import PostgreSQL
from queue_world import NOW, claim, content, new, put, settle

from flowengine.services.queue import postgresql_schema, schema
from flowengine.services.queue.model import Damaged, Gone, Later, StoreTrouble
from flowengine.services.queue.postgresql import PostgreSQLStore
from flowengine.services.queue.postgresql_link import PAUSE, Link


def cut(machines: PostgreSQL, store: PostgreSQLStore) -> None:
    """The server ends the connection of a store."""
    machines.execute("select pg_terminate_backend(%s)", store._link.backend)  # noqa: SLF001


def expire(machines: PostgreSQL, store: PostgreSQLStore) -> None:
    """Its lease has run out, as if it could not renew it."""
    machines.execute("update holder set until = clock_timestamp() - interval '1 s' where id = %s", store.holder)


def test_its_versions_keep_step_with_those_of_sqlite() -> None:
    assert len(postgresql_schema.VERSIONS) == len(schema.VERSIONS)


def test_tables_of_earlier_versions_are_brought_up_to_date(
    machines: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = machines.opened()
    put(old, new("b@x"))
    later = (*postgresql_schema.VERSIONS, ("alter table entry add column colour text not null default 'green'",))
    monkeypatch.setattr(postgresql_schema, "VERSIONS", later)
    assert len(claim(machines.opened())) == 1
    assert machines.execute("select colour from entry") == [("green",)]
    monkeypatch.undo()
    with pytest.raises(StoreTrouble, match="newer"):
        machines.opened()


def test_many_come_to_a_new_database_at_once(machines: PostgreSQL) -> None:
    troubles: list[StoreTrouble] = []

    def come() -> None:
        try:
            machines.opened()
        except StoreTrouble as error:
            troubles.append(error)

    threads = [threading.Thread(target=come) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert troubles == []


def test_a_lease_that_ran_out_is_anothers(machines: PostgreSQL) -> None:
    slow, fast = machines.opened(), machines.opened()
    (job,) = put(slow, new("b@x", take=True))
    with fast.transaction():
        assert fast.take_over(NOW) == 0 and fast.beat(NOW) == 0, "it lives, as far as another machine can tell"
    expire(machines, slow)
    with fast.transaction():
        assert fast.take_over(NOW) == 1
    (mine,) = claim(fast)
    before = slow.holder
    settle(slow, job, [Later(job.entries[0], NOW + 999, "late", False)])
    assert slow.holder not in (0, before), "it goes on under another number"
    settle(fast, mine, [Later(mine.entries[0], NOW + 5, "451 mine", False)])
    assert fast.wake() == NOW + 5
    (mine,) = claim(slow, NOW + 5)
    assert mine.holder == slow.holder and mine.entries[0].fence == 3


def test_a_lease_lapses_for_its_holder_before_it_does_for_others(machines: PostgreSQL) -> None:
    store = machines.opened(lease=0.3)
    assert not store.lapsed
    before = store.holder
    time.sleep(0.26)
    assert store.lapsed
    (alive,) = machines.execute("select until > clock_timestamp() from holder where id = %s", before)[0]
    assert alive
    put(store, new("b@x", take=True))
    assert store.holder != before and not store.lapsed


def test_a_killed_process_is_taken_over_by_its_neighbour_at_once(machines: PostgreSQL, tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path[:0] = sys.argv[3:]\n"
        "from pathlib import Path; from queue_world import new, put\n"
        "from flowengine.services.queue.postgresql import PostgreSQLStore\n"
        "store = PostgreSQLStore(sys.argv[1], Path(sys.argv[2])); store.open()\n"
        "put(store, new('b@x', take=True)); store.prepare(new('never@x', content=b'x' * 400_000))\n"
        "print('held', flush=True); time.sleep(60)"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, machines.url, str(tmp_path / "0"), str(here), str(here.parents[1])]
    store = machines.opened()
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603  # our own code
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with store.transaction():
        assert store.beat(NOW) == 0
    assert machines.execute("select count(*) from piece") == [(1,)]
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with store.transaction():
        assert store.beat(NOW) == 1
    assert len(claim(store)) == 1
    assert machines.execute("select count(*) from piece") == [(0,)], "what was written and never put is cleared away"


def test_what_was_cleared_away_meanwhile_is_not_put(machines: PostgreSQL) -> None:
    slow, fast = machines.opened(), machines.opened()
    prepared = slow.prepare(new("b@x", content=b"x" * 400_000))
    expire(machines, slow)
    with fast.transaction():
        fast.take_over(NOW)
    with pytest.raises(StoreTrouble, match="too long"), slow.transaction():
        slow.put(prepared)
    assert slow.stand().queued == 0


def test_a_connection_that_breaks_is_opened_anew(machines: PostgreSQL) -> None:
    store = machines.opened()
    (job,) = put(store, new("b@x", take=True))
    cut(machines, store)
    with pytest.raises(StoreTrouble):
        put(store, new("c@x"))
    put(store, new("c@x"))
    settle(store, job, [Gone(job.entries[0])])  # it still is who it was
    assert store.stand().queued == 1


def test_nothing_is_done_outside_its_transaction_when_the_connection_breaks_within(machines: PostgreSQL) -> None:
    store = machines.opened()
    with pytest.raises(StoreTrouble), store.transaction():
        store.put(new("b@x"))
        cut(machines, store)
        with pytest.raises(StoreTrouble):
            store.put(new("c@x"))
        store.put(new("d@x"))
    assert store.stand().queued == 0


def unanswered(
    machines: PostgreSQL, store: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch, *, committed: bool, asks: bool
) -> None:
    """The next commit gets no answer. asks: the server can be asked at once."""
    link, doubts, real = store._link, store._doubts, store._doubts.commit  # noqa: SLF001

    class Lossy:
        def __init__(self, connection: object) -> None:
            self._connection = connection

        def execute(self, statement: str) -> object:
            if committed:
                self._connection.execute(statement)  # type: ignore[attr-defined]  # a connection
            cut(machines, store)
            return self._connection.execute("select 1")  # type: ignore[attr-defined]  # a connection

    def commit(connection: object, *rest: object) -> None:
        monkeypatch.undo()
        if not asks:
            monkeypatch.setattr("flowengine.services.queue.postgresql_doubt.ASKS", 0.0)
        real(Lossy(connection), *rest)  # type: ignore[arg-type]  # what is needed of one

    assert link.is_open
    monkeypatch.setattr(doubts, "commit", commit)


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_without_an_answer_is_asked_about(
    machines: PostgreSQL, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    store = machines.opened()
    unanswered(machines, store, monkeypatch, committed=committed, asks=True)
    if committed:
        assert len(put(store, new("b@x", take=True))) == 1
    else:
        with pytest.raises(StoreTrouble):
            put(store, new("b@x", take=True))
    assert store.stand().queued == int(committed)


def test_a_commit_that_nobody_could_tell_about_is_taken_back(
    machines: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machines.opened()
    put(store, new("a@x"))
    unanswered(machines, store, monkeypatch, committed=True, asks=False)
    with pytest.raises(StoreTrouble), store.transaction():
        store.put(new("b@y", take=True))
        assert len(store.claim(NOW, 10, {}, lambda *_: 9, 9)) == 1
    (job,) = claim(store)
    assert [one.recipient for one in job.entries] == ["a@x"], "what was claimed is free, what was put is gone"
    assert store.stand().queued == 1


def test_who_waits_hears_of_work_at_once(machines: PostgreSQL) -> None:
    one, two = machines.opened(), machines.opened()
    heard, own = threading.Event(), threading.Event()
    two.watch(heard.set)
    one.watch(own.set)
    assert heard.wait(5) and own.wait(5)
    time.sleep(0.1)
    heard.clear()
    own.clear()
    put(one, new("b@x", now=time.time()))
    assert heard.wait(2)
    assert not own.is_set()


def test_two_machines_that_claim_at_once_never_get_the_same(machines: PostgreSQL) -> None:
    stores = [machines.opened() for _ in range(4)]
    with stores[0].transaction():
        for number in range(400):
            stores[0].put(new(f"b{number}@x{number % 7}", f"c{number}@x{number % 3}"))
    found: list[list[int]] = [[] for _ in stores]
    troubles: list[Exception] = []

    def work(store: PostgreSQLStore, mine: list[int]) -> None:
        try:
            end = time.monotonic() + 10
            while store.stand().queued and time.monotonic() < end:
                jobs = claim(store, free=10)
                mine += [entry.id for job in jobs for entry in job.entries]
                for job in jobs:
                    settle(store, job, [Gone(entry) for entry in job.entries])
        except Exception as error:  # noqa: BLE001  # the test says so
            troubles.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(stores, found, strict=True)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert troubles == []
    everything = sorted(id_ for mine in found for id_ in mine)
    assert len(everything) == len(set(everything)) == 800
    assert sum(bool(mine) for mine in found) > 1
    assert machines.execute("select (select count(*) from message), (select count(*) from entry)") == [(0, 0)]
    assert stores[0].stand().octets == 0


def test_what_is_put_while_others_look_is_not_forgotten(machines: PostgreSQL) -> None:
    """A place's next time is told anew by whoever comes last, with what the others have committed."""
    one, two = machines.opened(), machines.opened()
    put(one, new("a@x"))
    (job,) = claim(one)
    inside, done = threading.Event(), threading.Event()

    def late() -> None:
        with two.transaction():
            two.put(new("b@x"))
            inside.set()
            time.sleep(0.05)
        done.set()

    thread = threading.Thread(target=late)
    thread.start()
    inside.wait()
    settle(one, job, [Later(job.entries[0], NOW + 500, "451", False)])
    thread.join()
    assert done.is_set() and one.wake() == NOW
    assert [found.entries[0].recipient for found in claim(one)] == ["b@x"]


def test_a_row_that_cannot_be_read_is_parked_and_the_rest_flows(machines: PostgreSQL) -> None:
    store = machines.opened()
    for name in ("bad", "worse", "good"):
        put(store, new(f"{name}@x"))
    machines.execute("update message set about = '\\xff' where id = 1")
    machines.execute("delete from message where id = 2")
    assert [job.entries[0].recipient for job in claim(store)] == ["good@x"]
    assert store.stand().parked == 2 and claim(store) == []


def test_a_body_that_is_gone_is_noticed(machines: PostgreSQL) -> None:
    store = machines.opened()
    put(store, new("b@x", content=b"x" * 3_000_000))
    (job,) = claim(store)
    machines.execute("delete from piece where number = 1")
    assert len(content(store, job.message)) == 1 << 20  # its digest tells
    machines.execute("update message set file = null")
    with pytest.raises(Damaged):
        store.content(job.message)


def test_places_that_nobody_needs_go(machines: PostgreSQL) -> None:
    store = machines.opened()
    put(store, new("b@x"))
    (job,) = claim(store)
    settle(store, job, [Gone(job.entries[0])])
    put(store, new("b@y"))
    with store.transaction():
        store.tidy(NOW)
    assert machines.execute("select domain from place") == [("y",)]


def test_a_server_that_is_away_is_trouble_soon_and_not_for_long() -> None:
    link = Link("postgresql://tests@127.0.0.1:1/none")
    start = time.monotonic()
    for _ in range(100):
        with pytest.raises(StoreTrouble):
            _ = link.open
    assert time.monotonic() - start < PAUSE, "one attempt to connect, not a hundred"
