"""What is kept of one message on its way out: log lines, counters, and who has it already."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flowengine.mail.evaluation import IN_A_THREAD
from flowengine.runtime.actions import Kept
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.services import Level
from flowengine.services.outbox import told
from flowengine.services.outbox.parcels import Parcel, Recipient, Relayed
from flowengine.services.outbox.remembered import Fate, digest
from flowengine.services.queue.parcel import Queued
from flowengine.services.relay import Answer, Stage

if TYPE_CHECKING:
    from flowengine.services.outbox.outbox import Outbox


class Notes:
    """The notes of one outcome."""

    def __init__(self, outbox: "Outbox", outcome: Outcome) -> None:
        self._outbox, self._outcome = outbox, outcome
        self._digest: bytes | None = None

    # -- memory -------------------------------------------------------------------------------------------------------

    async def known(self, wanted: Sequence[tuple[Kept, str, Recipient]]) -> frozenset[int]:
        """Which of the deliveries (action, way, recipient) are done since an earlier try, by number."""
        memory = self._outbox.remembered
        if not memory.may_know(self._outcome.message.received_size):
            return frozenset()
        found = await self._find_digest()
        fates = [_fate(found, place, kept.sender, recipient) for kept, place, recipient in wanted]
        done = await memory.known(fates)
        return frozenset(number for number, fate in enumerate(fates) if fate in done)

    async def remember(self, parcels: Iterable[Parcel]) -> None:
        """Who of these recipients has the message."""
        found = await self._find_digest()
        done = [
            _fate(found, parcel.place, parcel.sender, recipient)
            for parcel in parcels
            for recipient, answer in zip(parcel.recipients, parcel.answers, strict=True)
            if answer.positive
        ]
        if done:
            await self._outbox.remembered.add(done, self._outcome.message.received_size)

    async def remember_late(self, parcel: Parcel) -> None:
        """The same, of a parcel that nobody waited for any more."""
        await self.remember([parcel])
        self.log("notice", "delivered after the client was told to come back", transport=parcel.place)

    async def _find_digest(self) -> bytes:
        if self._digest is None:
            message = self._outcome.message
            large = message.received_size >= IN_A_THREAD
            self._digest = await asyncio.to_thread(digest, message) if large else digest(message)
        return self._digest

    # -- log and counters ---------------------------------------------------------------------------------------------

    def note(self, parcels: Iterable[Parcel]) -> None:
        """Count what became of each recipient. Where it went is told by the verdict's line, what failed by its own."""
        for parcel in parcels:
            taken = None
            for recipient, answer in zip(parcel.recipients, parcel.answers, strict=True):
                if not answer.positive:
                    self._failed(parcel, recipient, answer)
                elif answer.stage is Stage.END:  # else accepted, and then called off
                    if not isinstance(parcel, Queued):  # those are counted as they are put, and when they arrive
                        self.count("delivered", parcel.place)
                    taken = answer
            if taken is not None and isinstance(parcel, Relayed) and parcel.transaction is not None:
                hop = parcel.transaction
                about = {"transport": parcel.place, "host": hop.host, "tls": hop.tls, "reply": str(taken.reply)}
                self._outcome.transaction.deliveries.append(about)

    def _failed(self, parcel: Parcel, recipient: Recipient, answer: Answer) -> None:
        self.count("refused" if told.permanent(answer) else "deferred", parcel.place)
        if answer.uncertain:
            self.count("duplicate", parcel.place)
        hop = parcel.transaction if isinstance(parcel, Relayed) else None
        self.log(
            "error" if answer.stage is Stage.AUTH else "warning",  # nothing goes that way until somebody looks
            "not delivered",
            recipient=recipient.address,
            transport=parcel.place,
            host=hop.host if hop is not None else None,
            tls=(hop.tls or None) if hop is not None else None,
            stage=str(answer.stage),
            reply=str(answer.reply),
            uncertain=answer.uncertain or None,
        )

    def count(self, result: str, place: str) -> None:
        """One recipient more with this result."""
        self._outbox.services.counters.increment("deliveries", result=result, transport=place)

    def disk_failed(self, place: str, error: Exception) -> None:
        """A directory cannot be written."""
        self.log("error", "cannot write", transport=place, error=str(error))

    def log(self, level: Level, event: str, **fields: object) -> None:
        """A line about this message."""
        self._outbox.services.log.event(level, event, id=self._outcome.transaction.id, **fields)


def _fate(found: bytes, place: str, sender: str, recipient: Recipient) -> Fate:
    return (found, sender, recipient.address, place, recipient.copy)
