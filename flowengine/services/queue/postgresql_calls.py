"""The ear of a worker: hears over a connection of its own (LISTEN) that another one left something to do."""

import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg

from flowengine.services.queue.model import StoreTrouble
from flowengine.services.queue.postgresql_link import Link
from flowengine.services.queue.postgresql_work import CHANNEL

_LOOK = 0.25
"""Seconds between looks whether it is to end, and after trouble."""


class Listener:
    """A thread. call: from that thread, for each word of others. own: the backend whose words are ours."""

    def __init__(self, url: str, call: Callable[[], None], own: Callable[[], int]) -> None:
        self._link, self._call, self._own = Link(url, durable=False), call, own
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="queue calls", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, within a second."""
        self._ending.set()
        self._thread.join(5.0)

    def _listen(self) -> None:
        while not self._ending.is_set():
            with suppress(StoreTrouble, psycopg.Error):
                connection = self._link.open
                connection.execute(f"listen {CHANNEL}")
                self._call()  # what was said while nobody listened
                while not self._ending.is_set():
                    if any(one.pid != self._own() for one in connection.notifies(timeout=_LOOK, stop_after=1)):
                        self._call()
            self._ending.wait(_LOOK)
        self._link.drop()
