"""A parcel is one content for one destination: recipients who get the same octets by the same way.

Each kind can be asked beforehand (`prepare`), then either `send` or `abort`. What happens is an answer a recipient.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from flowengine.runtime.actions import Reply
from flowengine.services.outbox.exchangers import NoWay
from flowengine.services.relay import Answer, Envelope, Pool, Stage, Transaction, open_first
from flowengine.services.relay.stuffing import Buffer

YES = Answer(Reply(250, "2.0.0", "OK"), Stage.RCPT)
KEPT = Answer(Reply(250, "2.0.0", "Kept"), Stage.END)
NO_DISK = Answer(Reply(451, "4.3.0", "Cannot be kept now, try again later"), Stage.CONTENT, heard=False)


@dataclass(slots=True)
class Recipient:
    """For whom. copy: counts from 0 when a recipient gets several contents by the same way.

    dsn: parameters of RCPT for reports of delivery, each with a space in front (RFC 3461).
    """

    address: str
    copy: int = 0
    dsn: str = ""


@dataclass(slots=True)
class Parcel(ABC):
    """place: the way it goes, as log, counters and memory know it."""

    place: str
    sender: str
    chunks: Sequence[Buffer]
    recipients: list[Recipient] = field(default_factory=list)
    answers: Sequence[Answer] = ()

    @property
    def ready(self) -> bool:
        """Whether nothing speaks against sending."""
        return all(answer.positive for answer in self.answers)

    @abstractmethod
    async def prepare(self, *, alone: bool) -> None:
        """Ask for every recipient. alone: no other parcel has to agree."""

    @abstractmethod
    async def send(self) -> None:
        """Hand it over."""

    @abstractmethod
    async def abort(self) -> None:
        """Hand nothing over."""


@dataclass(slots=True)
class Relayed(Parcel):
    """For a next hop: its hosts are tried in order until one talks to us.

    find: its hosts, raises NoWay. The rest is what `Envelope` says.
    """

    find: Callable[[], Awaitable[Sequence[Pool]]] | None = None
    eight_bit: bool = False
    utf8_header: bool = False
    tls_required: bool = False
    dsn: str = ""
    transaction: Transaction | None = None
    """What the next hop said to the envelope, once it was asked."""

    async def prepare(self, *, alone: bool) -> None:
        """MAIL and RCPT."""
        try:
            pools = await self.find() if self.find is not None else ()
        except NoWay as error:
            self.answers = [error.answer()] * len(self.recipients)
            return
        self.transaction = await open_first(pools, self._envelope(), eager=alone)
        self.answers = self.transaction.answers

    def _envelope(self) -> Envelope:
        each = tuple(recipient.dsn for recipient in self.recipients)
        return Envelope(
            self.sender,
            tuple(recipient.address for recipient in self.recipients),
            sum(map(len, self.chunks)),
            self.eight_bit,
            self.utf8_header,
            self.tls_required,
            self.dsn,
            each if any(each) else (),
        )

    async def send(self) -> None:
        """The content, for the recipients that were accepted; who was not asked beforehand is asked now."""
        if not self.answers:
            await self.prepare(alone=True)
        if self.transaction is not None and any(answer.positive for answer in self.answers):
            self.answers = await self.transaction.send(self.chunks)

    async def abort(self) -> None:
        """RSET, or whatever it takes."""
        if self.transaction is not None:
            await self.transaction.abort()


@dataclass(slots=True)
class Stored(Parcel):
    """For a directory. store: writes the message for these addresses, raises OSError."""

    store: Callable[[list[str]], Awaitable[str]] | None = None
    failed: Callable[[OSError], None] | None = None

    async def prepare(self, *, alone: bool) -> None:
        """A disk is not asked: it is written to before anything else is sent."""
        self.answers = [YES] * len(self.recipients)

    async def send(self) -> None:
        """Write and sync."""
        answer = NO_DISK
        try:
            if self.store is not None:
                await self.store([recipient.address for recipient in self.recipients])
                answer = KEPT
        except OSError as error:
            if self.failed is not None:
                self.failed(error)
        self.answers = [answer] * len(self.recipients)

    async def abort(self) -> None:
        """Nothing was written yet."""
