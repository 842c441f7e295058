"""Arguments of SMTP commands: bytes in, values out (RFC 5321 §4.1.1, §4.1.2; RFC 1869 parameters).

What cannot be read is a `Refused` with the reply that says so. Nothing here knows the state of a connection.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from flowengine.mail.addresses import Path, parse_path
from flowengine.mail.addresses.paths import MAX_PATH
from flowengine.mail.errors import MailError
from flowengine.runtime.actions import Reply

Parameters = Mapping[str, str]
NO_PARAMETERS: Parameters = MappingProxyType({})

# The path ends at the first > that is not quoted; what is in it is the business of parse_path.
_ARGUMENT = re.compile(rb' *+(<(?:[^"<>\x00-\x20\\]|"(?:[^"\\]|\\.)*+")*+>)(?: ++(.*))?', re.DOTALL).fullmatch
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~\x80-\U0010ffff]++))?").fullmatch
# RFC 3461 §4: hexadecimal digits in upper case; the decoded text is printable.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[2-7][0-9A-F])++").fullmatch
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*+", re.IGNORECASE).fullmatch
# RFC 6533 §3: utf-8 addresses may come as they are; Postfix sends them under the type rfc822, too.
_ORIGINAL = re.compile(r"[!#-'*+./0-9?A-Z^_`a-z{|}~-]++;(?:[!-*,-<>-~\x80-\U0010ffff]|\+[0-9A-F]{2})++").fullmatch
_SIZE = re.compile(r"[0-9]{1,20}").fullmatch
_HOST = re.compile(r"[!-~]{1,255}").fullmatch


class Refused(Exception):  # a reply on its way out, not an error of ours
    """A command that breaks the protocol, and what the client hears. limit: the name of the one that it came to."""

    def __init__(self, reply: Reply, limit: str = "") -> None:
        super().__init__(str(reply))
        self.reply, self.limit = reply, limit


def read_path(keyword: bytes, argument: bytes) -> tuple[bytes, Parameters]:
    """Split `FROM:<path> PARAM=value …` (keyword b"FROM:") into the path, brackets included, and the parameters."""
    rest = argument[len(keyword) :]
    match = _ARGUMENT(rest) if argument[: len(keyword)].upper() == keyword else None
    if match is None:
        verb = "MAIL" if keyword == b"FROM:" else "RCPT"
        raise Refused(Reply(501, "5.5.4", f"Syntax: {verb} {keyword.decode()}<address>"))
    path, given = match.groups()
    return path, read_parameters(given) if given else NO_PARAMETERS


def read_parameters(given: bytes) -> Parameters:
    """ESMTP parameters by upper-case keyword, "" for one without a value; each at most once."""
    found: dict[str, str] = {}
    for word in given.split():
        try:
            match = _PARAMETER(word.decode("utf-8"))
        except UnicodeDecodeError:
            match = None
        if match is None:
            raise Refused(Reply(501, "5.5.4", "Malformed parameter"))
        keyword, value = match[1].upper(), match[2] or ""
        if keyword in found:
            raise Refused(Reply(501, "5.5.4", f"{keyword} given twice"))
        found[keyword] = value
    return found


def read_address(path: bytes, *, utf8: bool, sender: bool) -> Path:
    """The envelope address. utf8: the transaction has SMTPUTF8 (RFC 6531 §3.5)."""
    if not utf8 and not path.isascii():
        raise Refused(Reply(553, "5.6.7", "Address needs SMTPUTF8"))
    try:
        address = parse_path(path, utf8=utf8)
    except MailError:
        address = None
    # RFC 5321 §4.1.1.3: only a recipient may be without a domain, and only the postmaster
    if address is None or (sender and not address.domain and not address.null):
        enhanced = "5.1.7" if sender else "5.1.3"
        if len(path) > MAX_PATH:
            raise Refused(Reply(501, enhanced, f"Path too long, the limit is {MAX_PATH} octets"))  # §4.5.3.1.10
        raise Refused(Reply(553, enhanced, "Malformed address"))  # §4.2.3: mailbox syntax incorrect
    if address.null and not sender:
        raise Refused(Reply(501, "5.1.3", "The null address receives nothing"))
    return address


def read_host(argument: bytes) -> str:
    """The name behind HELO or EHLO: one word of visible ASCII. Whether it is a host's is for flows to say."""
    match = _HOST(argument.decode("latin-1"))
    if match is None:
        raise Refused(Reply(501, "5.5.4", "Syntax: EHLO hostname"))
    return match[0]


def check_size(value: str, limit: int) -> None:
    """RFC 1870 §6.1: a message declared too large is refused before it is sent."""
    if not _SIZE(value):
        raise Refused(Reply(501, "5.5.4", "SIZE takes a number of octets"))
    if int(value) > limit:
        raise Refused(Reply(552, "5.3.4", f"Message too large, the limit is {limit} octets"), "message_size")


def check_body(value: str, _limit: int) -> None:
    """RFC 6152 §2."""
    if value.upper() not in ("7BIT", "8BITMIME"):
        raise Refused(Reply(501, "5.5.4", "BODY is 7BIT or 8BITMIME"))


def check_flag(value: str, _limit: int) -> None:
    """A keyword that takes no value: SMTPUTF8 (RFC 6531 §3.4), REQUIRETLS (RFC 8689 §2)."""
    if value:
        raise Refused(Reply(501, "5.5.4", "This parameter takes no value"))


def check_submitter(value: str, _limit: int) -> None:
    """AUTH=<> or AUTH=mailbox in xtext (RFC 4954 §5): carried along, and believed by nobody here."""
    if value != "<>" and not _XTEXT(value):
        raise Refused(Reply(501, "5.5.4", "AUTH takes an address"))


def check_return(value: str, _limit: int) -> None:
    """RFC 3461 §4.3: how much of the message comes back in a delivery status notification."""
    if value.upper() not in ("FULL", "HDRS"):
        raise Refused(Reply(501, "5.5.4", "RET is FULL or HDRS"))


def check_envelope_id(value: str, _limit: int) -> None:
    """RFC 3461 §4.4: the sender's own name for the transaction, xtext of at most 100 characters."""
    if len(value) > 100 or not _XTEXT(value):
        raise Refused(Reply(501, "5.5.4", "ENVID is xtext of at most 100 characters"))


def check_notify(value: str, _limit: int) -> None:
    """RFC 3461 §4.1: NEVER, or any of SUCCESS, FAILURE and DELAY."""
    if len(value) > 28 or not _NOTIFY(value):
        raise Refused(Reply(501, "5.5.4", "NOTIFY is NEVER, or a list of SUCCESS, FAILURE, DELAY"))


def check_original(value: str, _limit: int) -> None:
    """RFC 3461 §4.2, RFC 6533 §3: the recipient as first given, `type;xtext` of at most 500 characters."""
    if len(value) > 500 or not _ORIGINAL(value):
        raise Refused(Reply(501, "5.5.4", "ORCPT is type;address in xtext of at most 500 characters"))


Rules = Mapping[str, Callable[[str, int], None]]
MAIL_PARAMETERS: Rules = {
    "SIZE": check_size,
    "BODY": check_body,
    "SMTPUTF8": check_flag,
    "AUTH": check_submitter,
    "RET": check_return,
    "ENVID": check_envelope_id,
}
TLS_PARAMETERS: Rules = {**MAIL_PARAMETERS, "REQUIRETLS": check_flag}
"""Of MAIL under TLS (RFC 8689 §2)."""
RCPT_PARAMETERS: Rules = {"NOTIFY": check_notify, "ORCPT": check_original}


def check_parameters(given: Parameters, known: Rules, limit: int) -> None:
    """Each parameter by its own rule; 555 for one that was not offered (RFC 5321 §4.1.1.11)."""
    for keyword, value in given.items():
        check = known.get(keyword)
        if check is None:
            raise Refused(Reply(555, "5.5.4", f"Parameter {keyword[:40]} is not supported"))
        check(value, limit)
