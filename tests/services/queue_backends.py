"""The storages of the queue, each with what a test needs of it besides the protocol."""

from pathlib import Path
from typing import Any, Protocol

import psycopg
from queue_world import NOW, opened

from flowengine.services.queue.desk import Window
from flowengine.services.queue.desk_postgresql import PostgreSQLWindow
from flowengine.services.queue.desk_sqlite import SQLiteWindow
from flowengine.services.queue.figures import Figures
from flowengine.services.queue.figures_postgresql import PostgreSQLFigures
from flowengine.services.queue.figures_sqlite import SQLiteFigures
from flowengine.services.queue.postgresql import PostgreSQLStore
from flowengine.services.queue.sqlite import SQLiteStore
from flowengine.services.queue.store import Store


class Backend(Protocol):
    def opened(self, **settings: Any) -> Store:
        """One more holder."""

    def kill(self, store: Any) -> None:
        """As if its process had ended."""

    def take_over(self, store: Store) -> int:
        """What the living do about the dead."""

    def window(self) -> Window: ...

    def figures(self) -> Figures: ...

    def close(self) -> None: ...


class SQLite:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def opened(self, **settings: Any) -> Store:
        return opened(self._directory, **settings)

    def kill(self, store: SQLiteStore) -> None:
        store._holders.let_go()  # noqa: SLF001

    def take_over(self, store: Store) -> int:
        with store.transaction():
            return store.take_over(NOW)

    def window(self) -> Window:
        return SQLiteWindow(self._directory)

    def figures(self) -> Figures:
        return Figures(SQLiteFigures(self._directory / "queue.db"), lambda: 0.0)

    def close(self) -> None:
        pass


class PostgreSQL:
    """machines: the n-th holder is on the n-th machine, else all on one."""

    def __init__(self, url: str, directory: Path, *, machines: bool = False) -> None:
        self.url, self._directory, self._machines = url, directory, machines
        self._stores: list[PostgreSQLStore] = []

    def opened(self, **settings: Any) -> PostgreSQLStore:
        directory = self._directory / str(len(self._stores)) if self._machines else self._directory
        store = PostgreSQLStore(self.url, directory, **settings)
        self._stores.append(store)
        store.open()
        return store

    def kill(self, store: PostgreSQLStore) -> None:
        store._holders.let_go()  # noqa: SLF001

    def take_over(self, store: Store) -> int:
        with store.transaction():
            return store.beat(NOW)

    def execute(self, statement: str, *values: object) -> list[Any]:
        """Behind everybody's back."""
        with psycopg.connect(self.url, options="-c search_path=flowengine") as connection:
            found = connection.execute(statement.encode(), values)
            return found.fetchall() if found.description else []

    def window(self) -> Window:
        return PostgreSQLWindow(self.url)

    def figures(self) -> Figures:
        return Figures(PostgreSQLFigures(self.url), lambda: 0.0)

    def close(self) -> None:
        for store in self._stores:
            store.close()
