"""Entries are taken from the queue's SQLite file by one holder each. All raise sqlite3.Error.

What cannot be read is parked on the way, so that it keeps nobody else.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from flowengine.services.queue.choosing import Busy, Seats, share_of, with_room
from flowengine.services.queue.model import About, Entry, Job, Place, State
from flowengine.services.queue.sqlite_entries import AT_ONCE
from flowengine.services.queue.sqlite_places import FREE, corrupt, wake

RETURNED = "554 5.0.0 Returned by the operator"
_COLUMNS = "id, number, recipient, dsn, attempts, fence + 1, expires, warned"
_DECODE = msgspec.json.Decoder(About).decode


def claim(
    database: sqlite3.Connection,
    holder: int,
    now: float,
    free: int,
    active: Busy,
    room: Seats,
    failing: int,
) -> list[Job]:
    """Jobs that are due, of as many places as there are (see Store.claim)."""
    rows = database.execute(
        "select id, transport, domain, failures from place where wake <= ? order by wake limit 20000", (now,)
    )
    places = with_room(rows, free, active, room, failing)
    rows.close()
    jobs: list[Job] = []
    for place in places:
        most = share_of(place, len(places), free, free - len(jobs), active, room)
        for _ in range(most):
            job = _next(database, holder, place, now)
            if job is None:
                break
            if job.entries:
                jobs.append(job)
        wake(database, place.id)
        if len(jobs) >= free:
            break
    return jobs


def _next(database: sqlite3.Connection, holder: int, place: Place, now: float) -> Job | None:
    """The next job at a place. One without entries: what was there could not be read, and is parked."""
    row = database.execute(
        f"select message from entry where place = ? and {FREE} and due <= ? order by due limit 1",  # noqa: S608  # a constant
        (place.id, now),
    ).fetchone()
    if row is None:
        return None
    rows = database.execute(
        f"select {_COLUMNS} from entry where message = ? and place = ? and {FREE} and due <= ? limit {AT_ONCE}",  # noqa: S608  # constants
        (row[0], place.id, now),
    ).fetchall()
    return _taken(database, holder, row[0], place, rows)


def _taken(
    database: sqlite3.Connection, holder: int, message: int, place: Place, rows: Sequence[tuple[Any, ...]]
) -> Job:
    try:
        job = _read(database, message, place, rows)
    except (sqlite3.DatabaseError, msgspec.DecodeError, TypeError, ValueError) as error:
        if isinstance(error, sqlite3.Error) and not corrupt(error):
            raise
        for row in rows:
            database.execute(
                "update entry set state = ?, reply = ? where id = ?",
                (State.PARKED, f"cannot be read: {error}"[:500], row[0]),
            )
        return Job(message, "", "", About(), place, (), 0.0, 0)
    database.executemany(
        "update entry set holder = ?, fence = fence + 1 where id = ?", [(holder, one.id) for one in job.entries]
    )
    return job


def _read(database: sqlite3.Connection, message: int, place: Place, rows: Sequence[tuple[Any, ...]]) -> Job:
    """A job from its rows. Raises TypeError and its kin for what cannot be one."""
    found = database.execute(
        "select transaction_id, sender, about, queued, size from message where id = ?", (message,)
    ).fetchone()
    if found is None:
        raise ValueError("its message is gone")
    transaction, sender, about, queued, size = found
    taken = tuple(msgspec.convert(row, type=_Row) for row in rows)
    told = msgspec.convert((transaction, sender, queued, size), type=tuple[str, str, float, int], strict=True)
    entries = tuple(Entry(*row, warned=bool(warned)) for *row, warned in taken)  # type: ignore[misc]  # as _Row says
    return Job(message, told[0], told[1], _DECODE(about), place, entries, told[2], told[3])


_Row = tuple[int, int, str, str, int, int, float, int]


def overdue(database: sqlite3.Connection, holder: int, now: float, most: int) -> list[tuple[Job, str]]:
    """Entries that go back without a further attempt, with the reason (see Store.overdue)."""
    jobs: list[tuple[Job, str]] = []
    asked = f"state = {State.RETURNING} and holder is null"
    late = f"{FREE} and expires <= {float(now)!r} and failures > 0 and failed >= expires"
    for which, own in ((asked, f"state = {State.RETURNING}"), (late, f"state = 0 and expires <= {float(now)!r}")):
        rows = database.execute(
            "select message, place, place.transport, place.domain, place.failures, place.reply from entry"  # noqa: S608
            f" join place on place.id = entry.place where {which} group by message, place limit ?",
            (most,),
        ).fetchall()
        for message, id_, transport, domain, failures, reply in rows:
            found = database.execute(
                f"select {_COLUMNS} from entry where message = ? and place = ? and holder is null and {own} limit 100",  # noqa: S608
                (message, id_),
            ).fetchall()
            job = _taken(database, holder, message, Place(id_, transport, domain, failures), found)
            wake(database, id_)
            if job.entries:
                jobs.append((job, RETURNED if which is asked else reply))
    return jobs
