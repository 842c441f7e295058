"""Quarantines: messages kept aside under the names that `Quarantine("spam")` uses."""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from flowengine.services.files import Buffer, MessageFiles

NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{12}").fullmatch
"""The name of a kept message: when it came, in nanoseconds as hex, and chance."""


def names(directory: Path, older: float = 0.0) -> list[str]:
    """The messages of a directory, the oldest first; only those that came so many seconds ago. Raises OSError."""
    if not directory.is_dir():
        return []
    end = f"{int((time.time() - older) * 1e9):016x}"
    return sorted(path.stem for path in directory.glob("*.eml") if NAME(path.stem) and path.stem[:16] <= end)


def delete(directory: Path, name: str) -> None:
    """Take a message away. Raises OSError."""
    (directory / f"{name}.eml").unlink(missing_ok=True)
    (directory / f"{name}.json").unlink(missing_ok=True)


def expire(directory: Path, seconds: float) -> int:
    """Delete what came longer ago than that; how many. What cannot be deleted is left for the next time."""
    count = 0
    with suppress(OSError):
        for name in names(directory, seconds):
            delete(directory, name)
            count += 1
    return count


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
