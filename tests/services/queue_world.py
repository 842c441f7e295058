"""A queue in a directory of its own, with next hops of a test: what the tests of the queue are played with."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from flowengine.services.config import Config, Storage, Transport
from flowengine.services.fakes import FakeClock, FakeCounters, FakeKeys, FakeLog, FakeResolver, fake_services
from flowengine.services.outbox.parcels import Recipient
from flowengine.services.outbox.ways import Ways
from flowengine.services.queue.bodies import digest
from flowengine.services.queue.model import About, NewEntry, NewMessage
from flowengine.services.queue.parcel import Queued
from flowengine.services.queue.queue import Queue
from flowengine.services.queue.sqlite import SQLiteStore
from flowengine.services.queue.store import Store

CONTENT = b"From: a@example.org\r\nSubject: x\r\n\r\nhello\r\n"
NOW = 1_800_000_000.0
_ids = count(1)


def new(*recipients: str, content: bytes = CONTENT, now: float = NOW, take: bool = False, **changes: Any) -> NewMessage:
    """A message for these recipients; the domain decides about the way."""
    entries = tuple(
        NewEntry(number, one, one.rpartition("@")[2], take=take) for number, one in enumerate(recipients, 1)
    )
    fields: dict[str, Any] = {
        "transaction": f"{next(_ids):024x}",
        "sender": "a@example.org",
        "transport": "mx",
        "entries": entries,
        "chunks": [content],
        "size": len(content),
        "digest": digest([content]),
        "about": About(),
        "queued": now,
        "due": now,
        "expires": now + 1000,
    }
    return NewMessage(**{**fields, **changes})


def opened(directory: Path, **settings: Any) -> SQLiteStore:
    """A store that is a holder."""
    store = SQLiteStore(directory, **settings)
    store.open()
    return store


def content(store: Store, message: int) -> bytes:
    chunks, _ = store.content(message)
    return b"".join(map(bytes, chunks))


def put(store: Store, message: NewMessage) -> list[Any]:
    prepared = store.prepare(message)
    with store.transaction():
        return store.put(prepared)


def claim(
    store: Store, now: float = NOW, free: int = 100, failing: int = 100, room: int = 20, **active: Any
) -> list[Any]:
    with store.transaction():
        return store.claim(now, free, active.get("active", {}), lambda *_: room, failing)


def settle(store: Store, job: Any, fates: Sequence[Any], rest: Any = None, now: float = NOW) -> None:
    with store.transaction():
        store.settle(job, fates, rest, now)


class World:
    """A running queue."""

    def __init__(self, directory: Path, queue: Queue, clock: FakeClock, log: FakeLog, counters: FakeCounters) -> None:
        self.directory = directory
        self.queue, self.clock, self.log, self.counters = queue, clock, log, counters

    async def send(
        self, *recipients: str, sender: str = "a@example.org", content: bytes = CONTENT, transport: str = "one",
        delay: float = 0.0, dsn: str = "", about: About | None = None, hold: bool = False,
    ) -> str:  # fmt: skip
        """Put one message, as a session does."""
        transaction = f"{next(_ids):024x}"
        parcel = Queued(transport, sender, [content], about=about or About(), delay=delay, hold=hold)
        parcel.recipients = [Recipient(one, dsn=dsn) for one in recipients]
        parcel.numbers = list(range(1, len(recipients) + 1))
        await self.queue.keep(transaction, parcel)
        return transaction

    async def until(self, condition: Any, seconds: float = 8.0) -> None:
        async with self._told(seconds):
            while not condition():  # noqa: ASYNC110  # it may be about anything
                await asyncio.sleep(0.01)

    async def empty(self, seconds: float = 8.0) -> None:
        """Until nothing is in the queue any more."""
        async with self._told(seconds):
            while True:
                stand = await self.queue.committer.read(lambda store: store.stand())
                if not stand.queued + stand.held + stand.parked:
                    return
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def _told(self, seconds: float) -> AsyncIterator[None]:
        """A time-out that says how things stood."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            found: tuple[Any, ...] = (self.queue.slots.active, self.log.lines[-5:])
            with suppress(sqlite3.Error), sqlite3.connect(self.directory / "queue.db") as database:
                entries = database.execute(
                    "select recipient, state, holder, due - ?, attempts, reply from entry", (NOW,)
                )
                places = database.execute("select transport, domain, wake - ?, failures from place", (NOW,))
                found = (entries.fetchmany(5), places.fetchmany(5), *found)
            raise AssertionError(f"{found} at {self.clock.moment - NOW}") from None

    async def later(self, seconds: float) -> None:
        """Time goes on, once no attempt is under way; the machine has been running for as long."""
        await self.until(lambda: not self.queue.slots.active)
        self.clock.moment += seconds
        self.queue.due()


@asynccontextmanager
async def running(
    directory: Path,
    transports: dict[str, Transport],
    store: Store | None = None,
    *,
    clock: FakeClock | None = None,
    dns: FakeResolver | None = None,
    keys: FakeKeys | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """A queue with these transports. settings: of the configuration."""
    config = Config(hostname="mx.example.net", storage=Storage("sqlite", directory / "state.db"), transports=transports)
    config = replace(config, **settings)
    clock, log, counters = clock or FakeClock(NOW), FakeLog(), FakeCounters()
    services = fake_services(clock=clock, log=log, counters=counters, dns=dns, keys=keys)
    ways = Ways(config, services)
    store = store or SQLiteStore(directory, most=config.queue.entries, uptime=lambda: ("boot", clock.moment))
    queue = Queue(config, services, ways, store)
    await queue.start()
    try:
        yield World(directory, queue, clock, log, counters)
    finally:
        await queue.close(1.0)
        await ways.close()
