"""What one transaction leaves to its end: places that are to be woken, messages that may be for nobody any more.

Everybody locks these rows there, messages first, then places, each in the order of their numbers; so nobody waits in a
circle. What is looked up after the locks sees what those before have committed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from flowengine.services.queue.model import Place, Rest
from flowengine.services.queue.postgresql_link import Connection, rows

CHANNEL = "flowengine_queue"
SOON = 1.0
"""Seconds: what is due within is told to the other workers."""


@dataclass(slots=True)
class Work:
    """puts: messages that were put, taken: entries that were taken, in case nobody knows how the transaction ended.

    places: those that were found, which stay to the end. gone, left: entries that go, their messages.

    entries, octets: by how much the queue grows. rests: what attempts said about places, with the time.
    """

    puts: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    places: dict[tuple[str, str], tuple[Place, float]] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)
    left: set[int] = field(default_factory=set)
    woken: set[int] = field(default_factory=set)
    rests: list[tuple[int, Rest, float]] = field(default_factory=list)
    entries: int = 0
    octets: int = 0

    def finish(self, connection: Connection, now: float) -> None:
        """Do it, just before the commit. now: Unix time. Raises psycopg.Error."""
        if self.gone:
            self.entries -= connection.execute("delete from entry where id = any(%s)", (self.gone,)).rowcount
        if self.left:
            self.octets -= bury(connection, self.left)
        places = sorted({*self.woken, *(place for place, _, _ in self.rests)})
        if places:
            rows(connection, "select 1 from place where id = any(%s) order by id for no key update", (places,))
            for place, rest, moment in self.rests:
                _rest(connection, place, rest, moment)
            if wake(connection, places) <= now + SOON:
                connection.execute(f"notify {CHANNEL}")


def bury(connection: Connection, messages: Iterable[int]) -> int:
    """Messages that are for nobody any more go; how many octets."""
    some = sorted(messages)
    rows(connection, "select 1 from message where id = any(%s) order by id for update", (some,))
    gone = rows(
        connection,
        "delete from message where id = any(%s) and not exists (select 1 from entry where message = message.id)"
        " returning size, file",
        (some,),
    )
    if files := [file for _, file in gone if file is not None]:
        connection.execute("delete from piece where file = any(%s)", (files,))
    return sum(size for size, _ in gone)


def _rest(connection: Connection, place: int, rest: Rest, now: float) -> None:
    if rest.until:  # of attempts that fail together the first one counts
        connection.execute(
            "update place set failures = failures + 1, failed = %s, resting = %s, reply = %s"
            " where id = %s and resting <= %s",
            (now, rest.until, plain(rest.reply), place, now),
        )
    else:
        connection.execute("update place set failures = 0, failed = 0, resting = 0, reply = '' where id = %s", (place,))


def wake(connection: Connection, places: list[int]) -> float:
    """Say anew when there is something to do at places that are locked; the earliest of these times."""
    found = rows(
        connection,
        "update place set wake = (select greatest(min(due), resting) from entry where place = place.id and state = 0"
        " and holder is null having min(due) is not null) where id = any(%s) returning wake",
        (places,),
    )
    return min((due for (due,) in found if due is not None), default=float("inf"))


def plain(text: str) -> str:
    """What a next hop said, as PostgreSQL can keep it: it has no NUL."""
    return text.replace("\0", "")
