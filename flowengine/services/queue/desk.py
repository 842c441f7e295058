"""What people ask of the queue: lists, explanations, and orders about many entries at a time.

A desk looks into the storage beside the workers and holds nothing. What is on its way at the moment is left alone; an
order to hold it counts after the attempt. Raises StoreTrouble.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from flowengine.services.queue.model import About, Damaged, Stand, State
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
        parts: list[str] = ["true"]
        values: list[object] = []
        if self.ids:
            each: list[str] = []
            for one in self.ids:
                transaction_id, _, number = one.partition("-")
                each.append("(transaction_id = ? and number = ?)" if number else "transaction_id = ?")
                values += [transaction_id, _number(number)] if number else [transaction_id]
            parts.append(f"({' or '.join(each)})")
        for name, value in (("sender", self.sender), ("recipient", self.recipient)):
            if value is not None:
                parts.append(f"lower({name}) like ? escape '!'" if value else f"{name} = ?")
                values.append(f"%{_plain(value)}%" if value else "")
        if self.domain is not None:
            parts.append("lower(recipient) like ? escape '!'")
            values.append(f"%@{_plain(self.domain)}")
        if self.transport is not None:
            parts.append("transport = ?")
            values.append(self.transport)
        if self.state == "active":
            parts.append("holder is not null")
        elif self.state is not None:
            parts.append("entry.state = ? and holder is null")
            values.append(int(State[self.state.upper()]))
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


class Window(Protocol):
    """What a desk looks through: one storage, without holding anything. Whatever fails raises StoreTrouble.

    Statements have question marks for values.
    """

    def open(self) -> None:
        """Tables are brought up to date."""
        ...

    def close(self) -> None:
        """The end."""
        ...

    def stand(self) -> Stand:
        """How the queue stands."""
        ...

    def fetch(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """All rows."""
        ...

    def content(self, message: int) -> Sequence[Buffer]:
        """What would leave. Raises Damaged."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All that happens within, or nothing of it; for the methods below."""
        ...

    def free(self, ids: Sequence[int]) -> list[int]:
        """Those entries among these that nobody is changing, kept so."""
        ...

    def change(self, statement: str, ids: Iterable[int], values: Sequence[object] = ()) -> int:
        """Carry out a statement that ends before the id of a row, for some rows; how many it changed."""
        ...

    def finish(self, messages: Iterable[int], places: Iterable[int]) -> None:
        """Messages that may be for nobody any more, places where something has changed: last of all."""
        ...


class Desk:
    """The desk of one queue. Use it as a context."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def __enter__(self) -> "Desk":
        self._window.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._window.close()

    def stand(self) -> Stand:
        """How the queue stands."""
        return self._window.stand()

    def entries(self, choice: Choice, limit: int, after: int = 0) -> list[Listed]:
        """Entries in the order in which they came. after: the key of the last one seen."""
        return [_listed(row) for row in self._rows(choice, limit, after)]

    def _rows(self, choice: Choice, limit: int, after: int) -> list[tuple[Any, ...]]:
        condition, values = choice.condition(time.time())
        query = f"select {_COLUMNS} {_FROM} where entry.id > ? and {condition} order by entry.id limit ?"
        return self._window.fetch(query, (after, *values, limit))

    def destinations(self, limit: int) -> list[dict[str, Any]]:
        """Where the most entries wait: transport, domain, how many, failures in a row, last words."""
        rows = self._window.fetch(
            "select transport, domain, count(*), failures, resting, place.reply from entry"
            " join place on place.id = entry.place group by place.id, transport, domain, failures, resting, place.reply"
            " order by count(*) desc limit ?",
            (limit,),
        )
        names = ("transport", "domain", "recipients", "failures", "resting", "reply")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def about(self, message: int) -> About:
        """What else is known of a message. Raises Damaged."""
        rows = self._window.fetch("select about from message where id = ?", (message,))
        try:
            return msgspec.json.decode(rows[0][0], type=About)
        except (IndexError, TypeError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Damaged(str(error)) from None

    def content(self, message: int) -> Sequence[Buffer]:
        """What would leave. Raises Damaged."""
        return self._window.content(message)

    def order(self, order: Order, choice: Choice) -> Iterator[tuple[int, int]]:
        """Carry an order out, some hundred entries at a time: how many it was done for, and how many were on their way
        and left alone, so far."""
        done = busy = after = 0
        while True:
            with self._window.transaction():
                rows = self._rows(choice, AT_ONCE, after)
                free = set(self._window.free([row[0] for row in rows]))
                done += self._carry_out(order, [row for row in rows if row[0] in free], time.time())
            busy += sum(bool(row[3]) or row[0] not in free for row in rows) if order != "hold" else 0
            yield done, busy
            if len(rows) < AT_ONCE:
                return
            after = rows[-1][0]

    def _carry_out(self, order: Order, rows: Sequence[tuple[Any, ...]], now: float) -> int:
        change, ids = self._window.change, [row[0] for row in rows]
        places = {row[18] for row in rows}
        if order == "hold":
            changed = change("update entry set state = 1 where state = 0 and", ids)
        elif order == "release":
            changed = change("update entry set state = 0 where state = 1 and", ids)
        elif order == "bounce":
            changed = change("update entry set state = 3 where holder is null and state in (0, 1) and", ids)
        elif order == "retry":
            again = "update entry set state = 0, due = ?, since = ? where holder is null and state in (0, 2) and"
            changed = change(again, ids, (now, now))
            change("update place set resting = 0 where", places)
        else:
            changed = change("delete from entry where holder is null and", ids)
        self._window.finish({row[17] for row in rows} if order == "delete" else (), places)
        return changed


def _plain(text: str) -> str:
    """Text without patterns, for `like ... escape '!'`."""
    return text.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


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
