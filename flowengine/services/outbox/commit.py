"""One message on its way out: seal, group, ask every destination, send, and find the one reply.

Until the first destination has taken the message everything can be called off, and is: the client then hears the
refusal itself. Afterwards the others are tried all the same; what failed is a 451, and what went out is remembered.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from flowengine.mail.message import Message
from flowengine.runtime.actions import Deliver, Kept, Quarantine, Reply
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.sealing import Sealer
from flowengine.runtime.visit import Connection
from flowengine.services.outbox import told
from flowengine.services.outbox.dsn import MAIL_DSN, RCPT_DSN, passed_on
from flowengine.services.outbox.notes import Notes
from flowengine.services.outbox.parcels import Parcel, Recipient, Relayed, Stored
from flowengine.services.queue.parcel import Queued, about_message
from flowengine.services.received import received
from flowengine.services.relay import Answer, Stage
from flowengine.services.relay.stuffing import Buffer

if TYPE_CHECKING:
    from flowengine.services.outbox.outbox import Outbox

_BLOCK = 1 << 18
Failed = list[tuple[str, Answer]]

NO_WAY = Reply(451, "4.3.5", "No transport for this message, try again later")
NO_QUEUE = Reply(451, "4.3.5", "Cannot be kept for later delivery, try again later")
TOO_LATE = Reply(451, "4.4.5", "Not delivered in time, try again later")
HALF = Reply(451, "4.4.0", "Not delivered to all recipients, try again later")


class CalledOff(Exception):
    """Nothing is delivered; the client hears why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Commit:
    """Carries out one outcome."""

    def __init__(self, outbox: "Outbox", connection: Connection, outcome: Outcome) -> None:
        self._outbox, self._connection, self._outcome = outbox, connection, outcome
        self._loop = asyncio.get_running_loop()
        deadline = outcome.transaction.deadline
        self._deadline = self._loop.time() + (
            outbox.time if deadline is None else deadline - outbox.services.clock.monotonic()
        )
        self._notes = Notes(outbox, outcome)
        self._queues = outbox.queues(connection)

    async def carry_out(self) -> Reply:
        """The reply for the client, when everything is done that is to be done."""
        try:
            parcels = await self._parcels()
            await self._ask(parcels)
            await self._send(parcels)
        except CalledOff as refused:
            return refused.reply
        return self._outcome.reply

    # -- what goes where ------------------------------------------------------------------------------------------

    async def _parcels(self) -> list[Parcel]:
        """Recipients of the same content by the same way together; without those who have it from an earlier try."""
        services, transaction = self._outbox.services, self._outcome.transaction
        now = services.clock.now()
        sealer = Sealer(now)
        trace = received(self._connection, transaction, self._outbox.hostname, now)
        dsn = {
            one.address.address: passed_on(one.parameters, RCPT_DSN) for one in transaction.recipients if one.parameters
        }
        wanted: list[tuple[Kept, str, Recipient]] = []
        copies: Counter[tuple[str, str]] = Counter()
        for kept in self._outcome.kept:
            place, address = self._place(kept), kept.recipient
            wanted.append((kept, place, Recipient(address, copies[place, address], dsn.get(address, ""))))
            copies[place, address] += 1
        known = await self._notes.known(wanted)
        found: dict[object, Parcel] = {}
        for number, (kept, place, recipient) in enumerate(wanted):
            if number in known:
                self._notes.count("remembered", place)
                continue
            message = await sealer.seal(kept)
            # a directory keeps what is said of each recipient, and so does the queue; a next hop hears only addresses
            queued = isinstance(kept, Deliver) and self._for_queue(kept, place)
            if self._outbox.ways.relays(place) and not queued:
                apart: object = self._outbox.ways.domain(place, kept.recipient)
            else:
                apart = (queued, _pace(kept), kept.reason, *sorted(kept.metadata.items()))
            key = (place, id(message), kept.sender, apart)
            parcel = found.get(key)
            if parcel is None:
                make = self._queued if queued else self._parcel
                parcel = found[key] = make(place, kept, message, trace)
            parcel.recipients.append(recipient)
            if isinstance(parcel, Queued):
                parcel.numbers.append(number + 1)
        return list(found.values())

    def _place(self, kept: Kept) -> str:
        """The way of one delivery, by name."""
        if isinstance(kept, Quarantine):
            return f"quarantine:{kept.id}"
        if isinstance(kept, Deliver) and (kept.delay > 0 or kept.hold) and self._outbox.queue is None:
            self._notes.log("error", "there is no queue here for a delayed delivery", recipient=kept.recipient)
            raise CalledOff(NO_QUEUE)
        place = kept.transportid or ""
        if not self._outbox.ways.relays(place) and self._outbox.ways.sink(place) is None:
            self._notes.log("error", "no transport", recipient=kept.recipient, transport=place or None)
            raise CalledOff(NO_WAY)
        return place

    def _for_queue(self, kept: Deliver, place: str) -> bool:
        """Whether a delivery is not made while the client waits. What a directory takes is on disk then, too."""
        if kept.delay > 0 or kept.hold:
            return True
        return self._queues and kept.queue and self._outbox.ways.relays(place)

    def _queued(self, place: str, kept: Kept, message: Message, trace: bytes) -> Parcel:
        queue, failed = self._outbox.queue, partial(self._notes.disk_failed, place)
        assert queue is not None  # noqa: S101  # nothing is for the queue without one
        chunks: list[Buffer] = [trace, *message.chunks()]
        transaction = self._outcome.transaction
        about = about_message(self._connection, transaction, kept, message, eight_bit=not all(map(_ascii, chunks)))
        put = partial(queue.keep, transaction.id)
        hold = isinstance(kept, Deliver) and kept.hold
        return Queued(place, kept.sender, chunks, about=about, delay=_delay(kept), hold=hold, put=put, failed=failed)

    def _parcel(self, place: str, kept: Kept, message: Message, trace: bytes) -> Parcel:
        chunks: list[Buffer] = [trace, *message.chunks()]
        ways = self._outbox.ways
        if ways.relays(place):
            parameters = self._outcome.transaction.parameters
            secure = "REQUIRETLS" in parameters
            return Relayed(
                place,
                kept.sender,
                chunks,
                find=partial(ways.hosts, place, ways.domain(place, kept.recipient), secure=secure),
                eight_bit=not all(map(_ascii, chunks)),
                utf8_header="SMTPUTF8" in parameters and not message.header_block().isascii(),
                tls_required=secure,
                dsn=passed_on(parameters, MAIL_DSN) if parameters else "",
            )
        about = self._about(kept)
        parcel = Stored(place, kept.sender, chunks, failed=partial(self._notes.disk_failed, place))
        sink = ways.sink(place)
        if isinstance(kept, Quarantine):  # kept as the flow left it: what is on top is put there when it leaves
            keep = self._outbox.quarantines.keep
            parcel.store = partial(keep, kept.id, kept.sender, message.chunks(), about)
        elif sink is not None:
            parcel.store = partial(sink.keep, kept.sender, chunks, about)
        return parcel

    def _about(self, kept: Kept) -> dict[str, object]:
        """What a stored message is accompanied by."""
        transaction, connection = self._outcome.transaction, self._connection
        return {
            "transaction": transaction.id,
            "listener": connection.listener,
            "client": transaction.ip,
            "helo": transaction.helo,
            "user": connection.username,
            "received": transaction.started,
            "transport": kept.transportid,
            "reason": kept.reason,
            "metadata": dict(kept.metadata),
        }

    # -- before anything is sent ----------------------------------------------------------------------------------

    async def _ask(self, parcels: Sequence[Parcel]) -> None:
        """Every destination for every recipient, or the first ones of many. Raises CalledOff when one says no."""
        alone = len(parcels) == 1
        parcels = parcels[: self._outbox.destinations]
        try:
            async with asyncio.timeout_at(self._deadline):
                if alone:
                    await parcels[0].prepare(alone=True)
                elif parcels:
                    await asyncio.gather(*(parcel.prepare(alone=False) for parcel in parcels))
        except TimeoutError:
            self._call_off(parcels)
            self._notes.log("warning", "no next hop answered in time")
            raise CalledOff(TOO_LATE) from None
        failed = _failed(parcels)
        if failed:
            self._call_off(parcels)
            self._notes.note(parcels)
            raise CalledOff(told.refusal(failed, alone=len(self._outcome.kept) == 1))

    def _call_off(self, parcels: Iterable[Parcel]) -> None:
        for parcel in parcels:
            self._outbox.keep_alive(self._loop.create_task(parcel.abort()))

    # -- sending --------------------------------------------------------------------------------------------------

    async def _send(self, parcels: Sequence[Parcel]) -> None:
        """The disk first, then one next hop, then the others together. Raises CalledOff for all but success."""
        relayed = [parcel for parcel in parcels if isinstance(parcel, Relayed)]
        steps: list[Sequence[Parcel]] = [[parcel] for parcel in parcels if isinstance(parcel, Stored)]
        if queued := [parcel for parcel in parcels if isinstance(parcel, Queued)]:
            steps.append(queued)  # together: one transaction
        most = self._outbox.destinations  # beyond, they are asked in their turn: connections are not for one message
        steps += [relayed[:1], *(relayed[at : at + most] for at in range(1, len(relayed), most))]
        done: list[Parcel] = []
        for number, step in enumerate(steps):
            if done and self._loop.time() >= self._deadline:
                self._late(parcel for later in steps[number:] for parcel in later)
                done += [parcel for later in steps[number:] for parcel in later]
                break
            await self._hand_over(step)
            done += step
            failed = _failed(done)
            if failed and not any(answer.positive for parcel in done for answer in parcel.answers):
                self._call_off(parcel for later in steps[number + 1 :] for parcel in later)
                raise CalledOff(told.refusal(failed, alone=len(self._outcome.kept) == 1))
        if _failed(done):
            await self._notes.remember(done)
            raise CalledOff(HALF)

    def _late(self, parcels: Iterable[Parcel]) -> None:
        """What has not begun in time does not begin."""
        for parcel in (late := list(parcels)):
            parcel.answers = [Answer(TOO_LATE, Stage.ENVELOPE, heard=False)] * len(parcel.recipients)
        self._call_off(late)
        self._notes.note(late)

    async def _hand_over(self, step: Sequence[Parcel]) -> None:
        """Send, but wait no longer than the client does: the sending itself goes on, and is remembered."""
        if not step:
            return
        tasks = [(self._loop.create_task(parcel.send()), parcel) for parcel in step]
        finished: asyncio.Future[None] = self._loop.create_future()
        left = len(tasks)

        def ended(_task: "asyncio.Task[None]") -> None:
            nonlocal left
            left -= 1
            if not left:
                _wake(finished)

        for task, _ in tasks:
            task.add_done_callback(ended)
        timer = self._loop.call_at(self._deadline, _wake, finished)
        try:
            await finished
        finally:
            timer.cancel()
            for task, parcel in tasks:
                if not task.done():
                    self._leave_alone(task, parcel)
        for task, parcel in tasks:
            if task.done() and (error := task.exception()) is not None:
                parcel.answers = [_unknown(Reply(451, "4.3.0", str(error)))] * len(parcel.recipients)
        self._notes.note(step)

    def _leave_alone(self, task: "asyncio.Task[None]", parcel: Parcel) -> None:
        """Nobody waits for this any more, but it may still arrive."""
        parcel.answers = [_unknown(TOO_LATE)] * len(parcel.recipients)
        self._outbox.keep_alive(task)

        def arrived(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and task.exception() is None and any(one.positive for one in parcel.answers):
                self._outbox.keep_alive(self._loop.create_task(self._notes.remember_late(parcel)))

        task.add_done_callback(arrived)


def _pace(kept: Kept) -> object:
    """What of a delivery the queue goes by."""
    return (kept.delay, kept.hold, kept.jobid, kept.quotas) if isinstance(kept, Deliver) else None


def _delay(kept: Kept) -> float:
    return kept.delay if isinstance(kept, Deliver) else 0.0


def _failed(parcels: Iterable[Parcel]) -> Failed:
    return [
        (recipient.address, answer)
        for parcel in parcels
        for recipient, answer in zip(parcel.recipients, parcel.answers, strict=True)
        if not answer.positive
    ]


def _unknown(reply: Reply) -> Answer:
    return Answer(reply, Stage.END, heard=False, uncertain=True)


def _ascii(chunk: Buffer) -> bool:
    if isinstance(chunk, bytes):
        return chunk.isascii()
    return all(bytes(chunk[at : at + _BLOCK]).isascii() for at in range(0, len(chunk), _BLOCK))


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
