"""Whether an attempt may begin now, by the rules of the pace: before anything is done, and when its hosts are known."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flowengine.services.outbox.exchangers import NoWay
from flowengine.services.queue.model import Job
from flowengine.services.queue.pickup import Wait
from flowengine.services.relay import Pool

if TYPE_CHECKING:
    from flowengine.services.queue.queue import Queue


class Admission:
    """Of one attempt. judged: false for one that no rule holds up.

    wait: it was held up after it began. seated: it has places that must be given back.
    """

    def __init__(self, queue: "Queue", job: Job, *, judged: bool = True) -> None:
        self._queue, self._job, self._judged = queue, job, judged
        self.wait: Wait | None = None
        self.seated = False
        self.attempt = f"{job.entries[0].id}.{job.entries[0].fence}"

    async def ask(self) -> Wait | None:
        """Whether it has to wait."""
        if not self._judged or self._queue.pickup.idle:
            return None
        return await self._judge(None)

    async def hosts(self) -> Sequence[Pool]:
        """The hosts that may be tried now. Raises NoWay, with `wait` set when all of them are held up."""
        job, pickup = self._job, self._queue.pickup
        pools = await self._queue.ways.hosts(job.place.transport, job.place.domain, secure=job.about.tls_required)
        if not self._judged or pickup.idle:
            return pools
        admitted: list[Pool] = []
        for pool in pools:
            settings = pool.settings
            name = (settings.name or settings.host).lower()
            wait = await self._judge(
                {"remotemx": name, "remoteip": settings.host.lower(), "localip": ",".join(settings.sources)}
            )
            if wait is None:
                admitted.append(pool)
                if pickup.paces_hosts:
                    break  # only what was counted may be used
            elif self.wait is None or wait.until < self.wait.until:
                self.wait = wait
        if not admitted:
            raise NoWay(451, "4.3.2", self.wait.reason if self.wait is not None else "")
        self.wait = None
        return admitted

    async def _judge(self, host: Mapping[str, str] | None) -> Wait | None:
        queue, now = self._queue, self._queue.services.clock.now()
        found = queue.pickup.judge(self._job, now, host)
        if isinstance(found, Wait):
            return found
        if not found:
            return None
        seats = [(one.name, one.most) for one in found]
        full = await queue.committer.change(lambda store: store.take_seats(self.attempt, seats))
        if full is None:
            self.seated = True
            return None
        seat = next(one for one in found if one.name == full)
        return Wait(now + seat.pause * queue.pickup.turn(("", full)) / max(1, seat.most), "held to so many at a time")
