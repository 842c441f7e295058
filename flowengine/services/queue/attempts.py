"""One attempt: a message goes to one place now, and what comes of it is written down in one transaction.

Until that is written the entries stay ours: a crash in between tries again, and at most one of the tries is a duplicate
(RFC 1047). Reports to the sender go into the queue with the same transaction.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowengine.mail.evaluation import IN_A_THREAD
from flowengine.runtime.actions import Reply
from flowengine.services.outbox.parcels import KEPT, NO_DISK, Recipient, Relayed
from flowengine.services.queue.admission import Admission
from flowengine.services.queue.bodies import digest
from flowengine.services.queue.decisions import Decision, Schedule, decide, rest
from flowengine.services.queue.model import Damaged, Fate, Gone, Job, Later, NewMessage, Parked, Rest, StoreTrouble
from flowengine.services.queue.reports import public_name
from flowengine.services.queue.store import Store
from flowengine.services.relay import Answer, Stage
from flowengine.services.relay.stuffing import Buffer

if TYPE_CHECKING:
    from flowengine.services.queue.queue import Queue

AGAIN = 1.0
"""Seconds between tries to write down what came of an attempt."""
AFTER_A_MISTAKE = 900.0
"""Seconds until the next attempt after a mistake of ours."""
NO_WAY = Answer(Reply(451, "4.3.5", "There is no such transport any more"), Stage.ROUTE, heard=False)


class Attempt:
    """chunks: the content, None to read it. overdue: its time is over, and these were its place's last words."""

    def __init__(self, queue: "Queue", job: Job, chunks: Sequence[Buffer] | None, overdue: str = "") -> None:
        self._queue, self.job, self._chunks, self._overdue = queue, job, chunks, overdue
        self._parcel: Relayed | None = None
        self._admission = Admission(queue, job, judged=not overdue)
        self._began = queue.services.clock.monotonic()

    @property
    def sending(self) -> bool:
        """Whether the next hop may have the message already."""
        return self._parcel is not None and self._parcel.transaction is not None

    async def carry_out(self) -> None:
        """Try, decide, write down. Cancelled, it leaves the entries to whoever takes them over."""
        try:
            wait = await self._admission.ask()
            if wait is None:
                chunks = self._chunks if self._chunks is not None else await self._read()
                answers = await self._send(chunks)
        except Damaged as error:
            await self._park(str(error))
        except Exception as error:  # noqa: BLE001  # a mistake of ours: the message waits, and is not lost
            self._mistake(error)
            later = self._queue.services.clock.now() + AFTER_A_MISTAKE
            told = f"451 4.3.0 {type(error).__name__}"
            await self._settle([Later(one, later, told, one.warned) for one in self.job.entries], None, ())
        else:
            wait = wait or self._admission.wait
            if wait is None:
                await self._decide(chunks, answers)
            else:
                told, due = f"451 4.3.2 {wait.reason}", wait.until
                waiting = [Later(one, due, told, one.warned, counted=False) for one in self.job.entries]
                await self._settle(waiting, None, ())

    async def _decide(self, chunks: Sequence[Buffer], answers: Sequence[Answer]) -> None:
        job, queue = self.job, self._queue
        now, chance = queue.services.clock.now(), queue.services.random.number()
        schedule = self._schedule()
        hop = self._parcel.transaction if self._parcel is not None else None
        reported = hop is not None and hop.reports
        decisions = decide(job, answers, schedule, now, chance, reported=reported)
        fates = [one.fate for one in decisions]
        try:
            reports = queue.reporter.reports(job, decisions, chunks, public_name(hop.host) if hop is not None else "")
        except Exception as error:  # noqa: BLE001  # who has to be told stays in the queue until that is possible
            self._mistake(error)
            reports, later = [], now + AFTER_A_MISTAKE
            fates = [
                Later(one.fate.entry, later, str(one.answer.reply), one.fate.entry.warned)
                if one.result == "returned"
                else one.fate
                for one in decisions
            ]
        at_place = None if self._overdue else rest(job, answers, schedule, now, chance)
        if any(one.positive for one in answers) or at_place is not None:
            key = (job.place.transport, job.place.domain)
            queue.slots.proved(key, at_place is None or not at_place.until)
        await self._settle(fates, at_place, reports)
        self._note(decisions)

    def _schedule(self) -> Schedule:
        return self._queue.reporter.schedule(self.job.place.transport)

    async def _read(self) -> Sequence[Buffer]:
        """The content. Raises Damaged when it is not what was put."""
        job = self.job
        while True:
            try:
                chunks, expected = await self._queue.committer.read(lambda store: store.content(job.message))
                break
            except StoreTrouble as error:
                self._queue.complain(error)
                await asyncio.sleep(AGAIN)
        large = job.size >= IN_A_THREAD
        found = await asyncio.to_thread(digest, chunks) if large else digest(chunks)
        if found != expected:
            raise Damaged("the content is not what it was")
        return chunks

    async def _send(self, chunks: Sequence[Buffer]) -> Sequence[Answer]:
        job, ways = self.job, self._queue.ways
        count = len(job.entries)
        if self._overdue:
            return [Answer(_reply(self._overdue), Stage.ROUTE, heard=False)] * count
        transport, about = job.place.transport, job.about
        sink = ways.sink(transport)
        if sink is not None:
            told = {"transaction": job.transaction, "transport": transport, "metadata": about.metadata}
            try:
                await sink.keep(job.sender, chunks, told, [one.recipient for one in job.entries])
            except OSError as error:
                self._queue.services.log.event("error", "cannot write", transport=transport, error=str(error))
                return [NO_DISK] * count
            return [KEPT] * count
        if not ways.relays(transport):
            return [NO_WAY] * count
        self._parcel = parcel = Relayed(
            transport,
            job.sender,
            chunks,
            [Recipient(one.recipient, dsn=one.dsn) for one in job.entries],
            find=self._admission.hosts,
            eight_bit=about.eight_bit,
            utf8_header=about.utf8_header,
            tls_required=about.tls_required,
            dsn=about.dsn,
        )
        await parcel.send()
        return parcel.answers

    # -- afterwards ---------------------------------------------------------------------------------------------------

    async def _settle(self, fates: Sequence[Fate], at_place: Rest | None, reports: Sequence[NewMessage]) -> None:
        """Write it down, however long that takes."""
        queue, job = self._queue, self.job

        def settle(store: Store) -> None:
            if self._admission.seated:
                store.free_seats(self._admission.attempt)
            store.settle(job, fates, at_place, queue.services.clock.now())
            for report in reports:
                store.put(report)

        while True:
            try:
                await queue.committer.change(settle, lazy=True)
                break
            except StoreTrouble as error:
                queue.complain(error)
                await asyncio.sleep(AGAIN)
        if reports or (at_place is not None and not at_place.until):
            queue.due()

    def _mistake(self, error: Exception) -> None:
        problem = f"{type(error).__name__}: {error}"
        self._queue.services.log.event("error", "attempt failed", id=self.job.transaction, error=problem)

    async def _park(self, reason: str) -> None:
        """Nobody can read it: it stays until somebody looks."""
        await self._settle([Parked(one, reason) for one in self.job.entries], None, ())
        self._count("parked", len(self.job.entries))
        numbers = [f"{self.job.transaction}-{one.number}" for one in self.job.entries]
        self._queue.services.log.event("error", "parked", id=self.job.transaction, entries=numbers, error=reason)

    def _count(self, result: str, amount: int) -> None:
        transport = self.job.place.transport
        self._queue.services.counters.increment("attempts", amount, result=result, transport=transport)

    def _note(self, decisions: Sequence[Decision]) -> None:
        """One line for the attempt, and the counters."""
        job, services = self.job, self._queue.services
        results: dict[str, list[str]] = {}
        replies: dict[str, str] = {}
        for one in decisions:
            results.setdefault(one.result, []).append(one.fate.entry.recipient)
            if not isinstance(one.fate, Gone) or one.result == "returned":
                replies[one.fate.entry.recipient] = str(one.answer.reply)
            if one.answer.uncertain:
                services.counters.increment("deliveries", result="duplicate", transport=job.place.transport)
        for result, recipients in results.items():
            self._count(result, len(recipients))
        hop = self._parcel.transaction if self._parcel is not None else None
        services.log.event(
            "info" if len(results) == 1 and "delivered" in results else "notice",
            "attempt",
            id=job.transaction,
            sender=job.sender,
            transport=job.place.transport,
            domain=job.place.domain or None,
            host=hop.host if hop is not None else None,
            tls=(hop.tls or None) if hop is not None else None,
            attempt=max((one.attempts for one in job.entries), default=0) + 1,
            size=job.size,
            seconds=round(services.clock.monotonic() - self._began, 3),
            **results,
            reply=str(decisions[0].answer.reply) if decisions else None,
            replies=replies or None,
        )


def _reply(text: str) -> Reply:
    """A reply that was written down as text."""
    code, _, rest_ = text.partition(" ")
    enhanced, _, words = rest_.partition(" ")
    if code.isdigit() and len(code) == 3 and enhanced[:2] == f"{code[0]}.":
        return Reply(int(code), enhanced, words)
    return Reply(int(code), "", rest_) if code.isdigit() and len(code) == 3 else Reply(451, "4.4.7", text)
