"""A message handed on without a waiting client: to these recipients, by this transport, now, with an answer for each.

What a queue calls for one attempt. Unlike inline delivery, recipients that are refused keep the message from nobody.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from flowengine.services.outbox.parcels import Recipient, Relayed
from flowengine.services.outbox.ways import Ways
from flowengine.services.relay import Answer
from flowengine.services.relay.stuffing import Buffer

AT_ONCE = 20
"""Next hops of one message at a time."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One content and for whom it is; the fields are those of `relay.Envelope`, its chunks end with CRLF."""

    sender: str
    recipients: tuple[Recipient, ...]
    chunks: Sequence[Buffer]
    eight_bit: bool = False
    utf8_header: bool = False
    tls_required: bool = False
    dsn: str = ""


async def deliver(ways: Ways, transport: str, letter: Letter) -> list[Answer]:
    """Send by a transport that `relays`; an answer for each recipient, in their order.

    Bounded by the time-outs of the transport. Cancelled after the dot, it may have delivered: an answer with
    `uncertain` says so when the connection broke there. Never raises for what a next hop or DNS does.
    """
    groups: dict[str, list[int]] = {}
    for place, recipient in enumerate(letter.recipients):
        groups.setdefault(ways.domain(transport, recipient.address), []).append(place)
    turns = asyncio.Semaphore(AT_ONCE)
    answers: dict[int, Answer] = {}

    async def send(domain: str, places: list[int]) -> None:
        parcel = Relayed(
            transport,
            letter.sender,
            letter.chunks,
            [letter.recipients[place] for place in places],
            find=partial(ways.hosts, transport, domain, secure=letter.tls_required),
            eight_bit=letter.eight_bit,
            utf8_header=letter.utf8_header,
            tls_required=letter.tls_required,
            dsn=letter.dsn,
        )
        async with turns:
            await parcel.send()
        answers.update(zip(places, parcel.answers, strict=True))

    await asyncio.gather(*(send(domain, places) for domain, places in groups.items()))
    return [answers[place] for place in range(len(letter.recipients))]
