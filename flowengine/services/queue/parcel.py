"""A parcel for the queue: what one message decided about is put there, and delivered after the client's 250."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from flowengine.mail.message import Message
from flowengine.runtime.actions import Deliver, Kept, Reply
from flowengine.runtime.visit import Connection, Transaction
from flowengine.services.outbox.dsn import MAIL_DSN, passed_on
from flowengine.services.outbox.parcels import KEPT, YES, Parcel
from flowengine.services.queue.model import About, StoreFull, StoreTrouble
from flowengine.services.relay import Answer, Stage

FULL = Answer(Reply(452, "4.3.1", "Insufficient system storage, try again later"), Stage.ENVELOPE, heard=False)
UNUSABLE = Answer(Reply(451, "4.3.0", "Cannot be queued now, try again later"), Stage.ENVELOPE, heard=False)


@dataclass(slots=True)
class Queued(Parcel):
    """For recipients by one transport.

    numbers: of the recipients, within the transaction. delay: seconds. hold: not before somebody releases it.

    put: keeps it, raises StoreTrouble.
    """

    about: About = field(default_factory=About)
    numbers: list[int] = field(default_factory=list)
    delay: float = 0.0
    hold: bool = False
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


def about_message(
    connection: Connection, transaction: Transaction, kept: Kept, message: Message, *, eight_bit: bool
) -> About:
    """What the queue has to know of a message besides its envelope."""
    parameters = transaction.parameters
    return About(
        eight_bit=eight_bit,
        utf8_header="SMTPUTF8" in parameters and not message.header_block().isascii(),
        tls_required="REQUIRETLS" in parameters,
        dsn=passed_on(parameters, MAIL_DSN) if parameters else "",
        listener=connection.listener,
        client=transaction.ip,
        helo=transaction.helo,
        user=connection.username,
        reason=kept.reason,
        jobid=kept.jobid if isinstance(kept, Deliver) else "",
        quotas=kept.quotas if isinstance(kept, Deliver) else (),
        metadata=dict(kept.metadata),
    )
