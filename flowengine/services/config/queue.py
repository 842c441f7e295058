"""[queue]: what is kept after the client's 250, and how it goes on from there."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True)
class QueueRules:
    """[queue]: how much is kept, and how many attempts run at a time. Sizes are octets, times are seconds."""

    deliveries: Annotated[
        int, Meta(description="Attempts at a time in one worker; those that take long do not count.", ge=1, le=10_000)
    ] = 100
    entries: Annotated[
        int,
        Meta(
            description="Recipients that wait at most; then clients hear 452, and forwarded mail waits outside.",
            ge=1,
            le=100_000_000,
        ),
    ] = 1_000_000
    free_space: Annotated[
        int,
        Meta(description="What must stay free on the disk of the queue; below it clients hear 452.", ge=0, le=1 << 50),
    ] = 64 << 20
    row_size: Annotated[
        int, Meta(description="With SQLite, a larger message lies in a file beside the database.", ge=0, le=16 << 20)
    ] = 64 << 10
    lease: Annotated[
        int,
        Meta(
            description="With PostgreSQL, a machine out of its reach for so long loses what it has to the others.",
            ge=6,
            le=3600,
        ),
    ] = 30
    delay_notice: Annotated[
        int,
        Meta(
            description="When a sender is told, once, that a message is late; 0: never. NOTIFY may forbid it.",
            ge=0,
            le=2592000,
        ),
    ] = 14400
    report_size: Annotated[
        int,
        Meta(
            description="A bounce returns a message up to this size, a larger one only its header (unless RET asks).",
            ge=0,
            le=64 << 20,
        ),
    ] = 64 << 10
