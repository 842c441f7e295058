"""`mail()`: a message that a flow writes itself."""

from collections.abc import Mapping

from flowengine.builtins.actions import MESSAGE, envelope_address, known_transport, texts
from flowengine.builtins.mail_messages import queued
from flowengine.builtins.mime_builder import MIME
from flowengine.builtins.queue_words import asked
from flowengine.language.functions import Text, builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import Array, Value, from_text, to_text
from flowengine.mail.addresses import Path
from flowengine.runtime.queue_view import Letter
from flowengine.runtime.run import Run


@builtin
async def mail(
    run: Run,
    sender: str | Array,
    recipient: str | Array,
    subject: Text,
    body: str,
    transportid: str | None = None,
    *,
    sender_name: Text = Text(""),  # noqa: B008  # a str
    recipient_name: Text = Text(""),  # noqa: B008  # a str
    headers: Array | None = None,
    metadata: Mapping[str, Value] | None = None,
    transportid_: str | None = None,
    serverid: str = "",
    plaintext: bool = True,
    rawbody: bool = False,
    variables: Value = None,
    template: Value = None,
    jobid: str = "",
) -> str:
    """Write a message and send it on. In data and eod flows it leaves with the verdict, so not when the client hears a
    refusal; elsewhere it needs the queue.

    sender, recipient: text, or an array with localpart and domain. subject, body: text.
    transportid: none for the recipient's own; also an option.
    sender_name, recipient_name: for people. headers: more fields, ["Name" => value], or lines "Name: value".
    metadata: texts that travel with it. plaintext: false says that the body is HTML. jobid: a name for policies.
    serverid, rawbody, variables, template: taken for old scripts.

    Returns the id of the message.

        length(mail("a@example.net", "b@example.net", "Lunch", "On Friday?"));  // 24
    """
    by, to = envelope_address(sender), envelope_address(recipient)
    if to.null:
        raise FlowError("mail: the recipient is empty")
    made = MIME()
    made.add_header(run, "From", _mailbox(by, sender_name))
    made.add_header(run, "To", _mailbox(to, recipient_name))
    made.add_header(run, "Subject", from_text(subject))
    made.add_header(run, "Message-ID", f"<{run.world.random_octets(12).hex()}@{run.settings.hostname}>", encode=False)
    made.set_date(run)
    for name, value in _fields(headers):
        made.add_header(run, name, value)
    if not plaintext:
        made.set_type(Text("text/html"))
    made.set_body(run, body.encode("latin-1"))
    message = made.to_be_signed(run)
    way = transportid or transportid_
    if run.phase in MESSAGE:
        queued(run, message, (), sender, recipient, way, metadata, False, jobid, 0)
        return run.message_id
    letter = Letter(
        by,
        to,
        None if way is None else known_transport(run, way),
        message,
        texts(metadata or {}),
        to_text(shown(jobid)),
    )
    return from_text(await asked(run, ("mail", by.address, to.address), lambda view: view.submit(letter)))


def _mailbox(path: Path, name: str) -> str:
    if not name:
        return from_text(path.address) or "<>"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
    return from_text(f'"{quoted}" <{path.address}>' if name.isascii() else f"{name} <{path.address}>")


def _fields(headers: Array | None) -> list[tuple[str, str]]:
    found = []
    for key, given in (headers or Array()).items():
        if not isinstance(given, str):
            raise FlowError("mail: the headers are texts")
        name, value = (key, given) if isinstance(key, str) else _divided(given)
        found.append((name, value))
    return found


def _divided(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise FlowError("mail: a header is a line with a name, a colon and a value")
    return name.strip(), value.strip()
