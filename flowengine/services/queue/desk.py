"""What people ask of the queue: lists, explanations, and orders about many entries at a time.

A desk looks into the file beside the workers and holds nothing. What is on its way at the moment is left alone; an
order to hold it counts after the attempt. Raises StoreTrouble.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from flowengine.services.database import open_database, transaction
from flowengine.services.queue.bodies import Bodies
from flowengine.services.queue.model import About, Damaged, Stand, State, StoreTrouble
from flowengine.services.queue.schema import migrate
from flowengine.services.queue.sqlite import NAME, PATIENCE
from flowengine.services.queue.sqlite_entries import content, stand
from flowengine.services.queue.sqlite_places import wake_places
from flowengine.services.relay.stuffing import Buffer

AT_ONCE = 500
"""Entries of one transaction of an order."""

Order = Literal["retry", "hold", "release", "bounce", "delete"]
_COLUMNS = (
    "entry.id, transaction_id || '-' || number, entry.state, holder is not null, sender, recipient, transport, size,"
    " queued, due, resting, expires, attempts, tried, entry.reply, place.reply, failures, message, place"
)
_FROM = "from entry join message on message.id = entry.message join place on place.id = entry.place"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries. ids: transactions, or entries as TRANSACTION-NUMBER. older, newer: seconds in the queue.

    sender, recipient: text that occurs in the address; domain: of the recipient. Empty fields choose all.
    """

    ids: tuple[str, ...] = ()
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    transport: str | None = None
    state: str | None = None
    older: float | None = None
    newer: float | None = None

    def condition(self, now: float) -> tuple[str, list[object]]:
        """As SQL with its values."""
        parts: list[str] = ["1"]
        values: list[object] = []
        if self.ids:
            each: list[str] = []
            for one in self.ids:
                transaction_id, _, number = one.partition("-")
                each.append("(transaction_id = ? and number = ?)" if number else "transaction_id = ?")
                values += [transaction_id, number] if number else [transaction_id]
            parts.append(f"({' or '.join(each)})")
        for name, value in (("sender", self.sender), ("recipient", self.recipient)):
            if value is not None:
                parts.append(f"instr(lower({name}), ?)" if value else f"{name} = ?")
                values.append(value.lower())
        if self.domain is not None:
            parts.append("lower(recipient) like ? escape '!'")
            plain = self.domain.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
            values.append(f"%@{plain}")
        if self.transport is not None:
            parts.append("transport = ?")
            values.append(self.transport)
        if self.state == "active":
            parts.append("holder is not null")
        elif self.state is not None:
            parts.append("entry.state = ? and holder is null")
            values.append(State[self.state.upper()])
        for bound, sign in ((self.older, "<="), (self.newer, ">=")):
            if bound is not None:
                parts.append(f"queued {sign} ?")
                values.append(now - bound)
        return " and ".join(parts), values


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as people see it. Times are Unix times in seconds. key: for the next page. due: the next attempt.

    resting: nobody tries this destination before. said: the last words of the destination to anybody.
    """

    key: int = field(repr=False)
    id: str
    state: str
    sender: str
    recipient: str
    transport: str
    size: int
    queued: float
    due: float
    resting: float
    expires: float
    attempts: int
    tried: float
    reply: str
    said: str
    failures: int
    message: int = field(repr=False)

    def document(self) -> dict[str, Any]:
        """For --json."""
        hidden = ("key", "message")
        return {name: getattr(self, name) for name in self.__slots__ if name not in hidden}


class Desk:
    """The desk of the queue in a directory. Use it as a context."""

    def __init__(self, directory: Path) -> None:
        self._bodies = Bodies(directory / "queue")
        self._path = directory / NAME
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> "Desk":
        with _told():
            if not self._path.exists():
                raise StoreTrouble(f"there is no queue at {self._path}")
            self._database = open_database(self._path, "", patience=PATIENCE, synchronous="full")
            migrate(self._database)
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._database is not None  # noqa: S101  # used as a context
        return self._database

    def stand(self) -> Stand:
        """How the queue stands."""
        with _told():
            return stand(self._open)

    def entries(self, choice: Choice, limit: int, after: int = 0) -> list[Listed]:
        """Entries in the order in which they came. after: the key of the last one seen."""
        condition, values = choice.condition(time.time())
        with _told():
            rows = self._open.execute(
                f"select {_COLUMNS} {_FROM} where entry.id > ? and {condition} order by entry.id limit ?",
                (after, *values, limit),
            ).fetchall()
        return [_listed(row) for row in rows]

    def destinations(self, limit: int) -> list[dict[str, Any]]:
        """Where the most entries wait: transport, domain, how many, failures in a row, last words."""
        with _told():
            rows = self._open.execute(
                "select transport, domain, count(*), failures, resting, place.reply from entry"
                " join place on place.id = entry.place group by place order by count(*) desc limit ?",
                (limit,),
            ).fetchall()
        names = ("transport", "domain", "recipients", "failures", "resting", "reply")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def about(self, message: int) -> About:
        """What else is known of a message. Raises Damaged."""
        with _told():
            row = self._open.execute("select about from message where id = ?", (message,)).fetchone()
        try:
            return msgspec.json.decode(row[0], type=About)
        except (TypeError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Damaged(str(error)) from None

    def content(self, message: int) -> Sequence[Buffer]:
        """What would leave. Raises Damaged."""
        with _told():
            found = content(self._open, message)
            if found is None:
                raise Damaged("the content cannot be read")
            body, file, _ = found
            return [self._bodies.read(file) if file is not None else body]

    def order(self, order: Order, choice: Choice) -> Iterator[tuple[int, int]]:
        """Carry an order out, some hundred entries at a time: how many it was done for, and how many were on their way
        and left alone, so far."""
        done = busy = after = 0
        while True:
            condition, values = choice.condition(time.time())
            with _told(), transaction(self._open):
                rows = self._open.execute(
                    f"select {_COLUMNS} {_FROM} where entry.id > ? and {condition} order by entry.id limit ?",
                    (after, *values, AT_ONCE),
                ).fetchall()
                changed, files = self._carry_out(order, rows, time.time())
            for name in files:
                self._bodies.remove(name)
            done += changed
            busy += sum(bool(row[3]) for row in rows) if order != "hold" else 0
            yield done, busy
            if len(rows) < AT_ONCE:
                return
            after = rows[-1][0]

    def _carry_out(self, order: Order, rows: Sequence[tuple[Any, ...]], now: float) -> tuple[int, list[str]]:
        database = self._open
        ids = [(row[0],) for row in rows]
        places = {row[18] for row in rows}
        before = database.total_changes
        files: list[str] = []
        free = "where id = ? and holder is null"
        if order == "hold":
            database.executemany("update entry set state = 1 where id = ? and state = 0", ids)
        elif order == "release":
            database.executemany("update entry set state = 0 where id = ? and state = 1", ids)
        elif order == "bounce":
            database.executemany(f"update entry set state = 3 {free} and state in (0, 1)", ids)  # noqa: S608  # a constant
        elif order == "retry":
            again = [(now, now, *one) for one in ids]
            database.executemany(f"update entry set state = 0, due = ?, since = ? {free} and state in (0, 2)", again)  # noqa: S608  # a constant
        else:
            database.executemany(f"delete from entry {free}", ids)  # noqa: S608  # a constant
        changed = database.total_changes - before
        if order == "delete":
            changed //= 2  # its trigger counts them, too
            bury = (
                "delete from message where id = ? and not exists (select 1 from entry where message = ?) returning file"
            )
            for message in {row[17] for row in rows}:
                files += [row[0] for row in database.execute(bury, (message, message)).fetchall() if row[0]]
        if order == "retry":
            database.executemany("update place set resting = 0 where id = ?", [(one,) for one in places])
        wake_places(database, places)
        return changed, files


def _listed(row: tuple[Any, ...]) -> Listed:
    key, id_, state, held, *rest = row
    try:
        word = "active" if held else State(state).name.lower()
    except ValueError:
        word = "parked"
    sender, recipient, transport, size, queued, due, resting, expires, attempts, tried, reply, said, failures = rest[
        :13
    ]
    return Listed(
        key, id_, word, sender, recipient, transport, size, queued, due, resting, expires, attempts, tried, reply, said,
        failures, rest[13],
    )  # fmt: skip


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreTrouble(str(error)) from error
