"""What the desk looks through, on a SQLite file."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowengine.services.database import open_database, transaction
from flowengine.services.queue.bodies import Bodies
from flowengine.services.queue.model import Damaged, Stand, StoreTrouble
from flowengine.services.queue.schema import migrate
from flowengine.services.queue.sqlite import NAME, PATIENCE
from flowengine.services.queue.sqlite_entries import content, stand
from flowengine.services.queue.sqlite_places import wake_places
from flowengine.services.relay.stuffing import Buffer


class SQLiteWindow:
    """See desk.Window. directory: of the storage."""

    def __init__(self, directory: Path) -> None:
        self._bodies = Bodies(directory / "queue")
        self._path = directory / NAME
        self._database: sqlite3.Connection | None = None

    def open(self) -> None:
        """See Window."""
        with _told():
            if not self._path.exists():
                raise StoreTrouble(f"there is no queue at {self._path}")
            self._database = open_database(self._path, "", patience=PATIENCE, synchronous="full")
            migrate(self._database)

    def close(self) -> None:
        """See Window."""
        if self._database is not None:
            self._database.close()

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._database is not None  # noqa: S101  # `open` was called
        return self._database

    def stand(self) -> Stand:
        """See Window."""
        with _told():
            return stand(self._open)

    def fetch(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """See Window."""
        with _told():
            return self._open.execute(query, values).fetchall()

    def content(self, message: int) -> Sequence[Buffer]:
        """See Window."""
        with _told():
            found = content(self._open, message)
            if found is None:
                raise Damaged("the content cannot be read")
            body, file, _ = found
            return [self._bodies.read(file) if file is not None else body]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Window. Files go after the commit."""
        self._files: list[str] = []
        with _told(), transaction(self._open):
            yield
        for name in self._files:
            self._bodies.remove(name)

    def free(self, ids: Sequence[int]) -> list[int]:
        """See Window: nobody else writes now."""
        return list(ids)

    def change(self, statement: str, ids: Iterable[int], values: Sequence[object] = ()) -> int:
        """See Window."""
        rows = [(*values, one) for one in ids]
        return self._open.executemany(f"{statement} id = ?", rows).rowcount if rows else 0

    def finish(self, messages: Iterable[int], places: Iterable[int]) -> None:
        """See Window."""
        bury = "delete from message where id = ? and not exists (select 1 from entry where message = ?) returning file"
        for message in messages:
            self._files += [row[0] for row in self._open.execute(bury, (message, message)).fetchall() if row[0]]
        wake_places(self._open, places)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreTrouble(str(error)) from error
