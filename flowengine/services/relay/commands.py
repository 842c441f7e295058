"""MAIL and RCPT for what a next hop can do (RFC 1870, 3461, 6152, 6531, 8689).

Parameters go along where the next hop knows them. What it cannot carry is refused in its place, with the code of the
RFC: 8-bit content is not converted to 7 bits, since that breaks every signature.
"""

from collections.abc import Sequence
from functools import lru_cache

from flowengine.mail.addresses import parse_path
from flowengine.mail.errors import MailError
from flowengine.mail.names import to_ascii
from flowengine.runtime.actions import Reply
from flowengine.services.relay.answers import Answer, Stage
from flowengine.services.relay.connection import Connection
from flowengine.services.relay.settings import Envelope


def commands(connection: Connection, envelope: Envelope) -> tuple[bytes, list[bytes]] | Answer:
    """MAIL and the RCPTs for what this next hop can do, or what it cannot carry."""
    extensions = connection.extensions
    addresses: Sequence[str] = (envelope.sender, *envelope.recipients)
    parameters = ""
    if envelope.utf8_header or not "".join(addresses).isascii():
        if "SMTPUTF8" in extensions:
            parameters += " SMTPUTF8"
        else:
            downgraded = [_downgraded(address) for address in addresses]
            if envelope.utf8_header or None in downgraded:
                return _ours(Reply(550, "5.6.7", "The next hop cannot carry addresses outside ASCII"))
            addresses = [address for address in downgraded if address is not None]
    if "SIZE" in extensions:
        limit = extensions["SIZE"]
        if limit.isascii() and limit.isdigit() and len(limit) < 20 and 0 < int(limit) < envelope.size:
            return _ours(Reply(552, "5.3.4", f"Message too large for the next hop, its limit is {limit} octets"))
        parameters += f" SIZE={envelope.size}"
    if envelope.eight_bit:
        if "8BITMIME" not in extensions:
            return _ours(Reply(554, "5.6.3", "The next hop cannot carry 8-bit content"))
        parameters += " BODY=8BITMIME"
    if envelope.tls_required:
        if not connection.verified:
            return _ours(Reply(550, "5.7.10", "The next hop cannot be reached with the TLS that was required"))
        if "REQUIRETLS" not in extensions:
            return _ours(Reply(550, "5.7.30", "The next hop does not support REQUIRETLS"))
        parameters += " REQUIRETLS"
    each: Sequence[str] = ()
    if "DSN" in extensions:
        parameters += envelope.dsn
        each = envelope.recipient_dsn
    sender, *recipients = addresses
    mail = f"MAIL FROM:<{sender}>{parameters}\r\n".encode()
    if each:
        return mail, [f"RCPT TO:<{one}>{dsn}\r\n".encode() for one, dsn in zip(recipients, each, strict=True)]
    return mail, [f"RCPT TO:<{recipient}>\r\n".encode() for recipient in recipients]


def unasked(envelope: Envelope) -> Answer | None:
    """What no next hop needs to be asked about: an address that would break out of its command."""
    if _is_path(envelope.sender) and all(map(_is_path, envelope.recipients)):
        return None
    return _ours(Reply(553, "5.1.3", "Address that no command can carry"))


@lru_cache(maxsize=4096)
def _is_path(address: str) -> bool:
    try:
        parse_path(f"<{address}>")
    except MailError:
        return False
    return True


def _downgraded(address: str) -> str | None:
    """The address with A-labels, for a next hop without SMTPUTF8; None when its local part is not ASCII."""
    if address.isascii():
        return address
    local_part, _, domain = address.rpartition("@")
    ascii_domain = to_ascii(domain)
    return f"{local_part}@{ascii_domain}" if ascii_domain and local_part.isascii() else None


def _ours(reply: Reply) -> Answer:
    return Answer(reply, Stage.ENVELOPE, heard=False)
