"""A SQLite file that the processes of this machine share: opened the same way, changed in whole transactions."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

_PAUSE = 0.01


def open_database(
    path: Path, script: str, *, patience: float, synchronous: Literal["off", "normal", "full"], shrinks: bool = False
) -> sqlite3.Connection:
    """The file, made with mode 600 when it is missing, in WAL mode, with its tables. Raises sqlite3.Error and OSError.

    script: makes the tables that are missing. patience: seconds to wait for another process that writes. synchronous:
    `off` outlives a killed process, not a power cut; `full` outlives both, at every commit. shrinks: a new file can
    give back to the disk what it does not need any more, by `pragma incremental_vacuum`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path, timeout=patience, isolation_level=None)
    end = time.monotonic() + patience
    while True:
        try:
            if shrinks:
                database.execute("pragma auto_vacuum = incremental")
            database.execute("pragma journal_mode = wal")
            database.execute(f"pragma synchronous = {synchronous}")
            database.executescript(script)
        except sqlite3.Error as error:
            # while another process makes the file, SQLite does not wait by itself
            if "locked" in str(error) and time.monotonic() < end:
                time.sleep(_PAUSE)
                continue
            database.close()
            raise
        return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that happens within, or nothing of it. Raises sqlite3.Error."""
    database.execute("begin immediate")
    try:
        yield
        database.execute("commit")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("rollback")
        raise
