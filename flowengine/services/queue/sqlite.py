"""The queue in one SQLite file, shared by the workers of a machine (`store.Store`).

WAL with synchronous FULL: what is committed outlives a power cut. Who holds what is told by locks (holders.py), large
messages lie beside the file (bodies.py). The statements are in the other sqlite_*.py.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from flowengine.services.database import open_database, transaction
from flowengine.services.queue import sqlite_entries as entries
from flowengine.services.queue import sqlite_rules as rules
from flowengine.services.queue import sqlite_taking as taking
from flowengine.services.queue import sqlite_times as times
from flowengine.services.queue.bodies import Bodies
from flowengine.services.queue.choosing import Busy, Seats
from flowengine.services.queue.holders import Holders
from flowengine.services.queue.model import (
    Damaged,
    Fate,
    Job,
    NewMessage,
    Rest,
    Stand,
    StoreFull,
    StoreTrouble,
)
from flowengine.services.queue.pickup import Rule
from flowengine.services.queue.room import Room
from flowengine.services.queue.schema import migrate
from flowengine.services.relay.stuffing import Buffer

PATIENCE = 10.0
"""Seconds to wait for another process that writes."""
NAME = "queue.db"
_PAGES = 4000
"""Pages of the log after which they are written back into the file."""
_FULL = (sqlite3.SQLITE_FULL,)
_LASTING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT)
"""After these the connection is as good as before; after others it is opened anew."""
_TIDY = 60.0
"""Seconds between looks for places that nobody needs."""
_SHRINK = 5000
"""Pages that the file may have unused; more are given back to the disk, so many at a time."""


class SQLiteStore:
    """The file and its connection. directory: of the storage. Nothing is opened before `open`.

    row_size: a larger message becomes a file. most: entries at most. free_space: octets the disk must have left.
    uptime: which run of the machine this is, and its age in seconds.
    """

    def __init__(
        self,
        directory: Path,
        row_size: int = 64 << 10,
        most: int = 1_000_000,
        free_space: int = 0,
        uptime: Callable[[], tuple[str, float]] = times.uptime,
    ) -> None:
        self.path = directory / NAME
        self.row_size, self.most = row_size, most
        self._uptime = uptime
        self._holders = Holders(directory / "queue" / "holders")
        self._bodies = Bodies(directory / "queue")
        self._room = Room(directory / "queue", free_space)
        self._database: sqlite3.Connection | None = None
        self._holder = 0
        self._names = count()
        self._obsolete: list[str] = []
        self._alive: set[int] = set()
        """The holders that lived when somebody last looked for what dead ones left behind."""
        self._tidied = -_TIDY

    # -- life ---------------------------------------------------------------------------------------------------------

    shared = False
    """See Store."""
    lapsed = False
    """See Store. A lock never lapses."""

    @property
    def holder(self) -> int:
        """See Store."""
        return self._holder

    def watch(self, call: Callable[[], None]) -> None:
        """See Store. Nobody else needs to tell: the queue looks every second."""

    def give_up(self) -> None:
        """See Store. A file answers, or its time-out does."""

    def beat(self, now: float) -> int:
        """See Store. A lock needs no renewal."""
        return 0

    def open(self) -> None:
        """See Store."""
        with _translated():
            self._drop()
            database = open_database(self.path, "", patience=PATIENCE, synchronous="full", shrinks=True)
            self._room.load()
            try:
                database.execute(f"pragma wal_autocheckpoint = {_PAGES}")
                migrate(database)
                if not self._holder:  # once: after trouble we still are who we were
                    with transaction(database):
                        row = (os.getpid(), time.time())
                        holder = database.execute("insert into holder (pid, since) values (?, ?)", row).lastrowid or 0
                        self._holders.hold(holder)
                    self._holder = holder
            except BaseException:
                database.close()
                raise
            self._database = database

    def close(self) -> None:
        """See Store."""
        with suppress(StoreTrouble):
            if self._database is not None:
                with self.transaction():
                    entries.release(self._open, self._holder, time.time())
                self._holders.forget(self._holder)
        self._drop()
        self._holders.let_go()
        self._holder = 0

    def _drop(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    @property
    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self.open()
        assert self._database is not None  # noqa: S101  # open raises else
        return self._database

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Store."""
        self._obsolete.clear()
        try:
            with _translated(), transaction(self._open):
                yield
        except _Broken:
            self._drop()
            raise
        except StoreFull as error:
            if isinstance(error.__cause__, sqlite3.Error):
                self._room.throw_off()  # whoever takes something out tries again
            raise
        for name in self._obsolete:
            self._bodies.remove(name)

    # -- messages -----------------------------------------------------------------------------------------------------

    def prepare(self, new: NewMessage) -> NewMessage:
        """See Store. Called from any thread once the store is open."""
        if not self._holder:
            raise StoreTrouble("the queue is not open")
        with _translated():
            self._room.check()
        if new.size <= self.row_size:
            return new
        name = f"{self._holder}-{new.transaction}-{next(self._names)}"
        with _translated():
            self._bodies.write(name, new.chunks)
        return replace(new, file=name)

    def discard(self, new: NewMessage) -> None:
        """See Store."""
        if new.file:
            self._bodies.remove(new.file)

    def put(self, new: NewMessage) -> list[Job]:
        """See Store."""
        with _translated():
            if entries.count(self._open) + len(new.entries) > self.most:
                raise StoreFull(f"the queue has {self.most} entries, as many as [queue] allows")
            return entries.put(self._open, self._holder, new)

    def content(self, message: int) -> tuple[Sequence[Buffer], bytes]:
        """See Store."""
        with _translated():
            found = entries.content(self._open, message)
            if found is None:
                raise Damaged("the content cannot be read")
            body, file, digest = found
            return [self._bodies.read(file) if file is not None else body], digest

    # -- work ---------------------------------------------------------------------------------------------------------

    def wake(self) -> float | None:
        """See Store."""
        with _translated():
            (wake,) = self._open.execute("select min(wake) from place where wake is not null").fetchone()
            return None if wake is None else float(wake)

    def claim(
        self,
        now: float,
        free: int,
        active: Busy,
        room: Seats,
        failing: int,
    ) -> list[Job]:
        """See Store."""
        with _translated():
            return taking.claim(self._open, self._holder, now, free, active, room, failing)

    def settle(self, job: Job, fates: Sequence[Fate], rest: Rest | None, now: float) -> None:
        """See Store."""
        with _translated():
            self._obsolete += entries.settle(self._open, self._holder, job, fates, rest, now)

    def take_over(self, now: float) -> int:
        """See Store."""
        with _translated():
            database, freed = self._open, 0
            alive = set()
            for (holder,) in database.execute("select id from holder").fetchall():
                if holder == self._holder or not self._holders.dead(holder):
                    alive.add(holder)
                    continue
                freed += entries.release(database, holder, now)
                self._holders.forget(holder)
            left = list(self._bodies.left_behind(alive.__contains__)) if alive != self._alive else []
            self._alive = alive
            if left:
                used = {name for (name,) in database.execute("select file from message where file is not null")}
                self._obsolete += [name for name in left if name not in used]
            return freed

    def overdue(self, now: float, most: int) -> list[tuple[Job, str]]:
        """See Store."""
        with _translated():
            return taking.overdue(self._open, self._holder, now, most)

    def stand(self) -> Stand:
        """See Store."""
        with _translated():
            return entries.stand(self._open)

    # -- the pace -----------------------------------------------------------------------------------------------------

    def rules(self, now: float) -> list[tuple[str, bytes, float]]:
        """See Store."""
        with _translated():
            return rules.rules(self._open, now)

    def add_rule(self, kind: str, rule: Rule, until: float, now: float, *, update: bool) -> str:
        """See Store."""
        with _translated():
            return rules.add(self._open, kind, rule, until, now, update=update)

    def remove_rule(self, name: str) -> bool:
        """See Store."""
        with _translated():
            return rules.remove(self._open, name)

    def take_seats(self, attempt: str, seats: Sequence[tuple[str, int]]) -> str | None:
        """See Store."""
        with _translated():
            return rules.take(self._open, self._holder, attempt, seats)

    def free_seats(self, attempt: str) -> None:
        """See Store."""
        with _translated():
            rules.free(self._open, self._holder, attempt)

    # -- for all ------------------------------------------------------------------------------------------------------

    def keeper(self) -> bool:
        """See Store."""
        with _translated():
            return self._holders.keep()

    def tidy(self, now: float) -> None:
        """See Store."""
        with _translated():
            times.follow_clock(self._open, now, *self._uptime())
            if time.monotonic() < self._tidied + _TIDY:
                return
            self._tidied = time.monotonic()
            self._open.execute(
                "delete from place where wake is null and resting <= ? and id not in (select place from entry)", (now,)
            )

    def shrink(self) -> None:
        """See Store."""
        with _translated():
            database, tight = self._open, self._room.tight
            (unused,) = database.execute("pragma freelist_count").fetchone()
            if unused > _SHRINK or (tight and unused):
                database.execute(f"pragma incremental_vacuum({_SHRINK if tight else _SHRINK // 10})").fetchall()
            if tight:
                database.execute("pragma wal_checkpoint(truncate)").fetchall()
                self._room.load()


class _Broken(StoreTrouble):
    """The connection is not to be trusted any more."""


@contextmanager
def _translated() -> Iterator[None]:
    """What SQLite and the disk say, in the words of the queue."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _FULL:
            raise StoreFull(str(error)) from error
        raise (StoreTrouble if code in _LASTING else _Broken)(str(error)) from error
    except OSError as error:
        full = error.errno in (28, 122)  # ENOSPC, EDQUOT
        raise (StoreFull if full else StoreTrouble)(error.strerror or str(error)) from error
