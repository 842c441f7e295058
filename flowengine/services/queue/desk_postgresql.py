"""What the desk looks through, on PostgreSQL."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowengine.services.queue.model import Damaged, Stand
from flowengine.services.queue.postgresql_entries import content, stand
from flowengine.services.queue.postgresql_link import Link, rows
from flowengine.services.queue.postgresql_schema import migrate
from flowengine.services.queue.postgresql_work import CHANNEL, bury, wake
from flowengine.services.relay.stuffing import Buffer


class PostgreSQLWindow:
    """See desk.Window. url: as libpq takes it."""

    def __init__(self, url: str) -> None:
        self._link = Link(url)
        self._deleted = 0

    def open(self) -> None:
        """See Window."""
        with self._link.told() as connection:
            migrate(connection)

    def close(self) -> None:
        """See Window."""
        self._link.drop()

    def stand(self) -> Stand:
        """See Window."""
        with self._link.told() as connection:
            return stand(connection)

    def fetch(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """See Window."""
        with self._link.told() as connection:
            return rows(connection, _translated(query), values)

    def content(self, message: int) -> Sequence[Buffer]:
        """See Window."""
        with self._link.told() as connection:
            found = content(connection, message)
            if found is None:
                raise Damaged("the content cannot be read")
            return found[0]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Window."""
        with self._link.told() as connection, connection.transaction():
            self._deleted = 0
            yield

    def free(self, ids: Sequence[int]) -> list[int]:
        """See Window: what a worker is changing at this moment is left alone, so that nobody waits in a circle."""
        query = "select id from entry where id = any(%s) order by id for update skip locked"
        return [id_ for (id_,) in rows(self._link.open, query, (list(ids),))]

    def change(self, statement: str, ids: Iterable[int], values: Sequence[object] = ()) -> int:
        """See Window."""
        some = sorted(ids)
        if statement.startswith("update place"):  # as at the end of a worker's transaction
            rows(self._link.open, "select 1 from place where id = any(%s) order by id for no key update", (some,))
        query = f"{_translated(statement)} id = any(%s)"
        changed = self._link.open.execute(query.encode(), (*values, some)).rowcount
        self._deleted += changed if statement.startswith("delete") else 0
        return changed

    def finish(self, messages: Iterable[int], places: Iterable[int]) -> None:
        """See Window."""
        connection = self._link.open
        octets = bury(connection, messages)
        if octets or self._deleted:
            connection.execute("update state set entries = entries - %s, octets = octets - %s", (self._deleted, octets))
        some = sorted(places)
        rows(connection, "select 1 from place where id = any(%s) order by id for no key update", (some,))
        wake(connection, some)
        connection.execute(f"notify {CHANNEL}")


def _translated(query: str) -> str:
    """Our own statements, which hold no text with a question mark or percent sign."""
    return query.replace("?", "%s")
