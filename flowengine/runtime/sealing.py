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
        self._done: dict[tuple[Message, tuple[AnySeal, ...]], Message] = {}

    async def seal(self, kept: Kept) -> Message:
        """The message as it leaves for one recipient. Raises MailError when a signature cannot be made."""
        key = (kept.message, kept.seals)
        found = self._done.get(key)
        if found is None:
            if kept.seals and kept.message.body.size >= IN_A_THREAD:
                found = await asyncio.to_thread(self._sealed, *key)
            else:
                found = self._sealed(*key)
            self._done[key] = found
        return found

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
