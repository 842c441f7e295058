"""Flows are plain functions, builtins that wait are coroutines, and a pooled greenlet stands between them.

The greenlet drives a coroutine itself and hands every future it yields, untouched, to the one Task behind the run.
So cancellation and time-outs mean what they mean under `await`, and a wait whose answer is there at once never leaves
the greenlet. A flow that cannot wait is called straight.
"""

import asyncio
import contextvars
import types
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

T = TypeVar("T")


class Place:
    """Where one run is carried out: the greenlet it sits in, or none when its flow cannot wait."""

    __slots__ = ("worker",)

    def __init__(self) -> None:
        self.worker: _Worker | None = None

    def wait(self, awaitable: Awaitable[T]) -> T:
        """The result of an awaitable. Its first step runs here and now; a failure is raised at this line."""
        steps = awaitable if isinstance(awaitable, types.CoroutineType) else awaitable.__await__()
        try:
            pending = steps.send(None)
            while True:
                try:
                    answer = self._suspend(pending)
                except BaseException as error:  # noqa: BLE001  # cancelled or timed out: it goes to the waiting line
                    pending = steps.throw(error)
                else:
                    pending = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # the awaitable's own result

    @property
    def here(self) -> bool:
        """Whether what runs now can wait."""
        return self.worker is not None and getcurrent() is self.worker

    def _suspend(self, pending: object) -> object:
        worker = self.worker
        if worker is None or getcurrent() is not worker:
            raise RuntimeError("a flow waited outside its run")
        assert worker.parent is not None  # noqa: S101  # a worker runs under whoever switched to it
        return worker.parent.switch(pending)


class _Worker(greenlet):
    """Carries out one run after another; between two it holds nothing of either."""

    failure: BaseException | None = None

    def run(self, work: Callable[[], None] | None, place: Place | None) -> None:
        while work is not None:
            try:
                work()
            except GreenletExit:
                raise
            except BaseException as error:  # noqa: BLE001  # handed to whoever awaits the run
                self.failure = error
            assert place is not None  # noqa: S101  # work and place come together
            place.worker = work = None
            place = None
            assert self.parent is not None  # noqa: S101  # as above
            work, place = self.parent.switch()


class Runner:
    """At most `limit` runs in flight, at most `keep` idle workers. One Runner for each event loop."""

    def __init__(self, limit: int = 2000, keep: int = 200) -> None:
        self._room, self._keep = limit, keep
        self._queue: deque[asyncio.Future[None]] = deque()
        self._idle: list[_Worker] = []

    @types.coroutine
    def execute(self, work: Callable[[], None], place: Place) -> Generator[Any, Any, None]:
        """Awaitable: carry out `work`, which may wait through `place`. Raises what it raises."""
        if self._room:
            self._room -= 1
        else:
            yield from self._line_up()
        worker = place.worker = self._idle.pop() if self._idle else _Worker()
        worker.gr_context = contextvars.copy_context()
        worker.parent = getcurrent()
        pending = worker.switch(work, place)
        while place.worker is not None:
            try:
                answer = yield pending
            except BaseException as error:  # noqa: BLE001  # time-outs and cancellation belong to the waiting line
                worker.parent = getcurrent()
                pending = worker.throw(error)
            else:
                worker.parent = getcurrent()
                pending = worker.switch(answer)
        failure, worker.failure, worker.gr_context = worker.failure, None, None
        if len(self._idle) < self._keep:
            self._idle.append(worker)
        else:
            worker.switch(None, None)
        self._leave()
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # no cycle through this frame

    def _line_up(self) -> Generator[Any, Any, None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            yield from turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # cancelled when the place was already given
                self._leave()
            raise

    def _leave(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._room += 1
