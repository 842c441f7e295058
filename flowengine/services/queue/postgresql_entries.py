"""Entries come into the queue's database and leave it, within the caller's transaction. All raise psycopg.Error."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from flowengine.services.queue.model import (
    Entry,
    Fate,
    Gone,
    Job,
    Later,
    NewEntry,
    NewMessage,
    Place,
    Rest,
    Stand,
    State,
    StoreTrouble,
)
from flowengine.services.queue.postgresql_link import Connection, row, rows
from flowengine.services.queue.postgresql_pieces import clear, read, whole
from flowengine.services.queue.postgresql_work import Work, plain
from flowengine.services.queue.sqlite_entries import AT_ONCE

FindPlace = Callable[[str, str], tuple[Place, float]]
_MESSAGE = (
    "insert into message (transaction_id, sender, size, queued, digest, file, about, body)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s) returning id"
)
_ENTRY = (
    "insert into entry (message, number, place, recipient, dsn, holder, fence, due, since, expires, state)"
    " select {}::bigint, number, %s::bigint, recipient, dsn, case when take then %s::bigint end, take::int,"
    " %s::float8, %s::float8, %s::float8, %s::int from unnest(%s::int[], %s::text[], %s::text[], %s::bool[])"
    " with ordinality as one(number, recipient, dsn, take, position) order by position returning id, message"
)
_BOTH = f"with new as ({_MESSAGE}) {_ENTRY.format('(select id from new)')}"  # noqa: S608  # ours; a message for one place
_MORE = _ENTRY.format("%s")


def put(connection: Connection, work: Work, holder: int, new: NewMessage, find: FindPlace) -> list[Job]:
    """A new message with its entries; the jobs of those that were taken. find: the place, kept there, and its rest."""
    if new.file and not whole(connection, new.file, new.size):
        raise StoreTrouble("the message took too long to write, and was cleared away")
    body = None if new.file else b"".join(new.chunks)
    about = msgspec.json.encode(new.about)
    told = (new.transaction, new.sender, new.size, new.queued, new.digest, new.file or None, about, body)
    work.entries += len(new.entries)
    work.octets += new.size
    jobs: list[Job] = []
    message: int | None = None
    for domain, each in groupby(sorted(new.entries, key=_domain), key=_domain):
        group = list(each)
        place, resting = find(new.transport, domain)
        takes = [one.take and resting <= new.queued and not new.hold for one in group]
        values = (
            place.id,
            holder,
            new.due,
            new.queued,
            new.expires,
            int(State.HELD if new.hold else State.QUEUED),
            [one.number for one in group],
            [one.recipient for one in group],
            [one.dsn for one in group],
            takes,
        )
        if message is None:
            ids = rows(connection, _BOTH, (*told, *values))
            message = int(ids[0][1])
            work.puts.append(message)
        else:
            ids = rows(connection, _MORE, (message, *values))
        taken = [
            Entry(id_, one.number, one.recipient, one.dsn, 0, 1, new.expires, False)
            for one, (id_, _), take in zip(group, ids, takes, strict=True)
            if take
        ]
        if len(taken) < len(group):
            work.woken.add(place.id)
        for start in range(0, len(taken), AT_ONCE):
            some = tuple(taken[start : start + AT_ONCE])
            jobs.append(Job(message, new.transaction, new.sender, new.about, place, some, new.queued, new.size, holder))
    return jobs


def _domain(entry: NewEntry) -> str:
    return entry.domain


def find_place(connection: Connection, transport: str, domain: str) -> tuple[Place, float] | None:
    """A place that stays for as long as this transaction lasts, and until when it rests; None when there is none."""
    found = row(
        connection,
        "select id, failures, resting from place where transport = %s and domain = %s for key share",
        (transport, domain),
    )
    return None if found is None else (Place(found[0], transport, domain, found[1]), found[2])


def content(connection: Connection, message: int) -> tuple[Sequence[bytes], bytes] | None:
    """The octets of a message and their digest; None when they are gone."""
    found = row(connection, "select body, file, digest from message where id = %s", (message,))
    if found is None or (found[0] is None and found[1] is None):
        return None
    return [found[0]] if found[0] is not None else read(connection, found[1]), found[2]


# -- giving back ------------------------------------------------------------------------------------------------------

_LATER = (
    "update entry set holder = null, due = %s, since = %s, attempts = attempts + %s, warned = %s, tried = %s,"
    " reply = %s where id = %s and holder = %s and fence = %s"
)
_PARKED = "update entry set holder = null, state = %s, reply = %s where id = %s and holder = %s and fence = %s"


def settle(connection: Connection, work: Work, job: Job, fates: Sequence[Fate], rest: Rest | None, now: float) -> None:
    """What became of a job (see Store.settle)."""
    gone = 0
    for fate in fates:
        mine = (fate.entry.id, job.holder, fate.entry.fence)
        if isinstance(fate, Gone):
            gone += 1
            work.gone.append(fate.entry.id)
        elif isinstance(fate, Later):
            told = (fate.due, now, int(fate.counted), int(fate.warned), now, plain(fate.reply), *mine)
            connection.execute(_LATER, told)
        else:
            connection.execute(_PARKED, (int(State.PARKED), plain(fate.reason), *mine))
    if gone:
        work.left.add(job.message)
    if rest is not None:
        work.rests.append((job.place.id, rest, now))
    if gone < len(fates):
        work.woken.add(job.place.id)


def release(connection: Connection, work: Work, holder: int, now: float) -> int:
    """A holder whose row is locked is no more: what it held is due at once; how many entries."""
    freed = rows(
        connection,
        "update entry set holder = null, due = least(due, %s), since = %s where holder = %s returning place",
        (now, now, holder),
    )
    work.woken |= {place for (place,) in freed}
    connection.execute("delete from token where holder = %s", (holder,))
    clear(connection, holder)
    gone = row(connection, "delete from holder where id = %s returning entries, octets", (holder,))
    if gone is not None:
        connection.execute("update state set entries = entries + %s, octets = octets + %s", gone)
    return len(freed)


def sums(connection: Connection) -> tuple[int, int]:
    """How many entries there are, and octets."""
    found: Any = row(
        connection,
        "select (sum(entries))::bigint, (sum(octets))::bigint from (select entries, octets from state union all"
        " select entries, octets from holder) as one",
    )
    return int(found[0] or 0), int(found[1] or 0)


def stand(connection: Connection) -> Stand:
    """How the queue stands."""
    total, octets = sums(connection)
    aside: dict[Any, Any] = dict(rows(connection, "select state, count(*) from entry where state <> 0 group by state"))
    oldest = row(connection, "select queued from message order by id limit 1")
    held, parked = aside.get(State.HELD, 0), aside.get(State.PARKED, 0)
    return Stand(total - held - parked, held, parked, octets, oldest[0] if oldest is not None else 0.0)
