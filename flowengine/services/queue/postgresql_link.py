"""A connection to PostgreSQL: opened when it is needed, anew after trouble, never waited for without end.

The server hears of a dead client, and the client of a dead server, within seconds; a client that stops in the middle of
a transaction loses it.
"""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.rows import TupleRow, tuple_row

from flowengine.services.queue.model import StoreFull, StoreTrouble

Connection = psycopg.Connection[TupleRow]

PAUSE = 1.0
"""Seconds after a failed attempt to connect in which nobody tries again."""
OFF = 60.0
"""Seconds by which the clocks of this machine and of the database may differ."""
_PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}
_SETTINGS = (
    "set search_path = flowengine; set client_encoding = 'UTF8'; set statement_timeout = '20s';"
    " set lock_timeout = '10s'; set idle_in_transaction_session_timeout = '20s'; set default_transaction_isolation ="
    " 'read committed'; set jit = off; set plan_cache_mode = force_generic_plan; set enable_seqscan = off"
)
_DURABLE = "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"
_LATER = "set synchronous_commit = off"


class Broken(StoreTrouble):
    """The connection is gone, and what was under way on it with it."""


class Link:
    """url: as libpq takes it. durable: a commit is on disk when it is answered; else with the next that is durable, so
    that what a durable transaction builds upon never needs a sync of its own."""

    def __init__(self, url: str, *, durable: bool = True) -> None:
        self._url, self._durable = url, durable
        self._connection: Connection | None = None
        self._failed = ("", -PAUSE)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that is not known to be broken."""
        return self._connection is not None and not self._connection.closed

    @property
    def backend(self) -> int:
        """The number of the process that serves the connection, 0 without one."""
        connection = self._connection
        return connection.info.backend_pid if connection is not None and not connection.closed else 0

    def rest(self) -> None:
        """Raises Broken for a second after an attempt to connect that failed: many ask, and each would wait."""
        said, moment = self._failed
        if time.monotonic() - moment < PAUSE:
            raise Broken(said)

    @property
    def open(self) -> Connection:
        """The connection. Raises StoreTrouble."""
        if self._connection is None or self._connection.closed:
            self.rest()
            return self.connect()
        return self._connection

    def connect(self) -> Connection:
        """Connect now. Raises StoreTrouble."""
        self.drop()
        try:
            connection = self._connection = psycopg.connect(
                self._url, autocommit=True, row_factory=tuple_row, application_name="flowengine", **_PATIENCE
            )
            connection.execute(_SETTINGS)
            connection.execute(_DURABLE if self._durable else _LATER)
            row = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
            assert row is not None  # noqa: S101  # it is a select without from
            if abs(row[0] - time.time()) > OFF:
                raise Broken(f"this machine's clock and the database's differ by {abs(row[0] - time.time()):.0f} s")
        except (psycopg.Error, StoreTrouble) as error:
            self.drop()
            said = str(error).strip().replace("\n", " ")
            self._failed = (said, time.monotonic())
            raise Broken(said) from error
        return connection

    def cut(self) -> None:
        """Whoever waits for the server at this moment hears that the connection is gone. From any thread."""
        connection = self._connection
        with suppress(psycopg.Error, OSError):
            if connection is not None and not connection.closed:
                with socket.socket(fileno=os.dup(connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    @contextmanager
    def told(self) -> Iterator[Connection]:
        """The connection; what PostgreSQL says, in the words of the queue."""
        connection = self.open
        try:
            yield connection
        except psycopg.Error as error:
            raise self.translated(error) from error

    def translated(self, error: psycopg.Error) -> StoreTrouble:
        """An error in the words of the queue; a connection that it broke is dropped."""
        said = str(error).strip().replace("\n", " ") or type(error).__name__
        if not self.is_open:
            self.drop()
            return Broken(said)
        return (StoreFull if isinstance(error, psycopg.errors.DiskFull) else StoreTrouble)(said)


def rows(connection: Connection, query: str, values: Sequence[Any] = ()) -> list[TupleRow]:
    """All rows of a query, as PostgreSQL sends them in binary. Raises psycopg.Error."""
    return connection.execute(query.encode(), values, binary=True).fetchall()


def row(connection: Connection, query: str, values: Sequence[Any] = ()) -> TupleRow | None:
    """The first row of a query. Raises psycopg.Error."""
    return connection.execute(query.encode(), values, binary=True).fetchone()
