"""Seals are set at commit, over the bytes that leave, after all edits, once per identical content."""

import asyncio
from collections.abc import Iterable

from flowengine.mail import arc_seal, dkim
from flowengine.mail.evaluation import IN_A_THREAD
from flowengine.mail.message import Message
from flowengine.runtime.actions import AnySeal, Kept, Reply

CANNOT_SIGN = Reply(451, "4.7.5", "This message cannot be signed now, try again later")
"""What the client hears when a signature that was asked for cannot be made: nothing leaves unsigned."""


class Sealer:
    """Seals the messages of one outcome."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._first: tuple[tuple[Message, tuple[AnySeal, ...]], Message] | None = None
        self._done: dict[tuple[Message, tuple[AnySeal, ...]], Message] = {}

    async def seal(self, kept: Kept) -> Message:
        """The message as it leaves for one recipient. Raises MailError when a signature cannot be made."""
        key = (kept.message, kept.seals)
        if self._first is None:  # most messages have one recipient, and to compare costs more than to remember
            found = await self._make(*key)
            self._first = key, found
            return found
        if not self._done:
            self._done[self._first[0]] = self._first[1]
        known = self._done.get(key)
        if known is None:
            known = self._done[key] = await self._make(*key)
        return known

    async def _make(self, message: Message, seals: tuple[AnySeal, ...]) -> Message:
        if seals and message.body.size >= IN_A_THREAD:
            return await asyncio.to_thread(self._sealed, message, seals)
        return self._sealed(message, seals)

    def _sealed(self, message: Message, seals: Iterable[AnySeal]) -> Message:
        for seal in sorted(seals, key=_order):
            if isinstance(seal, arc_seal.ArcSeal):
                message = arc_seal.sealed(message, seal, self._now)
            else:
                message = dkim.sealed(message, seal, self._now)
        return message


def _order(seal: AnySeal) -> int:
    """DKIM before ARC: an ARC-Message-Signature covers the DKIM signatures below it, and the ARC-Seal covers that
    (RFC 8617 §5.1)."""
    return 2 if isinstance(seal, arc_seal.ArcSeal) else 0 if seal.arc is None else 1
