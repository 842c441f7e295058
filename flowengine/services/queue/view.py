"""The queue as flows know it (`runtime.queue_view.QueueView`).

Made with the services, before there is a queue; whoever has one attaches it. What the storage cannot tell now is
QueueUnavailable, which defers.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from flowengine.runtime.queue_view import Letter, PickupPolicy, QueueUnavailable, Suspension
from flowengine.services.queue.model import About, StoreTrouble

if TYPE_CHECKING:
    from flowengine.services.queue.queue import Queue

T = TypeVar("T")


class View:
    """What a process knows of its queue."""

    def __init__(self) -> None:
        self._queue: Queue | None = None

    def attach(self, queue: "Queue") -> None:
        """This is the queue."""
        self._queue = queue

    @property
    def _there(self) -> "Queue":
        if self._queue is None:
            raise QueueUnavailable("this server runs without a queue")
        return self._queue

    async def metric(self, metric: Literal["count", "bytes"], filters: Mapping[str, Sequence[str]]) -> float:
        """See QueueView."""
        return await _asked(self._there.pace.metric(metric, filters))

    async def connect(self, attempt: str, namespace: str, entry: str, most: int) -> bool:
        """See QueueView."""
        return await _asked(self._there.pace.connect(attempt, namespace, entry, most))

    async def suspend(self, suspension: Suspension) -> str:
        """See QueueView."""
        one = suspension
        return await _asked(self._there.pace.suspend(one.fields, one.ttl, one.tag, update=one.update))

    async def limit(self, policy: PickupPolicy) -> str:
        """See QueueView."""
        tag = str((policy.about or {}).get("tag", ""))
        return await _asked(
            self._there.pace.limit(
                policy.fields,
                policy.condition,
                policy.ttl,
                concurrency=policy.concurrency,
                rate=policy.rate,
                tag=tag,
                update=policy.update,
            )
        )

    async def unlimit(self, policy: str) -> bool:
        """See QueueView."""
        return await _asked(self._there.pace.unlimit(policy))

    async def quota(self, name: str) -> tuple[int, int]:
        """See QueueView."""
        return await _asked(self._there.pace.quota(name))

    async def submit(self, letter: Letter) -> str:
        """See QueueView."""
        queue = self._there
        transport = letter.transport or queue.reporter.way(letter.recipient.domain.lower())
        if transport is None:
            raise QueueUnavailable("no transport is known for this message; name one")
        chunks = letter.message.chunks()
        about = About(
            eight_bit=not all(bytes(chunk).isascii() for chunk in chunks),
            utf8_header=not letter.message.header_block().isascii(),
            metadata=dict(letter.metadata),
            jobid=letter.jobid,
        )
        return await _asked(queue.submit(letter.sender.address, letter.recipient.address, transport, chunks, about))


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except (StoreTrouble, ValueError) as error:
        raise QueueUnavailable(str(error)) from None
