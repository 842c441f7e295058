"""A connection before its greeting: the header of a trusted balancer comes in, who talks too early goes out.

Only connections that have to wait for something pass here.
"""

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from dataclasses import replace

from flowengine.mail.errors import MailError
from flowengine.runtime.actions import Reply
from flowengine.runtime.places import text_of, within
from flowengine.servers.smtp.door import Client, Options
from flowengine.servers.smtp.proxy import read_header

EARLY = Reply(554, "5.5.1", "You talked before the greeting", disconnect=True)


class Arrival:
    """One connection that waits. `begin`, hand in what comes; one of the two callbacks is called, once.

    admitted: the client, and what it sent behind the header. refused: the last word, None for none, and why.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        options: Options,
        client: Client,
        admitted: Callable[[Client, bytes], None],
        refused: Callable[[Reply | None, str, str], None],
    ) -> None:
        self._loop, self._options, self._client = loop, options, client
        self._admitted, self._refused = admitted, refused
        self._buffer = b""
        self._behind = within(client.ip, options.proxy)
        self._timer: TimerHandle | None = None

    @staticmethod
    def wanted(options: Options, client: Client) -> bool:
        """Whether a client of this listener has to wait for anything."""
        return options.limits.greeting_delay > 0 or within(client.ip, options.proxy)

    def begin(self) -> None:
        """The connection is there."""
        if self._behind:
            late = None, "no PROXY header in time", "proxy_time"
            self._timer = self._loop.call_later(self._options.limits.proxy_time, self._end, *late)
        else:
            self._wait()

    def data(self, data: bytes) -> None:
        """What the client sends."""
        if not self._behind:
            self._end(EARLY, "talked before the greeting", "greeting_delay")
            return
        self._buffer += data
        try:
            header = read_header(self._buffer)
        except MailError as error:
            self._end(None, str(error))
            return
        if header is None:
            return
        self._behind = False
        self.cancel()
        if header.source is not None and header.destination is not None:
            (ip, port), (own_ip, own_port) = header.source, header.destination
            self._client = replace(
                self._client, ip=text_of(ip), port=port, server_ip=text_of(own_ip), server_port=own_port
            )
        rest, self._buffer = self._buffer[header.size :], b""
        self._wait(rest)

    def cancel(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, rest: bytes = b"") -> None:
        """Let the client show whether it can wait (RFC 5321 §4.3.1: it has to)."""
        delay = self._options.limits.greeting_delay
        if delay <= 0:
            self._admitted(self._client, rest)
        elif rest:
            self._end(EARLY, "talked before the greeting", "greeting_delay")
        else:
            self._timer = self._loop.call_later(delay, self._admitted, self._client, b"")

    def _end(self, reply: Reply | None, why: str, limit: str = "") -> None:
        self.cancel()
        self._refused(reply, why, limit)
