"""The changes of the queue in SQLite, each a few statements within the caller's transaction. All raise sqlite3.Error.

`place.wake` is kept true by whoever changes what is due there: it is what the workers look at, and nothing else.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from flowengine.services.queue.model import (
    About,
    Entry,
    Fate,
    Gone,
    Job,
    Later,
    NewMessage,
    Place,
    Rest,
    Stand,
    State,
)

AT_ONCE = 100
"""Recipients of one attempt (RFC 5321 §4.5.3.1.8: every server takes as many)."""
RETURNED = "554 5.0.0 Returned by the operator"
_FREE = "state = 0 and holder is null"
_COLUMNS = "id, number, recipient, dsn, attempts, fence + 1, expires, warned"
_DECODE = msgspec.json.Decoder(About).decode


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
        place, resting = _place(database, new.transport, domain)
        taken: list[Entry] = []
        left = False
        for one in group:
            take = one.take and resting <= new.queued
            left = left or not take
            id_ = database.execute(
                "insert into entry (message, number, place, recipient, dsn, holder, fence, due, since, expires)"
                " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                ),
            ).lastrowid
            if take:
                taken.append(Entry(id_ or 0, one.number, one.recipient, one.dsn, 0, 1, new.expires, False))
        if left:
            _wake(database, place.id)
        for start in range(0, len(taken), AT_ONCE):
            some = tuple(taken[start : start + AT_ONCE])
            jobs.append(_job(message, new, place, some))
    return jobs


def _domain(entry: Any) -> str:
    return str(entry.domain)


def _job(message: int, new: NewMessage, place: Place, taken: tuple[Entry, ...]) -> Job:
    return Job(message, new.transaction, new.sender, new.about, place, taken, new.queued, new.size)


def _place(database: sqlite3.Connection, transport: str, domain: str) -> tuple[Place, float]:
    row = database.execute(
        "select id, failures, resting from place where transport = ? and domain = ?", (transport, domain)
    ).fetchone()
    if row is not None:
        return Place(row[0], transport, domain, row[1]), row[2]
    id_ = database.execute("insert into place (transport, domain) values (?, ?)", (transport, domain)).lastrowid
    return Place(id_ or 0, transport, domain), 0.0


def _wake(database: sqlite3.Connection, place: int) -> None:
    """Say anew when there is something to do at a place."""
    (due,) = database.execute(f"select min(due) from entry where place = ? and {_FREE}", (place,)).fetchone()  # noqa: S608  # a constant
    database.execute("update place set wake = max(?, resting) where id = ?", (due, place))  # null stays null


def wake_places(database: sqlite3.Connection, places: Iterable[int]) -> None:
    """Say anew when there is something to do at places whose entries somebody changed."""
    for place in places:
        _wake(database, place)


def count(database: sqlite3.Connection) -> int:
    """How many entries there are."""
    (found,) = database.execute("select entries from state").fetchone()
    return int(found)


def content(database: sqlite3.Connection, message: int) -> tuple[bytes, str | None, bytes] | None:
    """Body, file and digest of a message; None when its row is gone or cannot be read."""
    try:
        row = database.execute("select body, file, digest from message where id = ?", (message,)).fetchone()
    except sqlite3.DatabaseError as error:
        if not _corrupt(error):
            raise
        return None
    if row is None or not isinstance(row[2], bytes) or (not isinstance(row[0], bytes) and row[1] is None):
        return None
    return row[0], row[1], row[2]


# -- taking -----------------------------------------------------------------------------------------------------------


def claim(
    database: sqlite3.Connection,
    holder: int,
    now: float,
    free: int,
    active: Mapping[tuple[str, str], int],
    room: Callable[[str, str], int],
    failing: int,
) -> list[Job]:
    """Jobs that are due, of as many places as there are (see Store.claim)."""
    places = _due_places(database, now, free, active, room, failing)
    jobs: list[Job] = []
    share = max(1, free // len(places)) if places else 0
    for place in places:
        most = min(
            share,
            free - len(jobs),
            1
            if place.failures
            else room(place.transport, place.domain) - active.get((place.transport, place.domain), 0),
        )
        for _ in range(most):
            job = _next(database, holder, place, now)
            if job is None:
                break
            if job.entries:
                jobs.append(job)
        _wake(database, place.id)
        if len(jobs) >= free:
            break
    return jobs


def _due_places(
    database: sqlite3.Connection,
    now: float,
    free: int,
    active: Mapping[tuple[str, str], int],
    room: Callable[[str, str], int],
    failing: int,
) -> list[Place]:
    """Places with something to do and room for it, those that waited longest first."""
    found: list[Place] = []
    rows = database.execute(
        "select id, transport, domain, failures from place where wake <= ? order by wake limit 20000", (now,)
    )
    for id_, transport, domain, failures in rows:
        busy = active.get((transport, domain), 0)
        if failures:
            if busy or failing <= 0:
                continue
            failing -= 1
        elif busy >= room(transport, domain):
            continue
        found.append(Place(id_, transport, domain, failures))
        if len(found) >= free:
            break
    rows.close()
    return found


def _next(database: sqlite3.Connection, holder: int, place: Place, now: float) -> Job | None:
    """The next job at a place. One without entries: what was there could not be read, and is parked."""
    row = database.execute(
        f"select message from entry where place = ? and {_FREE} and due <= ? order by due limit 1",  # noqa: S608  # a constant
        (place.id, now),
    ).fetchone()
    if row is None:
        return None
    rows = database.execute(
        f"select {_COLUMNS} from entry where message = ? and place = ? and {_FREE} and due <= ? limit {AT_ONCE}",  # noqa: S608  # constants
        (row[0], place.id, now),
    ).fetchall()
    return _taken(database, holder, row[0], place, rows)


def _taken(
    database: sqlite3.Connection, holder: int, message: int, place: Place, rows: Sequence[tuple[Any, ...]]
) -> Job:
    try:
        job = _read(database, message, place, rows)
    except (sqlite3.DatabaseError, msgspec.DecodeError, TypeError, ValueError) as error:
        if isinstance(error, sqlite3.Error) and not _corrupt(error):
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
    late = f"{_FREE} and expires <= {float(now)!r} and failures > 0 and failed >= expires"
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
            _wake(database, id_)
            if job.entries:
                jobs.append((job, RETURNED if which is asked else reply))
    return jobs


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
        _wake(database, job.place.id)
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
        _wake(database, place)
    database.execute("delete from holder where id = ?", (holder,))
    return freed


def stand(database: sqlite3.Connection) -> Stand:
    """How the queue stands."""
    (total, octets) = database.execute("select entries, octets from state").fetchone()
    aside = dict(database.execute("select state, count(*) from entry where state <> 0 group by state").fetchall())
    oldest = database.execute("select queued from message order by id limit 1").fetchone()
    held, parked = aside.get(State.HELD, 0), aside.get(State.PARKED, 0)
    return Stand(total - held - parked, held, parked, octets, oldest[0] if oldest is not None else 0.0)


def _corrupt(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
