"""Addresses of hosts, and names of domains: comparing and converting them. Nothing here asks anybody."""

import socket
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from flowengine.language.functions import Text, builtin
from flowengine.mail.names import to_ascii

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

Address = IPv4Address | IPv6Address
_LONGEST = 100  # characters of an address range


@builtin(aliases=("in_network",))
def inet_includes(ip: str, network: str) -> bool | None:
    """Whether an address lies in a network: an address, a prefix or a range, IPv4 or IPv6.

    network: 192.0.2.1, 192.0.2.0/24 (also with host bits), 192.0.2.1-192.0.2.9.

    Addresses of different families are never in one another. Returns none when one of the two is malformed.

        inet_includes("127.0.0.1", "127.0.0.1/8");  // true
        in_network("192.0.2.7", "192.0.2.1-192.0.2.9");  // true
        inet_includes("2001:db8::1", "192.0.2.0/24");  // false
        inet_includes("localhost", "127.0.0.1/8");  // none
    """
    address, limits = inet_address(ip), _limits(network)
    if address is None or limits is None:
        return None
    first, last = limits
    return first.version == address.version and int(first) <= int(address) <= int(last)


def inet_address(text: str) -> Address | None:
    """An address from its text; None for what is none."""
    try:
        return ip_address(text.strip()) if len(text) <= _LONGEST else None
    except ValueError:
        return None


@lru_cache(4096)
def _limits(network: str) -> tuple[Address, Address] | None:
    """The first and the last address of a network."""
    if len(network) > _LONGEST:
        return None
    try:
        if "-" in network:
            first, last = map(ip_address, map(str.strip, network.split("-", 1)))
            return (first, last) if first.version == last.version else None
        found = ip_network(network.strip(), strict=False)
    except ValueError:
        return None
    return found.network_address, found.broadcast_address


@builtin
def inet_ntop(ip: bytes) -> str | None:
    """An address as text from its 4 or 16 bytes.

    Returns none for another length.

        inet_ntop(pack("C*", 192, 0, 2, 1));  // "192.0.2.1"
        inet_ntop("abc");  // none
    """
    if len(ip) == 4:
        return socket.inet_ntop(socket.AF_INET, ip)
    return socket.inet_ntop(socket.AF_INET6, ip) if len(ip) == 16 else None


@builtin
def inet_pton(ip: str) -> bytes | None:
    """The 4 or 16 bytes of an address.

    Returns none for what is no address.

        unpack("C*", inet_pton("192.0.2.1"));  // [192, 0, 2, 1]
        inet_pton("localhost");  // none
    """
    address = inet_address(ip)
    return None if address is None else address.packed


@builtin
def inet_reverse(ip: str, zone: str | None = None) -> str | None:
    """The name under which DNS keeps what belongs to an address: for PTR, or in a list of addresses.

    zone: the list; by default in-addr.arpa or ip6.arpa.

    Returns none for what is no address.

        inet_reverse("8.8.8.8");  // "8.8.8.8.in-addr.arpa"
        inet_reverse("12.34.56.78", "dnsbl.example.com");  // "78.56.34.12.dnsbl.example.com"
        inet_reverse("localhost");  // none
    """
    address = inet_address(ip)
    return None if address is None else reverse(address, zone)


def reverse(address: Address, zone: str | None = None) -> str:
    """The labels of an address from the last to the first, below a zone."""
    name = address.reverse_pointer
    if zone is None:
        return name
    return name.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa") + "." + zone.strip(".")


@builtin(aliases=("is_subdomain",))
def domain_includes(subdomain: str, domain: str) -> bool:
    """Whether a domain is another one or lies below it; case does not matter.

    domain: with a dot in front only what lies below counts.

        domain_includes("www.example.net", "example.net");  // true
        is_subdomain("example.net", "EXAMPLE.net");  // true
        domain_includes("example.net", ".example.net");  // false
        domain_includes("badexample.net", "example.net");  // false
    """
    below, above = subdomain.lower().rstrip("."), domain.lower().rstrip(".")
    if above.startswith("."):
        return len(below) > len(above) and below.endswith(above)
    return bool(above) and (below == above or below.endswith("." + above))


@builtin
def domain_publicsuffix(domain: Text) -> str | None:
    """The public suffix that a domain ends in (publicsuffix.org): below it names can be registered.

    Returns none for a domain below no known top-level domain, and for what is no domain.

        domain_publicsuffix("www.example.co.uk");  // "co.uk"
        domain_publicsuffix("host.invalid");  // none
    """
    ascii_name = to_ascii(domain)
    if ascii_name is None:
        return None
    suffix: str | None = _known_suffixes().publicsuffix(ascii_name)
    return suffix


@cache
def _known_suffixes() -> "PublicSuffixList":
    """The list without its rule that every unknown top-level domain is one; 45 ms, when first asked for."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(accept_unknown=False)


@builtin
def idna_encode(domain: Text) -> str | None:
    """A domain as DNS knows it: lower case, other scripts as xn-- (IDNA 2008, UTS 46).

    Returns none for what is no domain name.

        idna_encode("fußball.example");  // "xn--fuball-cta.example"
        idna_encode("a b");  // none
    """
    return to_ascii(domain)


@builtin
def idna_decode(domain: Text) -> Text | None:
    """A domain as people read it: xn-- as the script it stands for (IDNA 2008).

    Returns none for what is no domain name.

        idna_decode("xn--fuball-cta.example");  // "fußball.example"
        idna_decode("xn--a");  // none
    """
    ascii_name = to_ascii(domain)
    if ascii_name is None:
        return None
    if "xn--" not in ascii_name:
        return Text(ascii_name)
    import idna  # needed by few, and takes 10 ms

    try:
        return Text(
            ".".join(idna.ulabel(label) if label.startswith("xn--") else label for label in ascii_name.split("."))
        )
    except UnicodeError:
        return None
