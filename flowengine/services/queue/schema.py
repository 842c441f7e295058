"""The tables of the queue in SQLite, and how those of an earlier version become them.

A version's statements never change once they are released: a change is another version at the end.
"""

import sqlite3

from flowengine.services.database import transaction
from flowengine.services.queue.model import StoreTrouble

VERSIONS: tuple[tuple[str, ...], ...] = (
    (
        # who has entries: one row a worker, whose lock says that it lives (holders.py)
        "create table holder (id integer primary key autoincrement, pid integer not null, since real not null)",
        # destinations. wake: when there is something to do, null for never. resting: not before
        (
            "create table place (id integer primary key, transport text not null, domain text not null, wake real,"
            " failures integer not null default 0, resting real not null default 0, failed real not null default 0,"
            " reply text not null default '', unique (transport, domain))"
        ),
        "create index place_wake on place (wake) where wake is not null",
        (
            "create table message (id integer primary key, transaction_id text not null, sender text not null,"
            " size integer not null, queued real not null, digest blob not null, file text, about blob not null,"
            " body blob)"
        ),
        "create index message_transaction on message (transaction_id)",
        # since: when `due` was set, to notice a clock that went back
        (
            "create table entry (id integer primary key, message integer not null references message,"
            " number integer not null, place integer not null references place, recipient text not null,"
            " dsn text not null,"
            " state integer not null default 0, holder integer, fence integer not null default 0, due real not null,"
            " since real not null, expires real not null, attempts integer not null default 0,"
            " warned integer not null default 0, tried real not null default 0, reply text not null default '')"
        ),
        "create index entry_message on entry (message)",
        "create index entry_due on entry (place, due) where state = 0 and holder is null",
        "create index entry_expires on entry (expires) where state = 0 and holder is null",
        "create index entry_holder on entry (holder) where holder is not null",
        "create index entry_aside on entry (state) where state <> 0",
        # what flows say about the pace (pickup.py), and who has one of so many places
        (
            "create table rule (id integer primary key autoincrement, name text not null unique, rule blob not null,"
            " until real not null)"
        ),
        "create table token (name text not null, holder integer not null, attempt text not null)",
        "create index token_name on token (name)",
        # one row: what tells a jump of the clock (sqlite_times.py), and how much there is
        "create table state (boot text not null, lead real not null, entries int not null, octets int not null)",
        "insert into state values ('', 0, 0, 0)",
        "create trigger entry_comes after insert on entry begin update state set entries = entries + 1; end",
        "create trigger entry_goes after delete on entry begin update state set entries = entries - 1; end",
        "create trigger message_comes after insert on message begin update state set octets = octets + new.size; end",
        "create trigger message_goes after delete on message begin update state set octets = octets - old.size; end",
    ),
)


def migrate(database: sqlite3.Connection) -> None:
    """Bring the tables up to this version, all in one transaction. Raises sqlite3.Error, and StoreTrouble for those of
    a newer program."""
    if _version(database) == len(VERSIONS):
        return
    with transaction(database):
        version = _version(database)
        if version > len(VERSIONS):
            raise StoreTrouble(
                f"the queue was written by a newer flowengine (its version {version}, ours {len(VERSIONS)})"
            )
        for statements in VERSIONS[version:]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"pragma user_version = {len(VERSIONS)}")


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("pragma user_version").fetchone()
    return int(version)
