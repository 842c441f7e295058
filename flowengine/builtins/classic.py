"""Words of the early scripts (2.0 to 3.4): attachments by id, the way of a message, reports, signing in one step."""

import re
from collections.abc import Sequence
from typing import Any

from flowengine.builtins.actions import refusal
from flowengine.builtins.mail_messages import MailMessage
from flowengine.builtins.mime import MIMEPart
from flowengine.builtins.signing import dkim_sign
from flowengine.language.functions import Text, builtin
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Value, from_text, to_text
from flowengine.mail.headers import parse
from flowengine.runtime.actions import Reject
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run

MOST = 1000  # attachments of one call
_RECEIVED = re.compile(r"\b(from|by|with|id|for)\s+((?:[^\s;()]+))(?:\s*\(([^()]{0,300})\))?", re.IGNORECASE)
_ADDRESS = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f:.]{2,45})\]")


def _part(run: Run, id_: str) -> MIMEPart:
    whole = MailMessage()
    found = whole if id_ == "/" else whole.by_id(run, id_)
    if found is None:
        raise FlowError(f'the message has no attachment "{id_[:20]}"')
    return found


def _each(ids: str | Sequence[str]) -> list[str]:
    listed = [ids] if isinstance(ids, str) else list(ids)
    if len(listed) > MOST:
        raise FlowError(f"more than {MOST} attachments in one call")
    return listed


@builtin(Phase.DATA, name="GetAttachmentsByName", deprecated='MIME("0")->findByFileName')
def get_attachments_by_name(run: Run, filename: str) -> list[str]:
    """The ids of the parts whose file name matches a pattern.

    GetAttachmentsByName("\\\\.exe$");  // []
    """
    return [part.id() for part in MailMessage().by_file_name(run, filename)]


@builtin(Phase.DATA, name="GetAttachmentsByType", deprecated='MIME("0")->findByType')
def get_attachments_by_type(run: Run, mimetype: str) -> list[str]:
    """The ids of the parts whose content type matches a pattern.

    GetAttachmentsByType("^image/");  // []
    """
    return [part.id() for part in MailMessage().by_type(run, mimetype)]


@builtin(Phase.DATA, name="GetAttachmentName", deprecated="->getFileName()")
def get_attachment_name(run: Run, attachmentid: str | Sequence[str]) -> Sequence[Text]:
    """The file names of parts, "" where there is none. attachmentid: an id or several; "/" is the whole message.

    GetAttachmentName("/");  // [""]
    """
    return [_part(run, one).file_name(run) or Text("") for one in _each(attachmentid)]


@builtin(Phase.DATA, name="GetAttachmentType", aliases=("GuessAttachmentType",), deprecated="->getType()")
def get_attachment_type(run: Run, attachmentid: str | Sequence[str]) -> list[str]:
    """The content types of parts, text/plain where the header names none. attachmentid: an id or several.

    GetAttachmentType("/");  // ["text/plain"]
    """
    return [_part(run, one).type(run) or "text/plain" for one in _each(attachmentid)]


@builtin(Phase.DATA, name="GetAttachmentSize", deprecated="->getSize()")
def get_attachment_size(run: Run, attachmentid: str | Sequence[str]) -> list[int]:
    """The sizes of parts in bytes. attachmentid: an id or several; "/" is the whole message.

    GetAttachmentSize("/")[0] > 10;  // true
    """
    return [_part(run, one).size(run) for one in _each(attachmentid)]


@builtin(Phase.DATA, name="RemoveAttachments", deprecated="->remove()")
def remove_attachments(run: Run, attachmentid: str | Sequence[str]) -> int:
    """Take parts out of the message. attachmentid: an id or several.

    Returns how many were taken out.

        RemoveAttachments([]);  // 0
    """
    ids = _each(attachmentid)
    for one in ids:
        _part(run, one).remove(run)
    return len(ids)


@builtin(Phase.DATA, Phase.EOD, name="GetRoute")
def get_route(run: Run, extended: bool = False) -> Array:
    """The servers that the message has passed, from its Received fields, the last first.

    extended: an array for each, with what its field says of from, by, with, id, for, ip and date; by default only the
        address of the client, "" where there is none.

        GetRoute();  // []
    """
    run.budget.spend(len(run.original.headers))
    found: list[Value] = []
    for field in run.original.headers.all("received"):
        text = to_text(field.text)[:2000]
        address = _ADDRESS.search(text)
        ip = address[1] if address else ""
        if not extended:
            found.append(ip)
            continue
        said = {match[1].lower(): from_text(match[2].strip("<>")) for match in _RECEIVED.finditer(text)}
        date = text.rpartition(";")[2].strip() if ";" in text else ""
        found.append(Array({**said, "ip": ip, "date": from_text(date)}))
    return Array.of(found)


@builtin(Phase.DATA, Phase.EOD, name="GetDSN")
def get_dsn(run: Run) -> Array | bool:
    """What a delivery report (RFC 3464) says, false for a message that is none.

    Returns ["message" => fields, "recipients" => [fields, …]], names in lower case.

        GetDSN();  // false
    """
    for part in MailMessage().by_type(run, "^message/(global-)?delivery-status$"):
        groups = [_fields(block) for block in re.split(rb"\r?\n(?:[ \t]*\r?\n)+", part.body(run).strip())[:MOST]]
        return Array({"message": groups[0], "recipients": Array.of(one for one in groups[1:] if one)})
    return False


def _fields(block: bytes) -> Array:
    return Array({field.name.lower(): from_text(field.text) for field in parse(block + b"\r\n\r\n").fields})


@builtin(Phase.DATA, Phase.EOD, name="GetDSNHeader")
def get_dsn_header(run: Run, name: str, skip_decode: bool = False) -> str:
    """A header field of the message that a delivery report is about, "" when there is none.

    skip_decode: the value as it stands.

        GetDSNHeader("Subject");  // ""
    """
    kinds = "^(message/(rfc822|global)|text/rfc822-headers|message/global-headers)$"
    for part in MailMessage().by_type(run, kinds):
        if part.id() == "0":
            continue
        field = parse(part.body(run) + b"\r\n\r\n").fields
        found = next((one for one in field if one.name.lower() == name.lower()), None)
        if found is not None:
            return from_text(found.undecoded if skip_decode else found.text)
    return ""


@builtin(Phase.DATA, final=True, name="DeliverWithDKIM", deprecated="DKIMSign")
async def deliver_with_dkim(
    run: Run,
    selector: str,
    domain: str,
    key: str,
    *,
    canonicalization_header: Any = "simple",
    canonicalization_body: Any = "simple",
    algorithm: Any = None,
    headers: Sequence[str] | None = None,
    additional_headers: Sequence[str] = (),
    discard_changes: bool = False,
    deliver_type: Value = None,
    deliver_args: Value = None,
) -> None:
    """Sign the message with DKIM, deliver it, and end the script (until 3.4). Refused (550) when it cannot be signed.

    Arguments and options as for `DKIMSign`: canonicalization_header and canonicalization_body (simple by default),
        algorithm, headers, additional_headers, discard_changes. deliver_type, deliver_args: taken for old scripts.

        DeliverWithDKIM("s1", "example.net", "pki:example");  // ends: Deliver
    """
    signed = await dkim_sign(
        run, selector, domain, key,
        canonicalization_header=canonicalization_header, canonicalization_body=canonicalization_body,
        algorithm=algorithm, headers=headers, additional_headers=additional_headers, discard_changes=discard_changes,
    )  # fmt: skip
    if not signed:
        run.finish(refusal(run, Reject, "The message cannot be signed", False, None))
    run.finish(run.delivery())
