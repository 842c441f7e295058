"""The next hop behind us and behind other servers: aiosmtpd, which keeps every message with its envelope."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.interop.checks import Disagreement


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the next hop was given. options: the parameters of MAIL, as they were written."""

    sender: str
    recipients: tuple[str, ...]
    options: tuple[str, ...]
    content: bytes


class NextHop:
    """Where messages arrive, in order. port: on 127.0.0.1."""

    def __init__(self) -> None:
        self.port = 0
        self._arrived: SimpleQueue[Delivery] = SimpleQueue()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 — aiosmtpd's name
        """Called by aiosmtpd with a whole message."""
        content = envelope.original_content or b""
        options: Sequence[str] = envelope.mail_options
        self._arrived.put(Delivery(envelope.mail_from or "", tuple(envelope.rcpt_tos), tuple(options), content))
        return "250 2.0.0 taken"

    def take(self, seconds: float = 20.0) -> Delivery:
        """The next message, when it comes. Raises Disagreement when none does."""
        try:
            return self._arrived.get(timeout=seconds)
        except Empty:
            raise Disagreement(f"nothing arrived at the next hop within {seconds:.0f} seconds") from None

    def nothing_came(self, seconds: float = 0.3) -> bool:
        """Whether no message comes within the time."""
        time.sleep(seconds)
        return self._arrived.empty()

    def forget(self) -> None:
        """Drop what arrived for a check that is over."""
        while not self._arrived.empty():
            self._arrived.get_nowait()


@contextmanager
def next_hop() -> Iterator[NextHop]:
    """The server, in a thread of its own while the `with` lasts."""
    hop = NextHop()
    loop = asyncio.new_event_loop()

    def door() -> SMTP:
        return SMTP(hop, hostname="hop.example.org", enable_SMTPUTF8=True, data_size_limit=64 << 20, loop=loop)

    server = loop.run_until_complete(loop.create_server(door, "127.0.0.1", 0))
    hop.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield hop
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
