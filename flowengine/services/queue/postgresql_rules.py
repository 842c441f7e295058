"""Rules of the pace and places that attempts take, in the queue's database. All raise psycopg.Error."""

from collections.abc import Iterable

import msgspec

from flowengine.services.queue.pickup import MOST, Rule
from flowengine.services.queue.postgresql_link import Connection, row, rows


def add(connection: Connection, kind: str, rule: Rule, until: float, now: float, *, update: bool) -> str:
    """Keep a rule until then; its name. update: one with the same fields and condition is replaced."""
    alone(connection)
    connection.execute("delete from rule where until <= %s", (now,))
    wanted = msgspec.json.encode(rule)
    for id_, name, found in rows(connection, "select id, name, rule from rule") if update else ():
        known = msgspec.json.decode(found, type=Rule)
        if (known.fields, known.condition) == (rule.fields, rule.condition) and name.startswith(kind):
            connection.execute("update rule set rule = %s, until = %s where id = %s", (wanted, until, id_))
            return str(name)
    connection.execute("delete from rule where id in (select id from rule order by until desc offset %s)", (MOST - 1,))
    new = row(connection, "insert into rule (name, rule, until) values ('', %s, %s) returning id", (wanted, until))
    name = f"{kind}{new[0] if new is not None else 0}"
    connection.execute("update rule set name = %s where name = ''", (name,))
    return name


def remove(connection: Connection, name: str) -> bool:
    """End a rule; whether there was one of this name."""
    alone(connection)
    return connection.execute("delete from rule where name = %s", (name,)).rowcount > 0


def rules(connection: Connection, now: float) -> list[tuple[str, bytes, float]]:
    """Those that hold."""
    found = rows(connection, "select name, rule, until from rule where until > %s order by id", (now,))
    return [(name, rule, until) for name, rule, until in found]


def take(connection: Connection, holder: int, attempt: str, seats: Iterable[tuple[str, int]]) -> str | None:
    """Take a place of each (name, how many there are) for an attempt, or none of them; the name of one that is full."""
    wanted = list(seats)
    alone(connection)
    for name, most in wanted:
        found = row(connection, "select count(*) from token where name = %s", (_key(name),))
        if found is not None and found[0] >= most:
            return name
    for name, _ in wanted:
        connection.execute(
            "insert into token (name, holder, attempt) values (%s, %s, %s)", (_key(name), holder, attempt)
        )
    return None


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # it may hold a NUL, which no text of PostgreSQL may


def free(connection: Connection, holder: int, attempt: str) -> None:
    """An attempt is over: its places are free."""
    connection.execute("delete from token where holder = %s and attempt = %s", (holder, attempt))


def alone(connection: Connection) -> None:
    """One at a time from here to the end of the transaction. It comes before any lock of a message or place."""
    connection.execute("select pg_advisory_xact_lock('rule'::regclass::oid::int, 2)")
