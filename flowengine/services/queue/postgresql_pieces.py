"""Large messages in pieces, written before their row over a connection of their own, from any thread.

They are committed without a sync: the row's commit comes after them in the log, and takes them to the disk. A file's
holder is written with it, so that what a dead worker left without a row is found.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

from flowengine.services.queue.model import StoreTrouble
from flowengine.services.queue.postgresql_link import Connection, Link, row, rows
from flowengine.services.relay.stuffing import Buffer

PIECE = 1 << 20
"""Octets of a piece: what the database and we hold at once more than the message itself."""


class Pieces:
    """The writer. Raises StoreTrouble."""

    def __init__(self, url: str) -> None:
        self.link = Link(url, durable=False)
        self._lock = threading.Lock()

    def write(self, file: str, holder: int, chunks: Sequence[Buffer]) -> None:
        """A new file; durable with the next durable commit."""
        with self._lock, self.link.told() as connection, connection.transaction(), connection.cursor() as cursor:
            insert = "insert into piece (file, number, holder, octets) values (%s, %s, %s, %s)"
            for number, octets in enumerate(_cut(chunks)):
                cursor.execute(insert, (file, number, holder, octets))

    def remove(self, file: str) -> None:
        """Take a file away that got no row. What cannot be removed now is found later."""
        with suppress(StoreTrouble), self._lock, self.link.told() as connection:
            connection.execute("delete from piece where file = %s", (file,))

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self.link.drop()


def _cut(chunks: Sequence[Buffer]) -> Iterator[bytes]:
    piece = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while len(view):
            part = view[: PIECE - len(piece)]
            piece += part
            view = view[len(part) :]
            if len(piece) == PIECE:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)


def whole(connection: Connection, file: str, size: int) -> bool:
    """Whether all pieces are there, which nobody takes away before this transaction ends. Raises psycopg.Error."""
    found = rows(connection, "select number from piece where file = %s order by number for key share", (file,))
    return [number for (number,) in found] == list(range(-(-size // PIECE)))


def read(connection: Connection, file: str) -> list[bytes]:
    """The pieces in their order. Raises psycopg.Error."""
    found: list[bytes] = []
    while piece := row(connection, "select octets from piece where file = %s and number = %s", (file, len(found))):
        found.append(piece[0])
    return found


def clear(connection: Connection, holder: int) -> None:
    """What a holder that is no more wrote without a row goes. Raises psycopg.Error.

    Locked first and looked at afterwards: who puts a row for them holds them, or finds them gone.
    """
    files = rows(connection, "select file from piece where holder = %s for update skip locked", (holder,))
    connection.execute(
        "delete from piece where file = any(%s) and not exists (select 1 from message where message.file = piece.file)",
        (sorted({file for (file,) in files}),),
    )
