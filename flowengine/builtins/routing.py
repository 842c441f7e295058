"""Envelope and route: who it is from, whom it goes to, by which transport, with which metadata."""

from collections.abc import Mapping
from dataclasses import replace

from flowengine.builtins.actions import client_address, envelope_address, known_transport, texts
from flowengine.builtins.actions import seconds as until
from flowengine.language.functions import builtin
from flowengine.language.texts import shown
from flowengine.language.values import Array, Value, from_text, to_text
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run


@builtin(Phase.MAILFROM, Phase.RCPTTO, Phase.DATA, name="SetSender")
def set_sender(run: Run, sender: str | Array) -> str:
    """Change the envelope sender, for all recipients; "" is the null sender. Updates $sender and $senderdomain.

    SetSender("bounces@example.net");  // "bounces@example.net"
    """
    run.transaction.sender = envelope_address(sender)
    return from_text(run.transaction.sender.address)


@builtin(Phase.RCPTTO, Phase.DATA, name="SetRecipient")
def set_recipient(run: Run, recipient: str | Array) -> str:
    """Change this recipient. Updates $recipient and $recipientdomain.

    SetRecipient("other@example.net");  // "other@example.net"
    """
    run.recipient.address = envelope_address(recipient)
    return from_text(run.recipient.address.address)


@builtin(Phase.RCPTTO, Phase.DATA, name="SetMailTransport")
def set_mail_transport(run: Run, transportid: str) -> None:
    """Send this recipient's message by another transport. Updates $transportid.

    SetMailTransport("local");  // none
    """
    run.recipient.transportid = known_transport(run, transportid)


@builtin(Phase.DATA, name="SetDelayedDeliver")
def set_delayed_deliver(run: Run, seconds: float) -> None:
    """Wait before the first attempt of delivery. Needs the queue: inline delivery answers 451.

    SetDelayedDeliver(60);  // none
    """
    run.transaction.delay = until(seconds)


@builtin(Phase.DATA, Phase.EOD, name="SetMetaData")
def set_meta_data(run: Run, metadata: Mapping[str, Value]) -> None:
    """Texts that travel with the message, for this recipient and those after it.

    SetMetaData(["tenant" => "acme"]);  // none
    """
    run.metadata = texts(metadata)
    run.transaction.metadata = dict(run.metadata)


@builtin(Phase.DATA, Phase.EOD, name="GetMetaData")
def get_meta_data(run: Run) -> Array:
    """The metadata of the message, [] when there is none.

    GetMetaData();  // []
    """
    return Array({from_text(name): from_text(value) for name, value in run.metadata.items()})


@builtin(Phase.CONNECT, Phase.DATA, name="SetSenderIP")
def set_sender_ip(run: Run, ip: str) -> str:
    """Take another address for the client's, in $senderip, SPF and DMARC, for all recipients.

    SetSenderIP("192.0.2.7");  // "192.0.2.7"
    """
    run.transaction.ip = client_address(ip)
    if run.phase == Phase.CONNECT:
        run.connection.client = replace(run.connection.client, ip=run.transaction.ip)
    return run.transaction.ip


@builtin(Phase.DATA, name="SetSenderHELO")
def set_sender_helo(run: Run, host: str) -> str:
    """Take another name for the client's HELO, in $senderhelo and SPF, for all recipients.

    SetSenderHELO("mx.example.org");  // "mx.example.org"
    """
    run.transaction.helo = to_text(shown(host))
    return host


@builtin(Phase.HELO, name="SetHELO")
def set_helo(run: Run, host: str) -> str:
    """Take another name for the client's HELO.

    SetHELO("mx.example.org");  // "mx.example.org"
    """
    run.connection.helo = run.transaction.helo = to_text(shown(host))
    return host
