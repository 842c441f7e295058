"""Rules of the pace and places that attempts take, in the queue's SQLite file. All raise sqlite3.Error."""

import sqlite3
from collections.abc import Iterable

import msgspec

from flowengine.services.queue.pickup import MOST, Rule


def add(database: sqlite3.Connection, kind: str, rule: Rule, until: float, now: float, *, update: bool) -> str:
    """Keep a rule until then; its name. update: one with the same fields and condition is replaced."""
    database.execute("delete from rule where until <= ?", (now,))
    wanted = msgspec.json.encode(rule)
    for id_, name, found in database.execute("select id, name, rule from rule").fetchall() if update else ():
        known = msgspec.json.decode(found, type=Rule)
        if (known.fields, known.condition) == (rule.fields, rule.condition) and name.startswith(kind):
            database.execute("update rule set rule = ?, until = ? where id = ?", (wanted, until, id_))
            return str(name)
    database.execute(
        "delete from rule where id in (select id from rule order by until desc limit -1 offset ?)", (MOST - 1,)
    )
    id_ = database.execute("insert into rule (name, rule, until) values ('', ?, ?)", (wanted, until)).lastrowid
    database.execute("update rule set name = ? where id = ?", (f"{kind}{id_}", id_))
    return f"{kind}{id_}"


def remove(database: sqlite3.Connection, name: str) -> bool:
    """End a rule; whether there was one of this name."""
    return database.execute("delete from rule where name = ?", (name,)).rowcount > 0


def rules(database: sqlite3.Connection, now: float) -> list[tuple[str, bytes, float]]:
    """Those that hold."""
    return database.execute("select name, rule, until from rule where until > ? order by id", (now,)).fetchall()


def take(database: sqlite3.Connection, holder: int, attempt: str, seats: Iterable[tuple[str, int]]) -> str | None:
    """Take a place of each (name, how many there are) for an attempt, or none of them; the name of one that is full."""
    wanted = list(seats)
    for name, most in wanted:
        (count,) = database.execute("select count(*) from token where name = ?", (name,)).fetchone()
        if count >= most:
            return name
    rows = [(name, holder, attempt) for name, _ in wanted]
    database.executemany("insert into token (name, holder, attempt) values (?, ?, ?)", rows)
    return None


def free(database: sqlite3.Connection, holder: int, attempt: str) -> None:
    """An attempt is over: its places are free."""
    database.execute("delete from token where holder = ? and attempt = ?", (holder, attempt))
