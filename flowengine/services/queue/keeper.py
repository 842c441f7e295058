"""The keeper: what one worker does for all of them. When it is gone, another one is.

Dead workers, a clock that was set, what is beyond its time, room on the disk, figures.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowengine.services.quarantine import expire
from flowengine.services.queue.model import Stand, StoreTrouble

if TYPE_CHECKING:
    from flowengine.services.config import QuarantineStore
    from flowengine.services.queue.queue import Queue

UPKEEP = 2.0
"""Seconds between rounds."""
QUARANTINES = 600.0
"""Seconds between looks for quarantined messages that were kept for long enough."""
OVERDUE = 50
"""Messages that go back in one round."""


class Keeper:
    """The rounds of one worker's queue: only the keeper makes them."""

    def __init__(self, queue: "Queue", quarantines: "Mapping[str, QuarantineStore]") -> None:
        self._queue, self._quarantines = queue, quarantines
        self._quarantines_due = 0.0
        self._is_keeper = False
        self._standing = Stand()
        self._counted = (0, 0)

    async def run(self) -> None:
        """Until it is cancelled."""
        queue = self._queue
        while True:
            self._count_commits()
            try:
                self._is_keeper = await queue.committer.read(lambda store: store.keeper())
                if self._is_keeper:
                    await self._round()
            except StoreTrouble as error:
                queue.complain(error)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next round comes
                queue.services.log.event("error", "queue", error=repr(error))
            await asyncio.sleep(UPKEEP)

    def stand(self) -> dict[str, float]:
        """How the queue stands, as gauges; nothing from whoever is not the keeper."""
        if not self._is_keeper:
            return {}
        stand = self._standing
        age = self._queue.services.clock.now() - stand.oldest if stand.oldest else 0.0
        return {
            "queue_messages": stand.queued,
            "queue_held": stand.held,
            "queue_parked": stand.parked,
            "queue_bytes": stand.octets,
            "queue_oldest_seconds": max(0.0, age),
        }

    async def _round(self) -> None:
        queue, committer = self._queue, self._queue.committer
        now = queue.services.clock.now()
        freed = await committer.change(lambda store: store.take_over(now), lazy=True)
        if freed:
            queue.services.counters.increment("taken_over", freed)
            queue.services.log.event("notice", "taken over", recipients=freed, text="their worker had died")
            queue.due()
        # the clock is read when it is the storage's turn, which may be late: it is compared with the machine's age
        await committer.change(lambda store: store.tidy(queue.services.clock.now()), lazy=True)
        if not queue.stopping:
            for job, reply in await committer.change(lambda store: store.overdue(now, OVERDUE), lazy=True):
                key = (job.place.transport, job.place.domain)
                queue.begin(job, queue.slots.take(key, failing=True), overdue=reply)
        await committer.read(lambda store: store.shrink())
        self._standing = await committer.read(lambda store: store.stand())
        await self._expire_quarantines()

    async def _expire_quarantines(self) -> None:
        """What was kept aside for long enough goes."""
        services = self._queue.services
        now = services.clock.monotonic()
        if now < self._quarantines_due:
            return
        self._quarantines_due = now + QUARANTINES
        for name, one in self._quarantines.items():
            if one.keep is not None and (count := await asyncio.to_thread(expire, one.path, one.keep)):
                services.log.event("info", "quarantine", name=name, deleted=count, text="kept for long enough")

    def _count_commits(self) -> None:
        committer, counters = self._queue.committer, self._queue.services.counters
        commits, changes = committer.commits - self._counted[0], committer.changes - self._counted[1]
        self._counted = (committer.commits, committer.changes)
        if commits:
            counters.increment("queue_commits", commits)
            counters.increment("queue_changes", changes)
