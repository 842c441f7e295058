"""What the queue holds, as values: messages and their entries (one a recipient), jobs, and what became of them.

An entry is known as TRANSACTION-NUMBER: the id that the client heard with its 250, and the number of the delivery.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from flowengine.services.relay.stuffing import Buffer


class State(IntEnum):
    """Whether an entry is to be delivered.

    HELD: until somebody releases it. PARKED: it cannot even be read, and waits for somebody to look. RETURNING: to be
    given back to its sender without a further attempt.
    """

    QUEUED = 0
    HELD = 1
    PARKED = 2
    RETURNING = 3


class About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What else is known of a message. The first fields are those of `relay.Envelope`.

    quotas: names that it counts towards. report: it is a report of ours about another message, never reported about.
    """

    eight_bit: bool = False
    utf8_header: bool = False
    tls_required: bool = False
    dsn: str = ""
    listener: str = ""
    client: str = ""
    helo: str = ""
    user: str | None = None
    reason: str = ""
    jobid: str = ""
    quotas: tuple[str, ...] = ()
    metadata: dict[str, str] = {}  # msgspec copies it for each
    report: bool = False


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One recipient of a new message. domain: as `Ways.domain` says. dsn: RCPT parameters, a space before each.

    take: whoever puts it delivers it at once.
    """

    number: int
    recipient: str
    domain: str
    dsn: str = ""
    take: bool = False


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message for the queue. chunks: what leaves, to the octet. Times are Unix times in seconds.

    file: where the content lies already; "" when it goes into the row. hold: not before somebody releases it.
    """

    transaction: str
    sender: str
    transport: str
    entries: tuple[NewEntry, ...]
    chunks: Sequence[Buffer] = field(repr=False)
    size: int
    digest: bytes
    about: About
    queued: float
    due: float
    expires: float
    file: str = ""
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A destination: a transport, and the domain where that decides about the next hop. failures: in a row."""

    id: int
    transport: str
    domain: str
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A recipient whose delivery somebody has taken. fence: how often it was taken, this time included.

    attempts: those that were made. warned: the sender knows that it is late.
    """

    id: int
    number: int
    recipient: str
    dsn: str
    attempts: int
    fence: int
    expires: float
    warned: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt to be made: a message for recipients at one place. holder: who took it, where that may change."""

    message: int
    transaction: str
    sender: str
    about: About
    place: Place
    entries: tuple[Entry, ...]
    queued: float
    size: int
    holder: int = 0


@dataclass(frozen=True, slots=True)
class Gone:
    """The entry leaves the queue: delivered, returned or dropped."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Later:
    """The entry is tried again. due: when. counted: the attempt counts."""

    entry: Entry
    due: float
    reply: str
    warned: bool
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Parked:
    """The entry cannot be delivered and must not be lost: somebody has to look."""

    entry: Entry
    reason: str


Fate = Gone | Later | Parked


@dataclass(frozen=True, slots=True)
class Rest:
    """What an attempt said about its place. until: nobody else tries before; 0 when it works."""

    until: float
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Stand:
    """How the queue stands. oldest: Unix time of the message that has waited longest, 0 for none."""

    queued: int = 0
    held: int = 0
    parked: int = 0
    octets: int = 0
    oldest: float = 0.0


class StoreTrouble(Exception):
    """The queue's storage cannot be used now; the text says why."""


class StoreFull(StoreTrouble):
    """There is no room for more."""


class Damaged(Exception):
    """What is stored of one message cannot be read any more."""
