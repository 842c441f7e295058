"""Files that scripts may read: regular files below the script root, and no way out of it."""

import os
import stat
from pathlib import Path


def read_below(root: Path | None, name: str, limit: int) -> bytes | None:
    """What a file holds. None when it is not there, not below `root` (links followed), no plain file, or too large."""
    if root is None or "\0" in name or len(name) > 1024:
        return None
    try:
        base = root.resolve(strict=True)
        path = (base / name).resolve(strict=True)
        if not path.is_relative_to(base):
            return None
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, RuntimeError, ValueError):
        return None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > limit:
            return None
        data = bytearray()
        while len(data) <= limit and (piece := os.read(handle, 1 << 20)):
            data += piece
        return bytes(data) if len(data) <= limit else None
    except OSError:
        return None
    finally:
        os.close(handle)
