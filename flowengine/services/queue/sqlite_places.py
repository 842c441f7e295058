"""Places in the queue's SQLite file, and when there is something to do there. All raise sqlite3.Error.

`place.wake` is kept true by whoever changes what is due at a place: it is what the workers look at, and nothing else.
"""

import sqlite3
from collections.abc import Iterable

from flowengine.services.queue.model import Place

FREE = "state = 0 and holder is null"
"""What may be claimed when it is due."""


def find_place(database: sqlite3.Connection, transport: str, domain: str) -> tuple[Place, float]:
    """A place, made when it is new, and until when it rests."""
    row = database.execute(
        "select id, failures, resting from place where transport = ? and domain = ?", (transport, domain)
    ).fetchone()
    if row is not None:
        return Place(row[0], transport, domain, row[1]), row[2]
    id_ = database.execute("insert into place (transport, domain) values (?, ?)", (transport, domain)).lastrowid
    return Place(id_ or 0, transport, domain), 0.0


def wake(database: sqlite3.Connection, place: int) -> None:
    """Say anew when there is something to do at a place."""
    (due,) = database.execute(f"select min(due) from entry where place = ? and {FREE}", (place,)).fetchone()  # noqa: S608  # a constant
    database.execute("update place set wake = max(?, resting) where id = ?", (due, place))  # null stays null


def wake_places(database: sqlite3.Connection, places: Iterable[int]) -> None:
    """Say anew when there is something to do at places whose entries somebody changed."""
    for place in places:
        wake(database, place)


def corrupt(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged there."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
