"""A worker's line to the watch: what it counted, how it stands, and the lines that somebody wants to see.

The watch may be gone at any time; then counts wait for the next one, and nobody looks.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from flowengine.services.metrics import Tally
from flowengine.services.viewing import Filter, ViewedLog

INTERVAL = 1.0
"""Seconds between two reports."""
_BACKLOG = 1 << 20
"""Octets that may wait for a watch that does not read; further lines are dropped."""
LONGEST = 1 << 22

encode = msgspec.json.Encoder(enc_hook=str).encode


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a Unix socket, however long the path of its directory. Raises OSError."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{path.name}", limit=LONGEST)
    finally:
        os.close(directory)


class Link:
    """Reports to the watch at `path`, as long as the worker lives. stand: the worker's gauges, by name."""

    def __init__(self, path: Path, tally: Tally, log: ViewedLog, stand: Callable[[], Mapping[str, float]]) -> None:
        self._path, self._tally, self._log, self._stand = path, tally, log, stand
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._last: Mapping[str, float] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Link"]:
        """The link, kept up in the background."""
        self._log.see = self._see
        self._task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._say_counts()
            if self._writer is not None:
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(self._writer.drain(), 1)
                self._writer.close()

    async def _run(self) -> None:
        while True:
            try:
                reader, self._writer = await connect(self._path)
            except OSError:
                await asyncio.sleep(INTERVAL)
                continue
            listening = asyncio.create_task(self._listen(reader))
            try:
                self._last = {}
                self._say({"worker": os.getpid()})
                while not listening.done():
                    self._say_counts()
                    await asyncio.wait([listening], timeout=INTERVAL)
            finally:
                listening.cancel()
                self._log.filters = ()
                await asyncio.wait([listening])
            self._writer.close()
            self._writer = None

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """What the watch asks for, until it is gone."""
        while True:
            try:
                line = await reader.readline()
            except (OSError, ValueError):
                return
            if not line:
                return
            asked: dict[str, Any] = msgspec.json.decode(line)
            if "filters" in asked:
                self._log.filters = tuple(Filter.parse(one) for one in asked["filters"])
            if "recall" in asked:
                self._say({"recalled": asked["recall"], "found": self._log.recall(asked["recall"])})

    def _say_counts(self) -> None:
        if self._writer is None or self._writer.transport.get_write_buffer_size() > _BACKLOG:
            return
        stand = dict(self._stand())
        counts = self._tally.take()
        if counts or stand != self._last:
            self._last = stand
            self._say({"counts": counts, "stand": stand})

    def _see(self, line: Mapping[str, object]) -> None:
        self._say({"line": line})

    def _say(self, message: Mapping[str, object]) -> None:
        writer = self._writer
        if writer is not None and not writer.is_closing() and writer.transport.get_write_buffer_size() <= _BACKLOG:
            writer.write(encode(message) + b"\n")
