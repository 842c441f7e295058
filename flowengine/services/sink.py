"""A transport that sends nothing: each message stays as a file in a directory, where one can look at it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from flowengine.services.files import Buffer, MessageFiles


class Sink:
    """Keeps messages in a directory, as NAME.eml (what would have left) and NAME.json (for whom)."""

    def __init__(self, directory: Path) -> None:
        self._files = MessageFiles(directory)

    async def keep(
        self, sender: str, chunks: Iterable[Buffer], about: Mapping[str, object], recipients: Sequence[str]
    ) -> str:
        """Keep one message for these recipients. Its name. Raises OSError."""
        document = {"sender": sender, "recipients": list(recipients), **about}
        return await asyncio.to_thread(self._files.keep, chunks, document)
