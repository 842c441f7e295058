"""Large messages as files beside the database: written and synced before their row, read without a copy.

A file's name begins with the number of the holder that wrote it, so that what a dead worker left without a row is
found. Everything here blocks; call it in a thread.
"""

import hashlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from flowengine.services.queue.model import Damaged
from flowengine.services.relay.stuffing import Buffer


class Bodies:
    """The directory of the files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, name: str, chunks: Iterable[Buffer]) -> None:
        """A new file, on disk when this returns. Raises OSError, and then there is none."""
        path = self._directory / name
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123  # a descriptor, no path
                file.writelines(chunks)
                file.flush()
                os.fsync(handle)
            self._sync()
        except BaseException:
            self.remove(name)
            raise

    def read(self, name: str) -> Buffer:
        """The content. Raises Damaged when there is none, OSError for trouble with the disk."""
        try:
            with (self._directory / name).open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    return b""
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError:
            raise Damaged(f"the file {name} is gone") from None

    def remove(self, name: str) -> None:
        """Take a file away. What cannot be removed now is found later."""
        with suppress(OSError):
            (self._directory / name).unlink(missing_ok=True)

    def left_behind(self, lives: Callable[[int], bool]) -> Iterator[str]:
        """Names of files whose writers are not alive any more."""
        with suppress(FileNotFoundError):
            for path in self._directory.iterdir():
                writer = path.name.partition("-")[0]
                if writer.isdigit() and not lives(int(writer)):
                    yield path.name

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def digest(chunks: Sequence[Buffer]) -> bytes:
    """What tells that a content is still what it was."""
    found = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        found.update(chunk)
    return found.digest()
