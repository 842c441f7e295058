"""Addresses of clients: as text, and by the network that counts as one client."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


@lru_cache(maxsize=4096)
def address_of(ip: str) -> IPv4Address | IPv6Address:
    """A client's address for comparisons; one client sends many commands. Raises ValueError."""
    return ip_address(ip)


def within(ip: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether an address lies in one of these networks; the client of a Unix socket lies in none."""
    return bool(networks and ip) and any(address_of(ip) in network for network in networks)


def text_of(ip: str) -> str:
    """An IPv4 client of an IPv6 socket is an IPv4 client; a zone means something on this host only."""
    if ":" not in ip:
        return ip
    address = ip_address(ip.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def place_of(ip: str, prefix_4: int = 32, prefix_6: int = 64) -> str:
    """What counts as one client: a network of so many bits, nobody on a Unix socket."""
    if not ip or (prefix_4 == 32 and ":" not in ip):
        return ip
    address = address_of(ip)
    prefix = prefix_4 if address.version == 4 else prefix_6
    return str(ip_network((address, prefix), strict=False).network_address)
