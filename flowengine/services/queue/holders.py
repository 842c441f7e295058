"""Who is alive: each worker holds a lock on a file of its own, which the kernel lets go when the process ends.

So a dead worker's entries are taken over at once, a stopped one's never, and no clock has a say in it.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class Holders:
    """The locks of all holders, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own: int | None = None
        self._keeper: int | None = None

    def hold(self, holder: int) -> None:
        """Lock the file of a holder that nobody knows yet. Raises OSError."""
        self.let_go()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._directory / str(holder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._own = handle

    def dead(self, holder: int) -> bool:
        """Whether nobody has this holder's lock any more."""
        try:
            handle = os.open(self._directory / str(holder), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True

    def forget(self, holder: int) -> None:
        """Take a dead holder's file away."""
        with suppress(OSError):
            (self._directory / str(holder)).unlink(missing_ok=True)

    def keep(self) -> bool:
        """Whether we have the one lock that makes a holder the keeper; taken when nobody has it. Raises OSError."""
        if self._keeper is None:
            handle = os.open(self._directory / "keeper", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            self._keeper = handle
        return True

    def let_go(self) -> None:
        """Give the own locks up."""
        for handle in (self._own, self._keeper):
            if handle is not None:
                os.close(handle)
        self._own = self._keeper = None
