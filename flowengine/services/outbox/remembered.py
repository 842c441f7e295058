"""Who has a message already, although its client was told to come back (DESIGN: inline delivery).

Bounded in number and time. What is forgotten, a retry delivers twice: SMTP allows that (RFC 1047), losing a message it
does not. This memory is that of one process; stored.py has the one that processes share.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from flowengine.mail.message import Message

Fate = tuple[bytes, str, str, str, int]
"""Digest of the message as received, sender, recipient, where to, and which of several copies."""


SECONDS = 86400.0
"""For how long it is known that a recipient has a message."""


class Memory(Protocol):
    """Who has which message."""

    def may_know(self, size: int) -> bool:
        """Whether anything may be known of a message of so many octets. Cheap: every message asks."""
        ...

    async def known(self, fates: Sequence[Fate]) -> set[Fate]:
        """Those of the fates that are done."""
        ...

    async def add(self, fates: Sequence[Fate], size: int) -> None:
        """These recipients have the message of so many octets."""
        ...

    async def close(self) -> None:
        """Let go of what is open."""
        ...


def digest(message: Message) -> bytes:
    """SHA-256 of the message as received: a client's retry brings the same octets."""
    found = hashlib.sha256()
    for data, start, end in message.received.content.spans(0):
        found.update(memoryview(data)[start:end])
    return found.digest()


class Remembered:
    """Deliveries that are done. seconds: how long they are known; entries: how many at most."""

    def __init__(self, monotonic: Callable[[], float], seconds: float = SECONDS, entries: int = 100_000) -> None:
        self._monotonic, self._seconds, self._entries = monotonic, seconds, entries
        self._known: OrderedDict[Fate, tuple[float, int]] = OrderedDict()
        self._sizes: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    def may_know(self, size: int) -> bool:
        """Whether anything is known of a message of so many octets."""
        self._forget()
        return size in self._sizes

    async def known(self, fates: Sequence[Fate]) -> set[Fate]:
        """Those of the fates that are done."""
        return {fate for fate in fates if fate in self._known}

    async def add(self, fates: Sequence[Fate], size: int) -> None:
        """These recipients have the message of so many octets."""
        for fate in fates:
            self._drop(fate)
            self._known[fate] = (self._monotonic() + self._seconds, size)
            self._sizes[size] += 1
        while len(self._known) > self._entries:
            self._drop(next(iter(self._known)))

    async def close(self) -> None:
        """Nothing is open."""

    def _forget(self) -> None:
        now = self._monotonic()
        while self._known:
            fate, (until, _) = next(iter(self._known.items()))
            if until > now:
                break
            self._drop(fate)

    def _drop(self, fate: Fate) -> None:
        found = self._known.pop(fate, None)
        if found is not None:
            self._sizes[found[1]] -= 1
            if not self._sizes[found[1]]:
                del self._sizes[found[1]]
