"""Whether a transaction was committed whose commit got no answer, and what is done when nobody can tell.

The database knows by the transaction's name. When it cannot be asked in time the work is taken back later: whoever
asked for it heard that it was not done, and will ask again.
"""

import time
from contextlib import suppress

import psycopg

from flowengine.services.queue.model import StoreTrouble
from flowengine.services.queue.postgresql_link import Broken, Connection, Link, row, rows
from flowengine.services.queue.postgresql_work import Work, bury, wake

ASKS = 3.0
"""Seconds in which the database is asked; clients wait for it."""


class Doubts:
    """The transactions of one worker that nobody could tell about."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._open: list[tuple[str, Work, int]] = []

    def commit(self, connection: Connection, name: str, work: Work, holder: int) -> None:
        """Commit. Raises StoreTrouble when it was not, or when nobody can tell."""
        try:
            if connection.execute("commit").statusmessage != "COMMIT":
                raise StoreTrouble("the transaction was rolled back")
        except psycopg.Error as error:
            trouble = self._link.translated(error)
            if not isinstance(trouble, Broken):
                raise trouble from error
            if not self._ask(name, work, holder):
                raise trouble from error

    def _ask(self, name: str, work: Work, holder: int) -> bool:
        end = time.monotonic() + ASKS
        while time.monotonic() < end:
            with suppress(StoreTrouble, psycopg.Error):
                status = _status(self._link.connect(), name)
                if status != "in progress":
                    return status == "committed"
            time.sleep(0.1)
        self._open.append((name, work, holder))
        self._link.drop()
        return False

    def clear(self, connection: Connection) -> None:
        """Take back what nobody could tell about. Raises psycopg.Error, StoreTrouble while one is still under way."""
        while self._open:
            name, work, holder = self._open[0]
            status = _status(connection, name)
            if status == "in progress":
                raise Broken("an earlier transaction has not ended yet")
            if status == "committed":
                with connection.transaction():
                    _take_back(connection, work, holder)
            self._open.pop(0)


def _status(connection: Connection, name: str) -> str:
    found = row(connection, "select pg_xact_status(%s::xid8)", (name,))
    return str(found[0]) if found is not None else ""


def _take_back(connection: Connection, work: Work, holder: int) -> None:
    """Messages that were put go, unless somebody else has them by now; entries that were taken are free again."""
    gone = connection.execute(
        "delete from entry where message = any(%s) and (holder is null or holder = %s)", (work.puts, holder)
    ).rowcount
    octets = bury(connection, work.puts)
    connection.execute("update state set entries = entries - %s, octets = octets - %s", (gone, octets))
    freed = rows(
        connection,
        "update entry set holder = null where id = any(%s) and holder = %s returning place",
        (work.taken, holder),
    )
    places = sorted({place for (place,) in freed})
    rows(connection, "select 1 from place where id = any(%s) order by id for no key update", (places,))
    wake(connection, places)
