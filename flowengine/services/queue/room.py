"""Room on the disk: new messages stop in time, and what is there can leave even from a disk that others have filled.

To take a message out, SQLite has to write. So there is a ballast: a file of some octets that is thrown off when the
disk is full. Until it is back no message is taken.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from flowengine.services.queue.model import StoreFull

BALLAST = 2 << 20
_LOOK = 1.0
"""Seconds for which what the disk said about its free space holds."""


class Room:
    """The disk of a directory. free: octets it must have left for new messages."""

    def __init__(self, directory: Path, free: int) -> None:
        self._directory, self._free = directory, free
        self._ballast = directory / "ballast"
        self._looked, self._enough = -_LOOK, True

    def check(self) -> None:
        """Raises StoreFull when there is no room for new messages, OSError."""
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            found = os.statvfs(self._directory)
            self._enough = self._ballast.exists() and found.f_bavail * found.f_frsize >= self._free
            self._looked = now
        if not self._enough:
            raise StoreFull("the disk of the queue is full, or nearly so")

    def throw_off(self) -> bool:
        """The disk is full: make some room for what leaves. Whether there was any."""
        self._enough, self._looked = False, time.monotonic()
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True

    @property
    def tight(self) -> bool:
        """Whether the ballast is gone."""
        return not self._ballast.exists()

    def load(self) -> None:
        """Take ballast again, as soon as the disk has room for it."""
        if self._ballast.exists():
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._ballast.with_suffix(f".{os.getpid()}")
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, BALLAST)
            finally:
                os.close(handle)
            draft.rename(self._ballast)
        except OSError:
            with suppress(OSError):
                draft.unlink()
