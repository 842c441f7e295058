"""The memory of half delivered messages on disk, shared by the processes of this machine and kept over a restart.

Next to nothing is paid while all goes well: a message costs one look at the time of a marker file beside the database,
which changes when a process writes. What is kept are digests, no addresses. A database that fails is logged, and the
process goes on with its own memory: that may deliver twice (RFC 1047), and loses nothing.
"""

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from flowengine.runtime.services import Clock, Log
from flowengine.services.database import open_database, transaction
from flowengine.services.outbox.remembered import SECONDS, Fate, Remembered

T = TypeVar("T")

WAIT = 5.0
"""Seconds to wait for another process that writes."""
_AT_ONCE = 500
_TABLE = """
create table if not exists delivered (fate blob primary key, size integer not null, until real not null) without rowid;
create index if not exists delivered_until on delivered (until);
"""


class StoredMemory:
    """The memory of a worker, in the SQLite file of [storage]. entries: how many are kept at most.

    Nothing is opened before the first message is half delivered, so it may be made before a fork.
    """

    def __init__(self, path: Path, clock: Clock, log: Log, seconds: float = SECONDS, entries: int = 100_000) -> None:
        self._path, self._marker = path, path.with_name(f"{path.name}-delivered")
        self._clock, self._log = clock, log
        self._seconds, self._entries = seconds, entries
        self._own = Remembered(clock.monotonic, seconds, entries)
        self._seen = 0
        self._sizes: dict[int, float] = {}
        """Octets of the messages that are known → until when."""
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    def may_know(self, size: int) -> bool:
        """Whether anything may be known of a message of so many octets."""
        if self._own.may_know(size):
            return True
        changed = self._changed()
        return changed != 0 and (changed != self._seen or self._sizes.get(size, 0.0) > self._clock.now())

    async def known(self, fates: Sequence[Fate]) -> set[Fate]:
        """Those of the fates that are done."""
        found = await self._own.known(fates)
        if self._changed():
            keys = {_key(fate): fate for fate in fates}
            nothing: list[bytes] = []
            found |= {keys[key] for key in await self._run(lambda: self._read(list(keys)), nothing)}
        return found

    async def add(self, fates: Sequence[Fate], size: int) -> None:
        """These recipients have the message."""
        await self._own.add(fates, size)
        await self._run(lambda: self._write(fates, size), None)

    async def close(self) -> None:
        """Close the file."""
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown()
            self._thread = None

    def _changed(self) -> int:
        """When something was written last; 0 for never."""
        try:
            return self._marker.stat().st_mtime_ns
        except OSError:
            return 0

    async def _run(self, work: Callable[[], T], otherwise: T) -> T:
        """Work with the database, in the one thread that has it."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "delivered")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            told = "what was half delivered is known to one process only"
            self._log.event("error", "storage failed", path=str(self._path), error=str(error), text=told)
            return otherwise

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = open_database(self._path, _TABLE, patience=WAIT, synchronous="normal")
        return self._database

    def _read(self, keys: Sequence[bytes]) -> list[bytes]:
        database, now = self._open(), self._clock.now()
        seen = self._changed()  # before reading: what comes in between is read again
        rows = database.execute("select size, max(until) from delivered where until > ? group by size", (now,))
        self._sizes = dict(rows.fetchall())
        self._seen = seen
        found: list[bytes] = []
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"select fate from delivered where until > ? and fate in ({marks})"  # noqa: S608  # marks only
            found += [row[0] for row in database.execute(query, (now, *some))]
        return found

    def _write(self, fates: Sequence[Fate], size: int) -> None:
        database, now = self._open(), self._clock.now()
        rows = [(_key(fate), size, now + self._seconds) for fate in fates]
        with transaction(database):
            database.execute("delete from delivered where until <= ?", (now,))
            database.executemany("insert or replace into delivered values (?, ?, ?)", rows)
            (count,) = database.execute("select count(*) from delivered").fetchone()
            if count > self._entries:
                oldest = "select fate from delivered order by until limit ?"
                database.execute(f"delete from delivered where fate in ({oldest})", (count - self._entries,))  # noqa: S608
        self._marker.touch(mode=0o600)
        moment = max(int(now * 1e9), self._changed() + 1)  # another time, whatever the clock says
        os.utime(self._marker, ns=(moment, moment))

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _key(fate: Fate) -> bytes:
    digest, *rest = fate
    return hashlib.sha256(digest + repr(rest).encode("utf-8", "surrogateescape")).digest()
