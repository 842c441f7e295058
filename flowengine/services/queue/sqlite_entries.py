"""Entries come into the queue's SQLite file and leave it, within the caller's transaction. All raise sqlite3.Error."""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from flowengine.services.queue.model import Entry, Fate, Gone, Job, Later, NewMessage, Place, Rest, Stand, State
from flowengine.services.queue.sqlite_places import corrupt, find_place, wake

AT_ONCE = 100
"""Recipients of one attempt (RFC 5321 §4.5.3.1.8: every server takes as many)."""


def put(database: sqlite3.Connection, holder: int, new: NewMessage) -> list[Job]:
    """A new message with its entries; the jobs of those that were taken."""
    body = None if new.file else b"".join(new.chunks)
    message = database.execute(
        "insert into message (transaction_id, sender, size, queued, digest, file, about, body)"
        " values (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.transaction,
            new.sender,
            new.size,
            new.queued,
            new.digest,
            new.file or None,
            msgspec.json.encode(new.about),
            body,
        ),
    ).lastrowid
    assert message is not None  # noqa: S101  # an insert has a row
    jobs: list[Job] = []
    for domain, group in groupby(sorted(new.entries, key=_domain), key=_domain):
        place, resting = find_place(database, new.transport, domain)
        taken: list[Entry] = []
        left = False
        for one in group:
            take = one.take and resting <= new.queued and not new.hold
            left = left or not take
            id_ = database.execute(
                "insert into entry (message, number, place, recipient, dsn, holder, fence, due, since, expires, state)"
                " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    message,
                    one.number,
                    place.id,
                    one.recipient,
                    one.dsn,
                    holder if take else None,
                    int(take),
                    new.due,
                    new.queued,
                    new.expires,
                    State.HELD if new.hold else State.QUEUED,
                ),
            ).lastrowid
            if take:
                taken.append(Entry(id_ or 0, one.number, one.recipient, one.dsn, 0, 1, new.expires, False))
        if left:
            wake(database, place.id)
        for start in range(0, len(taken), AT_ONCE):
            some = tuple(taken[start : start + AT_ONCE])
            jobs.append(_job(message, new, place, some))
    return jobs


def _domain(entry: Any) -> str:
    return str(entry.domain)


def _job(message: int, new: NewMessage, place: Place, taken: tuple[Entry, ...]) -> Job:
    return Job(message, new.transaction, new.sender, new.about, place, taken, new.queued, new.size)


def count(database: sqlite3.Connection) -> int:
    """How many entries there are."""
    (found,) = database.execute("select entries from state").fetchone()
    return int(found)


def content(database: sqlite3.Connection, message: int) -> tuple[bytes, str | None, bytes] | None:
    """Body, file and digest of a message; None when its row is gone or cannot be read."""
    try:
        row = database.execute("select body, file, digest from message where id = ?", (message,)).fetchone()
    except sqlite3.DatabaseError as error:
        if not corrupt(error):
            raise
        return None
    if row is None or not isinstance(row[2], bytes) or (not isinstance(row[0], bytes) and row[1] is None):
        return None
    return row[0], row[1], row[2]


# -- giving back ------------------------------------------------------------------------------------------------------


def settle(
    database: sqlite3.Connection, holder: int, job: Job, fates: Sequence[Fate], rest: Rest | None, now: float
) -> list[str]:
    """What became of a job (see Store.settle); names of files that nobody needs any more."""
    gone = False
    for fate in fates:
        one = fate.entry
        mine = (one.id, holder, one.fence)
        if isinstance(fate, Gone):
            gone = True
            database.execute("delete from entry where id = ?", (one.id,))
        elif isinstance(fate, Later):
            database.execute(
                "update entry set holder = null, due = ?, since = ?, attempts = attempts + ?, warned = ?, tried = ?,"
                " reply = ? where id = ? and holder = ? and fence = ?",
                (fate.due, now, int(fate.counted), int(fate.warned), now, fate.reply, *mine),
            )
        else:
            database.execute(
                "update entry set holder = null, state = ?, reply = ? where id = ? and holder = ? and fence = ?",
                (State.PARKED, fate.reason, *mine),
            )
    if rest is not None:
        if rest.until:  # of attempts that fail together the first one counts
            database.execute(
                "update place set failures = failures + 1, failed = ?, resting = ?, reply = ?"
                " where id = ? and resting <= ?",
                (now, rest.until, rest.reply, job.place.id, now),
            )
        else:
            database.execute(
                "update place set failures = 0, failed = 0, resting = 0, reply = '' where id = ?", (job.place.id,)
            )
    if rest is not None or any(not isinstance(fate, Gone) for fate in fates):
        wake(database, job.place.id)
    return list(_bury(database, job.message)) if gone else []


def _bury(database: sqlite3.Connection, message: int) -> Iterator[str]:
    """A message that is for nobody any more goes; its file, if it has one."""
    rows = database.execute(
        "delete from message where id = ? and not exists (select 1 from entry where message = ?) returning file",
        (message, message),
    ).fetchall()
    return (row[0] for row in rows if row[0] is not None)


def release(database: sqlite3.Connection, holder: int, now: float) -> int:
    """A holder that is no more: what it held is due at once; how many entries."""
    places = database.execute("select distinct place from entry where holder = ?", (holder,)).fetchall()
    freed = database.execute(
        "update entry set holder = null, due = min(due, ?), since = ? where holder = ?", (now, now, holder)
    ).rowcount
    for (place,) in places:
        wake(database, place)
    database.execute("delete from token where holder = ?", (holder,))
    database.execute("delete from holder where id = ?", (holder,))
    return freed


def stand(database: sqlite3.Connection) -> Stand:
    """How the queue stands."""
    (total, octets) = database.execute("select entries, octets from state").fetchone()
    aside = dict(database.execute("select state, count(*) from entry where state <> 0 group by state").fetchall())
    oldest = database.execute("select queued from message order by id limit 1").fetchone()
    held, parked = aside.get(State.HELD, 0), aside.get(State.PARKED, 0)
    return Stand(total - held - parked, held, parked, octets, oldest[0] if oldest is not None else 0.0)
