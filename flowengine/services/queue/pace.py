"""What flows may ask of the queue and say to it: how much there is, who waits, how fast it goes on.

All workers of the machine hear of it within a second.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from flowengine.runtime.services import Clock
from flowengine.services.queue.committer import Committer
from flowengine.services.queue.figures import Figures
from flowengine.services.queue.pickup import FIELDS, Pickup, Rule


class Pace:
    """The pace of one queue. Whatever fails raises StoreTrouble; fields that do not exist raise ValueError."""

    def __init__(self, committer: Committer, pickup: Pickup, figures: Figures, clock: Clock) -> None:
        self._committer, self._pickup, self._figures, self._clock = committer, pickup, figures, clock

    async def metric(self, metric: Literal["count", "bytes"], filters: Mapping[str, Sequence[str]]) -> float:
        """How many recipients, or octets, wait for which all filters hold (see `Figures.metric`)."""
        return await self._figures.metric(metric, filters)

    async def quota(self, name: str) -> tuple[int, int]:
        """How many recipients, and octets, count towards a quota."""
        return await self._figures.quota(name)

    async def suspend(self, fields: Mapping[str, str], ttl: float, tag: str = "", *, update: bool = True) -> str:
        """Let nothing that matches be delivered for so many seconds; the name of the rule.

        fields: values, with wildcards, of transportid, recipientdomain, jobid, remotemx, remoteip, localip. update:
        one for the same fields is prolonged.
        """
        return await self._add("s", Rule(_known(fields), tag=tag), ttl, update=update)

    async def limit(
        self,
        fields: Sequence[str],
        condition: Mapping[str, str],
        ttl: float,
        *,
        concurrency: float | None = None,
        rate: tuple[float, float] | None = None,
        tag: str = "",
        update: bool = True,
    ) -> str:
        """Deliver what matches a condition only within limits, for so many seconds; the name of the rule.

        fields: what is counted together. concurrency: deliveries at a time; rate: so many in so many seconds.
        """
        _known(dict.fromkeys(fields, ""))
        if concurrency is None and rate is None:
            raise ValueError("a policy needs concurrency or rate")
        return await self._add("p", Rule(_known(condition), tuple(fields), concurrency, rate, tag), ttl, update=update)

    async def unlimit(self, name: str) -> bool:
        """End a rule; whether there was one of this name."""
        found = await self._committer.change(lambda store: store.remove_rule(name))
        await self.learn()
        return found

    async def connect(self, attempt: str, namespace: str, entry: str, most: int) -> bool:
        """Take one of `most` places of an entry for as long as an attempt lasts; whether there was one left.

        The places are those of all workers (`CurrentConnections`). attempt: its `Admission.attempt`.
        """
        seat = (f"{len(namespace)}:{namespace}{entry}", most)
        return await self._committer.change(lambda store: store.take_seats(attempt, [seat])) is None

    async def disconnect(self, attempt: str) -> None:
        """Give all places of an attempt back."""
        await self._committer.change(lambda store: store.free_seats(attempt), lazy=True)

    async def learn(self) -> None:
        """Read the rules."""
        now = self._clock.now()
        self._pickup.learn(await self._committer.read(lambda store: store.rules(now)))

    async def _add(self, kind: str, rule: Rule, ttl: float, *, update: bool) -> str:
        now = self._clock.now()
        name = await self._committer.change(lambda store: store.add_rule(kind, rule, now + ttl, now, update=update))
        await self.learn()
        return name


def _known(fields: Mapping[str, str]) -> dict[str, str]:
    for name in fields:
        if name not in FIELDS:
            raise ValueError(
                f"{name[:100]} is nothing that the queue knows of a delivery; there are {', '.join(FIELDS)}"
            )
    return dict(fields)
