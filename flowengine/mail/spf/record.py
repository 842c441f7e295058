"""SPF records: text in, terms out, all of it checked before any is evaluated (RFC 7208 §4.6, §12).

Parsed records are kept, since a busy server meets the same few thousand again and again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Literal, NamedTuple

from flowengine.mail.spf.macros import MacroString, SPFSyntaxError, parse_domain_spec, parse_macro_string

Qualified = Literal["pass", "fail", "softfail", "neutral"]
Mechanism = Literal["all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"]

_QUALIFIERS: dict[str, Qualified] = {"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*+)=(.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?![A-Za-z0-9_.-])(.*)", re.I | re.DOTALL)
_DUAL_CIDR = re.compile(r"(/(?:0|[1-9][0-9]{0,2}))?(//(?:0|[1-9][0-9]{0,2}))?")
_CIDR_START = re.compile(r"/{1,2}[0-9]*(?://[0-9]*)?\Z")
_CACHED_SIZE = 1024


class Directive(NamedTuple):
    """One mechanism with its qualifier.

    source: as written. target: the domain-spec, None for the current domain.
    network, version: of ip4 and ip6 (4 or 6). prefix4, prefix6: lengths, for a, mx, ip4, ip6.
    """

    source: str
    qualifier: Qualified
    mechanism: Mechanism
    target: MacroString | None = None
    network: int = 0
    version: int = 0
    prefix4: int = 32
    prefix6: int = 128


@dataclass(frozen=True, slots=True)
class Record:
    """A record that keeps the grammar. Unknown modifiers are checked and dropped (§6)."""

    directives: tuple[Directive, ...]
    redirect: MacroString | None = None
    explanation: MacroString | None = None


def is_spf(text: bytes) -> bool:
    """Whether this TXT record is an SPF record (§4.5): the version, then a space or the end."""
    return text[:6].lower() == b"v=spf1" and text[6:7] in (b"", b" ")


def parse(text: bytes) -> Record:
    """Parse one SPF record. Raises SPFSyntaxError with the term. Linear in the size."""
    parsed = _cached(text) if len(text) <= _CACHED_SIZE else _parse(text)
    if isinstance(parsed, str):
        raise SPFSyntaxError(parsed)
    return parsed


@lru_cache(maxsize=512)
def _cached(text: bytes) -> Record | str:
    return _parse(text)


def _parse(text: bytes) -> Record | str:
    """The record, or what is wrong with it (a value, so that it can be kept)."""
    if not is_spf(text):
        return "not an SPF record"
    if not text.isascii():
        return "record is not ASCII"  # §3.1
    directives: list[Directive] = []
    modifiers: dict[str, MacroString] = {}
    for term in text[6:].decode("ascii").split(" "):
        if not term:
            continue
        try:
            if (modifier := _MODIFIER.fullmatch(term)) is not None:
                _read_modifier(modifier[1].lower(), modifier[2], modifiers)
            else:
                directives.append(_read_directive(term))
        except SPFSyntaxError as error:
            return f"{term[:80]!r}: {error}"
    return Record(tuple(directives), modifiers.get("redirect"), modifiers.get("exp"))


def _read_modifier(name: str, value: str, modifiers: dict[str, MacroString]) -> None:
    if name not in ("redirect", "exp"):
        parse_macro_string(value)
        return
    if name in modifiers:
        raise SPFSyntaxError(f"second {name}=")  # §6: at most once each
    modifiers[name] = parse_domain_spec(value)


def _read_directive(term: str) -> Directive:
    match = _DIRECTIVE.fullmatch(term)
    if match is None:
        raise SPFSyntaxError("unknown mechanism")
    qualifier, mechanism, rest = _QUALIFIERS[match[1]], match[2].lower(), match[3]
    return _READERS[mechanism](term, qualifier, rest)


def _read_all(term: str, qualifier: Qualified, rest: str) -> Directive:
    if rest:
        raise SPFSyntaxError("all takes no argument")
    return Directive(term, qualifier, "all")


def _needs_domain(mechanism: Literal["include", "exists"]) -> Callable[[str, Qualified, str], Directive]:
    def read(term: str, qualifier: Qualified, rest: str) -> Directive:
        if rest[:1] != ":":
            raise SPFSyntaxError(f"{mechanism} needs a domain")
        return Directive(term, qualifier, mechanism, parse_domain_spec(rest[1:]))

    return read


def _may_have_domain(mechanism: Literal["a", "mx"]) -> Callable[[str, Qualified, str], Directive]:
    def read(term: str, qualifier: Qualified, rest: str) -> Directive:
        start = _CIDR_START.search(rest)
        domain, cidr = (rest, "") if start is None else (rest[: start.start()], start[0])
        lengths = _DUAL_CIDR.fullmatch(cidr)
        if lengths is None:
            raise SPFSyntaxError("bad prefix length")
        prefix4 = _prefix(lengths[1], 32)
        prefix6 = _prefix(lengths[2], 128)
        return Directive(term, qualifier, mechanism, _domain(domain), prefix4=prefix4, prefix6=prefix6)

    return read


def _read_ptr(term: str, qualifier: Qualified, rest: str) -> Directive:
    return Directive(term, qualifier, "ptr", _domain(rest))


def _domain(rest: str) -> MacroString | None:
    if not rest:
        return None
    if rest[0] != ":":
        raise SPFSyntaxError(f"{rest[:40]!r} after the mechanism")
    return parse_domain_spec(rest[1:])


def _prefix(text: str | None, most: int) -> int:
    if text is None:
        return most
    length = int(text.lstrip("/"))
    if length > most:
        raise SPFSyntaxError(f"prefix length over {most}")
    return length


def _address(mechanism: Literal["ip4", "ip6"]) -> Callable[[str, Qualified, str], Directive]:
    version, bits = (4, 32) if mechanism == "ip4" else (6, 128)

    def read(term: str, qualifier: Qualified, rest: str) -> Directive:
        text, slash, length = rest[1:].partition("/")
        lengths = _DUAL_CIDR.fullmatch(slash + length)
        if rest[:1] != ":" or lengths is None or lengths[2] or "%" in text:
            raise SPFSyntaxError(f"{mechanism} needs a network")
        try:
            network = int(IPv4Address(text)) if version == 4 else int(IPv6Address(text))
        except AddressValueError:
            raise SPFSyntaxError("not an address") from None
        prefix = _prefix(lengths[1], bits)
        if version == 4:
            return Directive(term, qualifier, mechanism, network=network, version=4, prefix4=prefix)
        return Directive(term, qualifier, mechanism, network=network, version=6, prefix6=prefix)

    return read


_READERS: dict[str, Callable[[str, Qualified, str], Directive]] = {
    "all": _read_all,
    "include": _needs_domain("include"),
    "exists": _needs_domain("exists"),
    "a": _may_have_domain("a"),
    "mx": _may_have_domain("mx"),
    "ptr": _read_ptr,
    "ip4": _address("ip4"),
    "ip6": _address("ip6"),
}
