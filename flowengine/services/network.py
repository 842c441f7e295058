"""[network]: where scripts may connect. The answer is about the address that is really connected to, not about a name.

By default everything but this machine, its link, and the addresses where clouds keep their secrets; those only when the
configuration names them.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from flowengine.mail.names import to_ascii
from flowengine.services.config.values import IP, Network

CLOSED: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # "this host" (RFC 1122 §3.2.1.3): connects to loopback
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; .169.254 is the metadata service of most clouds
            "100.100.100.200/32",  # metadata, Alibaba Cloud
            "168.63.129.16/32",  # Azure's host agent
            "192.0.0.192/32",  # metadata, Oracle Cloud
            "224.0.0.0/4",
            "255.255.255.255/32",
            "::/128",
            "::1/128",
            "fe80::/10",
            "fd00:ec2::/32",  # metadata, Amazon
            "fd20:ce::254/128",  # metadata, Google Cloud
            "ff00::/8",
        ),
    )
)
_EMBEDDING = (ip_network("::/96"), ip_network("64:ff9b::/96"))  # IPv4-compatible; NAT64 (RFC 6052)


class NetworkGuard:
    """Says where scripts may connect.

    allow: the entries of [network] allow. urls: addresses of the configuration or options, whose hosts are allowed.
    """

    def __init__(self, allow: Iterable[Network | str] = (), urls: Iterable[str | None] = ()) -> None:
        entries = list(allow)
        self._networks = [entry for entry in entries if not isinstance(entry, str)]
        self._names = {entry for entry in entries if isinstance(entry, str)}
        for url in urls:
            if url is not None and (host := urlsplit(url).hostname):
                self._names.add(to_ascii(host) or host)

    def allows(self, host: str, address: str) -> bool:
        """Whether a script that named `host` may connect to `address`, to which it resolved."""
        if (to_ascii(host) or host) in self._names:
            return True
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        seen = {ip, _embedded(ip)}
        if any(one in network for one in seen for network in self._networks):
            return True
        return not any(one in network for one in seen for network in CLOSED)


def _embedded(ip: IP) -> IP:
    """The IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if any(ip in network for network in _EMBEDDING) and ip not in (IPv6Address("::"), IPv6Address("::1")):
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip
