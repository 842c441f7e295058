"""From an outcome to the reply the client may hear: seal what leaves, keep what is kept aside, hand on the rest.

Promise 1 is kept here: a 2xx leaves this file only after the next hops' or the disk's; trouble of ours is a 4xx.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Protocol

from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.runtime.actions import Deliver, Kept, Quarantine, Reply
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.sealing import Sealer
from flowengine.runtime.services import Services
from flowengine.runtime.visit import Connection

SHORT_OF_STORAGE = Reply(452, "4.3.1", "Insufficient storage, try again later")
CANNOT_SIGN = Reply(451, "4.7.5", "This message cannot be signed now, try again later")


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message for one recipient as it leaves: sealed, with our trace field on top.

    id: the transaction's. name: tells it from the transaction's other parcels, fit for a file name.
    """

    action: Kept
    message: Message
    trace: bytes
    id: str
    name: str

    def chunks(self) -> list[bytes | memoryview]:
        """The bytes in order, uncopied where they were not changed."""
        return [self.trace, *self.message.chunks()]


class Delivery(Protocol):
    """Hands parcels on while the client waits."""

    async def deliver(self, parcels: Sequence[Parcel], outcome: Outcome) -> Reply | None:
        """None when every parcel has been taken, else what the client is to hear. Never raises."""
        ...


class Shelf(Protocol):
    """Keeps parcels aside."""

    async def keep(self, parcel: Parcel) -> None:
        """On disk when it returns. Raises OSError."""
        ...


class Posting:
    """The outbox of a session (`runtime.session.Outbox`)."""

    def __init__(self, services: Services, delivery: Delivery, shelf: Shelf) -> None:
        self._services, self._delivery, self._shelf = services, delivery, shelf

    async def commit(self, connection: Connection, outcome: Outcome) -> Reply:
        """Carry out what was decided. Never raises but for cancellation."""
        if not outcome.kept:
            return outcome.reply
        try:
            parcels = await self._parcels(connection, outcome)
        except MailError as error:
            self._failed(outcome, "seal", str(error))
            return CANNOT_SIGN
        kept = [parcel for parcel in parcels if isinstance(parcel.action, Quarantine)]
        leaving = [parcel for parcel in parcels if isinstance(parcel.action, Deliver)]
        if delayed := [parcel for parcel in leaving if parcel.action.delay]:  # type: ignore[attr-defined]  # these are Deliver
            self._failed(outcome, "delay", f"{len(delayed)} deliveries ask for a delay, and there is no queue yet")
            return Reply(451, "4.3.5", "Delayed delivery is not possible here, try again later")
        try:
            for parcel in kept:
                await self._shelf.keep(parcel)
        except OSError as error:
            self._failed(outcome, "quarantine", str(error))
            return SHORT_OF_STORAGE
        refused = await self._delivery.deliver(leaving, outcome) if leaving else None
        return outcome.reply if refused is None else replace(refused, disconnect=outcome.reply.disconnect)

    async def _parcels(self, connection: Connection, outcome: Outcome) -> list[Parcel]:
        now = self._services.clock.now()
        sealer = Sealer(now)
        trace = received_field(connection, outcome, self._services.settings.hostname, now)
        id_ = outcome.transaction.id
        return [
            Parcel(action, await sealer.seal(action), trace, id_, f"{id_}-{number}")
            for number, action in enumerate(outcome.kept, 1)
        ]

    def _failed(self, outcome: Outcome, what: str, reason: str) -> None:
        self._services.log.event("error", "commit", id=outcome.transaction.id, what=what, reason=reason)


def received_field(connection: Connection, outcome: Outcome, hostname: str, now: float) -> bytes:
    """Our trace field (RFC 5321 §4.4). The recipient is named when there is only one, so that none leaks to another."""
    client, transaction = connection.client, outcome.transaction
    protocol = "SMTP" if connection.helo_verb == "HELO" else "ESMTP"
    if "SMTPUTF8" in transaction.parameters:
        protocol = "UTF8SMTP"  # RFC 6531 §3.7.3
    protocol += "S" * (connection.tls is not None) + "A" * (connection.username is not None)
    address = f"[IPv6:{client.ip}]" if ":" in client.ip else f"[{client.ip}]" if client.ip else "local"
    helo = _atom(connection.helo or "unknown")
    lines = [
        f"Received: from {helo} ({_atom(client.ptr) + ' ' if client.ptr else ''}{address})",
        f"by {hostname} (flowengine) with {protocol} id {transaction.id}",
    ]
    if len(transaction.recipients) == 1:
        lines.append(f"for <{transaction.recipients[0].address.address}>")
    text = "\r\n\t".join(lines) + f";\r\n\t{formatdate(now)}\r\n"
    return text.encode("utf-8", "replace")


def _atom(name: str) -> str:
    """A name from the client that cannot leave its place: printable, without white space and comment marks."""
    kept = "".join(c for c in name if c.isprintable() and c not in ' \t()<>;,"\\')
    return kept[:255] or "unknown"
