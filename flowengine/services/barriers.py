"""Barriers of all workers: locks on bytes of one file, and values in the memory that `memory_*` use too.

A lock belongs to an open file, so the kernel frees it when a worker dies. Trouble with the file never stops mail: the
barrier then holds within the worker only.
"""

import asyncio
import fcntl
import hashlib
import os
import struct
from pathlib import Path
from typing import BinaryIO

from flowengine.language.arrays import UNSET
from flowengine.language.values import Value
from flowengine.runtime.services import Log, Memory

NAME = "barriers.lock"
_SHORTEST, _LONGEST = 0.001, 0.02
"""Seconds between two tries for a lock that another worker holds."""
_BUSY = (BlockingIOError, PermissionError)


class WorkersBarriers:
    """The part of barriers that reaches beyond a process (`language.caching.Beyond`).

    path: None for a process that has no others.
    """

    def __init__(self, path: Path | None, memory: Memory, log: Log) -> None:
        self._path, self._memory, self._log = path, memory, log
        self._file: BinaryIO | None = None
        self._said = False

    def lock(self, name: str) -> bool:
        """Take a lock if no other worker holds it; whether it was taken."""
        try:
            self._change(name, fcntl.F_WRLCK)
        except _BUSY:
            return False
        except OSError as error:
            self._complain(error)
        return True

    async def locked(self, name: str) -> None:
        """Take a lock, after waiting for it."""
        pause = _SHORTEST
        while not self.lock(name):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST)

    def unlock(self, name: str) -> None:
        """Give a lock back."""
        try:
            self._change(name, fcntl.F_UNLCK)
        except OSError as error:
            self._complain(error)

    def value(self, name: str) -> Value:
        """What a barrier's shared variable holds; UNSET for one that was never set."""
        found = self._memory.get(name)
        return UNSET if found is None else found[1]

    def keep(self, name: str, value: Value) -> bool:
        """Keep a shared variable, or forget one that is UNSET; whether there was room for it."""
        if value is UNSET:
            self._memory.remove(name)
            return True
        return self._memory.put(name, value, -1)

    def _change(self, name: str, how: int) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._file = open(self._path, "ab", buffering=0, opener=_opened)  # noqa: SIM115  # held for good
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        place = int.from_bytes(digest, "big") >> 2
        if hasattr(fcntl, "F_OFD_SETLK"):
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", how, os.SEEK_SET, place, 1, 0))
        else:  # elsewhere a lock is the process's: a reload may overlap with the engine before it
            flags = fcntl.LOCK_UN if how == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB
            fcntl.lockf(self._file, flags, 1, place)

    def _complain(self, error: OSError) -> None:
        if not self._said:
            self._said = True
            self._log.event("error", "barriers", file=str(self._path), error=str(error))


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
