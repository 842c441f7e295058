"""Addresses of the envelope: the paths of MAIL and RCPT (RFC 5321 §4.1.2, RFC 6531 §3.3).

Nearly all are plain, so one pattern takes those; the rest goes through the grammar. Nothing over 512 octets is read.
"""

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from flowengine.mail.addresses.values import ATEXT, quote_local_part
from flowengine.mail.errors import MailError

MAX_LOCAL_PART = 64
"""Octets as written (RFC 5321 §4.5.3.1.1)."""
MAX_PATH = 256
"""Octets with the angle brackets (RFC 5321 §4.5.3.1.3), without a source route."""
_MAX_READ = 512

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
# The underscore is not of RFC 5321 but of names in use.
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}+(?<!-)"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*+"
_PLAIN = re.compile(rf"({_ATOM}(?:\.{_ATOM})*+)@({_DOMAIN})")

_UATOM = rf"[{ATEXT}]++"
_ULABEL = r"(?!-)[A-Za-z0-9_\x80-\U0010ffff-]++(?<!-)"
_UDOMAIN = rf"{_ULABEL}(?:\.{_ULABEL})*+"
# RFC 5321 §4.1.2: qtextSMTP and quoted-pairSMTP, with RFC 6531 §3.3 for what is not ASCII.
_MAILBOX = re.compile(
    rf"""(?: (?P<dot> {_UATOM}(?:\.{_UATOM})*+ )
           | " (?P<quoted> (?: [ !#-\[\]-~\x80-\U0010ffff] | \\[ -~] )*+ ) " )
        @ (?: (?P<domain> {_UDOMAIN}) | (?P<literal> \[ [!-Z^-~]++ \] ) )""",
    re.VERBOSE,
)
_ROUTE = re.compile(rf"@{_UDOMAIN}(?:,@{_UDOMAIN})*+:")
_UNUSABLE = re.compile("[\ud800-\udfff\ufffd]")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Path:
    """An envelope address. The null path has neither part; `<Postmaster>` has no domain.

    local_part: without quotes, its case kept.
    domain: as written (case kept, U-labels kept); an address literal keeps its brackets.
    """

    local_part: str
    domain: str
    address: str = field(init=False, repr=False, compare=False)
    """local@domain, quoted only where needed; "" for the null path."""

    def __post_init__(self) -> None:
        whole = f"{quote_local_part(self.local_part)}@{self.domain}" if self.domain else self.local_part
        object.__setattr__(self, "address", whole)

    @property
    def null(self) -> bool:
        """Whether this is `<>`, the sender of reports."""
        return not self.local_part and not self.domain

    @property
    def ascii(self) -> bool:
        """Whether the next hop can take it without SMTPUTF8."""
        return self.local_part.isascii() and self.domain.isascii()

    def __str__(self) -> str:
        return f"<{self.address}>"


def parse_path(value: bytes | str, *, utf8: bool = True) -> Path:
    """Read `<local@domain>`, `<>` or `<Postmaster>`. A source route is read and dropped (RFC 5321 appendix C).

    utf8: whether the transaction allows SMTPUTF8 (RFC 6531). Raises MailError.
    """
    text = _decode(value)
    if text[:1] != "<" or text[-1:] != ">" or len(text) < 2:
        raise MailError("no angle brackets around the address")
    inner = text[1:-1]
    if not inner:
        return Path("", "")
    if inner[0] == "@":
        if (route := _ROUTE.match(inner)) is None:
            raise MailError("broken source route")
        inner = inner[route.end() :]
    elif inner.lower() == "postmaster":  # RFC 5321 §4.5.1
        return Path(inner, "")
    return _mailbox(inner, utf8)


def parse_mailbox(value: bytes | str, *, utf8: bool = True) -> Path:
    """Read `local@domain` without brackets, as scripts and configuration write it. Raises MailError."""
    return _mailbox(_decode(value), utf8)


def split(address: str) -> tuple[str, str]:
    """The text before the last @ that is not in a literal, and the text after it; (address, "") without one.

    A cut, not a check: for addresses that were parsed before.
    """
    end = address.rfind("[") if address.endswith("]") else len(address)
    at = address.rfind("@", 0, end if end >= 0 else len(address))
    return (address, "") if at < 0 else (address[:at], address[at + 1 :])


def _decode(value: bytes | str) -> str:
    if len(value) > _MAX_READ:
        raise MailError(f"address of {len(value)} octets")
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MailError(f"address is not UTF-8 at {error.start}") from None


def _mailbox(text: str, utf8: bool) -> Path:
    if (plain := _PLAIN.fullmatch(text)) is not None:
        _check_lengths(plain[1], text)
        return Path(plain[1], plain[2])
    match = _MAILBOX.fullmatch(text)
    if match is None or _UNUSABLE.search(text):
        raise MailError(f"not an address: {text[:80]!r}")
    if not utf8 and not text.isascii():
        raise MailError("address needs SMTPUTF8")
    local_part, domain = match["dot"], match["domain"]
    _check_lengths(text[: match.start("domain" if domain else "literal") - 1], text)
    if local_part is None:
        local_part = _ESCAPE.sub(r"\1", match["quoted"])
    if domain is None:
        domain = match["literal"]
        _check_literal(domain[1:-1])
    elif any(len(label.encode()) > 63 for label in domain.split(".") if label.isascii()):
        raise MailError("label of more than 63 octets")
    return Path(local_part, domain)


def _check_lengths(local_part: str, address: str) -> None:
    if len(local_part) > MAX_LOCAL_PART // 4 and len(local_part.encode()) > MAX_LOCAL_PART:
        raise MailError(f"local part of more than {MAX_LOCAL_PART} octets")
    if len(address) > MAX_PATH // 4 and len(address.encode()) > MAX_PATH - 2:
        raise MailError(f"address of more than {MAX_PATH - 2} octets")


def _check_literal(text: str) -> None:
    """RFC 5321 §4.1.3: IPv4 or `IPv6:`. IANA has registered no other tag, so no other literal names a host."""
    try:
        if text[:5].lower() == "ipv6:":
            _check_ipv6(text[5:])
        else:
            IPv4Address(text)
    except AddressValueError:
        raise MailError(f"not an address literal: [{text[:60]}]") from None


def _check_ipv6(text: str) -> None:
    if "%" in text:  # a zone means something on one host only
        raise AddressValueError(text)
    IPv6Address(text)
    if "::" in text:  # IPv6-comp and IPv6v4-comp: "::" stands for two groups or more
        groups = sum(2 if "." in group else 1 for group in text.split(":") if group)
        if groups > 6:
            raise AddressValueError(text)
