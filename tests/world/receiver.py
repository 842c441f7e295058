"""A next hop in a thread that remembers when it took which message: what accounts are settled with.

A message is known by its `X-Number` field. `before` is called when the whole message is there and nothing has been
answered, `after` when the 250 has left.
"""

import asyncio
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable

_NUMBER = re.compile(rb"^X-Number: (\S+)\r$", re.MULTILINE)


class Receiver:
    """taken: number → moments (time.monotonic) at which the 250 was written. chaos: from 0 to 1, how often it answers
    451, or closes the connection, in place of doing its work."""

    def __init__(self, chaos: Callable[[], float] = lambda: 1.0, host: str = "127.0.0.1") -> None:
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None
        self.port = 0
        self._chaos, self._host = chaos, host
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """End."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, self._host, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        server.close()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 receiver\r\n")
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    writer.write(b"250-receiver\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    if not await self._content(reader, writer):
                        return
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                else:
                    writer.write(b"250 ok\r\n")
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    async def _content(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        content = b""
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                return False
            content += line
        found = _NUMBER.search(content)
        number = found[1].decode() if found is not None else ""
        self.before(number)
        chance = self._chaos()
        if chance < 0.01:
            return False
        if chance < 0.03:
            writer.write(b"451 4.3.0 not now\r\n")
            return True
        self.taken[number].append(time.monotonic())
        writer.write(b"250 taken\r\n")
        await writer.drain()
        self.after(number)
        return True
