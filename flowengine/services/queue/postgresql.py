"""The queue in PostgreSQL, shared by the workers of several machines (`store.Store`).

Who holds what is told by leases: a worker renews its own, and what it held is due for others when that has run out by
the clock of the database, or at once when a worker of the same machine sees that it is dead (holders.py). A worker that
could not renew in time takes another number, and what it writes under the old one is not applied. The statements are in
the other postgresql_*.py.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import psycopg

from flowengine.services.queue import postgresql_entries as entries
from flowengine.services.queue import postgresql_rules as rules
from flowengine.services.queue import postgresql_taking as taking
from flowengine.services.queue.choosing import Busy, Seats
from flowengine.services.queue.holders import Holders
from flowengine.services.queue.model import (
    Damaged,
    Fate,
    Job,
    NewMessage,
    Place,
    Rest,
    Stand,
    StoreFull,
    StoreTrouble,
)
from flowengine.services.queue.pickup import Rule
from flowengine.services.queue.postgresql_calls import Listener
from flowengine.services.queue.postgresql_doubt import Doubts
from flowengine.services.queue.postgresql_link import Broken, Connection, Link, row, rows
from flowengine.services.queue.postgresql_pieces import Pieces
from flowengine.services.queue.postgresql_schema import migrate
from flowengine.services.queue.postgresql_work import Work
from flowengine.services.queue.sqlite_times import uptime
from flowengine.services.relay.stuffing import Buffer

INLINE = 256 << 10
"""Octets; a larger message is written in pieces before its row. No less than what the queue prepares in its loop."""
_TIDY = 60.0
_COUNTED = 1.0
"""Seconds for which the count of all entries holds."""


class PostgreSQLStore:
    """The connection of one worker. Nothing is opened before `open`.

    url: as libpq takes it. directory: of this machine's own state. lease: seconds. most: entries at most.
    """

    def __init__(self, url: str, directory: Path, lease: float = 30.0, most: int = 1_000_000) -> None:
        self.url, self.lease, self.most = url, lease, most
        self.holder = 0
        self._directory = directory / "queue" / "leases"
        self._holders = Holders(self._directory)
        self._machine = ""
        self._link, self._aside = Link(url), Link(url, durable=False)
        self._pieces = Pieces(url)
        self._doubts = Doubts(self._link)
        self._listener: Listener | None = None
        self._work = Work()
        self._inside: Connection | None = None
        self._former: list[Holders] = []
        self._names = count()
        self._renewed = 0.0
        self._keeps: Connection | None = None
        self._counted = (-_COUNTED, 0)
        self._tidied = -_TIDY

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        """See Store."""
        return True

    @property
    def lapsed(self) -> bool:
        """See Store. It is so a sixth of the lease before others may know."""
        return time.monotonic() > self._renewed + self.lease * 5 / 6

    def open(self) -> None:
        """See Store."""
        connection = self._link.connect()
        with self._link.told():
            migrate(connection)
            self._doubts.clear(connection)
            if not self.holder or self.lapsed:
                self._begin_anew(connection)

    def _begin_anew(self, connection: Connection) -> None:
        """Become a holder that nobody knows yet. What an earlier one held falls to others, us included."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._directory.stat()
            self._machine = f"{uptime()[0]} {found.st_dev}:{found.st_ino}"
            moment = time.monotonic()
            new = row(
                connection,
                "insert into holder (machine, pid, until) values (%s, %s, clock_timestamp() + %s * interval '1 s')"
                " returning id",
                (self._machine, os.getpid(), self.lease),
            )
            assert new is not None  # noqa: S101  # an insert has a row
            if self.holder:  # its lock stays until we end: others are to wait for the end of its lease
                self._former.append(self._holders)
                self._holders = Holders(self._directory)
            self._holders.hold(new[0])
            self.holder, self._renewed = new[0], moment
        except OSError as error:
            raise StoreTrouble(error.strerror or str(error)) from error

    def close(self) -> None:
        """See Store."""
        if self._listener is not None:
            self._listener.close()
        with suppress(StoreTrouble):
            if self.holder and self._link.is_open:
                with self.transaction():
                    entries.release(self._link.open, self._work, self.holder, time.time())
                self._holders.forget(self.holder)
        self._link.drop()
        self._aside.drop()
        self._pieces.close()
        for one in (*self._former, self._holders):
            one.let_go()
        self._former.clear()
        self.holder = 0

    def watch(self, call: Callable[[], None]) -> None:
        """See Store."""
        self._listener = Listener(self.url, call, lambda: self._link.backend)
        self._listener.start()

    def give_up(self) -> None:
        """See Store."""
        for link in (self._link, self._aside, self._pieces.link):
            link.cut()

    def beat(self, now: float) -> int:
        """See Store. Those of this machine, whose locks tell that they are dead, are freed without waiting."""
        with self._within() as connection:
            moment = time.monotonic()
            connection.execute(
                "update holder set until = clock_timestamp() + %s * interval '1 s' where id = %s",
                (self.lease, self.holder),
            )
            mine = rows(
                connection, "select id from holder where machine = %s and id <> %s", (self._machine, self.holder)
            )
            dead = [holder for (holder,) in mine if self._holders.dead(holder)]
            freed = self._free(connection, "id = any(%s)", dead, now) if dead else 0
            self._renewed = moment
            return freed

    def take_over(self, now: float) -> int:
        """See Store."""
        with self._within() as connection:
            return self._free(connection, "until < clock_timestamp() and id <> %s", self.holder, now)

    def _free(self, connection: Connection, which: str, value: object, now: float) -> int:
        freed = 0
        for (holder,) in rows(connection, f"select id from holder where {which} for update skip locked", (value,)):  # noqa: S608  # constants
            freed += entries.release(connection, self._work, holder, now)
            self._holders.forget(holder)
        return freed

    # -- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Store. When the connection breaks at the commit, the database is asked what became of it."""
        self._work = work = Work()
        connection, name = self._begin()
        self._inside = connection
        try:
            with self._told(connection):
                yield
                work.finish(connection, time.time())
                if work.entries or work.octets:
                    connection.execute(
                        "update holder set entries = entries + %s, octets = octets + %s where id = %s",
                        (work.entries, work.octets, self.holder),
                    )
        except BaseException:
            if self._link.is_open:
                with suppress(psycopg.Error):
                    connection.execute("rollback")
            raise
        finally:
            self._inside = None
        self._doubts.commit(connection, name, work, self.holder)
        self._counted = (self._counted[0], self._counted[1] + work.entries)

    @contextmanager
    def _within(self) -> Iterator[Connection]:
        """The connection of the transaction: never another one, opened meanwhile."""
        if self._inside is None:
            raise Broken("the transaction is gone")
        with self._told(self._inside):
            yield self._inside

    @contextmanager
    def _told(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._link.translated(error) from error
        if connection.closed:
            raise Broken("the connection is gone")

    def _begin(self) -> tuple[Connection, str]:
        """A transaction in which nobody takes us for dead: the connection, and the transaction's name."""
        if not self._link.is_open:
            self._reopen()
        for _ in range(2):
            connection = self._link.open
            if self.lapsed:
                with self._told(connection):
                    self._begin_anew(connection)
            with self._told(connection):
                cursor = connection.execute(
                    "begin; select pg_current_xact_id()::text from holder"  # noqa: S608  # a number of ours
                    f" where id = {self.holder:d} and until > clock_timestamp() for key share"
                )
                cursor.nextset()
                found = cursor.fetchone()
                if found is not None:
                    return connection, str(found[0])
                connection.execute("rollback")
                self._renewed = -self.lease  # others have what was ours
        raise Broken("the lease cannot be renewed")

    def _reopen(self) -> None:
        self._link.rest()
        self.open()

    @property
    def _open(self) -> Connection:
        if not self._link.is_open:
            self._reopen()
        return self._link.open

    # -- messages -----------------------------------------------------------------------------------------------------

    def prepare(self, new: NewMessage) -> NewMessage:
        """See Store. Called from any thread once the store is open; small messages need nothing."""
        if new.size <= INLINE:
            return new
        if not self.holder:
            raise StoreTrouble("the queue is not open")
        name = f"{self.holder}-{new.transaction}-{next(self._names)}"
        self._pieces.write(name, self.holder, new.chunks)
        return replace(new, file=name)

    def discard(self, new: NewMessage) -> None:
        """See Store."""
        if new.file:
            self._pieces.remove(new.file)

    def put(self, new: NewMessage) -> list[Job]:
        """See Store."""
        with self._within() as connection:
            if self._count(connection) + self._work.entries + len(new.entries) > self.most:
                raise StoreFull(f"the queue has {self.most} entries, as many as [queue] allows")
            return entries.put(connection, self._work, self.holder, new, self._place)

    def _count(self, connection: Connection) -> int:
        moment, known = self._counted
        if time.monotonic() - moment >= _COUNTED:
            # without what this transaction did: that is in its work until the end
            known = entries.sums(connection)[0]
            self._counted = (time.monotonic(), known)
        return known

    def _place(self, transport: str, domain: str) -> tuple[Place, float]:
        """A place, made when it is new: in a transaction of its own, so that nobody waits for ours."""
        assert self._inside is not None  # noqa: S101  # `put` has looked
        connection = self._inside
        known = self._work.places.get((transport, domain))
        if known is not None:
            return known
        while (found := entries.find_place(connection, transport, domain)) is None:
            with self._aside.told() as aside:
                aside.execute(
                    "insert into place (transport, domain) values (%s, %s) on conflict do nothing", (transport, domain)
                )
        self._work.places[transport, domain] = found
        return found

    def content(self, message: int) -> tuple[Sequence[Buffer], bytes]:
        """See Store."""
        connection = self._open
        with self._told(connection):
            found = entries.content(connection, message)
            if found is None:
                raise Damaged("the content is gone")
            return found

    # -- work ---------------------------------------------------------------------------------------------------------

    def wake(self) -> float | None:
        """See Store."""
        connection = self._open
        with self._told(connection):
            found = row(connection, "select min(wake) from place where wake is not null")
            return None if found is None or found[0] is None else float(found[0])

    def claim(
        self,
        now: float,
        free: int,
        active: Busy,
        room: Seats,
        failing: int,
    ) -> list[Job]:
        """See Store."""
        with self._within() as connection:
            return taking.claim(connection, self._work, self.holder, now, free, active, room, failing)

    def settle(self, job: Job, fates: Sequence[Fate], rest: Rest | None, now: float) -> None:
        """See Store."""
        with self._within() as connection:
            entries.settle(connection, self._work, job, fates, rest, now)

    def overdue(self, now: float, most: int) -> list[tuple[Job, str]]:
        """See Store."""
        with self._within() as connection:
            return taking.overdue(connection, self._work, self.holder, now, most)

    def stand(self) -> Stand:
        """See Store."""
        connection = self._open
        with self._told(connection):
            return entries.stand(connection)

    # -- the pace -----------------------------------------------------------------------------------------------------

    def rules(self, now: float) -> list[tuple[str, bytes, float]]:
        """See Store."""
        connection = self._open
        with self._told(connection):
            return rules.rules(connection, now)

    def add_rule(self, kind: str, rule: Rule, until: float, now: float, *, update: bool) -> str:
        """See Store."""
        with self._within() as connection:
            return rules.add(connection, kind, rule, until, now, update=update)

    def remove_rule(self, name: str) -> bool:
        """See Store."""
        with self._within() as connection:
            return rules.remove(connection, name)

    def take_seats(self, attempt: str, seats: Sequence[tuple[str, int]]) -> str | None:
        """See Store."""
        with self._within() as connection:
            return rules.take(connection, self.holder, attempt, seats)

    def free_seats(self, attempt: str) -> None:
        """See Store."""
        with self._within() as connection:
            rules.free(connection, self.holder, attempt)

    # -- for all ------------------------------------------------------------------------------------------------------

    def keeper(self) -> bool:
        """See Store. Whoever has the lock has it for as long as its connection lasts."""
        connection = self._open
        if self._keeps is not connection:
            self._keeps = None
            with self._told(connection):
                found = row(connection, "select pg_try_advisory_lock('holder'::regclass::oid::int, 3)")
                if found is not None and found[0]:
                    self._keeps = connection
        return self._keeps is not None

    def tidy(self, now: float) -> None:
        """See Store. Locked first and looked at afterwards, as at the end of a transaction."""
        if time.monotonic() < self._tidied + _TIDY:
            return
        self._tidied = time.monotonic()
        with self._within() as connection:
            found = rows(
                connection,
                "select id from place where wake is null and resting <= %s and not exists (select 1 from entry"
                " where place = place.id) order by id limit 10000 for update skip locked",
                (now,),
            )
            connection.execute(
                "delete from place where id = any(%s) and not exists (select 1 from entry where place = place.id)",
                ([id_ for (id_,) in found],),
            )

    def shrink(self) -> None:
        """See Store. PostgreSQL's autovacuum does it."""
