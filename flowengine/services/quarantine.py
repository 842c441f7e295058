"""Quarantines: messages kept aside under the names that `Quarantine("spam")` uses."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from flowengine.services.files import Buffer, MessageFiles


class Quarantines:
    """The directories of [quarantine.*], by name."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._files = {name: MessageFiles(path) for name, path in paths.items()}

    async def keep(
        self, name: str, sender: str, chunks: Iterable[Buffer], about: Mapping[str, object], recipients: Sequence[str]
    ) -> str:
        """Keep a message aside: it is on disk when this returns. Its name there.

        Raises OSError, also for a quarantine that is not configured.
        """
        files = self._files.get(name.removeprefix("mailquarantine:"))
        if files is None:
            raise FileNotFoundError(f"there is no quarantine {name!r}")
        document = {"quarantine": name, "sender": sender, "recipients": list(recipients), **about}
        return await asyncio.to_thread(files.keep, chunks, document)
