"""The tables of the queue in PostgreSQL, in a schema of their own; versions in step with those of SQLite (schema.py).

A version's statements never change once they are released: a change is another version at the end.
"""

import psycopg

from flowengine.services.queue.model import StoreTrouble
from flowengine.services.queue.postgresql_link import Connection

SCHEMA = "flowengine"
VERSIONS: tuple[tuple[str, ...], ...] = (
    (
        # who has entries: one row a worker. until: its lease, by the clock of the database; machine: where flocks tell
        # more than a lease. entries, octets: what it put less what it took away, so that no row is everybody's
        (
            "create table holder (id bigint generated always as identity primary key, machine text not null,"
            " pid integer not null, until timestamptz not null, entries bigint not null default 0,"
            " octets bigint not null default 0)"
        ),
        (
            "create table place (id bigint generated always as identity primary key, transport text not null,"
            " domain text not null, wake float8, failures integer not null default 0,"
            " resting float8 not null default 0, failed float8 not null default 0, reply text not null default '',"
            " unique (transport, domain))"
        ),
        "create index place_wake on place (wake, id) where wake is not null",
        (
            "create table message (id bigint generated always as identity primary key, transaction_id text not null,"
            " sender text not null, size bigint not null, queued float8 not null, digest bytea not null, file text,"
            " about bytea not null, body bytea)"
        ),
        "alter table message alter body set storage external",  # a mail is not worth compressing
        "create index message_transaction on message (transaction_id)",
        "create index message_file on message (file) where file is not null",
        # a large message lies in pieces, written before its row (postgresql_pieces.py)
        (
            "create table piece (file text not null, number integer not null, holder bigint not null,"
            " octets bytea not null, primary key (file, number))"
        ),
        "alter table piece alter octets set storage external",
        "create index piece_holder on piece (holder)",
        (
            "create table entry (id bigint generated always as identity primary key, message bigint not null,"
            " number integer not null, place bigint not null references place, recipient text not null,"
            " dsn text not null,"
            " state integer not null default 0, holder bigint, fence integer not null default 0,"
            " due float8 not null, since float8 not null, expires float8 not null,"
            " attempts integer not null default 0, warned integer not null default 0,"
            " tried float8 not null default 0, reply text not null default '')"
        ),
        "create index entry_message on entry (message)",
        "create index entry_place on entry (place)",
        "create index entry_due on entry (place, due) where state = 0 and holder is null",
        "create index entry_expires on entry (expires) where state = 0 and holder is null",
        "create index entry_holder on entry (holder) where holder is not null",
        "create index entry_aside on entry (state) where state <> 0",
        (
            "create table rule (id bigint generated always as identity primary key, name text not null,"
            " rule bytea not null, until float8 not null)"
        ),
        "create table token (name bytea not null, holder bigint not null, attempt text not null)",
        "create index token_name on token (name)",
        "create index token_holder on token (holder, attempt)",
        # one row: what holders that are no more put less what they took away
        "create table state (entries bigint not null, octets bigint not null)",
        "insert into state values (0, 0)",
        "alter table entry set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)",
        "alter table message set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)",
        "alter table holder set (fillfactor = 50)",
    ),
)


def migrate(connection: Connection) -> None:
    """Bring the tables up to this version, all in one transaction. Raises psycopg.Error, and StoreTrouble for those of
    a newer program."""
    try:
        if _version(connection) == len(VERSIONS):
            return
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        pass  # a new database
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(7235190, 1)")  # one program at a time
        connection.execute(f"create schema if not exists {SCHEMA}")
        connection.execute("create table if not exists version (number integer not null)")
        version = _version(connection)
        if version > len(VERSIONS):
            raise StoreTrouble(
                f"the queue was written by a newer flowengine (its version {version}, ours {len(VERSIONS)})"
            )
        for statements in VERSIONS[version:]:
            for statement in statements:
                connection.execute(statement.encode())
        connection.execute("delete from version")
        connection.execute("insert into version values (%s)", (len(VERSIONS),))


def _version(connection: Connection) -> int:
    row = connection.execute("select max(number) from version").fetchone()
    return int(row[0] or 0) if row is not None else 0
