"""The actions of flows: what becomes of a message, a recipient, a visit.

A final action ends the whole script, also from inside functions and callbacks, unless its option `done` is false.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import NoReturn

from flowengine.language.conversion import got
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import Array, Value, from_text, to_bytes, to_text
from flowengine.mail.addresses import Path, parse_path
from flowengine.mail.errors import MailError
from flowengine.runtime.actions import Accept, Action, Defer, Delete, Deliver, Done, Pass, Reject
from flowengine.runtime.phases import ASKING, Phase
from flowengine.runtime.run import Run

MESSAGE = (Phase.DATA, Phase.EOD)
Codes = Mapping[str, Value]


MOST_QUOTAS = 20
"""Quotas that one delivery counts towards."""


@builtin(*ASKING, *MESSAGE, final=True, name="Reject")
def reject(
    run: Run, reason: str | Sequence[str] = "", *, disconnect: bool = False, reply_codes: Codes | None = None
) -> NoReturn:
    """Refuse for good, and end the script.

    reason: text for the client; an array or line feeds make several lines.
    disconnect: close the connection after the reply.
    reply_codes: other codes than the phase's own, ["code" => 550, "enhanced" => [5, 7, 1]].

        Reject("not wanted here");  // ends: Reject
    """
    run.finish(refusal(run, Reject, reason, disconnect, reply_codes))


@builtin(*ASKING, *MESSAGE, final=True, name="Defer")
def defer(
    run: Run, reason: str | Sequence[str] = "", *, disconnect: bool = False, reply_codes: Codes | None = None
) -> NoReturn:
    """Refuse for now, so that the client tries again, and end the script. Options as for `Reject`.

    Defer("come back later");  // ends: Defer
    """
    run.finish(refusal(run, Defer, reason, disconnect, reply_codes))


def refusal(
    run: Run, action: type[Reject] | type[Defer], reason: str | Sequence[str], disconnect: bool, codes: Codes | None
) -> Action:
    """A refusal with the flow's words. Raises FlowError for codes that do not refuse."""
    plain = codes_of(codes)
    reply = run.speak(action, reason, plain, disconnect)
    if reply.positive:  # the client would take a lost message for delivered, a wrong password for right
        raise FlowError(f"reply_codes: {action.__name__} cannot answer {reply.code}; Delete() drops in silence")
    return action(reply=reply, reason=reason_text(reason), reply_codes=plain)


def reason_text(reason: str | Sequence[str]) -> str:
    """A reason as text for people, secrets hidden."""
    return "\n".join(to_text(shown(part)) for part in ([reason] if isinstance(reason, str) else reason))


def codes_of(codes: Codes | None) -> dict[str, object]:
    """The `reply_codes` option as plain data: code and enhanced, which are all there is to say."""
    known = {name: value for name, value in (codes or {}).items() if name in ("code", "enhanced")}
    return {name: list(value.values()) if isinstance(value, Array) else value for name, value in known.items()}


@builtin(Phase.DATA, final=True, name="Deliver")
def deliver(
    run: Run,
    recipient: str | None = None,
    transportid: str | None = None,
    *,
    recipient_: str | Array | None = None,
    transportid_: str | None = None,
    metadata: Mapping[str, Value] | None = None,
    delay: float | None = None,
    done: bool = True,
    queue: bool = True,
    disconnect: bool = False,
    reason: str | Sequence[str] = "",
    reply_codes: Codes | None = None,
    jobid: str = "",
    quotas: Value = None,
) -> None:
    """Send the message on to the current recipient as it stands now, and end the script.

    recipient, transportid: another recipient, another transport; also as options, the recipient then also as
        ["localpart" => …, "domain" => …].
    metadata: texts that travel with the message. delay: seconds before the first attempt.
    done: false goes on with the script. queue: false delivers while the client waits.
    reason, reply_codes, disconnect: the reply, should this verdict speak for the message.
    jobid, quotas: names for the queue's policies.

        Deliver();                             // ends: Deliver
        Deliver(["transportid" => "local"]);   // ends: Deliver
    """
    about = _about(run, recipient_ or recipient, transportid_ or transportid, metadata)
    action = run.delivery(
        **about,
        reply=run.speak(Deliver, reason, codes_of(reply_codes), disconnect),
        reason=reason_text(reason),
        reply_codes=codes_of(reply_codes),
        delay=run.transaction.delay if delay is None else seconds(delay),
        queue=queue,
        jobid=to_text(shown(jobid)),
        quotas=names(quotas),
        done=done,
    )
    _decide(run, action, done)


def names(quotas: Value) -> tuple[str, ...]:
    """Names of quotas: a text, or an array of them. Raises FlowError."""
    given = [] if quotas is None else list(quotas.values()) if isinstance(quotas, Array) else [quotas]
    if not all(isinstance(one, str) for one in given) or len(given) > MOST_QUOTAS:
        raise FlowError(f"quotas are names, at most {MOST_QUOTAS}")
    return tuple(to_text(shown(str(one))) for one in given)


def seconds(delay: float) -> float:
    """A delay that a flow asks for, not negative. Raises FlowError for one that has no end."""
    if not math.isfinite(delay):
        raise FlowError("a delay is a number of seconds")
    return max(0.0, delay)


def _decide(run: Run, action: Action, done: bool) -> None:
    if done:
        run.finish(action)
    run.act(action)


def _about(
    run: Run, recipient: str | Array | None, transportid: str | None, metadata: Mapping[str, Value] | None
) -> dict[str, object]:
    """What a flow said of a copy: recipient, transport and metadata, checked."""
    about: dict[str, object] = {}
    if recipient:
        about["recipient"] = envelope_address(recipient).address
    if transportid is not None:
        about["transportid"] = known_transport(run, transportid)
    if metadata is not None:
        about["metadata"] = {**run.metadata, **texts(metadata)}
    return about


def envelope_address(value: str | Array) -> Path:
    """An envelope address from a flow: text, or an array with localpart and domain. Raises FlowError."""
    if isinstance(value, Array):
        local_part, domain = value.get("localpart"), value.get("domain")
        if not isinstance(local_part, str) or not isinstance(domain, str):
            raise FlowError("an address is text or an array with localpart and domain")
        value = from_text(Path(to_text(shown(local_part)), to_text(shown(domain))).address)
    if shown(value) is not value:  # an address is heard by the next hop and stands in the log
        raise FlowError(f"{shown(value)} is no envelope address")
    try:
        return parse_path(b"<" + to_bytes(value) + b">", utf8=True)
    except MailError as error:
        raise FlowError(f'"{value}" is no envelope address: {error}') from None


def known_transport(run: Run, transportid: str) -> str:
    """The name of a configured transport. Raises FlowError."""
    transportid = to_text(shown(transportid))
    transports = run.settings.transports
    if transports is None:
        return transportid
    if transportid not in transports:
        transportid = transportid.removeprefix("mailtransport:")  # the ids of classic configurations
    if transportid not in transports:
        raise FlowError(f'there is no transport "{transportid}"; known: {", ".join(sorted(transports))}')
    return transportid


def texts(metadata: Mapping[str, Value]) -> dict[str, str]:
    """Metadata holds texts only (HSL reference §2.4), and no secrets: it is stored and logged. Raises FlowError."""
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise FlowError(f'metadata "{shown(str(name))}" is a string, got {got(value)}; json_encode others')
    return {to_text(shown(str(name))): to_text(shown(value)) for name, value in metadata.items()}


@builtin(Phase.DATA, name="CopyMail", deprecated='Deliver(["done" => false])')
def copy_mail(run: Run, recipient: str | None = None, transportid: str | None = None) -> None:
    """Send one copy on and go on with the script (dialect A).

    CopyMail("archive@example.net");  // none
    """
    run.act(run.delivery(**_about(run, recipient, transportid, None), done=False))


@builtin(Phase.DATA, final=True, name="DirectDeliver", deprecated='Deliver(["queue" => false])')
def direct_deliver(run: Run, recipient: str | None = None, transportid: str | None = None) -> NoReturn:
    """Deliver while the client waits, and end the script (dialect A).

    DirectDeliver();  // ends: Deliver
    """
    run.finish(run.delivery(**_about(run, recipient, transportid, None), queue=False))


@builtin(Phase.DATA, final=True, name="Quarantine")
def quarantine(
    run: Run,
    id: str,  # noqa: A002  # the language's own name
    recipient: str | None = None,
    transportid: str | None = None,
    *,
    recipient_: str | Array | None = None,
    transportid_: str | None = None,
    metadata: Mapping[str, Value] | None = None,
    jobid: str = "",
    quotas: Value = None,
    done: bool = True,
    final_action: bool = True,
    reject: bool = True,
    disconnect: bool = False,
    reason: str | Sequence[str] = "",
    reply_codes: Codes | None = None,
) -> None:
    """Keep the message aside as it stands now, and end the script.

    id: a quarantine of the configuration, with or without `mailquarantine:` in front.
    reject: the client hears a refusal although the message is kept (default); false says that all went well.
    done: false goes on with the script (`final_action` is its old name).
    Other options as for `Deliver`.

        Quarantine("spam");  // ends: Quarantine
    """
    name = to_text(shown(id)).removeprefix("mailquarantine:")
    if run.settings.quarantines is not None and name not in run.settings.quarantines:
        known = ", ".join(sorted(run.settings.quarantines)) or "none; add [quarantine.NAME] with a path"
        raise FlowError(f'there is no quarantine "{name}"; known: {known}')
    done = done and final_action
    action = run.quarantine(
        **_about(run, recipient_ or recipient, transportid_ or transportid, metadata),
        id=name,
        reject=reject,
        reply=run.speak(Reject if reject else Deliver, reason, codes_of(reply_codes), disconnect),
        reason=reason_text(reason),
        reply_codes=codes_of(reply_codes),
        done=done,
    )
    _decide(run, action, done)


@builtin(Phase.DATA, final=True, name="Delete")
def delete(run: Run) -> NoReturn:
    """Drop the message for this recipient, tell the client that it went well, and end the script.

    Delete();  // ends: Delete
    """
    run.finish(Delete(reply=run.row.reply(Deliver)))


@builtin(Phase.DATA, final=True, name="Done")
def done(run: Run) -> NoReturn:
    """End the script for this recipient without a further action. Without any action the message is deferred.

    Done();  // ends: Done
    """
    run.finish(Done(reply=run.row.reply(Defer)))


@builtin(Phase.DISCONNECT, final=True, name="Pass")
def pass_(run: Run) -> NoReturn:
    """Nothing more is to be done; end the script.

    Pass();  // ends: Pass
    """
    run.finish(Pass(reply=run.row.reply(Pass)))


@builtin(Phase.EOD, final=True, name="Accept")
def accept_message(
    run: Run,
    reason: str | Sequence[str] = "",
    codes: Codes | None = None,
    *,
    reason_: str | Sequence[str] = "",
    disconnect: bool = False,
    reply_codes: Codes | None = None,
) -> NoReturn:
    """Take the message, queue what `queue()` was called for, and end the script.

    reason, reply_codes: what the client hears; also as options.

        Accept(["reason" => "thank you"]);  // ends: Accept
    """
    words, numbers = reason_ or reason, codes_of(reply_codes or codes)
    run.finish(
        Accept(reply=run.speak(Accept, words, numbers, disconnect), reason=reason_text(words), reply_codes=numbers)
    )


@builtin(Phase.CONNECT, Phase.HELO, Phase.AUTH, Phase.MAILFROM, Phase.RCPTTO, final=True, name="Accept")
def accept_step(
    run: Run,
    *,
    reason: str | Sequence[str] = "",
    reply_codes: Codes | None = None,
    disconnect: bool = False,
    remoteip: str | None = None,
    remoteptr: str | None = None,
    host: str | None = None,
    extensions: Sequence[str] | None = None,
    username: str | None = None,
    sender: str | Array | None = None,
    recipient: str | Array | None = None,
    transportid: str | None = None,
) -> NoReturn:
    """Let the visit go on, and end the script.

    reason, reply_codes: what the client hears.
    remoteip, remoteptr (connect), host, extensions (helo), username (auth), sender (mailfrom), recipient and
    transportid (rcptto) replace what the client said.

        Accept();  // ends: Accept
    """
    changes: dict[str, object] = {}
    transaction = run.transaction
    if remoteip is not None:
        changes["remoteip"] = transaction.ip = client_address(remoteip)
        run.connection.client = replace(run.connection.client, ip=transaction.ip)
    if remoteptr is not None:
        changes["remoteptr"] = to_text(shown(remoteptr))
        run.connection.client = replace(run.connection.client, ptr=to_text(shown(remoteptr)))
    if host is not None:
        changes["host"] = run.connection.helo = transaction.helo = to_text(shown(host))
    if extensions is not None:
        changes["extensions"] = [to_text(shown(one)) for one in extensions]
    if username is not None:
        changes["username"] = to_text(shown(username))
    if sender is not None and run.phase == Phase.MAILFROM:
        transaction.sender = envelope_address(sender)
        changes["sender"] = transaction.sender.address
    if recipient is not None and run.phase == Phase.RCPTTO:
        run.recipient.address = envelope_address(recipient)
        changes["recipient"] = run.recipient.address.address
    if transportid is not None and run.phase == Phase.RCPTTO:
        run.recipient.transportid = known_transport(run, transportid)
        changes["transportid"] = run.recipient.transportid
    codes = codes_of(reply_codes)
    reply = run.speak(Accept, reason, codes, disconnect)
    run.finish(Accept(reply=reply, reason=reason_text(reason), reply_codes=codes, changes=changes))


def client_address(text: str) -> str:
    """An IP address from a flow, in its usual form. Raises FlowError."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise FlowError(f'"{shown(text)}" is no IP address') from None
