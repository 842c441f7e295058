"""What scripts before 5.2 say of one attempt, word by word: `SetDestination`, `SetTLS`, …; and what they ask of it."""

from collections.abc import Mapping
from typing import Any, Literal

from flowengine.builtins.actions import envelope_address, texts
from flowengine.builtins.files import File
from flowengine.builtins.queue_actions import POST, PRE, Source, encryption, sources, text
from flowengine.builtins.queue_words import asked
from flowengine.language.functions import builtin, options_of
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Value, from_text, to_text
from flowengine.runtime.attempt_run import AttemptRun
from flowengine.runtime.phases import QUEUE


@builtin(PRE, name="SetDestination")
def set_destination(run: AttemptRun, host: str, port: int | None = None) -> None:
    """Send this attempt to another host. Updates $destination and $destinationport.

    SetDestination("192.0.2.25", 2525);  // none
    """
    run.course(host=text(host))
    if port is not None:
        run.course(port=port)


@builtin(PRE, name="SetProtocol")
def set_protocol(run: AttemptRun, protocol: Literal["smtp", "lmtp"]) -> None:
    """Speak SMTP or LMTP in this attempt.

    SetProtocol("lmtp");  // none
    """
    run.course(protocol=protocol)


@builtin(PRE, name="SetTLS")
@options_of(encryption)
def set_tls(run: AttemptRun, **options: Any) -> None:
    """Say how this attempt is encrypted: the options of `Try` whose names begin with tls.

    Options: tls, tls_sni, tls_protocols, tls_ciphers, tls_verify_host, tls_verify_name, tls_default_ca,
        tls_client_cert.

        SetTLS(["tls" => "require_verify", "tls_verify_host" => true]);  // none
    """
    run.course(**{name: value for name, value in encryption(**options).items() if value is not None})


@builtin(PRE, name="SetSASL")
def set_sasl(run: AttemptRun, username: str, password: str) -> None:
    """Authenticate in this attempt.

    SetSASL("relay", "secret");  // none
    """
    run.course(username=text(username), password=to_text(str(password)))


@builtin(PRE, name="SetXCLIENT")
def set_xclient(run: AttemptRun, attributes: Mapping[str, str]) -> None:
    """Send XCLIENT attributes in this attempt.

    SetXCLIENT(["ADDR" => "192.0.2.7"]);  // none
    """
    run.course(xclient=texts(attributes))


@builtin(PRE, name="SetHELO")
def set_helo(run: AttemptRun, hostname: str) -> None:
    """Say another name with EHLO in this attempt.

    SetHELO("out1.example.net");  // none
    """
    run.course(helo=text(hostname))


@builtin(PRE, name="SetSourceIP")
def set_source_ip(run: AttemptRun, id_: Source, *, nonlocal_source: bool = False) -> None:
    """Connect from this address in this attempt, or from one of several.

    id: a name or an address, or an array of them. nonlocal_source: it need not be this machine's.

        SetSourceIP(["192.0.2.1", "2001:db8::1"]);  // none
    """
    run.course(sources=sources(id_), nonlocal_source=nonlocal_source)


@builtin(PRE, name="SetSender")
def set_sender(run: AttemptRun, sender: str | Array) -> None:
    """Say another envelope sender in this attempt. Updates $sender.

    SetSender("bounces@example.net");  // none
    """
    run.course(sender=envelope_address(sender))


@builtin(PRE, name="SetSenderParams")
def set_sender_params(run: AttemptRun, params: Mapping[str, str]) -> None:
    """Say other ESMTP parameters with MAIL FROM in this attempt.

    SetSenderParams(["RET" => "HDRS"]);  // none
    """
    run.course(sender_params=texts(params))


@builtin(PRE, name="SetRecipient")
def set_recipient(run: AttemptRun, recipient: str | Array) -> None:
    """Say another recipient in this attempt. Updates $recipient.

    SetRecipient("other@example.net");  // none
    """
    address = envelope_address(recipient)
    if address.null:
        raise FlowError("SetRecipient: the recipient is empty")
    run.course(recipient=address)


@builtin(PRE, name="SetRecipientParams")
def set_recipient_params(run: AttemptRun, params: Mapping[str, str]) -> None:
    """Say other ESMTP parameters with RCPT TO in this attempt.

    SetRecipientParams(["NOTIFY" => "NEVER"]);  // none
    """
    run.course(recipient_params=texts(params))


@builtin(PRE, name="CurrentConnections")
async def current_connections(run: AttemptRun, namespace: str, entry: str, max_: int) -> bool:
    """Take one of so many places for this attempt, to deliver at most so many at a time.

    namespace, entry: what is counted, such as "to-domain" and the domain. max: places.

    Returns whether there was a place left. Needs the queue.

        CurrentConnections("to-domain", "example.net", 3);  // true
    """
    name = f"{run.message_id}/{run.attempt.message.queue}"
    question = ("connect", text(namespace), text(entry), max_)
    return await asked(run, question, lambda view: view.connect(name, question[1], question[2], max_))


@builtin(*QUEUE, name="SetMetaData")
def set_meta_data(run: AttemptRun, metadata: Mapping[str, Value]) -> None:
    """Texts that travel with the message, from now on.

    SetMetaData(["tries" => "3"]);  // none
    """
    run.tag(texts(metadata))


@builtin(*QUEUE, name="GetMetaData")
def get_meta_data(run: AttemptRun) -> Array:
    """The metadata of the message, [] when there is none.

    GetMetaData();  // []
    """
    return Array({from_text(name): from_text(value) for name, value in run.metadata.items()})


@builtin(*QUEUE, name="GetMailFile")
def get_mail_file(run: AttemptRun, *, changes: bool = False) -> File:
    """The message as a File.

    changes: taken for old scripts; in the queue there are none left to apply.

        length(GetMailFile()->readline()) > 0;  // true
    """
    run.budget.grow(run.original.size)
    return File(run.original.render())


@builtin(POST, name="GetTLS")
def get_tls(run: AttemptRun, *, fingerprint: str | None = None) -> Array:
    """How the attempt was encrypted: started, and then protocol, cipher, keysize.

    fingerprint: taken for old scripts.

        GetTLS()["started"];  // false
    """
    result = run.attempt.result
    tls = dict(result.tls) if result is not None else {}
    about = Array({"started": bool(tls), **tls})
    if "cipher" in about:
        about["ciphers"] = about["cipher"]
    return about
