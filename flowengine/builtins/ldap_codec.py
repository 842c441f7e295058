"""LDAP messages as octets (RFC 4511), by the package ldap3; nothing of its network code is used.

What a server sends is decoded within bounds; whatever it is, it gives a `Message` or raises Unreadable.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from flowengine.language.problems import FlowError

LARGEST = 4 << 20  # octets of one message
BIND, ENTRY, DONE, REFERENCE, EXTENDED = 1, 4, 5, 19, 24
SCOPES = {"sub": "SUBTREE", "one": "LEVEL", "base": "BASE"}
PAGED = "1.2.840.113556.1.4.319"  # RFC 2696
STARTTLS = "1.3.6.1.4.1.1466.20037"


class Unreadable(Exception):
    """Octets that are no LDAP message, or one larger than we take."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a server. kind: the tag of its operation. code, text: of a result. cookie: of a paged search."""

    number: int
    kind: int
    code: int = 0
    text: str = ""
    dn: bytes = b""
    attributes: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()
    cookie: bytes = b""


@cache
def _library() -> Any:
    """What we need of ldap3, as one namespace. Raises FlowError when it is not installed."""
    try:
        found: dict[str, Any] = {}
        for name in (
            "ldap3.operation.search", "ldap3.operation.bind", "ldap3.operation.unbind", "ldap3.operation.extended",
            "ldap3.protocol.rfc4511", "ldap3.protocol.rfc2696", "ldap3.protocol.convert", "ldap3.utils.asn1",
            "ldap3.utils.conv", "ldap3.utils.dn", "pyasn1.codec.ber.decoder",
        ):  # fmt: skip
            found[name.rpartition(".")[2]] = import_module(name)
    except ImportError:
        raise FlowError("LDAP needs the package ldap3: pip install flowengine[ldap]") from None
    return type("Library", (), found)


def _message(number: int, kind: str, operation: Any, controls: Any = None) -> bytes:
    library = _library()
    made = library.rfc4511.LDAPMessage()
    made["messageID"] = library.rfc4511.MessageID(number)
    made["protocolOp"] = library.rfc4511.ProtocolOp().setComponentByName(kind, operation)
    if controls:
        made["controls"] = library.convert.build_controls_list(controls)
    data: bytes = library.asn1.encode(made)
    return data


def bind_request(number: int, dn: str, password: str) -> bytes:
    """A simple bind; anonymous without a name."""
    library = _library()
    way = "SIMPLE" if dn else "ANONYMOUS"
    return _message(number, "bindRequest", library.bind.bind_operation(3, way, dn, password))


def unbind_request(number: int) -> bytes:
    """The end."""
    return _message(number, "unbindRequest", _library().unbind.unbind_operation())


def starttls_request(number: int) -> bytes:
    """The wish to begin TLS (RFC 4511 §4.14)."""
    return _message(number, "extendedReq", _library().extended.extended_operation(STARTTLS))


def search_request(
    number: int, base: str, scope: str, query: str, attributes: list[str], time_limit: int, page: int, cookie: bytes
) -> bytes:
    """A search. page: entries of one page, 0 for all at once. Raises ValueError for a filter that is none."""
    library = _library()
    try:
        operation = library.search.search_operation(
            base, query, SCOPES[scope], "NEVER", attributes or ["*"], 0, time_limit, False, False, False
        )
    except Exception as error:  # noqa: BLE001  # ldap3 has a class for each way to be wrong
        raise ValueError(f"{query!r} is no filter: {type(error).__name__}") from None
    controls = [library.rfc2696.paged_search_control(True, page, cookie)] if page else None
    return _message(number, "searchRequest", operation, controls)


def whole(data: bytes) -> int | None:
    """How many octets the first message in some data has; None when that is not known yet. Raises Unreadable."""
    if not data:
        return None
    if data[0] != 0x30:
        raise Unreadable("no LDAP message")
    if len(data) < 2:
        return None
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= 4:
            raise Unreadable("no length")
        if len(data) < 2 + count:
            return None
        length, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if length > LARGEST:
        raise Unreadable(f"a message of {length} octets")
    return start + length


def decode(data: bytes) -> Message:
    """One whole message. Raises Unreadable."""
    library = _library()
    try:
        found = library.asn1.decode_message_fast(data)
        payload, kind, number = found["payload"], int(found["protocolOp"]), int(found["messageID"])
        if kind == ENTRY:
            attributes = tuple(
                (bytes(one[3][0][3]), tuple(bytes(value[3]) for value in one[3][1][3])) for one in payload[1][3]
            )
            return Message(number, kind, dn=bytes(payload[0][3]), attributes=attributes)
        if kind == REFERENCE:
            return Message(number, kind)
        text = bytes(payload[2][3]).decode("utf-8", "replace")
        return Message(number, kind, int(payload[0][3]), text, cookie=_cookie(library, found["controls"]))
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001  # malformed messages bring about anything
        raise Unreadable(f"no LDAP message: {type(error).__name__}") from None


def _cookie(library: Any, controls: Any) -> bytes:
    for control in controls or ():
        parts = [bytes(part[3]) for part in control[3] if isinstance(part[3], (bytes, bytearray))]
        if parts and parts[0] == PAGED.encode():
            value, _ = library.decoder.decode(parts[-1], asn1Spec=library.rfc2696.RealSearchControlValue())
            return bytes(value["cookie"])
    return b""


def escaped(value: str) -> str:
    """Text for the inside of a filter (RFC 4515 §3)."""
    for character in "\\*()\0":
        value = value.replace(character, f"\\{ord(character):02x}")
    return value


def dn_parts(text: str) -> list[tuple[str, str]] | None:
    """The parts of a distinguished name (RFC 4514); None for what is none."""
    try:
        return [(name, value) for name, value, _ in _library().dn.parse_dn(text)]
    except FlowError:
        raise
    except Exception:  # noqa: BLE001  # as above: whatever is wrong with a name makes it none
        return None


def dn_text(parts: list[tuple[str, str]]) -> str:
    """A distinguished name from its parts, escaped."""
    library = _library()
    return ",".join(f"{name}={library.dn.escape_rdn(value)}" for name, value in parts)
