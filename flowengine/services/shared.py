"""What the workers of one machine share: rates and `memory_*`, in one SQLite file beside the storage.

Every worker opens the file for itself, after the fork. A step is one short transaction without a wait for the disk:
the file outlives a killed worker, not a power cut, and nothing in it is needed after one. Trouble with the file never
stops mail: a rate then lets through, and memory is as if it were empty; both are logged once a minute.
"""

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from flowengine.language.values import Array, Value
from flowengine.runtime.memory import ENTRIES, ENTRY_SIZE, TOTAL_SIZE, SharedMemory
from flowengine.runtime.services import Clock, Log
from flowengine.services.database import open_database, transaction

NAME = "shared.db"
PATIENCE = 0.25
"""Seconds to wait for another worker's step: it takes microseconds, unless the machine is in trouble."""
_SWEEP = 1000
"""Hits of a worker between two looks at what nobody needs any more."""
_QUIET = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS windows (key BLOB PRIMARY KEY, longest REAL NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hits (key BLOB NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS hits_of ON hits (key, at);
CREATE TABLE IF NOT EXISTS memory (key TEXT PRIMARY KEY, version INTEGER NOT NULL, size INTEGER NOT NULL,
                                   value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS used (one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL,
                                 octets INTEGER NOT NULL, version INTEGER NOT NULL);
INSERT OR IGNORE INTO used VALUES (1, 0, 0, 0);
"""

Result = TypeVar("Result")


class SharedFile:
    """The file, opened at its first use in this process. Used from one thread."""

    def __init__(self, path: Path, clock: Clock, log: Log) -> None:
        self.path, self._clock, self._log = path, clock, log
        self._connection: sqlite3.Connection | None = None
        self._said = -_QUIET

    def prepare(self) -> None:
        """Make the file, and forget the memory of an earlier run of the server. Raises OSError."""
        try:
            connection = self._open()
            connection.execute("DELETE FROM memory")
            connection.execute("UPDATE used SET entries = 0, octets = 0")
        except sqlite3.DatabaseError as error:  # a damaged file holds nothing that anybody needs
            self._log.event("warning", "shared state made anew", file=str(self.path), error=str(error))
            self.close()
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            try:
                self._open()
            except sqlite3.Error as failure:
                raise OSError(f"{self.path}: {failure}") from None
        finally:
            self.close()
        self.path.chmod(0o600)

    def step(self, work: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        """Do something in one transaction; what to go on with when the file cannot be used."""
        try:
            connection = self._connection or self._open()
            with transaction(connection):
                return work(connection)
        except (sqlite3.Error, OSError) as error:
            self._complain(error)
            return otherwise

    def read(self, query: str, *values: object) -> tuple[Any, ...] | None:
        """One row, without a transaction of its own; none when the file cannot be used."""
        try:
            row: tuple[Any, ...] | None = (self._connection or self._open()).execute(query, values).fetchone()
        except (sqlite3.Error, OSError) as error:
            self._complain(error)
            return None
        return row

    def close(self) -> None:
        """Close it. A later step opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self._connection = open_database(self.path, _SCHEMA, patience=PATIENCE, synchronous="off")
        return self._connection

    def _complain(self, error: Exception) -> None:
        now = self._clock.monotonic()
        if now - self._said >= _QUIET:
            self._said = now
            self._log.event("error", "shared state", file=str(self.path), error=str(error))


class SharedRates:
    """Sliding windows of all workers (`runtime.services.Rates`). limit: times remembered at most. realm: whose windows
    these are; others may use the same names.

    When there are more, the windows used longest ago are forgotten: a limiter that forgets lets too much through,
    never too little.
    """

    def __init__(self, file: SharedFile, limit: int = 2_000_000, realm: str = "") -> None:
        self._file, self._limit, self._realm = file, limit, realm
        self._until_sweep = _SWEEP

    def hit(self, namespace: str, entry: str, count: int, interval: float, now: float) -> bool:
        """Add one entry if fewer than `count` lie in the last `interval` seconds; whether it was added."""
        if count <= 0:
            return False
        key = _key(self._realm, namespace, entry)

        def add(connection: sqlite3.Connection) -> bool:
            longest = self._touch(connection, key, interval, now)
            connection.execute("DELETE FROM hits WHERE key = ? AND at <= ?", (key, now - longest))
            query = "SELECT count(*), max(at) FROM hits WHERE key = ? AND at > ?"
            found, last = connection.execute(query, (key, now - interval)).fetchone()
            if found >= count:
                return False
            connection.execute("INSERT INTO hits VALUES (?, ?)", (key, max(now, last or now)))  # the clock may go back
            return True

        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._until_sweep = _SWEEP
            self._file.step(lambda connection: self._sweep(connection, now), None)
        return self._file.step(add, otherwise=True)

    def count(self, namespace: str, entry: str, interval: float, now: float) -> int:
        """How many entries lie in the last `interval` seconds."""
        key = _key(self._realm, namespace, entry)
        window = self._file.read("SELECT longest FROM windows WHERE key = ?", key)
        if window is None:
            return 0
        if window[0] < interval:  # from now on times are kept as long as somebody asks for them
            self._file.step(lambda connection: self._touch(connection, key, interval, now), interval)
        found = self._file.read("SELECT count(*) FROM hits WHERE key = ? AND at > ?", key, now - interval)
        return 0 if found is None else int(found[0])

    @staticmethod
    def _touch(connection: sqlite3.Connection, key: bytes, interval: float, now: float) -> float:
        query = (
            "INSERT INTO windows VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
            "SET longest = max(longest, excluded.longest), used = excluded.used RETURNING longest"
        )
        (longest,) = connection.execute(query, (key, interval, now)).fetchone()
        return float(longest)

    def _sweep(self, connection: sqlite3.Connection, now: float) -> None:
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS old (key BLOB PRIMARY KEY) WITHOUT ROWID")
        connection.execute("DELETE FROM old")
        connection.execute("INSERT INTO old SELECT key FROM windows WHERE used + longest < ? LIMIT 5000", (now,))
        (held,) = connection.execute("SELECT count(*) FROM hits").fetchone()
        if held > self._limit:
            connection.execute("INSERT OR IGNORE INTO old SELECT key FROM windows ORDER BY used LIMIT 5000")
        connection.execute("DELETE FROM hits WHERE key IN old")
        connection.execute("DELETE FROM windows WHERE key IN old")


class WorkersMemory:
    """`memory_*` of all workers (`runtime.services.Memory`), with the bounds of `SharedMemory`.

    A value that cannot be written down (a function, an object) or must not be (a secret) stays in its worker.
    """

    def __init__(
        self, file: SharedFile, entries: int = ENTRIES, entry_size: int = ENTRY_SIZE, total_size: int = TOTAL_SIZE
    ) -> None:
        self._file = file
        self._most, self._entry_size, self._total = entries, entry_size, total_size
        self._own = SharedMemory(entries, entry_size, total_size)

    def get(self, key: str) -> tuple[int, Value] | None:
        """Version and value of an entry; None when there is none."""
        own = self._own.get(key)
        if own is not None:
            return -1 - own[0], own[1]
        row = self._file.read("SELECT version, value FROM memory WHERE key = ?", key)
        return None if row is None else (row[0], _loaded(msgspec.msgpack.decode(row[1])))

    def put(self, key: str, value: Value, version: int | None) -> bool:
        """Write an entry if it still has this version (None: if there is none, -1: in any case); whether it was
        written. Also false when the store, or this value, is too large."""
        own = self._own.get(key)
        if version != -1 and own is not None and version != -1 - own[0]:
            return False
        if own is not None and version != -1:
            version = None  # the others know nothing of it
        written = _written(value)
        if written is None:
            return self._keep_here(key, value, version)
        stored = self._file.step(lambda connection: self._store(connection, key, written, version), otherwise=False)
        if stored and own is not None:
            self._own.remove(key)
        return stored

    def remove(self, key: str) -> bool:
        """Take an entry out; whether it was there."""
        here = self._own.remove(key)
        return self._file.step(lambda connection: self._forget(connection, key), otherwise=False) or here

    def _keep_here(self, key: str, value: Value, version: int | None) -> bool:
        row = self._file.read("SELECT version FROM memory WHERE key = ?", key)
        if version != -1 and version != (None if row is None else row[0]):
            return False
        if not self._own.put(key, value, -1):
            return False
        if row is not None:
            self._file.step(lambda connection: self._forget(connection, key), otherwise=False)
        return True

    def _store(self, connection: sqlite3.Connection, key: str, written: bytes, version: int | None) -> bool:
        row = connection.execute("SELECT version, size FROM memory WHERE key = ?", (key,)).fetchone()
        current, freed = (None, 0) if row is None else row
        if version not in (current, -1):
            return False
        size = len(key) + len(written)
        entries, octets, last = connection.execute("SELECT entries, octets, version FROM used").fetchone()
        full = row is None and entries >= self._most
        if full or size > self._entry_size or octets - freed + size > self._total:
            return False
        connection.execute("INSERT OR REPLACE INTO memory VALUES (?, ?, ?, ?)", (key, last + 1, size, written))
        change = (entries + (row is None), octets - freed + size, last + 1)
        connection.execute("UPDATE used SET entries = ?, octets = ?, version = ?", change)
        return True

    @staticmethod
    def _forget(connection: sqlite3.Connection, key: str) -> bool:
        row = connection.execute("DELETE FROM memory WHERE key = ? RETURNING size", (key,)).fetchone()
        if row is None:
            return False
        connection.execute("UPDATE used SET entries = entries - 1, octets = octets - ?", row)
        return True


def _key(realm: str, namespace: str, entry: str) -> bytes:
    """A window's name, of one length: a flow may use any text."""
    text = f"{realm}:{len(namespace)}:{namespace}{entry}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _written(value: Value) -> bytes | None:
    """A value in octets; None for what only this process can hold."""
    try:
        return msgspec.msgpack.encode(_plain(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _plain(value: Value) -> object:
    """The value in lists, numbers and octets. Raises TypeError."""
    if value is None or type(value) in (bool, int, float):
        return value
    if type(value) is str:  # a Secret is another type
        return value.encode("latin-1")
    if type(value) is Array:
        return [
            [[name.encode("latin-1") if isinstance(name, str) else name, _plain(item)] for name, item in value.items()]
        ]
    raise TypeError(f"{type(value).__name__} cannot be written down")


def _loaded(plain: Any) -> Value:
    if isinstance(plain, bytes):
        return plain.decode("latin-1")
    if isinstance(plain, list):
        return Array(
            {name.decode("latin-1") if isinstance(name, bytes) else name: _loaded(item) for name, item in plain[0]}
        )
    return plain  # none, a boolean or a number
