"""What an answer means for an entry: delivered, returned, or tried again, and when.

Pure: an attempt's answers and the time go in, fates and what is to be reported come out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flowengine.services.outbox.told import permanent
from flowengine.services.queue.model import Entry, Fate, Gone, Job, Later, Rest
from flowengine.services.relay import ARRIVING, Answer, Stage

LONGEST_REST = 900.0
"""Seconds after which a destination that failed is tried again, whatever the schedule of its messages says."""
AGAIN = 1.0
"""Seconds after which recipients go on that were too many for one transaction."""
JITTER = 0.1
"""Share by which a time is longer or shorter, so that what failed together does not come back together."""

Result = Literal["delivered", "deferred", "returned"]
Action = Literal["failed", "delayed", "relayed", "delivered"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times of a transport, in seconds. notice: when a sender is told that a message is late, 0 for never.

    final: who takes the message there has it delivered (LMTP, a directory).
    """

    retry: Sequence[int]
    notice: int = 0
    final: bool = False

    def pause(self, attempts: int, chance: float) -> float:
        """Seconds until the next attempt, after so many. chance: from 0 to 1."""
        return self.retry[min(attempts, len(self.retry) - 1)] * (1 - JITTER + 2 * JITTER * chance)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an entry. action: what its sender is told, "" for nothing; whether it is, is up to NOTIFY."""

    fate: Fate
    result: Result
    answer: Answer
    action: Action | Literal[""] = ""


def decide(
    job: Job, answers: Sequence[Answer], schedule: Schedule, now: float, chance: float, *, reported: bool = False
) -> list[Decision]:
    """A decision for each entry. reported: the next hop reports about the delivery itself."""
    some = any(answer.positive for answer in answers)
    return [
        _decide(job, entry, answer, schedule, now, chance, reported=reported, some=some)
        for entry, answer in zip(job.entries, answers, strict=True)
    ]


def _decide(
    job: Job,
    entry: Entry,
    answer: Answer,
    schedule: Schedule,
    now: float,
    chance: float,
    *,
    reported: bool,
    some: bool,
) -> Decision:
    if answer.positive:
        if reported:
            return Decision(Gone(entry), "delivered", answer)
        return Decision(Gone(entry), "delivered", answer, "delivered" if schedule.final else "relayed")
    if permanent(answer):
        return Decision(Gone(entry), "returned", answer, "failed")
    reply = str(answer.reply)
    if some and answer.stage is Stage.RCPT and answer.reply.code == 452:  # RFC 5321 §4.5.3.1.10
        return Decision(Later(entry, now + AGAIN, reply, entry.warned, counted=False), "deferred", answer)
    if now >= entry.expires:
        return Decision(Gone(entry), "returned", answer, "failed")
    late = bool(schedule.notice) and not entry.warned and now - job.queued >= schedule.notice
    due = min(now + schedule.pause(entry.attempts, chance), entry.expires)
    later = Later(entry, due, reply, entry.warned or late)
    return Decision(later, "deferred", answer, "delayed" if late else "")


def rest(job: Job, answers: Sequence[Answer], schedule: Schedule, now: float, chance: float) -> Rest | None:
    """What the answers say about the place; None for nothing new."""
    if all(map(_troubled, answers)):
        pause = min(schedule.pause(job.place.failures, chance), LONGEST_REST)
        return Rest(now + pause, str(answers[0].reply))
    return Rest(0.0) if job.place.failures else None


def _troubled(answer: Answer) -> bool:
    """Whether it is about the way and not about the message."""
    if answer.positive or permanent(answer) or answer.stage is Stage.ENVELOPE:
        return False
    return answer.stage in ARRIVING or answer.stage is Stage.ROUTE or answer.closes
