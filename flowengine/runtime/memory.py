"""What the flows of one process share with `memory_*`: a bounded store in which every entry has a version.

And the memory of the process itself, which bounds what the values of one run take together.
"""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from flowengine.language.values import Array, Value, share

ENTRIES = 100_000
ENTRY_SIZE = 1 << 20
"""Bytes of one value, about; functions and objects count as little."""
TOTAL_SIZE = 64 << 20
_STATM = Path("/proc/self/statm")


class SharedMemory:
    """The store. Full means that nothing new is taken: what flows count on does not vanish by itself."""

    def __init__(self, entries: int = ENTRIES, entry_size: int = ENTRY_SIZE, total_size: int = TOTAL_SIZE) -> None:
        self._most, self._entry_size, self._total = entries, entry_size, total_size
        self._entries: dict[str, tuple[int, Value, int]] = {}
        self._used = 0
        self._versions: Iterator[int] = count(1)

    def get(self, key: str) -> tuple[int, Value] | None:
        """Version and value of an entry; None when there is none."""
        found = self._entries.get(key)
        return None if found is None else (found[0], share(found[1]))

    def put(self, key: str, value: Value, version: int | None) -> bool:
        """Write an entry if it still has this version (None: if there is none, -1: in any case); whether it was
        written. Also false when the store, or this value, is too large."""
        found = self._entries.get(key)
        current = None if found is None else found[0]
        if version not in (current, -1):
            return False
        size = len(key) + size_of(value, self._entry_size)
        freed = found[2] if found is not None else 0
        full = found is None and len(self._entries) >= self._most
        if full or size > self._entry_size or self._used - freed + size > self._total:
            return False
        self._used += size - freed
        self._entries[key] = (next(self._versions), share(value), size)
        return True

    def remove(self, key: str) -> bool:
        """Take an entry out; whether it was there."""
        found = self._entries.pop(key, None)
        if found is not None:
            self._used -= found[2]
        return found is not None


def size_of(value: Value, enough: int) -> int:
    """About how many bytes a value takes; counting ends when it is more than enough."""
    size, pending = 0, [value]
    while pending and size <= enough:
        one = pending.pop()
        if isinstance(one, str):
            size += len(one) + 50
        elif isinstance(one, Array):
            size += 100 + 100 * len(one)
            pending.extend(one.values())
            size += sum(len(name) for name in one if isinstance(name, str))
        else:
            size += 32
    return size


def resident() -> int:
    """The memory that the process holds, in bytes; 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
