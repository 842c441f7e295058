"""One connection: aiosmtpd's SMTP class with the protocol callbacks of ours, around a `Machine`.

The machine speaks SMTP; the shell owns the socket. It writes once for each batch of input, awaits steps of the session
in a Task each, one at a time, and stops reading whenever the other side is faster than we are. Steps are always begun
from a callback of the event loop, never within a Task.
"""

from asyncio import AbstractEventLoop, BaseTransport, Task, Transport
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from ssl import SSLContext
from typing import Any, cast

from aiosmtpd.smtp import SMTP

from flowengine.runtime.actions import Action, Reply
from flowengine.runtime.places import text_of, within
from flowengine.servers.smtp.arrival import Arrival
from flowengine.servers.smtp.behind import Trust
from flowengine.servers.smtp.door import Client, Options, Report, Session, Waiting
from flowengine.servers.smtp.encryption import READY, About, begin_at_once, shake_hands
from flowengine.servers.smtp.framing import LOCAL_ERROR, SHUTTING_DOWN
from flowengine.servers.smtp.lobby import Lobby
from flowengine.servers.smtp.machine import Machine
from flowengine.servers.smtp.pacing import BUSY, HANDSHAKE, MEMORY, TARPIT, UNREAD, Pacing
from flowengine.servers.smtp.replies import render

RECEIVE = 65536
"""Octets a read: asyncio's own 256 KiB cost a fresh mapping each."""

TIMED_OUT = Reply(421, "4.4.2", "Timeout, closing the connection", disconnect=True)
TROUBLE = Reply(421, "4.3.0", "Local error, closing the connection", disconnect=True)

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

    def machine(self, visit: Session, client: Client, encrypt: Callable[[], Waiting], tell: Report) -> Machine:
        """The protocol of a new connection; one that somebody watches tells every command."""
        watched = self.report is not None and self._watched is not None and self._watched(client.ip)
        options = replace(self.options, trace=True) if watched else self.options
        return Machine(visit, options, None if self.report is None else tell, encrypt=encrypt)


class Shell(Pacing):
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
        self._lines = 0
        self._task: Task[Any] | None = None
        self._early: bytearray | None = None  # what came under TLS before anybody could be asked about it
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
        elif self._implicit:
            self._encrypt_first()
        elif Arrival.wanted(self._entrance.options, client):
            self._arrival = Arrival(self._loop, self._entrance.options, client, self._admitted, self._refused)
            self._arrival.begin()
        else:
            self._welcome()

    def _welcome(self, tls: About | None = None) -> None:
        """Begin a visit. tls: what is known of the connection when it is encrypted already."""
        try:
            self._visit = visit = self._entrance.open_session(self._client)
            self._machine = machine = self._entrance.machine(visit, self._client, self._encrypt, self._tell)
            machine.trust = self._trust()
            if tls is not None:
                machine.begin_again(tls)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client hears 421 and comes back
            self._machine = None
            self._report_trouble(error)
            self._show_out(TROUBLE)
            self._lobby.leave(self, self._client)
            return
        self._settle(machine, machine.start())

    def _trust(self) -> Trust | None:
        """What the client may say about another one."""
        options, ip = self._entrance.options, self._client.ip
        if not options.xclient and not options.xforward:
            return None
        may = within(ip, options.xclient), within(ip, options.xforward)
        return Trust(self._client, *may, self._move) if any(may) else None

    def _admitted(self, client: Client, rest: bytes) -> None:
        """The client has waited, and we know who it is."""
        self._arrival = None
        refusal = self._move(client) if client != self._client else None
        if refusal is not None:
            self._refused(refusal, refusal.text)
            return
        self._welcome()
        if rest:
            self.data_received(rest)

    def _refused(self, reply: Reply | None, why: str, limit: str = "") -> None:
        """The client is shown out before the greeting. limit: the one it came to, if that was it."""
        self._arrival = None
        if limit:
            self._reached(limit)
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
            elif self._early is not None:
                self._early += data
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
        # TLS ends at once
        return machine is not None and (machine.waiting or self._stuck is not None) and not machine.encrypted

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
        elif not machine.deciding and not self._paused & HANDSHAKE:  # a handshake ends by itself, and says why
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client does not read its replies: then we do not read its commands."""
        self._pause(UNREAD)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._resume(UNREAD)

    # -- TLS ------------------------------------------------------------------------------------------------------

    @property
    def _implicit(self) -> bool:
        """Whether clients here speak TLS from their first packet on (RFC 8314 §3)."""
        encryption = self._entrance.options.encryption
        return encryption is not None and encryption.implicit

    def _encrypt(self) -> Waiting:
        """What STARTTLS asks for. Nothing is read until the handshake reads. Raises when there is no TLS now."""
        assert self._entrance.options.encryption is not None  # noqa: S101  # else the machine does not ask
        context = self._entrance.options.encryption.context()
        self._let_go()  # nothing that was said before may be said under TLS
        self._pause(HANDSHAKE)
        return self._start_over(context)

    async def _start_over(self, context: SSLContext) -> Reply:
        machine = self._machine
        assert machine is not None  # noqa: S101  # it waits for us
        machine.forget_input()  # what came before the handshake came from anybody (CVE-2021-38371)
        tls = await self._shake_hands(context)
        if tls is not None:
            machine.begin_again(tls)
        return READY

    def _encrypt_first(self) -> None:
        """TLS before anything else; until it is there nobody has visited anybody."""
        assert self._entrance.options.encryption is not None  # noqa: S101  # only called where TLS is spoken
        try:
            context = self._entrance.options.encryption.context()
        except Exception as error:  # noqa: BLE001  # the client comes back
            self._report_trouble(error)
            self.abort()
            self._lobby.leave(self, self._client)
            return
        self._paused, self._early = HANDSHAKE, bytearray()
        self._task = task = begin_at_once(self._loop, self._shake_hands(context))
        task.add_done_callback(self._encrypted_first)

    def _encrypted_first(self, task: Task[About | None]) -> None:
        self._task = None
        early, self._early = self._early, None
        tls = None if task.cancelled() else task.result()
        if tls is None or self._lobby.draining:
            if tls is not None:
                self._show_out(SHUTTING_DOWN)
            self._lobby.leave(self, self._client)
            return
        self._welcome(tls)
        if early:
            self.data_received(bytes(early))

    async def _shake_hands(self, context: SSLContext) -> About | None:
        """Go on under TLS, or be without a connection."""
        encryption, transport, found = self._entrance.options.encryption, self.transport, None
        try:
            if transport is not None and encryption is not None:
                if self._paused & UNREAD:  # who does not read our replies does not wait for the one to STARTTLS
                    transport.abort()
                    encryption.failed(self._client.ip, None)
                else:
                    found = await shake_hands(self._loop, transport, self, encryption, context, self._client.ip)
        finally:
            if found is None or self.transport is None:
                found = self.transport = None
            else:
                self.transport, self._paused = found[0], 0
        return found[1] if found is not None else None

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
            if self._sticks(machine):
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
            self._pause(BUSY)

    def _count(self, machine: Machine) -> None:
        """The lobby hears of the commands since the last time."""
        refusal = self._lobby.commands(self._client, machine.lines - self._lines)
        self._lines = machine.lines
        if refusal is not None:
            machine.end(refusal)

    def _answered(self, task: Task[Reply | Action]) -> None:
        self._task = None
        machine = self._machine
        if machine is None:
            return
        reply: Reply | Action
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
        self._resume(BUSY)
        try:
            step = machine.answer(reply)
        except Exception as failure:  # noqa: BLE001  # our mistake: no other connection may suffer for it
            self._report_trouble(failure)
            machine.end(TROUBLE)
            step = None
        self._settle(machine, step)

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
        self._tell("smtp.disconnect", {"messages": machine.messages, "lines": machine.progress})
        self._lobby.leave(self, self._client)

    def _show_out(self, reply: Reply | None, why: str = "") -> None:
        if self.transport is not None:
            if reply is not None and (not self._implicit or self.transport.get_extra_info("ssl_object") is not None):
                self.transport.write(render(reply))
            self.transport.close()
        self._tell("smtp.refused", {"reply": str(reply or ""), "why": why})

    def _close(self, transport: Transport) -> None:
        if not self._closing_since:
            self._closing_since = self._loop.time()
            transport.close()

    def _tell(self, event: str, fields: Mapping[str, object]) -> None:
        """What happened, for the log, and to whom."""
        if self._entrance.report is not None:
            self._entrance.report(event, {"client": self._client.ip, **fields})

    def _report_trouble(self, error: BaseException) -> None:
        self._tell("smtp.trouble", {"error": f"{type(error).__name__}: {error}"})

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
        self._pause(MEMORY)

    def memory_is_there(self) -> None:
        """Go on."""
        self._resume(MEMORY)

    def look(self, now: float) -> None:
        """Close the connection if its client has been silent for too long."""
        machine, transport = self._machine, self.transport
        if machine is None or transport is None:
            return
        if self._closing_since:
            if now - self._closing_since > self._limits.farewell_time:
                transport.abort()
            return
        ours = (machine.waiting and not self._paused & UNREAD) or self._paused & (MEMORY | TARPIT)
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
            whole = self._content_since and now - self._content_since > self._limits.message_time
            self._reached("message_time" if whole else "data_time" if machine.receiving else "command_time")
            self._end(machine, TIMED_OUT)

    def _reached(self, limit: str) -> None:
        self._tell("smtp.limit", {"limit": limit})

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
        if self._paused & HANDSHAKE:  # no word of ours would be understood
            self.abort()
        elif self._machine is not None:
            self._end(self._machine, SHUTTING_DOWN)

    def abort(self) -> None:
        """Close without another word."""
        if self.transport is not None:
            self.transport.abort()

    def _end(self, machine: Machine, reply: Reply) -> None:
        machine.end(reply)
        self._settle(machine, None)
        self._unstick()


def _client(transport: BaseTransport, server: tuple[str, int] | None) -> Client:
    """Both ends of a TCP connection; nobody in particular on a Unix socket."""
    peer = transport.get_extra_info("peername")
    own = server or transport.get_extra_info("sockname")
    if not isinstance(peer, tuple) or not isinstance(own, tuple):
        return Client()
    return Client(text_of(peer[0]), peer[1], text_of(own[0]), own[1])
