"""The connections to one next hop: kept for the next message, never more than allowed, closed when nobody needs them.

A kept connection may be dead without our knowing. Then the envelope is asked once more on a fresh one: nothing of the
message has left by then.
"""

import asyncio
from collections import deque
from collections.abc import Mapping

from flowengine.runtime.actions import Reply
from flowengine.services.relay.answers import Answer, Stage
from flowengine.services.relay.commands import unasked
from flowengine.services.relay.connection import Connection
from flowengine.services.relay.dialing import dial
from flowengine.services.relay.opening import introduce
from flowengine.services.relay.settings import Encryption, Envelope, RelaySettings
from flowengine.services.relay.transaction import Transaction, ask

PLAIN_FOR = 60.0
"""Seconds for which opportunistic TLS is not tried again after a handshake that failed."""


SLOW = 1.0
"""Seconds after which a failure has cost too much to be had again soon."""


class Pool:
    """The way to one next hop. Use it within one event loop."""

    def __init__(self, settings: RelaySettings) -> None:
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._plain_until = 0.0
        self._rests_until = 0.0
        self._silent: Answer | None = None
        self.offered: Mapping[str, str] | None = None
        """What the host answered to EHLO last: keywords in upper case with their parameters."""
        patience = settings.patience
        shortest = min(patience.connect, patience.greeting, patience.command, patience.data, patience.end)
        self._interval = min(1.0, shortest / 4)

    async def open(self, envelope: Envelope, *, eager: bool = True) -> Transaction:
        """Ask the next hop for every recipient of a message. The answers are in the transaction; `send` or `abort` it.

        eager: ask for 354 in the same write. Good when it is likely that the message will be sent.
        """
        refusal = unasked(envelope)
        if refusal is not None:
            return Transaction.failed(self, envelope, refusal)
        transaction, kept = await self._ask(envelope, eager)
        if kept and transaction.broken_at_once:
            for connection in self._idle:  # what was as old is as dead
                connection.quit()
            self._idle.clear()
            transaction, _ = await self._ask(envelope, eager)
        return transaction

    async def _ask(self, envelope: Envelope, eager: bool) -> tuple[Transaction, bool]:
        connection, kept = await self._acquire()
        if isinstance(connection, Answer):
            return Transaction.failed(self, envelope, connection), kept
        return await ask(self, connection, envelope, eager), kept

    async def close(self) -> None:
        """Say goodbye on every idle connection and cut the others."""
        for turn in self._waiting:
            turn.cancel()
        for connection in tuple(self._all):
            if connection in self._idle:
                connection.quit()
            else:
                connection.abort()
        self._idle.clear()
        for _ in range(50):
            if not self._all:
                break
            await asyncio.sleep(0.02)
        for connection in tuple(self._all):
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._all)

    @property
    def resting(self) -> bool:
        """Whether it failed a short while ago."""
        return self._loop.time() < self._rests_until

    # -- connections ----------------------------------------------------------------------------------------------

    async def _acquire(self) -> tuple[Connection | Answer, bool]:
        """A connection, and whether it was in use before; or why there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection, True
        if len(self._all) + self._opening >= self.settings.connections:
            turn: asyncio.Future[Connection | None] = self._loop.create_future()
            self._waiting.append(turn)
            try:
                handed = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # given, and not taken
                    self._give_back(turn.result())
                raise
            if handed is not None:
                return handed, True
            self._opening -= 1  # the place was kept for us
        return await self._connect(), False

    def _give_back(self, connection: Connection | None) -> None:
        """A connection, or the place for one, that is not needed after all."""
        if connection is not None:
            self.release(connection)
        else:
            self._opening -= 1
            self._place_free()

    async def _connect(self) -> Connection | Answer:
        """A new connection, ready for mail; with opportunistic TLS one that failed is tried once more without."""
        if self._silent is not None and self.resting:
            return self._silent
        started = self._loop.time()
        try:
            found = await self._reach_safely()
        except asyncio.CancelledError:
            if (seconds := self._loop.time() - started) >= SLOW:
                self._rate(self._unreachable("did not answer in time"), seconds)
            raise
        self._rate(found, self._loop.time() - started)
        return found

    def _rate(self, found: Connection | Answer, seconds: float) -> None:
        """Remember whether a host can be reached."""
        self._silent = None
        if not isinstance(found, Answer):
            self.offered = dict(found.extensions)
            self._rests_until = 0.0
            return
        self._rests_until = self._loop.time() + self.settings.rest
        if seconds >= SLOW or (found.stage is Stage.AUTH and found.reply.code >= 500):
            self._silent = found

    async def _reach_safely(self) -> Connection | Answer:
        encryption = self.settings.encryption
        if encryption is None or encryption.required:
            return await self._reach(encryption)
        if self._loop.time() < self._plain_until:
            return await self._reach(None)
        found = await self._reach(encryption)
        if isinstance(found, Answer) and found.stage is Stage.TLS:
            self._plain_until = self._loop.time() + PLAIN_FOR
            return await self._reach(None)
        return found

    async def _reach(self, encryption: Encryption | None) -> Connection | Answer:
        self._opening += 1
        try:
            async with asyncio.timeout(self.settings.patience.connect):
                connection = await self._dial()
        except TimeoutError:
            return self._unreachable("did not answer in time")
        except OSError as error:
            return self._unreachable(error.strerror or str(error))
        finally:
            self._opening -= 1
            self._place_free()
        failure = await introduce(connection, self.settings, encryption)
        if failure is None:
            return connection
        connection.quit()
        return failure

    async def _dial(self) -> Connection:
        connection = await dial(self.settings, lambda: Connection(self.settings, self._gone))
        self._all.add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._look)
        return connection

    def _unreachable(self, why: str) -> Answer:
        return Answer(Reply(451, "4.4.1", f"{self.settings}: {why}"), Stage.CONNECT, heard=False)

    def release(self, connection: Connection) -> None:
        """A transaction is over: keep its connection, hand it on, or close it."""
        if not connection.usable:
            connection.abort()
            return
        if connection.messages >= self.settings.messages_per_connection or not self.settings.idle:
            connection.quit()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def _gone(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._place_free()

    def _place_free(self) -> None:
        """There may be a place for a new connection: keep it for who has waited longest."""
        while self._waiting and len(self._all) + self._opening < self.settings.connections:
            turn = self._waiting.popleft()
            if not turn.done():
                self._opening += 1
                turn.set_result(None)

    def _look(self) -> None:
        now = self._loop.time()
        for connection in tuple(self._all):
            connection.look(now)
        while self._idle and now - self._idle[0].idle_since > self.settings.idle:
            self._idle.pop(0).quit()
        self._timer = self._loop.call_later(self._interval, self._look) if self._all else None
