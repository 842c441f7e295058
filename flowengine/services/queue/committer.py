"""One thread has the storage; what sessions and attempts ask of it at the same time becomes one transaction.

The event loop never waits for a disk. Changes that nobody waits for (`lazy`) wait a moment for company.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flowengine.services.queue.model import StoreTrouble
from flowengine.services.queue.store import Store

T = TypeVar("T")

AT_ONCE = 256
"""Changes of one transaction."""
COMPANY = 0.005
"""Seconds that a lazy change waits for others."""


@dataclass(slots=True)
class _Wish:
    work: Callable[[Store], Any]
    answer: "asyncio.Future[Any]"
    reads: bool
    lazy: bool
    result: Any = None
    error: BaseException | None = field(default=None)


class Committer:
    """The thread. commits, changes: how many there were, for the figures."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.commits = self.changes = 0
        self._wishes: list[_Wish] = []
        self._urgent = 0
        self._condition = threading.Condition()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="queue", daemon=True)
        self._thread.start()

    def change(self, work: Callable[[Store], T], *, lazy: bool = False) -> "asyncio.Future[T]":
        """Do something within a transaction; await what it gave: then it is on disk.

        work: may be called again when another change of the same transaction fails. Raises StoreTrouble and what
        `work` raises; then nothing of it was done.
        """
        return self._ask(work, reads=False, lazy=lazy)

    def read(self, work: Callable[[Store], T]) -> "asyncio.Future[T]":
        """Look something up, outside a transaction. Raises StoreTrouble and what `work` raises."""
        return self._ask(work, reads=True, lazy=False)

    async def close(self) -> None:
        """Finish what is asked for, and give up what this holder holds."""
        if self._thread is None:
            return
        with self._condition:
            self._ending = True
            self._condition.notify()
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def _ask(self, work: Callable[[Store], T], *, reads: bool, lazy: bool) -> "asyncio.Future[T]":
        if self._loop is None or self._ending:
            raise StoreTrouble("the queue is closed")
        answer: asyncio.Future[T] = self._loop.create_future()
        with self._condition:
            self._wishes.append(_Wish(work, answer, reads, lazy))
            if not lazy:
                self._urgent += 1
            if len(self._wishes) == 1 or self._urgent == 1:
                self._condition.notify()
        return answer

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with suppress(StoreTrouble):  # the next change tries again, and says so
            self.store.open()
        while batch := self._next():
            self._carry_out(batch)
            assert self._loop is not None  # noqa: S101  # it was there before the thread
            try:
                self._loop.call_soon_threadsafe(_tell, batch)
            except RuntimeError:
                break  # the loop is closed: nobody waits any more
        self.store.close()

    def _next(self) -> list[_Wish]:
        """What is asked for, once there is something; nothing at the end."""
        with self._condition:
            while not self._wishes and not self._ending:
                self._condition.wait()
            if not self._urgent and not self._ending:
                self._condition.wait_for(lambda: self._urgent or self._ending, COMPANY)
            batch, self._wishes = self._wishes[:AT_ONCE], self._wishes[AT_ONCE:]
            self._urgent = sum(not one.lazy for one in self._wishes)
            return batch

    def _carry_out(self, batch: list[_Wish]) -> None:
        for one in batch:
            if one.reads:
                self._try(one)
        changes = [one for one in batch if not one.reads]
        while changes:
            failed = self._together(changes)
            if failed is None:
                return
            changes.remove(failed)

    def _together(self, changes: list[_Wish]) -> _Wish | None:
        """All of them in one transaction; the one that failed, and then nothing was done. What fails at the commit
        fails for all."""
        failed: _Wish | None = None
        try:
            with self.store.transaction():
                for one in changes:
                    failed = one
                    one.result = one.work(self.store)
                failed = None
        except Exception as error:  # noqa: BLE001  # whoever asked for it hears it
            for one in changes if failed is None else [failed]:
                one.result, one.error = None, error
            return failed
        self.commits += 1
        self.changes += len(changes)
        return None

    def _try(self, one: _Wish) -> None:
        try:
            one.result = one.work(self.store)
        except Exception as error:  # noqa: BLE001  # whoever asked for it hears it
            one.error = error


def _tell(batch: list[_Wish]) -> None:
    for one in batch:
        if one.answer.done():
            continue  # nobody waits any more
        if one.error is not None:
            one.answer.set_exception(one.error)
        else:
            one.answer.set_result(one.result)
