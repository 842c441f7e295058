"""The command line's door: one message (or one question) through one flow, nothing sent anywhere.

`flowengine run`, the case files of `flowengine test` and the demo go through here, so they see what a server would do.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from flowengine.language.compiler import Program
from flowengine.mail.addresses import Path, extract, parse_path
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.runtime.actions import Action, Deliver, Reply
from flowengine.runtime.attempt_run import after, before
from flowengine.runtime.attempts import Attempt, AttemptResult, Decision, QueuedMessage, Upcoming
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.phases import QUEUE, Phase
from flowengine.runtime.policy import Policy
from flowengine.runtime.run import RunResult
from flowengine.runtime.runner import Runner
from flowengine.runtime.sealing import CANNOT_SIGN, Sealer
from flowengine.runtime.services import Services
from flowengine.runtime.session import Session, Step
from flowengine.runtime.visit import Client, Connection


@dataclass(frozen=True, slots=True)
class Visit:
    """The client of a play. client_ip "" means unknown: SPF is then `none`. mail_from None: Return-Path, else From.

    command: for the proxy phase, the line that the client sent.
    retry, result: for the queue's phases, the attempts before this one and what came of it: an SMTP reply, or text
    without a code for trouble on the network.
    """

    phase: str = Phase.DATA
    client_ip: str = ""
    helo: str = ""
    mail_from: str | None = None
    recipients: Sequence[str] = ()
    user: str | None = None
    password: str = ""
    transport: str | None = None
    listener: str = "run"
    command: str = "NOOP"
    retry: int = 0
    result: str = "250 2.0.0 Ok"


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a play. output: the message as the first delivery would send it, None without a delivery.

    decision: what a flow of the queue's phases said of the attempt.
    """

    reply: Reply
    runs: tuple[RunResult, ...] = field(default_factory=tuple)
    outcome: Outcome | None = None
    output: bytes | None = None
    decision: Decision | None = None


class _Nowhere:
    """An outbox that carries out nothing."""

    async def commit(self, connection: Connection, outcome: Outcome) -> Reply:
        return outcome.reply


def unix_to_wire(data: bytes) -> bytes:
    """A file that has no CRLF at all is a Unix file: each LF becomes CRLF. Other bytes are taken as they are."""
    return data if b"\r\n" in data else data.replace(b"\n", b"\r\n")


def envelope(message: Message, visit: Visit) -> tuple[Path, list[Path]]:
    """Sender and recipients of a play: as said, else what the message has of them.

    Raises MailError for what was said and is no address. What the message has may be anything, and is left out then.
    """
    if visit.mail_from is not None:
        sender = _said(visit.mail_from, "envelope sender")
    else:
        return_path = message.headers.first("return-path")
        null = return_path is not None and return_path.unfolded.strip() == b"<>"
        found = [] if null else [*_found(message, "return-path"), *_found(message, "from")]
        sender = found[0] if found else Path("", "")
    recipients = [_said(one, "recipient") for one in visit.recipients] or _found(message, "to")
    return sender, recipients or [Path("postmaster", "")]


def _said(address: str, what: str) -> Path:
    try:
        path = parse_path(address if address.startswith("<") else f"<{address}>")
    except MailError as error:
        raise MailError(f"{what}: {error}") from None
    if path.null and what == "recipient":
        raise MailError("recipient: <> is nobody's address")
    return path


def _found(message: Message, name: str) -> list[Path]:
    found = []
    for address in (address for header in message.headers.all(name) for address in extract(header.value)):
        with suppress(MailError):
            found.append(parse_path(f"<{address}>"))
    return found


async def play(program: Program, message: Message, visit: Visit, services: Services) -> Played:
    """Play a message through a flow of the visit's phase. Raises MailError for an envelope that cannot be."""
    if visit.phase in QUEUE:
        return await play_attempt(program, message, visit, services)
    sender, recipients = envelope(message, visit)
    ours = tuple(recipient.domain.lower() for recipient in recipients)
    policy = Policy(visit.listener, {visit.phase: program}, transport=visit.transport, recipient_domains=ours)
    client = Client(ip=visit.client_ip)
    session = Session(services, policy, client, _Nowhere(), Runner())
    connection = session.connection
    if visit.user is not None and visit.phase != Phase.AUTH:
        connection.username, connection.mechanism = visit.user, "PLAIN"

    reply = await _now(session.connect())
    if visit.phase == Phase.CONNECT or not reply.positive:
        return Played(reply, tuple(session.results))
    if visit.phase == Phase.PROXY:
        said = session.proxy(visit.command)
        said = said if isinstance(said, Action) else await said
        return Played(said.reply, tuple(session.results))
    reply = await _now(session.helo("EHLO", visit.helo))
    if visit.phase == Phase.HELO or not reply.positive:
        return Played(reply, tuple(session.results))
    if visit.phase == Phase.AUTH:
        reply = await _now(session.authenticate("PLAIN", visit.user or "", visit.password))
        return Played(reply, tuple(session.results))
    if visit.phase == Phase.DISCONNECT:
        step = session.disconnect()
        return Played(await step if step is not None else Reply(250, "2.0.0", "Bye"), tuple(session.results))
    reply = await _now(session.mail_from(sender, {}))
    if visit.phase == Phase.MAILFROM or not reply.positive:
        return Played(reply, tuple(session.results))
    for recipient in recipients:
        reply = await _now(session.rcpt_to(recipient, {}))
    if visit.phase == Phase.RCPTTO:
        return Played(reply, tuple(session.results))
    outcome = await session.judge(message)
    sealer = Sealer(services.clock.now())
    try:
        leaving = [(kept, await sealer.seal(kept)) for kept in outcome.kept]
    except MailError as error:
        runs = (run._replace(unsigned=(*run.unsigned, str(error))) for run in outcome.runs)
        return Played(CANNOT_SIGN, tuple(runs), outcome)
    output = next((sealed.render() for kept, sealed in leaving if isinstance(kept, Deliver)), None)
    return Played(outcome.reply, outcome.runs, outcome, output)


async def play_attempt(program: Program, message: Message, visit: Visit, services: Services) -> Played:
    """Play an attempt to deliver a message through a pre- or post-delivery flow, for the first recipient.

    Raises MailError for an envelope that cannot be.
    """
    sender, recipients = envelope(message, visit)
    queued = QueuedMessage(
        transaction="play",
        queue=1,
        received=services.clock.now(),
        sender=sender,
        recipient=recipients[0],
        transport=visit.transport,
        listener=visit.listener,
        client_ip=visit.client_ip,
        helo=visit.helo,
        username=visit.user or "",
        size=message.size,
        content=message,
    )
    result = attempt_result(visit.result)
    attempt = Attempt(queued, retry=visit.retry, retries=max(visit.retry, 30))
    if visit.phase == Phase.PREDELIVERY:
        decision = await before(program, attempt, services, Runner())
    else:
        upcoming: Upcoming = "" if result.code // 100 == 2 else "BOUNCE" if result.code // 100 == 5 else "QUEUE"
        decision = await after(program, replace(attempt, result=result, action=upcoming), services, Runner())
    return Played(decision.action.reply, () if decision.run is None else (decision.run,), decision=decision)


def attempt_result(said: str) -> AttemptResult:
    """What came of an attempt, from text such as "451 4.7.1 Try later" or "connection refused"."""
    found = re.fullmatch(r"([245]\d\d)(?: ([245]\.\d{1,3}\.\d{1,3}))?(?: (.*))?", said)
    if found is None:
        return AttemptResult(error=said)
    enhanced = tuple(map(int, found[2].split("."))) if found[2] else ()
    return AttemptResult(int(found[1]), enhanced, (found[3] or "",), "EOD", temporary=found[1][0] != "5")


async def _now(step: Step) -> Reply:
    return step if isinstance(step, Reply) else await step
