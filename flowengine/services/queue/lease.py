"""The lease of one worker, where several machines share the queue: it is renewed, and when that fails for too long,
what the worker has begun is left to the others.

An attempt whose message the next hop may have already goes on: it cannot be called back, and is counted as a duplicate.
"""

import asyncio
from typing import TYPE_CHECKING

from flowengine.services.queue.model import StoreTrouble
from flowengine.services.queue.store import Store

if TYPE_CHECKING:
    from flowengine.services.queue.queue import Queue

RENEW = 2.0
"""Seconds between renewals: much less than a lease, and how long a dead neighbour's messages wait."""
SILENCE = 10.0
"""Seconds for which a database may be silent once the lease has lapsed; a network that is cut says nothing."""
LOOK = 0.25
"""Seconds between looks at the own clock."""


class Lease:
    """Watches over the attempts of a queue."""

    def __init__(self, queue: "Queue", store: Store) -> None:
        self._queue, self._store = queue, store
        self._left: set[int] = set()
        self._given_up = -SILENCE

    async def run(self) -> None:
        """Until it is cancelled."""
        renewal = asyncio.create_task(self._renew())
        try:
            while True:
                self.look()
                await asyncio.sleep(LOOK)
        finally:
            renewal.cancel()

    def look(self) -> None:
        """End the attempts whose entries others may take."""
        queue, store = self._queue, self._store
        lapsed, holder = store.lapsed, store.holder
        now = queue.services.clock.monotonic()
        if lapsed and now - self._given_up > SILENCE:
            self._given_up = now
            store.give_up()
        under_way = queue.attempts
        self._left &= {id(task) for task, _ in under_way}
        for task, attempt in under_way:
            job = attempt.job
            if (job.holder == holder and not lapsed) or id(task) in self._left:
                continue
            self._left.add(id(task))
            if attempt.sending:
                queue.services.counters.increment(
                    "deliveries", len(job.entries), result="duplicate", transport=job.place.transport
                )
            else:
                task.cancel()
            queue.services.log.event(
                "warning", "lease lost", id=job.transaction, sending=attempt.sending, text="others may deliver it, too"
            )

    async def _renew(self) -> None:
        queue = self._queue
        while True:
            try:
                if freed := await queue.committer.change(lambda store: store.beat(queue.services.clock.now())):
                    queue.services.counters.increment("taken_over", freed)
                    queue.services.log.event(
                        "notice", "taken over", recipients=freed, text="their worker had died, on this machine"
                    )
                    queue.due()
            except StoreTrouble as error:
                queue.complain(error)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next renewal comes
                queue.services.log.event("error", "queue", error=repr(error))
            await asyncio.sleep(RENEW)
