"""The queue's file: what is put is there, each entry has one holder, and the dead hold nothing."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from queue_world import CONTENT, NOW, claim, new, opened, put, settle

from flowengine.services.queue import schema
from flowengine.services.queue.desk import Choice, Desk
from flowengine.services.queue.desk_sqlite import SQLiteWindow
from flowengine.services.queue.model import (
    Damaged,
    Gone,
    Parked,
    StoreFull,
    StoreTrouble,
)
from flowengine.services.queue.room import BALLAST
from flowengine.services.queue.sqlite import SQLiteStore


def content(store: SQLiteStore, message: int) -> bytes:
    chunks, _ = store.content(message)
    return b"".join(map(bytes, chunks))


def test_a_delivered_message_leaves_nothing_behind(tmp_path: Path) -> None:
    store = opened(tmp_path, row_size=10)
    put(store, new("b@x", "c@y"))
    (body,) = (tmp_path / "queue").glob("*-*")
    assert body.read_bytes() == CONTENT
    first, second = claim(store)
    settle(store, first, [Gone(first.entries[0])])
    assert body.exists() and store.stand().queued == 1
    assert content(store, second.message) == CONTENT
    settle(store, second, [Gone(second.entries[0])])
    assert not body.exists() and store.stand().octets == 0
    with store.transaction():
        store.tidy(NOW)
    with sqlite3.connect(tmp_path / "queue.db") as database:
        assert [
            database.execute(f"select count(*) from {name}").fetchone()[0]  # noqa: S608  # our names
            for name in ("entry", "message", "place")
        ] == [0, 0, 0]


def test_a_killed_process_is_taken_over_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path; from queue_world import new, opened, put\n"
        "store = opened(Path(sys.argv[1]), row_size=10); put(store, new('b@x', take=True)); put(store, new('c@x', take=True))\n"
        "store.prepare(new('never@x'))\n"
        "print('held', flush=True); time.sleep(60)"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(tmp_path), str(here), str(here.parents[1])]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603  # our own code
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    store = opened(tmp_path)
    holder.send_signal(19)  # SIGSTOP
    with store.transaction():
        assert store.take_over(NOW) == 0
    assert len(list((tmp_path / "queue").glob("*-*"))) == 3
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with store.transaction():
        assert store.take_over(NOW) == 2
    assert len(claim(store)) == 2
    assert len(list((tmp_path / "queue").glob("*-*"))) == 2, "what was written and never put is cleared away"


def test_a_clock_that_is_set_takes_the_times_along(tmp_path: Path) -> None:
    age = 1000.0
    store = opened(tmp_path, uptime=lambda: ("boot", age))
    with store.transaction():
        store.tidy(NOW)
    put(store, new("b@x", due=NOW + 60, expires=NOW + 1000))
    day = 86400.0
    with store.transaction():
        store.tidy(NOW - day)
    assert store.wake() == NOW - day + 60
    with store.transaction():
        store.tidy(NOW + 10 * day)
    assert store.wake() == NOW + 10 * day + 60
    (job,) = claim(store, NOW + 10 * day + 60)
    assert job.entries[0].expires == NOW + 10 * day + 1000


def test_what_was_written_in_the_future_does_not_wait_for_it(tmp_path: Path) -> None:
    """The machine started with another clock."""
    boots = iter([("a", 10.0), ("b", 10.0)])
    store = opened(tmp_path, uptime=lambda: next(boots))
    with store.transaction():
        store.tidy(NOW)
    put(store, new("b@x", due=NOW + 60))
    with store.transaction():
        store.tidy(NOW - 86400)
    assert store.wake() == NOW - 86400 + 60


def test_a_row_that_cannot_be_read_is_parked_and_the_rest_flows(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for name in ("bad", "worse", "good"):
        put(store, new(f"{name}@x"))
    with sqlite3.connect(tmp_path / "queue.db") as database:
        database.execute("update message set about = x'ff' where id = 1")
        database.execute("update message set transaction_id = x'00' where id = 2")
    assert [job.entries[0].recipient for job in claim(store)] == ["good@x"]
    assert store.stand().parked == 2 and claim(store) == []
    with Desk(SQLiteWindow(tmp_path)) as desk:
        (bad, _) = desk.entries(Choice(state="parked"), 10)
        assert bad.reply.startswith("cannot be read")


def test_a_body_that_is_gone_or_changed_is_noticed(tmp_path: Path) -> None:
    store = opened(tmp_path, row_size=10)
    put(store, new("b@x"))
    (job,) = claim(store)
    for path in (tmp_path / "queue").glob("*-*"):
        path.unlink()
    with pytest.raises(Damaged):
        store.content(job.message)
    settle(store, job, [Parked(job.entries[0], "gone")])
    assert store.stand().parked == 1


def test_no_room_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    store = opened(tmp_path, most=2)
    put(store, new("b@x", "c@x"))
    with pytest.raises(StoreFull):
        put(store, new("d@x"))
    crowded = opened(tmp_path, free_space=1 << 60)
    with pytest.raises(StoreFull):
        crowded.prepare(new("d@x"))
    assert len(claim(store)[0].entries) == 2


def limit_pages(store: SQLiteStore, pages: int) -> None:
    """Make SQLite say what it says when the disk is full."""
    store._open.execute(f"pragma max_page_count = {pages}")  # noqa: SLF001


def test_a_full_disk_is_full_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowengine.services.queue.room._LOOK", 0.0)
    store = opened(tmp_path, row_size=1 << 20)
    ballast = tmp_path / "queue" / "ballast"
    put(store, new("b@x"))
    assert ballast.stat().st_blocks * 512 >= BALLAST
    limit_pages(store, 1)
    with pytest.raises(StoreFull):
        put(store, new("c@x", content=b"x" * 100_000))
    assert not ballast.exists(), "what leaves has room"
    with pytest.raises(StoreFull, match="disk"):
        put(store, new("d@x"))  # it would fit, but that room is not for it
    (job,) = claim(store)
    settle(store, job, [Gone(job.entries[0])])
    limit_pages(store, 1_000_000)
    store.shrink()
    assert ballast.exists()
    put(store, new("c@x", content=b"x" * 100_000))
    assert len(claim(store)) == 1


def test_room_that_is_not_needed_any_more_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowengine.services.queue.sqlite._SHRINK", 10)
    store = opened(tmp_path, row_size=1 << 20)
    for _ in range(20):
        put(store, new("b@x", content=b"x" * 100_000))
    for job in claim(store):
        settle(store, job, [Gone(job.entries[0])])
    with sqlite3.connect(store.path) as database:
        (before,) = database.execute("pragma page_count").fetchone()
        for _ in range(1000):
            store.shrink()
        (after,) = database.execute("pragma page_count").fetchone()
    assert before > 400 and after < 50


def test_a_file_that_cannot_be_written_is_trouble_until_it_can(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store._open.execute("pragma query_only = on")  # noqa: SLF001  # what SQLite says on a read-only disk
    with pytest.raises(StoreTrouble, match="readonly"):
        put(store, new("b@x"))
    put(store, new("b@x"))  # by a connection opened anew
    assert len(claim(store)) == 1


def test_a_locked_file_is_trouble_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowengine.services.queue.sqlite.PATIENCE", 0.05)
    store = opened(tmp_path)
    with sqlite3.connect(tmp_path / "queue.db", isolation_level=None) as database:
        database.execute("begin immediate")
        with pytest.raises(StoreTrouble, match="locked"):
            put(store, new("b@x"))
        database.execute("rollback")
    put(store, new("b@x"))
    assert len(claim(store)) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_directory_that_cannot_be_written_is_trouble(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreTrouble):
        SQLiteStore(tmp_path).open()
    tmp_path.chmod(0o700)


def test_a_file_that_is_no_database_is_trouble_until_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"what is this? " * 1000)
    store = SQLiteStore(tmp_path)
    with pytest.raises(StoreTrouble):
        store.open()
    (tmp_path / "queue.db").unlink()
    store.open()
    put(store, new("b@x"))
    assert len(claim(store)) == 1


def test_tables_of_earlier_versions_are_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = opened(tmp_path)
    put(old, new("b@x"))
    old.close()
    later = (*schema.VERSIONS, ("alter table entry add column colour text not null default 'green'",))
    monkeypatch.setattr(schema, "VERSIONS", later)
    store = opened(tmp_path)
    assert len(claim(store)) == 1
    assert store._open.execute("select colour from entry").fetchall() == [("green",)]  # noqa: SLF001
    monkeypatch.undo()
    with pytest.raises(StoreTrouble, match="newer"):
        SQLiteStore(tmp_path).open()
