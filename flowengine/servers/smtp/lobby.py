"""All connections of a server together: who may come in, who has been silent for too long, how much they hold.

One timer looks after every deadline. Memory is kept in bounds by letting clients wait before a message is refused: as
long as messages are being decided, their memory will come free; when none is, the newest waiting message is given up.
"""

from asyncio import AbstractEventLoop, Event, Task, TimerHandle, wait_for
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flowengine.runtime.actions import Reply
from flowengine.runtime.places import place_of
from flowengine.servers.smtp.door import Capacity, Client, Report
from flowengine.servers.smtp.framing import SHUTTING_DOWN

if TYPE_CHECKING:
    from flowengine.servers.smtp.shell import Shell

FULL = Reply(421, "4.3.2", "Too many connections, try again later", disconnect=True)
CLIENT_FULL = Reply(421, "4.7.0", "Too many connections from your address, try again later", disconnect=True)
TOO_FAST = Reply(421, "4.7.0", "Too many commands from your address, try again later", disconnect=True)
MINUTE = 60.0
GRACE = 2.0
"""Seconds between the end of a drain and the cut, for last words on their way."""


class Lobby:
    """The connections under way. sweep: seconds between two looks at the deadlines."""

    def __init__(self, loop: AbstractEventLoop, capacity: Capacity, report: Report | None, sweep: float = 1.0) -> None:
        self.loop, self.report = loop, report
        self.shells: set[Shell] = set()
        self.draining = False
        self.in_flight = 0
        """Octets of messages in memory."""
        self._capacity, self._interval = capacity, sweep
        self._clients: dict[str, int] = {}
        self._commands: dict[str, int] = {}
        self._minute = loop.time()
        self._waiting: dict[Shell, None] = {}
        self._tasks: set[Task[object]] = set()
        self._timer: TimerHandle | None = None
        self._empty = Event()
        self._empty.set()

    # -- coming and going -----------------------------------------------------------------------------------------

    def enter(self, shell: "Shell", client: Client) -> Reply | None:
        """Let a connection in, or say why not."""
        if self.draining:
            return SHUTTING_DOWN
        if len(self.shells) >= self._capacity.connections:
            self._reached("connections", client)
            return FULL
        place = self._place(client.ip)
        if place and self._clients.get(place, 0) >= self._capacity.connections_per_client:
            self._reached("connections_per_client", client)
            return CLIENT_FULL
        self._clients[place] = self._clients.get(place, 0) + 1
        self.shells.add(shell)
        self._empty.clear()
        if self._timer is None:
            self._timer = self.loop.call_later(self._interval, self._sweep)
        return None

    def move(self, before: Client, client: Client) -> Reply | None:
        """A connection turns out to be another client's, and counts as that one's; or say why it may not go on."""
        self._forget(self._place(before.ip))
        place = self._place(client.ip)
        count = self._clients[place] = self._clients.get(place, 0) + 1
        if place and count > self._capacity.connections_per_client:
            self._reached("connections_per_client", client)
            return CLIENT_FULL
        return None

    def commands(self, client: Client, count: int) -> Reply | None:
        """A client sent so many commands more; the reply that shows it out when they are too many for a minute."""
        place = self._place(client.ip)
        total = self._commands[place] = self._commands.get(place, 0) + count
        if total <= self._capacity.client_commands or not place:
            return None
        self._reached("client_commands", client)
        return TOO_FAST

    def leave(self, shell: "Shell", client: Client) -> None:
        """A connection is over, its last step too."""
        self.shells.discard(shell)
        self._waiting.pop(shell, None)
        self._forget(self._place(client.ip))
        self._check_empty()

    def _forget(self, place: str) -> None:
        count = self._clients.get(place, 0) - 1
        if count > 0:
            self._clients[place] = count
        else:
            self._clients.pop(place, None)

    def _place(self, ip: str) -> str:
        return place_of(ip, self._capacity.client_prefix_v4, self._capacity.client_prefix_v6)

    def _reached(self, limit: str, client: Client) -> None:
        if self.report is not None:
            self.report("smtp.limit", {"client": client.ip, "limit": limit})

    def finish(self, work: Coroutine[Any, Any, object]) -> None:
        """Await something for a connection that is gone; a drain waits for it."""
        task: Task[object] = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self.report is not None:
            self.report("smtp.trouble", {"verb": "DISCONNECT", "error": f"{type(error).__name__}: {error}"})
        self._check_empty()

    def _check_empty(self) -> None:
        if not self.shells and not self._tasks:
            self._empty.set()

    # -- deadlines ------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        now = self.loop.time()
        for shell in tuple(self.shells):
            shell.look(now)
        if now - self._minute >= MINUTE:
            self._minute = now
            self._commands.clear()
        self._timer = self.loop.call_later(self._interval, self._sweep) if self.shells else None

    # -- memory ---------------------------------------------------------------------------------------------------

    def account(self, shell: "Shell", change: int) -> None:
        """A connection holds so many octets more, or less."""
        self.in_flight += change
        limit = self._capacity.bytes_in_flight
        if change > 0 and self.in_flight > limit:
            if self._will_be_freed():
                self._waiting[shell] = None
                shell.wait_for_memory()
            else:
                shell.shed()
        elif change < 0 and self._waiting:
            self._let_on(limit)

    def _will_be_freed(self) -> bool:
        return any(shell.deciding and shell.held for shell in self.shells)

    def _let_on(self, limit: int) -> None:
        while self._waiting and self.in_flight > limit and not self._will_be_freed():
            shell, _ = self._waiting.popitem()
            shell.shed()
            shell.memory_is_there()
        if self.in_flight <= limit:
            waiting, self._waiting = self._waiting, {}
            for shell in waiting:
                shell.memory_is_there()

    # -- the end --------------------------------------------------------------------------------------------------

    async def drain(self, deadline: float) -> None:
        """Let everybody finish: the idle ones now, the others after their transaction, at the latest in `deadline`
        seconds. Then whatever is left is cut off; nothing that was not answered counts as accepted."""
        self.draining = True
        for shell in tuple(self.shells):
            shell.drain()
        if self._occupied() and deadline > 0:
            timer = self.loop.call_later(deadline, self._empty.set)
            await self._empty.wait()
            timer.cancel()
        for shell in tuple(self.shells):
            shell.cut_off()
        for task in tuple(self._tasks):
            task.cancel()
        if self._occupied():
            self._empty.clear()
            with suppress(TimeoutError):
                await wait_for(self._empty.wait(), GRACE)
        for shell in tuple(self.shells):
            shell.abort()
        if self._timer is not None:
            self._timer.cancel()

    def _occupied(self) -> bool:
        return bool(self.shells or self._tasks)
