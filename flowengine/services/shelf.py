"""Directories of messages, fsynced: quarantines, and sinks that keep mail where people can look at it.

A message is two files: `ID.eml`, the bytes as they would have left, and `ID.json`, its envelope. The .json is renamed
into place last, so a message without one was never finished.
"""

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from flowengine.runtime.actions import Quarantine
from flowengine.services.posting import Parcel


def write_message(
    directory: Path, name: str, chunks: Iterable[bytes | memoryview], envelope: Mapping[str, object]
) -> Path:
    """Put a message on disk; it is there for good when this returns. Raises OSError; then nothing of it is left."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    final = directory / f"{name}.eml"
    parts: list[tuple[Path, list[bytes | memoryview]]]
    parts = [(final, list(chunks)), (directory / f"{name}.json", [json.dumps(envelope, ensure_ascii=False).encode()])]
    written: list[Path] = []
    try:
        for path, pieces in parts:
            waiting = path.with_name(f".{path.name}.new")
            written.append(waiting)
            with open(waiting, "xb", opener=_private) as file:  # Path.open takes no opener
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
        for path, _ in parts:
            path.with_name(f".{path.name}.new").rename(path)
            written.append(path)
        _sync(directory)
    except OSError:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return final


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def envelope_of(parcel: Parcel) -> dict[str, object]:
    """What is kept beside a message."""
    action = parcel.action
    return {
        "id": parcel.id,
        "sender": action.sender,
        "recipient": action.recipient,
        "transportid": action.transportid,
        "metadata": dict(action.metadata),
        "reason": action.reason,
        "signed": [f"{seal.selector}._domainkey.{seal.domain}" for seal in action.seals],
    }


async def put(directory: Path, parcel: Parcel) -> Path:
    """`write_message` in a thread, so that other sessions go on meanwhile."""
    return await asyncio.to_thread(write_message, directory, parcel.name, parcel.chunks(), envelope_of(parcel))


class Quarantines:
    """The quarantines of the configuration by name (`posting.Shelf`)."""

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self._directories = dict(directories)

    async def keep(self, parcel: Parcel) -> None:
        """Put a parcel aside; on disk when it returns. Raises OSError."""
        action = parcel.action
        assert isinstance(action, Quarantine)  # noqa: S101  # the posting sorts them
        await put(self._directories[action.id], parcel)
