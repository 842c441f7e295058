"""One connection: aiosmtpd's SMTP class with the protocol callbacks of ours, around a `Machine`.

The machine speaks SMTP; the shell owns the socket. It writes once for each batch of input, awaits steps of the session
in a Task each, one at a time, and stops reading whenever the other side is faster than we are. Steps are always begun
from a callback of the event loop, never within a Task.
"""

from asyncio import AbstractEventLoop, BaseTransport, CancelledError, Task, Transport
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ssl import SSLContext
from typing import Any, cast

from aiosmtpd.smtp import SMTP

from flowengine.runtime.actions import Reply
from flowengine.servers.smtp.arrival import Arrival
from flowengine.servers.smtp.behind import Trust
from flowengine.servers.smtp.door import Client, Options, Report, Session, Waiting, within
from flowengine.servers.smtp.framing import LOCAL_ERROR, SHUTTING_DOWN
from flowengine.servers.smtp.lobby import Lobby
from flowengine.servers.smtp.machine import READY_FOR_TLS, Machine
from flowengine.servers.smtp.places import text_of
from flowengine.servers.smtp.replies import render

RECEIVE = 65536
"""Octets a read: asyncio's own 256 KiB cost a fresh mapping each."""

TIMED_OUT = Reply(421, "4.4.2", "Timeout, closing the connection", disconnect=True)
TROUBLE = Reply(421, "4.3.0", "Local error, closing the connection", disconnect=True)

# Why a connection is not read from at the moment.
_BUSY, _UNREAD, _MEMORY, _TARPIT = 1, 2, 4, 8

LONGEST_TARPIT = 60.0
"""Seconds at a time, however many errors a client had."""
_COUNTED = 50  # commands of a connection until the lobby hears of them


class Entrance:
    """What the connections of one listener share, aiosmtpd's slow constructor among it: it runs once, here."""

    def __init__(
        self,
        lobby: Lobby,
        options: Options,
        open_session: Callable[[Client], Session],
        report: Report | None,
        server: tuple[str, int] | None = None,
        watched: Callable[[str], bool] | None = None,
    ) -> None:
        self.lobby, self.options, self.open_session, self.report = lobby, options, open_session, report
        self.server = server
        """Our end of every connection; None when it differs."""
        self._watched = watched
        template = SMTP(
            None,
            data_size_limit=options.limits.message.size,
            enable_SMTPUTF8=True,
            hostname=options.hostname,
            loop=lobby.loop,
        )
        self.template: Mapping[str, Any] = {
            name: value for name, value in vars(template).items() if name not in Shell.__slots_of_ours__
        }

    def __call__(self) -> "Shell":
        return Shell(self)

    def machine(self, visit: Session, client: Client) -> Machine:
        """The protocol of a new connection; one that somebody watches tells every command."""
        report = self.report
        if self._watched is None or report is None or not self._watched(client.ip):
            return Machine(visit, self.options, report)

        def told(event: str, fields: Mapping[str, object]) -> None:
            report(event, {"client": client.ip, **fields})

        return Machine(visit, replace(self.options, trace=True), told)


class Shell(SMTP):
    """A connection of a client."""

    # What a connection has of its own, or what aiosmtpd's stream reader would need: not taken from the template.
    __slots_of_ours__ = frozenset(
        ("transport", "session", "envelope", "_closed", "_stream_reader_wr", "_strong_reader", "_source_traceback")
    )
    _closed = None  # StreamReaderProtocol's future, which nobody waits for here

    def __init__(self, entrance: Entrance) -> None:
        # not super().__init__, which inspects the whole class for each connection
        vars(self).update(entrance.template)
        self._entrance, self._lobby = entrance, entrance.lobby
        self._limits = entrance.options.limits
        self._loop: AbstractEventLoop = entrance.lobby.loop
        self.transport: Transport | None = None
        self._client = Client()
        self._visit: Session | None = None
        self._machine: Machine | None = None
        self._arrival: Arrival | None = None
        self._stuck: list[bytes] | None = None
        self._refusals = self._lines = 0
        self._task: Task[Reply] | None = None
        self._paused = 0
        self._held = 0
        self._ended = False
        self._mark, self._since, self._content_since = -1, self._loop.time(), 0.0
        self._closing_since = 0.0

    # -- callbacks of the event loop ------------------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        """Greet, or show out."""
        self.transport = transport = cast(Transport, transport)  # uvloop's is one only by its methods
        with suppress(AttributeError):  # uvloop has a buffer of its own
            transport.max_size = RECEIVE  # type: ignore[attr-defined]  # of asyncio's selector transport
        self._client = client = _client(transport, self._entrance.server)
        refusal = self._lobby.enter(self, client)
        if refusal is not None:
            self._show_out(refusal)
            return
        if Arrival.wanted(self._entrance.options, client):
            self._arrival = Arrival(self._loop, self._entrance.options, client, self._admitted, self._refused)
            self._arrival.begin()
        else:
            self._greet(client)

    def _greet(self, client: Client) -> None:
        options = self._entrance.options
        try:
            self._visit = visit = self._entrance.open_session(client)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client hears 421 and comes back
            self._report_trouble(error)
            self._show_out(TROUBLE)
            self._lobby.leave(self, client)
            return
        self._machine = machine = self._entrance.machine(visit, client)
        if options.implicit_tls and self.transport is not None:
            machine.encrypted = True
            visit.encrypted(about_tls(self.transport))
        elif options.tls is not None:
            machine.encrypt = partial(self._encrypt, options.tls)
        if options.xclient or options.xforward:
            may = within(client.ip, options.xclient), within(client.ip, options.xforward)
            machine.trust = Trust(client, *may, self._move) if any(may) else None
        self._settle(machine, machine.start())

    def _admitted(self, client: Client, rest: bytes) -> None:
        """The client has waited, and we know who it is."""
        self._arrival = None
        refusal = self._move(client) if client != self._client else None
        if refusal is not None:
            self._refused(refusal, refusal.text)
            return
        self._greet(client)
        if rest:
            self.data_received(rest)

    def _refused(self, reply: Reply | None, why: str) -> None:
        """The client is shown out before the greeting."""
        self._arrival = None
        self._show_out(reply, why)
        self._lobby.leave(self, self._client)

    def _move(self, client: Client) -> Reply | None:
        """The connection is another client's."""
        before, self._client = self._client, client
        return self._lobby.move(before, client)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        machine = self._machine
        if machine is None:
            if self._arrival is not None:
                self._arrival.data(data)
            return
        try:
            step = machine.receive(data)
        except Exception as error:  # noqa: BLE001  # our mistake: no other connection may suffer for it
            self._report_trouble(error)
            machine.end(TROUBLE)
            step = None
        self._settle(machine, step)

    def eof_received(self) -> bool:
        """The client has nothing more to say. It still hears the answer to what is under way (half-close)."""
        self._ended = True
        machine = self._machine
        return machine is not None and machine.waiting and not machine.encrypted  # TLS has no half-close here

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone; a message whose end was seen is still decided, other steps are given up."""
        self.transport = None
        machine = self._machine
        if machine is None:
            if self._arrival is not None:
                self._arrival.cancel()
                self._arrival = None
                self._lobby.leave(self, self._client)
            return
        if self._task is None:
            self._part(machine)
        elif not machine.deciding:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client does not read its replies: then we do not read its commands."""
        self._pause(_UNREAD)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._resume(_UNREAD)

    # -- steps ----------------------------------------------------------------------------------------------------

    def _settle(self, machine: Machine, step: Waiting | None) -> None:
        """After the machine has worked: write, wait, close."""
        transport = self.transport
        if transport is None:
            if step is not None:
                step.close()
            return
        if machine.lines - self._lines >= _COUNTED:
            self._count(machine)
        replies = machine.take()
        if replies:
            if self._stuck is not None or (machine.refusals != self._refusals and self._limits.tarpit > 0):
                self._stick(machine, replies)
            else:
                transport.write(replies)
        if step is not None:
            self._task = task = self._loop.create_task(step)
            task.add_done_callback(self._answered)
        if machine.held != self._held:
            self._account(machine)
        if machine.closing or (self._ended and not machine.waiting):
            if self._stuck is None:
                self._close(transport)
        elif self._task is not None and machine.backlog > self._limits.pending_input:
            self._pause(_BUSY)

    def _count(self, machine: Machine) -> None:
        """The lobby hears of the commands since the last time."""
        refusal = self._lobby.commands(self._client, machine.lines - self._lines)
        self._lines = machine.lines
        if refusal is not None:
            machine.end(refusal)

    def _stick(self, machine: Machine, replies: bytes) -> None:
        """A client that makes errors waits for its replies, and we do not read on."""
        if self._stuck is not None:
            self._stuck.append(replies)
            return
        self._stuck = [replies]
        self._pause(_TARPIT)
        self._wait_in_tarpit(machine)

    def _wait_in_tarpit(self, machine: Machine) -> None:
        errors, self._refusals = machine.refusals - self._refusals, machine.refusals
        self._loop.call_later(min(errors * self._limits.tarpit, LONGEST_TARPIT), self._unstick)

    def _unstick(self) -> None:
        machine, stuck = self._machine, self._stuck
        if machine is None or stuck is None or self.transport is None:
            return
        if machine.refusals != self._refusals and not machine.closing:
            self._wait_in_tarpit(machine)
            return
        self._stuck = None
        self._refusals = machine.refusals
        self.transport.write(b"".join(stuck))
        self._resume(_TARPIT)
        self._settle(machine, None)

    def _answered(self, task: Task[Reply]) -> None:
        self._task = None
        machine = self._machine
        if machine is None:
            return
        if task.cancelled():
            reply = SHUTTING_DOWN
        elif (error := task.exception()) is not None:
            machine.trouble(error)
            reply = LOCAL_ERROR
        else:
            reply = task.result()
        if self.transport is None:
            self._part(machine)
            return
        self._resume(_BUSY)
        try:
            step = machine.answer(reply)
        except Exception as failure:  # noqa: BLE001  # our mistake: no other connection may suffer for it
            self._report_trouble(failure)
            machine.end(TROUBLE)
            step = None
        self._settle(machine, step)

    async def _encrypt(self, context: SSLContext) -> Reply:
        """The handshake after STARTTLS. What fails in it ends the connection: nobody could say anything more."""
        machine, plain, visit = self._machine, self.transport, self._visit
        if machine is None or plain is None or visit is None:
            return SHUTTING_DOWN
        machine.discard()
        limits = self._limits
        try:
            encrypted = await self._loop.start_tls(
                plain,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=limits.handshake_time,
                ssl_shutdown_timeout=limits.farewell_time,
            )
        except CancelledError:
            self._report_handshake("the connection is gone")
            plain.abort()  # within a handshake nobody tells us that it is lost
            self.transport = None
            raise
        except OSError as error:  # SSLError, a time-out and a connection that went away among them
            self._report_handshake(f"{type(error).__name__}: {error}")
            encrypted = None
        if encrypted is None:
            plain.abort()
            self.transport = None
            return SHUTTING_DOWN
        self.transport = encrypted
        visit.encrypted(about_tls(encrypted))
        return READY_FOR_TLS

    def _report_handshake(self, error: str) -> None:
        if self._entrance.report is not None:
            self._entrance.report("smtp.handshake", {"client": self._client.ip, "error": error})

    def _part(self, machine: Machine) -> None:
        """The visit is over."""
        self._count(machine)
        self._machine = None
        self._lobby.account(self, -self._held)
        self._held = 0
        visit, self._visit = self._visit, None
        if visit is not None:
            try:
                last = visit.disconnect()
            except Exception as error:  # noqa: BLE001  # nobody is left to hear of it
                self._report_trouble(error)
            else:
                if last is not None:
                    self._lobby.finish(last)
        if self._entrance.report is not None:
            fields = {"client": self._client.ip, "messages": machine.messages, "lines": machine.progress}
            self._entrance.report("smtp.disconnect", fields)
        self._lobby.leave(self, self._client)

    def _show_out(self, reply: Reply | None, why: str = "") -> None:
        if self.transport is not None:
            if reply is not None:
                self.transport.write(render(reply))
            self.transport.close()
        if self._entrance.report is not None:
            self._entrance.report("smtp.refused", {"client": self._client.ip, "reply": str(reply or ""), "why": why})

    def _close(self, transport: Transport) -> None:
        if not self._closing_since:
            self._closing_since = self._loop.time()
            transport.close()

    def _report_trouble(self, error: BaseException) -> None:
        if self._entrance.report is not None:
            fields = {"client": self._client.ip, "error": f"{type(error).__name__}: {error}"}
            self._entrance.report("smtp.trouble", fields)

    # -- what the lobby asks --------------------------------------------------------------------------------------

    @property
    def deciding(self) -> bool:
        """Whether the session has a whole message."""
        return self._machine is not None and self._machine.deciding

    @property
    def held(self) -> int:
        """Octets of a message in memory, as the lobby knows it."""
        return self._held

    def _account(self, machine: Machine) -> None:
        change, self._held = machine.held - self._held, machine.held
        self._lobby.account(self, change)

    def shed(self) -> None:
        """Give up the message that comes in."""
        if self._machine is not None and self._machine.receiving:
            self._machine.shed()
            self._account(self._machine)

    def wait_for_memory(self) -> None:
        """Stop reading until there is room."""
        self._pause(_MEMORY)

    def memory_is_there(self) -> None:
        """Go on."""
        self._resume(_MEMORY)

    def look(self, now: float) -> None:
        """Close the connection if its client has been silent for too long."""
        machine, transport = self._machine, self.transport
        if machine is None or transport is None:
            return
        if self._closing_since:
            if now - self._closing_since > self._limits.farewell_time:
                transport.abort()
            return
        ours = (machine.waiting and not self._paused & _UNREAD) or self._paused & (_MEMORY | _TARPIT)
        if ours or machine.progress != self._mark:
            self._mark, self._since = machine.progress, now
        late = now - self._since > (self._limits.data_time if machine.receiving else self._limits.command_time)
        if not machine.receiving:
            self._content_since = 0.0
        elif not self._content_since:
            self._content_since = now
        elif now - self._content_since > self._limits.message_time:
            late = True
        if late:
            self._reached(machine, now)
            self._end(machine, TIMED_OUT)

    def _reached(self, machine: Machine, now: float) -> None:
        """Tell which limit of time it was."""
        whole = self._content_since and now - self._content_since > self._limits.message_time
        limit = "message_time" if whole else "data_time" if machine.receiving else "command_time"
        if self._entrance.report is not None:
            self._entrance.report("smtp.limit", {"client": self._client.ip, "limit": limit})

    def drain(self) -> None:
        """Come to an end, without breaking a transaction off."""
        if self._arrival is not None:
            self._arrival.cancel()
            self._refused(SHUTTING_DOWN, SHUTTING_DOWN.text)
        if self._machine is not None:
            self._machine.drain()
            self._settle(self._machine, None)

    def cut_off(self) -> None:
        """Come to an end now."""
        if self._task is not None:
            self._task.cancel()
        if self._machine is not None:
            self._end(self._machine, SHUTTING_DOWN)

    def abort(self) -> None:
        """Close without another word."""
        if self.transport is not None:
            self.transport.abort()

    def _end(self, machine: Machine, reply: Reply) -> None:
        machine.end(reply)
        self._settle(machine, None)
        self._unstick()

    # -- back-pressure --------------------------------------------------------------------------------------------

    def _pause(self, reason: int) -> None:
        if not self._paused and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._paused |= reason

    def _resume(self, reason: int) -> None:
        if self._paused & reason:
            self._paused &= ~reason
            if not self._paused and self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()


def about_tls(transport: BaseTransport) -> dict[str, str | int]:
    """Protocol, cipher and size of its key, as flows see them."""
    name, protocol, bits = transport.get_extra_info("cipher") or ("", "", 0)
    version = transport.get_extra_info("ssl_object")
    return {"protocol": version.version() if version is not None else protocol, "cipher": name, "keysize": bits}


def _client(transport: BaseTransport, server: tuple[str, int] | None) -> Client:
    """Both ends of a TCP connection; nobody in particular on a Unix socket."""
    peer = transport.get_extra_info("peername")
    own = server or transport.get_extra_info("sockname")
    if not isinstance(peer, tuple) or not isinstance(own, tuple):
        return Client()
    return Client(text_of(peer[0]), peer[1], text_of(own[0]), own[1])
