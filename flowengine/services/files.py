"""Messages as files that survive a power cut: NAME.eml with the exact octets, NAME.json with what is known of it.

Both are written under tmp/, synced and renamed, the message last: whoever finds an .eml finds it whole, and its .json.
Everything here blocks; call it in a thread.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

Buffer = bytes | memoryview


class MessageFiles:
    """A directory of messages. It is made when the first one comes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep(self, chunks: Iterable[Buffer], about: Mapping[str, object]) -> str:
        """Write a message; when this returns it is on disk. Its name. Raises OSError, and then nothing was kept."""
        self._make()
        name = f"{time.time_ns():016x}-{os.urandom(6).hex()}"  # names sort by time
        document = json.dumps({"id": name, **about}, indent=1, default=str).encode("ascii") + b"\n"
        made: list[Path] = []
        try:
            for suffix, content in ((".json", [document]), (".eml", chunks)):
                draft = self.directory / "tmp" / (name + suffix)
                made.append(draft)
                _write(draft, content)
            made += [draft.rename(self.directory / draft.name) for draft in tuple(made)]
            _sync_directory(self.directory)
        except BaseException:
            for path in made:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        return name

    def _make(self) -> None:
        drafts = self.directory / "tmp"
        if drafts.is_dir():
            return
        drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_directory(self.directory)
        _sync_directory(self.directory.parent)


def _write(path: Path, content: Iterable[Buffer]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "wb") as file:  # noqa: PTH123  # a descriptor, no path
        file.writelines(content)
        file.flush()
        os.fsync(handle)


def _sync_directory(path: Path) -> None:
    """A rename is only safe when its directory is."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
