"""Which storage a configuration names, and what belongs to it: the store, the desk's window, the figures.

PostgreSQL's driver is loaded only where it is used.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from flowengine.services.queue.desk_sqlite import SQLiteWindow
from flowengine.services.queue.figures import Figures
from flowengine.services.queue.figures_sqlite import SQLiteFigures
from flowengine.services.queue.sqlite import NAME, SQLiteStore
from flowengine.services.queue.store import Store

if TYPE_CHECKING:
    from flowengine.services.config import Config, Storage
    from flowengine.services.queue.desk import Window


def open_store(config: "Config") -> Store:
    """A store of the queue; nothing is opened yet. The configuration has seen to the driver."""
    storage, rules = config.storage, config.queue
    if storage.url:
        from flowengine.services.queue.postgresql import PostgreSQLStore

        return PostgreSQLStore(storage.url, storage.directory, rules.lease, rules.entries)
    return SQLiteStore(storage.directory, rules.row_size, rules.entries, rules.free_space)


def open_window(storage: "Storage") -> "Window":
    """What the desk looks through."""
    if storage.url:
        from flowengine.services.queue.desk_postgresql import PostgreSQLWindow

        return PostgreSQLWindow(storage.url)
    return SQLiteWindow(storage.directory)


def open_figures(storage: "Storage", monotonic: Callable[[], float]) -> Figures:
    """The counts that flows ask for."""
    if storage.url:
        from flowengine.services.queue.figures_postgresql import PostgreSQLFigures

        return Figures(PostgreSQLFigures(storage.url), monotonic)
    return Figures(SQLiteFigures(storage.directory / NAME), monotonic)
