"""What flows may ask of the queue, as a small protocol; a server without a queue says so.

Every answer passes through the transaction's World, so a run can be repeated. The queue's own code fills it in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol

from flowengine.mail.addresses import Path
from flowengine.mail.message import Message


class QueueUnavailable(Exception):
    """The queue cannot be asked. The text says why, for the flow's author."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """Messages that match are not picked up for a while.

    fields: values, wildcards allowed, by transportid, localip, remoteip, remotemx, recipientdomain, jobid or grouping.
    ttl: seconds. tag: a name for people. update: only the time of one that is there.
    """

    fields: Mapping[str, str]
    ttl: float
    tag: str = ""
    update: bool = True


@dataclass(frozen=True, slots=True)
class PickupPolicy:
    """Messages that match a condition are picked up within limits for a while.

    fields: what is counted together. concurrency: deliveries at a time. rate: so many in so many seconds.
    about: what else the flow said of it (tag, stop, properties, …).
    """

    fields: tuple[str, ...]
    condition: Mapping[str, str]
    ttl: float
    concurrency: float | None = None
    rate: tuple[float, float] | None = None
    about: Mapping[str, object] | None = None
    update: bool = True


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that a flow wrote itself, for the queue to take."""

    sender: Path
    recipient: Path
    transport: str | None
    message: Message
    metadata: Mapping[str, str]
    jobid: str = ""


class QueueView(Protocol):
    """The queue as flows know it. Each may raise QueueUnavailable."""

    async def metric(self, metric: Literal["count", "bytes"], filters: Mapping[str, Sequence[str]]) -> float:
        """How many messages, or bytes, match all filters; a filter is met by any of its values."""
        ...

    async def connect(self, attempt: str, namespace: str, entry: str, most: int) -> bool:
        """Take one of `most` places of an entry for as long as an attempt lasts; whether there was one left."""
        ...

    async def suspend(self, suspension: Suspension) -> str:
        """Begin or prolong a suspension; its id."""
        ...

    async def limit(self, policy: PickupPolicy) -> str:
        """Begin or prolong a policy; its id."""
        ...

    async def unlimit(self, policy: str) -> bool:
        """End a policy; whether there was one of this id."""
        ...

    async def quota(self, name: str) -> tuple[int, int]:
        """How many messages, and bytes, count towards a quota."""
        ...

    async def submit(self, letter: Letter) -> str:
        """Take a message of our own; its transaction id. It is on disk when this returns."""
        ...


class NoQueue:
    """Where there is no queue."""

    async def metric(self, metric: Literal["count", "bytes"], filters: Mapping[str, Sequence[str]]) -> float:
        """Always refused."""
        self._refuse()

    async def connect(self, attempt: str, namespace: str, entry: str, most: int) -> bool:
        """Always refused."""
        self._refuse()

    async def suspend(self, suspension: Suspension) -> str:
        """Always refused."""
        self._refuse()

    async def limit(self, policy: PickupPolicy) -> str:
        """Always refused."""
        self._refuse()

    async def unlimit(self, policy: str) -> bool:
        """Always refused."""
        self._refuse()

    async def quota(self, name: str) -> tuple[int, int]:
        """Always refused."""
        self._refuse()

    async def submit(self, letter: Letter) -> str:
        """Always refused."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise QueueUnavailable("this server runs without a queue")
