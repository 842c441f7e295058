"""How `flowengine trace` asks the watch of a running server."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from flowengine.servers.processes.link import connect, encode
from flowengine.servers.processes.watching import NAME, RECALL_TIME
from flowengine.services.viewing import Filter


class NotThere(Exception):
    """No server runs on this storage, or we may not ask it."""


async def look(directory: Path, what: str, seconds: float | None, tell: Callable[[dict[str, Any]], bool]) -> bool:
    """Tell what a server says about clients (until `seconds` are over or `tell` returns false) or of one transaction.

    Whether there was something to tell; for clients always. Raises ValueError for what is neither, and NotThere.
    """
    one = Filter.parse(what)
    path = directory / NAME
    try:
        reader, writer = await connect(path)
    except OSError as error:
        raise NotThere(f"{path}: no server to ask: {error.strerror or error}") from None
    try:
        if one.id:
            writer.write(encode({"recall": one.id}) + b"\n")
            async with asyncio.timeout(RECALL_TIME * 2):
                answer = msgspec.json.decode(await reader.readline())
            if answer["found"] is None:
                return False
            tell({"event": "verdict", **answer["found"]["verdict"], "facts": answer["found"]["facts"]})
            return True
        writer.write(encode({"trace": what}) + b"\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while line := await reader.readline():
                    message = msgspec.json.decode(line)
                    if "event" in message and not tell(message):
                        return True
                raise NotThere("the server is gone")
        return True
    except TimeoutError:
        return False
    finally:
        writer.close()
