"""Entries are taken from the queue's database by one holder each. All raise psycopg.Error.

Rows that another worker is taking at this moment are passed over (SKIP LOCKED): nobody waits for anybody. What cannot
be read is parked on the way, so that it keeps nobody else.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from flowengine.services.queue.choosing import Busy, Seats, share_of, with_room
from flowengine.services.queue.model import About, Entry, Job, Place, State
from flowengine.services.queue.postgresql_link import Connection, row, rows
from flowengine.services.queue.postgresql_work import Work, plain
from flowengine.services.queue.sqlite_entries import AT_ONCE
from flowengine.services.queue.sqlite_taking import RETURNED

_DECODE = msgspec.json.Decoder(About).decode
_PAGE, _PAGES = 1000, 20
"""Places that are looked through for some with room."""
# The conditions are written so that only the index that is meant can serve: a new table has no statistics yet.
_TAKE = """
with first as (
    select message from entry where place = %(place)s and state = 0 and holder is null and due <= %(now)s
    order by due limit %(most)s for update skip locked),
mine as (
    select found.id from (select distinct message from first) as one cross join lateral (
        select id from entry where message = one.message and place + 0 = %(place)s and state <= 0
        and coalesce(holder, 0) = 0 and due <= %(now)s limit %(at_once)s for update skip locked) as found)
update entry set holder = %(holder)s, fence = fence + 1 where id = any(array(select id from mine))
returning id, message, number, recipient, dsn, attempts, fence, expires, warned, due
"""
_OVERDUE = """
with first as (
    select entry.id, message, place from entry join place on place.id = entry.place where {}
    limit %(most)s for update of entry skip locked)
update entry set holder = %(holder)s, fence = fence + 1 where id in (select id from first)
returning id, message, number, recipient, dsn, attempts, fence, expires, warned, due, place
"""


def claim(
    connection: Connection,
    work: Work,
    holder: int,
    now: float,
    free: int,
    active: Busy,
    room: Seats,
    failing: int,
) -> list[Job]:
    """Jobs that are due, of as many places as there are (see Store.claim)."""
    places = with_room(_by_wake(connection, now), free, active, room, failing)
    jobs: list[Job] = []
    for place in places:
        most = share_of(place, len(places), free, free - len(jobs), active, room)
        if most > 0:
            values = {"place": place.id, "now": now, "most": most, "holder": holder, "at_once": AT_ONCE}
            found = connection.execute(_TAKE.encode(), values, binary=True).fetchall()
            jobs += _jobs(connection, work, holder, place, found)
        work.woken.add(place.id)
        if len(jobs) >= free:
            break
    return jobs


def _by_wake(connection: Connection, now: float) -> Iterator[tuple[Any, ...]]:
    """Places with something to do, those that waited longest first."""
    last: tuple[float, int] = (0.0, 0)
    for _ in range(_PAGES):
        page = rows(
            connection,
            "select id, transport, domain, failures, wake from place where wake <= %s and (wake, id) > (%s, %s)"
            " order by wake, id limit %s",
            (now, *last, _PAGE),
        )
        yield from (one[:4] for one in page)
        if len(page) < _PAGE:
            return
        last = (page[-1][4], page[-1][0])


def _jobs(connection: Connection, work: Work, holder: int, place: Place, taken: Sequence[tuple[Any, ...]]) -> list[Job]:
    """Rows that were taken at one place, as jobs in the order in which they were due."""
    groups: dict[int, list[tuple[Any, ...]]] = {}
    for one in sorted(taken, key=lambda one: (one[9], one[0])):
        groups.setdefault(one[1], []).append(one)
    if not groups:
        return []
    query = "select id, transaction_id, sender, about, queued, size from message where id = any(%s)"
    told = {one[0]: one for one in rows(connection, query, (list(groups),))}
    jobs: list[Job] = []
    for message, group in groups.items():
        try:
            _, transaction, sender, about, queued, size = told[message]
            known = _DECODE(about)
        except (KeyError, msgspec.DecodeError) as error:
            reason = "its message is gone" if isinstance(error, KeyError) else str(error)
            connection.execute(
                "update entry set state = %s, holder = null, reply = %s where id = any(%s)",
                (int(State.PARKED), plain(f"cannot be read: {reason}"[:500]), [one[0] for one in group]),
            )
            continue
        entries = tuple(
            Entry(id_, number, recipient, dsn, attempts, fence, expires, bool(warned))
            for id_, _, number, recipient, dsn, attempts, fence, expires, warned, *_ in group
        )
        work.taken += [one.id for one in entries]
        jobs.append(Job(message, transaction, sender, known, place, entries, queued, size, holder))
    return jobs


def overdue(connection: Connection, work: Work, holder: int, now: float, most: int) -> list[tuple[Job, str]]:
    """Entries that go back without a further attempt, with the reason (see Store.overdue)."""
    jobs: list[tuple[Job, str]] = []
    asked = f"state = {int(State.RETURNING)} and holder is null"
    late = "state = 0 and holder is null and expires <= %(now)s and failures > 0 and failed >= expires"
    for which in (asked, late):
        values = {"now": now, "most": most, "holder": holder}
        groups: dict[int, list[tuple[Any, ...]]] = {}
        for one in connection.execute(_OVERDUE.format(which).encode(), values, binary=True).fetchall():
            groups.setdefault(one[10], []).append(one)
        for id_, group in groups.items():
            found = row(connection, "select transport, domain, failures, reply from place where id = %s", (id_,))
            assert found is not None  # noqa: S101  # entries refer to it
            place = Place(id_, found[0], found[1], found[2])
            work.woken.add(id_)
            reply = RETURNED if which is asked else found[3]
            jobs += [(job, reply) for job in _jobs(connection, work, holder, place, group)]
    return jobs
