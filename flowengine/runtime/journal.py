"""The verdict log: one structured line a transaction, and the counters behind "nothing leaves unsigned in silence"."""

from contextlib import suppress

from flowengine.language.texts import shown
from flowengine.language.values import to_text
from flowengine.mail.dkim import Seal, parse_signature
from flowengine.mail.edits import InsertField, make_field
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.runtime.actions import Deliver, Reply
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.run import RunResult
from flowengine.runtime.services import Services
from flowengine.runtime.visit import Connection

SHOWN = 50
"""Recipients of a transaction that the line names; the rest is counted."""


def record(services: Services, connection: Connection, outcome: Outcome, reply: Reply) -> None:
    """Write the line of a finished transaction and count it."""
    transaction = outcome.transaction
    carried_out = reply.code // 100 == outcome.reply.code // 100  # a refusal can carry out deliveries: mixed_verdicts
    signing = signing_verdicts(outcome) if carried_out else []
    for one in signing:
        services.counters.increment("signing_verdicts", verdict=str(one["verdict"]), listener=connection.listener)
    services.counters.increment("verdicts", verdict=outcome.verdict or "Refused", listener=connection.listener)
    evaluation = transaction.evaluation
    if evaluation is not None and services.log.takes("info"):
        about = evaluation.dmarc_event(transaction.id, transaction.started)
        if about is not None:
            services.log.event("info", "dmarc", id=transaction.id, **about)
    seconds = services.clock.now() - transaction.started
    services.log.concluded(transaction.id, transaction.world.facts)
    services.log.event(
        "info" if reply.positive else "notice",
        "verdict",
        id=transaction.id,
        listener=connection.listener,
        client=transaction.ip,
        helo=transaction.helo,
        user=connection.username,
        sender=transaction.sender.address,
        recipients=[recipient.address.address for recipient in transaction.recipients[:SHOWN]],
        recipient_count=len(transaction.recipients),
        message_id=_message_id(outcome),
        size=outcome.message.received_size,
        verdict=outcome.verdict or "Refused",
        reply=str(reply),
        kept=len(outcome.kept) if reply.positive else 0,
        deliveries=transaction.deliveries[:SHOWN],
        actions=[_actions(run) for run in outcome.runs[:SHOWN]],
        errors=[to_text(shown(str(run.error))) for run in outcome.runs if run.error is not None][:SHOWN],
        results=evaluation.summary() if evaluation is not None else {},
        signing=signing[:SHOWN],
        facts=len(transaction.world.facts) + transaction.world.dropped,
        seconds=round(seconds, 4),
    )


def signing_verdicts(outcome: Outcome) -> list[dict[str, object]]:
    """For each delivery that was carried out: signed for which domains, or why not."""
    verdicts: list[dict[str, object]] = []
    kept = set(map(id, outcome.kept))
    for run in outcome.runs:
        for action in run.actions:
            if not isinstance(action, Deliver) or id(action) not in kept:
                continue
            # an ARC-Message-Signature signs no message (RFC 8617 §4.1.2)
            seals = [seal for seal in action.seals if isinstance(seal, Seal) and seal.arc is None]
            domains = [f"{seal.domain}/{seal.selector}" for seal in seals]
            domains += _own_signatures(action.message)
            if domains:
                verdicts.append({"recipient": action.recipient, "verdict": "signed", "domains": domains})
            else:
                reason = "; ".join(run.unsigned) or "the flow asked for no signature"
                verdict = "failed" if run.unsigned else "unsigned"
                verdicts.append({"recipient": action.recipient, "verdict": verdict, "reason": reason})
    return verdicts


def _own_signatures(message: Message) -> list[str]:
    """The signatures that a flow put on the message itself, with `return_header`."""
    found: list[str] = []
    for edit in message.edits:
        if isinstance(edit, InsertField) and edit.name.lower() == "dkim-signature":
            with suppress(MailError):
                signature = parse_signature(make_field(edit.name, edit.value))
                found.append(f"{signature.domain}/{signature.selector}")
    return found


def _actions(run: RunResult) -> str:
    return " ".join(action.name + ("*" if action.implicit else "") for action in run.actions) or "none"


def _message_id(outcome: Outcome) -> str:
    field = outcome.message.headers.first("message-id")
    return field.unfolded.decode("utf-8", "replace")[:200] if field is not None else ""
