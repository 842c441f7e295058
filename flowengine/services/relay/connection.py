"""One connection to a next hop: lines out, answers in, a deadline for each step.

`exchange` gives exactly as many answers as were asked for; where the next hop stays silent, breaks the protocol or goes
away, they are ours. A reply that nobody asked for ends the connection: from then on one would answer for another.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import cast

from flowengine.runtime.actions import Reply
from flowengine.services.relay.answers import Answer, ReplyReader, Stage
from flowengine.services.relay.settings import Encryption, RelaySettings
from flowengine.services.relay.stuffing import Buffer

AT_ONCE = 1 << 20
"""Octets of content that are written in one go."""
BLOCK = 1 << 18
FAREWELL = 5.0
"""Seconds that the answer to QUIT may take."""


class Connection(asyncio.Protocol):
    """A connection, from the greeting on. gone: is called once, when it is lost."""

    def __init__(self, settings: RelaySettings, gone: Callable[["Connection"], None]) -> None:
        self._settings, self._gone = settings, gone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: list[Reply] = []
        self._wanted = 1  # the greeting may come before anybody waits for it
        self._waiter: asyncio.Future[None] | None = None
        self._blocked: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._failure: Reply | None = None
        self._leaving = False
        self.extensions: dict[str, str] = {}
        """What EHLO offered: keyword in upper case → parameters."""
        self.tls = ""
        """Version and cipher once the connection is encrypted."""
        self.verified = False
        """Whether the certificate was that of the host, by an authority we trust."""
        self.messages = 0
        self.idle_since = 0.0

    # -- callbacks of the event loop ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There it is."""
        self._take(transport)

    def data_received(self, data: bytes) -> None:
        """Replies."""
        replies = self._reader.feed(data)
        self._replies += replies
        have = len(self._replies)
        if self._reader.broken:
            self._fail(Reply(451, "4.5.0", f"{self._settings} sent {self._reader.broken}"))
        if have > self._wanted:
            del self._replies[self._wanted :]
            self._fail(Reply(451, "4.5.0", f"{self._settings} answered what nobody asked"))
        elif have == self._wanted or (replies and replies[-1].code == 421):
            self._wake()
            self._unblock()
            if self._leaving and self._transport is not None:
                self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        if self._transport is None:
            return  # that was known already
        self._transport = None
        self._fail(Reply(451, "4.4.2", f"{self._settings} closed the connection"))
        self._gone(self)

    def pause_writing(self) -> None:
        """The next hop does not keep up."""
        if self._blocked is None:
            self._blocked = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._unblock()

    # -- for the pool ---------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether another command may be sent."""
        transport = self._transport
        return not self._leaving and self._failure is None and transport is not None and not transport.is_closing()

    def broken(self, stage: Stage) -> Answer:
        """Why nothing more can be said here."""
        reply = self._failure or Reply(451, "4.4.2", f"{self._settings} closed the connection")
        return Answer(reply, stage, heard=False)

    def look(self, now: float) -> None:
        """Give up on a step that takes too long."""
        if self._deadline and now > self._deadline:
            self._fail(Reply(451, "4.4.1", f"{self._settings} did not answer in time"))

    def quit(self) -> None:
        """Say goodbye; the connection closes when that was answered, or not in time."""
        if self.usable and self._transport is not None:
            self._leaving = True
            self._wanted = 1
            self._deadline = self._loop.time() + FAREWELL
            self._transport.write(b"QUIT\r\n")
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once: the only way out of a message under way."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def private(self) -> bool:
        """Whether nobody between us and the next hop can listen: TLS, or the same machine."""
        if self.tls or self._settings.path:
            return True
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        return peer is not None and ip_address(peer[0].partition("%")[0]).is_loopback

    async def encrypt(self, encryption: Encryption) -> Answer | None:
        """Speak TLS from here on. What went wrong, or None."""
        transport = self._transport
        if transport is None or self._failure is not None:
            return self.broken(Stage.TLS)
        if not self._silent():
            return self.broken(Stage.TLS)
        patience = self._settings.patience.command
        try:
            async with asyncio.timeout(patience + FAREWELL):  # the handshake keeps its own time, and says more
                encrypted = await self._loop.start_tls(
                    transport,
                    self,
                    encryption.context,
                    server_hostname=encryption.name or None,
                    ssl_handshake_timeout=patience,
                    ssl_shutdown_timeout=FAREWELL,
                )
        except (OSError, ValueError, TimeoutError) as error:
            told = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
            return self._no_tls(transport, told or "the connection broke")
        except asyncio.CancelledError:
            self._no_tls(transport, "given up")
            raise
        if encrypted is None:
            return self._no_tls(transport, "the connection broke")
        self._take(encrypted)
        if not self._silent():
            return self.broken(Stage.TLS)
        channel = cast(ssl.SSLObject, encrypted.get_extra_info("ssl_object"))
        self.tls = f"{channel.version()} {(channel.cipher() or ('',))[0]}"
        self.verified = encryption.verified
        return None

    def _take(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one only by its methods
        self._transport.set_write_buffer_limits(high=2 * BLOCK)

    def _silent(self) -> bool:
        """Whether nothing has come that nobody asked for. It would be taken for something said under TLS."""
        if self._replies or self._reader.within:
            self._fail(Reply(451, "4.7.0", f"{self._settings} said something before TLS that belongs behind it"))
        return self._failure is None

    def _no_tls(self, transport: asyncio.BaseTransport, why: str) -> Answer:
        """The handshake failed: the loop tells nobody that this connection is over."""
        self._fail(Reply(451, "4.7.5", f"no TLS with {self._settings}: {why}"))
        cast(asyncio.Transport, transport).abort()
        if self._transport is not None:
            self._transport = None
            self._gone(self)
        return self.broken(Stage.TLS)

    # -- steps ----------------------------------------------------------------------------------------------------

    async def greeting(self) -> Answer:
        """The first words of the next hop."""
        (answer,) = await self._await((Stage.GREETING,), self._settings.patience.greeting)
        return answer

    async def exchange(self, commands: bytes, stages: Sequence[Stage], patience: float) -> list[Answer]:
        """Write commands, and get an answer to each. patience: seconds for all of them."""
        if self._transport is not None and self._failure is None:
            self._transport.write(commands)
        return await self._await(stages, patience)

    async def content(self, buffers: Sequence[Buffer], count: int) -> list[Answer]:
        """Write a message with its end, and get the answers to it: `count`, one but with LMTP."""
        whole = await self._write(buffers)
        if not whole:
            return self._answers((Stage.CONTENT,) * count)
        answers = await self._await((Stage.END,) * count, self._settings.patience.end)
        return [a if a.heard else Answer(a.reply, a.stage, heard=False, uncertain=True) for a in answers]

    async def _write(self, buffers: Sequence[Buffer]) -> bool:
        """Whether everything was written before the next hop said anything."""
        transport = self._transport
        if transport is None or self._failure is not None:
            return False
        self._wanted = 1  # it may give up on us early
        if sum(map(len, buffers)) <= AT_ONCE:
            transport.writelines(buffers)
            return True
        for buffer in buffers:
            view = memoryview(buffer)
            for start in range(0, len(view), BLOCK):
                transport.write(view[start : start + BLOCK])
                if self._blocked is not None:
                    await self._unblocked(self._blocked)
                if self._failure is not None or self._replies:
                    # Too early for an answer: whatever it says, nobody has the whole message.
                    self._fail(self._too_early())
                    return False
        return True

    async def _unblocked(self, event: "asyncio.Future[None]") -> None:
        self._deadline = self._loop.time() + self._settings.patience.data
        try:
            await event
        except asyncio.CancelledError:
            self._give_up()
            raise
        self._deadline = 0.0

    def _too_early(self) -> Reply:
        early = self._replies[0] if self._replies else None
        if early is not None and early.code >= 400:
            return early
        return Reply(451, "4.5.0", f"{self._settings} did not wait for the end of the message")

    async def _await(self, stages: Sequence[Stage], patience: float) -> list[Answer]:
        self._wanted = len(stages)
        if len(self._replies) < self._wanted and self._failure is None:
            self._deadline = self._loop.time() + patience  # `look` ends it
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                self._give_up()
                raise
            self._waiter = None
            self._deadline = 0.0
        return self._answers(stages)

    def _give_up(self) -> None:
        self._fail(Reply(451, "4.4.2", f"the transaction with {self._settings} was given up"))

    def _answers(self, stages: Sequence[Stage]) -> list[Answer]:
        replies, self._replies, self._wanted = self._replies, [], 0
        found = [Answer(reply, stage) for reply, stage in zip(replies, stages, strict=False)]
        if len(found) < len(stages):
            last = replies[-1] if replies else None
            if last is not None and last.code == 421:
                self._fail(last)
            found += [self.broken(stage) for stage in stages[len(found) :]]
        for answer in found:
            if answer.closes:
                self._fail(answer.reply)
                break
        return found

    # -- inside ---------------------------------------------------------------------------------------------------

    def _fail(self, reason: Reply) -> None:
        """Nothing more will be said on this connection."""
        if self._failure is None:
            self._failure = reason
            if self._transport is not None:
                self._transport.abort()
        self._wake()
        self._unblock()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _unblock(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)
