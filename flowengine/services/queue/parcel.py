"""A parcel for the queue: what one message decided about is put there, and delivered after the client's 250."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from flowengine.runtime.actions import Reply
from flowengine.services.outbox.parcels import KEPT, YES, Parcel
from flowengine.services.queue.model import About, StoreFull, StoreTrouble
from flowengine.services.relay import Answer, Stage

FULL = Answer(Reply(452, "4.3.1", "Insufficient system storage, try again later"), Stage.ENVELOPE, heard=False)
UNUSABLE = Answer(Reply(451, "4.3.0", "Cannot be queued now, try again later"), Stage.ENVELOPE, heard=False)


@dataclass(slots=True)
class Queued(Parcel):
    """For recipients by one transport. numbers: of the recipients, within the transaction. delay: seconds.

    put: keeps it, raises StoreTrouble.
    """

    about: About = field(default_factory=About)
    numbers: list[int] = field(default_factory=list)
    delay: float = 0.0
    put: Callable[["Queued"], Awaitable[None]] | None = None
    failed: Callable[[Exception], None] | None = None

    async def prepare(self, *, alone: bool) -> None:
        """The queue is not asked: it is written to before anything else is sent."""
        self.answers = [YES] * len(self.recipients)

    async def send(self) -> None:
        """Write and sync."""
        answer = UNUSABLE
        try:
            if self.put is not None:
                await self.put(self)
                answer = KEPT
        except StoreTrouble as error:
            answer = FULL if isinstance(error, StoreFull) else UNUSABLE
            if self.failed is not None:
                self.failed(error)
        self.answers = [answer] * len(self.recipients)

    async def abort(self) -> None:
        """Nothing was written yet."""
