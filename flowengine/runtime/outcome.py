"""Verdicts commit together: each recipient's verdict, the gravest decides the one reply, and what a 2xx carries out.

A 2xx commits every delivery, a 5xx only what is quarantined with a refusal, a 4xx nothing: no client retries what was
delivered.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from flowengine.mail.message import Message
from flowengine.runtime.actions import Action, Deliver, Kept, Quarantine, Reject, Reply
from flowengine.runtime.run import RunResult
from flowengine.runtime.visit import Transaction


class Outcome(NamedTuple):
    """What was decided about a message. kept: the deliveries and quarantines that are to be carried out."""

    transaction: Transaction
    message: Message
    reply: Reply
    runs: tuple[RunResult, ...]
    kept: tuple[Kept, ...] = ()
    verdict: str = ""


def decide(
    transaction: Transaction,
    message: Message,
    runs: Sequence[RunResult],
    mixed_verdicts: Literal["strict", "halon"] = "strict",
) -> Outcome:
    """One outcome from the runs of all recipients (DESIGN §6)."""
    verdict = max((run.verdict for run in runs), key=_gravity)
    sender = transaction.sender.address  # `SetSender` is for all, those who were decided about before it among them
    kept = tuple(
        action if action.sender == sender or action.own_sender else replace(action, sender=sender)
        for action in _committed(verdict, runs, mixed_verdicts)
    )
    return Outcome(transaction, message, verdict.reply, tuple(runs), kept, verdict.name)


def _gravity(action: Action) -> tuple[int, int]:
    # among equals a refusal speaks for all: a quarantine that refuses before one that does not
    return action.gravity, action.reply.code


def _committed(verdict: Action, runs: Sequence[RunResult], mixed_verdicts: str) -> tuple[Kept, ...]:
    kept = [action for run in runs for action in run.actions if isinstance(action, Kept)]
    if verdict.reply.positive:
        return tuple(kept)
    if verdict.reply.code < 500:
        return ()
    if mixed_verdicts == "halon" and isinstance(verdict, Reject):
        return tuple(action for action in kept if isinstance(action, (Deliver, Quarantine)))
    return tuple(action for action in kept if isinstance(action, Quarantine) and action.reject)
