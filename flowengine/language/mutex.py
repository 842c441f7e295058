"""`barrier name => $shared { … }`: a mutex with a value that outlives the runs (HSL reference §1.9).

Within a process it is the `Barrier` here; where the caches have something beyond, that is asked too.
"""

import asyncio
from collections import deque
from typing import Any

from flowengine.language.arrays import UNSET
from flowengine.language.caching import Beyond
from flowengine.language.problems import FlowError
from flowengine.language.texts import text
from flowengine.language.values import Value, share

MOST_NAMES = 10_000


class Barrier:
    """One named mutex. Runs that wait get it in the order in which they came."""

    def __init__(self, name: str, beyond: Beyond | None) -> None:
        self.name, self.beyond = name, beyond
        self.value: Value = UNSET
        self.held = False
        self.queue: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take the mutex, after waiting for it if need be."""
        if not self.held:
            self.held = True
            return
        turn = asyncio.get_running_loop().create_future()
        self.queue.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # given and cancelled at once: pass it on
                self.leave()
            raise

    def leave(self) -> None:
        """Give the mutex to the next in the queue."""
        while self.queue:
            turn = self.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.held = False


def barrier_enter(run: Any, name: Value) -> Barrier:
    """The barrier of a name, entered."""
    called = text(name)
    barriers = run.caches.barriers
    barrier: Barrier | None = barriers.get(called)
    if barrier is None:
        for old in [key for key, one in barriers.items() if not one.held and one.value is UNSET][:100]:
            if len(barriers) < MOST_NAMES:
                break
            del barriers[old]
        if len(barriers) >= MOST_NAMES:
            raise FlowError(f"more than {MOST_NAMES} barriers")
        barrier = barriers[called] = Barrier(called, run.caches.beyond)
    if barrier.held:
        run.wait(barrier.enter())
    else:
        barrier.held = True
    if barrier.beyond is not None and not barrier.beyond.lock(called):
        try:
            run.wait(barrier.beyond.locked(called))
        except BaseException:
            barrier.leave()
            raise
    return barrier


def barrier_value(barrier: Barrier) -> Value:
    """What the shared variable holds at the start."""
    found = UNSET if barrier.beyond is None else barrier.beyond.value(barrier.name)
    return share(barrier.value) if found is UNSET else found


def barrier_leave(barrier: Barrier, *shared: Value) -> None:
    """Leave the barrier, keeping the shared variable, if it has one."""
    for value in shared:
        kept = barrier.beyond is not None and barrier.beyond.keep(barrier.name, value)
        barrier.value = UNSET if kept else share(value)
    if barrier.beyond is not None:
        barrier.beyond.unlock(barrier.name)
    barrier.leave()
