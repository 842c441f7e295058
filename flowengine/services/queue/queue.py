"""The queue of one worker: puts messages on disk, and sees that what is due is tried.

A new message is tried at once by the worker that took it, without a look at the disk; everything else is claimed when
it is due, by whichever worker has room. One worker is the keeper and does what has to be done for all.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from flowengine.mail.evaluation import IN_A_THREAD
from flowengine.runtime.services import Services
from flowengine.services.outbox.parcels import Recipient
from flowengine.services.outbox.ways import Ways
from flowengine.services.queue.attempts import Attempt
from flowengine.services.queue.backends import open_figures, open_store
from flowengine.services.queue.bodies import digest
from flowengine.services.queue.committer import Committer
from flowengine.services.queue.keeper import Keeper
from flowengine.services.queue.lease import Lease
from flowengine.services.queue.model import About, Job, NewEntry, NewMessage, StoreTrouble
from flowengine.services.queue.pace import Pace
from flowengine.services.queue.parcel import Queued
from flowengine.services.queue.pickup import Pickup
from flowengine.services.queue.reports import Reporter
from flowengine.services.queue.slots import Slots
from flowengine.services.queue.store import Store
from flowengine.services.relay.stuffing import Buffer

if TYPE_CHECKING:
    from flowengine.services.config import Config

POLL = 1.0
"""Seconds between looks for what other processes made due."""
PAUSE = 0.01
"""Seconds between two claims: what comes within goes into one."""
FAREWELL = 5.0
"""Seconds that attempts get to come to an end, at the end."""
IN_MEMORY = 256 << 10
"""Octets; a larger message is read from its file when it is tried."""
QUIET = 10.0
"""Seconds between complaints about the storage."""
DEFAULT_ROOM = 20


class Queue:
    """Made before the fork, started in the worker."""

    def __init__(self, config: "Config", services: Services, ways: Ways, store: Store | None = None) -> None:
        self.services, self.ways = services, ways
        self._transports = config.transports
        rules = config.queue
        if store is None:
            store = open_store(config)
        self.committer = Committer(store)
        self.reporter = Reporter(config, services, ways)
        self.slots = Slots(rules.deliveries, self._room, services.clock.monotonic)
        self.pickup = Pickup(services.rates)
        self._figures = open_figures(config.storage, services.clock.monotonic)
        self.pace = Pace(self.committer, self.pickup, self._figures, services.clock)
        self._keeper = Keeper(self, config.quarantine)
        self._store = store
        self._lease = Lease(self, store)
        self._wake = asyncio.Event()
        self._backlog = False
        self.stopping = False
        self._complained = -QUIET
        self._attempts: dict[asyncio.Task[None], Attempt] = {}
        self._loops: list[asyncio.Task[None]] = []

    def _room(self, transport: str) -> int:
        one = self._transports.get(transport)
        return one.connections if one is not None else DEFAULT_ROOM

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin, in the running event loop. Trouble with the storage is logged, and tried again."""
        self.committer.start()
        try:
            await self.committer.read(lambda store: store.stand())
        except StoreTrouble as error:
            self.complain(error)
        self._loops = [asyncio.create_task(self._look()), asyncio.create_task(self._keeper.run())]
        if self._store.shared:
            self._loops.append(asyncio.create_task(self._lease.run()))
            loop = asyncio.get_running_loop()
            self._store.watch(lambda: _call(loop, self.due))

    def stop(self) -> None:
        """Begin no further attempt. Messages are still taken."""
        self.stopping = True

    async def close(self, patience: float = FAREWELL) -> None:
        """End. patience: seconds for those to whom a message is on its way; the others end soon."""
        self.stop()
        for loop in self._loops:
            loop.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=min(FAREWELL, patience))
            for task, attempt in tuple(self._attempts.items()):
                if not attempt.sending:
                    task.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=max(0.1, patience - FAREWELL))
            for task in tuple(self._attempts):
                task.cancel()
            await asyncio.sleep(0)
        await self._figures.close()
        await self.committer.close()

    @property
    def attempts(self) -> list["tuple[asyncio.Task[None], Attempt]"]:
        """What is under way."""
        return list(self._attempts.items())

    def stand(self) -> dict[str, float]:
        """How things stand, as gauges. What one has to tell for all, the keeper tells."""
        return {"queue_active": len(self.slots), **self._keeper.stand()}

    # -- in -----------------------------------------------------------------------------------------------------------

    async def keep(self, transaction: str, parcel: Queued) -> None:
        """Put a parcel; it is on disk when this returns. Raises StoreTrouble."""
        chunks: Sequence[Buffer] = parcel.chunks
        size = sum(map(len, chunks))
        found = await asyncio.to_thread(digest, chunks) if size >= IN_A_THREAD else digest(chunks)
        now = self.services.clock.now()
        due = now + parcel.delay
        transport = self._transports.get(parcel.place)
        seats: dict[tuple[str, str], int] = {}
        entries: list[NewEntry] = []
        for number, one in zip(parcel.numbers, parcel.recipients, strict=True):
            domain = self.ways.domain(parcel.place, one.address)
            key = (parcel.place, domain)
            later = parcel.delay or parcel.hold or self.stopping
            if key not in seats and not later and self.slots.has_room(key):
                seats[key] = self.slots.take(key)
            entries.append(NewEntry(number, one.address, domain, one.dsn, key in seats))
        expires = due + (transport.expire if transport is not None else 0)
        new = NewMessage(
            transaction,
            parcel.sender,
            parcel.place,
            tuple(entries),
            chunks,
            size,
            found,
            parcel.about,
            now,
            due,
            expires,
            hold=parcel.hold,
        )
        try:
            await self._put(new, seats)
        except StoreTrouble as error:
            self.complain(error)
            raise
        finally:
            for key, seat in seats.items():
                self.slots.give_back(seat, key)

    async def submit(
        self, sender: str, recipient: str, transport: str, content: Sequence[Buffer], about: About | None = None
    ) -> str:
        """Take a message of our own; its transaction id. It is on disk when this returns. Raises StoreTrouble.

        sender: "" for the null sender. content: complete, with CRLF; nothing is put on top.
        """
        services = self.services
        transaction = f"{int(services.clock.now() * 1000):012x}{services.random.octets(6).hex()}"
        parcel = Queued(transport, sender, content, [Recipient(recipient)], about=about or About(), numbers=[1])
        await self.keep(transaction, parcel)
        return transaction

    async def _put(self, new: NewMessage, seats: dict[tuple[str, str], int]) -> None:
        """Put a message and begin what was taken of it. Seats that are used are taken out."""
        store = self._store
        large = new.size > IN_MEMORY
        prepared = await asyncio.to_thread(store.prepare, new) if large else store.prepare(new)
        answer = self.committer.change(lambda store: store.put(prepared))
        try:
            jobs = await asyncio.shield(answer)
        except StoreTrouble:
            await asyncio.to_thread(store.discard, prepared)
            raise
        except asyncio.CancelledError:  # it may be put all the same, and then it is ours
            answer.add_done_callback(partial(self._put_late, new))
            raise
        self._began_with(new, jobs, seats)

    def _put_late(self, new: NewMessage, answer: "asyncio.Future[list[Job]]") -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._began_with(new, answer.result(), {})

    def _began_with(self, new: NewMessage, jobs: Sequence[Job], seats: dict[tuple[str, str], int]) -> None:
        self.services.counters.increment("queued", len(new.entries), transport=new.transport)
        for job in jobs:
            key = (job.place.transport, job.place.domain)
            seat = seats.pop(key) if key in seats else self.slots.take(key)
            self.begin(job, seat, new.chunks if new.size <= IN_MEMORY else None)
        if not all(one.take for one in new.entries):
            self._backlog = True

    # -- out ----------------------------------------------------------------------------------------------------------

    def begin(self, job: Job, seat: int, chunks: Sequence[Buffer] | None = None, overdue: str = "") -> None:
        """Begin an attempt. seat: what `slots` gave for it; the rest is what `Attempt` says."""
        attempt = Attempt(self, job, chunks, overdue)
        task = asyncio.get_running_loop().create_task(attempt.carry_out())
        self._attempts[task] = attempt
        key = (job.place.transport, job.place.domain)

        def ended(task: "asyncio.Task[None]") -> None:
            del self._attempts[task]
            self.slots.give_back(seat, key)
            if self._backlog:
                self._wake.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                self.services.log.event("critical", "attempt lost", id=job.transaction, error=repr(error))

        task.add_done_callback(ended)

    def due(self) -> None:
        """Something was put that nobody has taken yet."""
        self._backlog = True
        self._wake.set()

    async def _look(self) -> None:
        """Claim what is due, as long as there is room."""
        pause = 0.0
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            pause = POLL
            if self.stopping or self.slots.free <= 0:
                continue
            try:
                pause = await self._claim()
            except StoreTrouble as error:
                self.complain(error)
            except Exception as error:  # noqa: BLE001  # whatever it is, mail must go on
                self.services.log.event("error", "queue", error=repr(error))

    async def _claim(self) -> float:
        """Seconds until the next look. Raises StoreTrouble."""
        now = self.services.clock.now()
        wake, rules = await self.committer.read(lambda store: (store.wake(), store.rules(now)))
        self.pickup.learn(rules)
        if wake is None or wake > now:
            self._backlog = False
            return POLL if wake is None else min(POLL, wake - now)
        slots = self.slots
        free, failing = min(slots.free, 200), slots.failing
        active = dict(slots.active)
        jobs = await self.committer.change(lambda store: store.claim(now, free, active, slots.room, failing))
        for job in jobs:
            key = (job.place.transport, job.place.domain)
            self.begin(job, slots.take(key, failing=bool(job.place.failures)))
        self._backlog = True
        if jobs:
            await asyncio.sleep(PAUSE)
        return PAUSE if jobs and slots.free > 0 else POLL

    # -- small things -------------------------------------------------------------------------------------------------

    def complain(self, error: StoreTrouble) -> None:
        """Say that the storage is in trouble, now and then."""
        now = self.services.clock.monotonic()
        if now - self._complained >= QUIET:
            self._complained = now
            self.services.log.event("error", "queue storage", error=str(error))


def _call(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(work)
