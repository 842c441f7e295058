"""The values a configuration is made of that TOML has no type for: addresses, networks, domains, the storage.

Each has a parser from text that raises ValueError with a sentence for the operator.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, ClassVar, NewType, Self

from flowengine.mail.names import to_ascii

Network = IPv4Network | IPv6Network
IP = IPv4Address | IPv6Address
Domain = NewType("Domain", str)
"""A domain in lower case with A-labels; with a dot in front it stands for everything below it."""
HostName = NewType("HostName", str)
"""The name of a host, domain or selector in lower case with A-labels."""
LOCALHOST = HostName("localhost")
LogTarget = NewType("LogTarget", str)
"""Where the log goes: `stderr`, `journal`, `syslog:unix:PATH`, `syslog:udp:HOST:PORT` or `syslog:tcp:HOST:PORT`."""
STDERR = LogTarget("stderr")
Word = NewType("Word", str)
"""A name that the operator gives to a thing: letters, digits, `-`, `_`, `.`."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or to connect: `host:port`, `[v6]:port` or `unix:path`.

    path is set for a Unix socket only; host is then "" and port 0.
    """

    default_port: ClassVar[int | None] = None

    host: str
    port: int
    path: Path | None = None

    @classmethod
    def parse(cls, text: str, base: Path | None = None) -> Self:
        """The address in this text; a relative socket path is taken from `base`. Raises ValueError."""
        if text.startswith("unix:"):
            if not (name := text.removeprefix("unix:")) or "\0" in name:
                raise ValueError("unix: needs the path of a socket")
            return cls("", 0, (base or Path()) / name)
        host, colon, port = text.rpartition(":")
        if text.startswith("["):
            host, bracket, port = text[1:].partition("]")
            colon, port = port[:1], port[1:]
            if not bracket or (colon and colon != ":"):
                raise ValueError(f"{text!r} is not an address; write [v6]:port")
        elif ":" in host:
            raise ValueError(f"{text!r}: an IPv6 address stands in brackets, [v6]:port")
        elif not colon:
            host = text
        if not colon:
            if cls.default_port is None:
                raise ValueError(f"{text!r} has no port; write host:port, [v6]:port or unix:path")
            port = str(cls.default_port)
        if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError(f"{text!r}: the port is a number from 0 to 65535")
        return cls(_host(host, bracketed=text.startswith("[")), int(port))

    @property
    def ip(self) -> IP | None:
        """The host as an IP address; None when it is a name or a socket path."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        ip = self.ip
        return self.path is not None or self.host == "localhost" or (ip is not None and ip.is_loopback)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NextHop(Address):
    """Address of a mail server; port 25 when none is named."""

    default_port: ClassVar[int | None] = 25
    __slots__ = ()


class NameServer(Address):
    """Address of a DNS server, an IP address; port 53 when none is named."""

    default_port: ClassVar[int | None] = 53
    __slots__ = ()

    @classmethod
    def parse(cls, text: str, base: Path | None = None) -> Self:
        """As Address. Raises ValueError also for a name: there is nobody yet to ask for its address."""
        bare = f"[{text}]" if text.count(":") > 1 and "[" not in text else text
        server = super().parse(bare, base)
        if server.ip is None:
            raise ValueError(f"{text!r}: a DNS server is named by its IP address")
        return server


def _host(text: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            return str(IPv6Address(text))
        except ValueError:
            raise ValueError(f"{text!r} is not an IPv6 address") from None
    if text == "*":
        return "0.0.0.0"  # noqa: S104  # the operator asked for every interface
    if re.fullmatch("[0-9.]+", text):
        try:
            return str(IPv4Address(text))
        except ValueError:
            raise ValueError(f"{text!r} is not an IPv4 address") from None
    name = to_ascii(text)
    if name is None:
        raise ValueError(f"{text!r} is not a host name or IP address")
    return name


STATE = "var"
STATE_FILE = "state.db"


@dataclass(frozen=True, slots=True)
class Storage:
    """Where state is kept. kind: "sqlite" or "postgresql", which has the queue of several machines at `url`.

    path: the file of what this machine keeps for itself; beside it lie made keys and other state.
    """

    kind: str
    path: Path
    url: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, base: Path | None = None) -> "Storage":
        """`sqlite:PATH`, relative to `base`, or `postgresql://USER@HOST/DATABASE`. Raises ValueError."""
        kind, _, name = text.partition(":")
        if kind in ("postgresql", "postgres"):
            if not name.startswith("//") or any(ord(char) <= 32 for char in name):
                raise ValueError("a PostgreSQL storage is written postgresql://USER@HOST/DATABASE")
            return cls("postgresql", (base or Path()) / STATE / STATE_FILE, text)
        if kind != "sqlite" or not name or "\0" in name:
            raise ValueError("this is not a storage; write sqlite:PATH or postgresql://USER@HOST/DATABASE")
        return cls(kind, (base or Path()) / name)

    @property
    def directory(self) -> Path:
        """The directory that state files share."""
        return self.path.parent


def parse_network(text: str, base: Path | None = None) -> Network:
    """A network in CIDR notation, or one address. Raises ValueError."""
    del base  # every parser has the same form
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        whole = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network; write 192.0.2.0/24 or 2001:db8::/32") from None
    raise ValueError(f"{text!r} has host bits set; the network is {whole}")


def parse_ip(text: str, base: Path | None = None) -> IP:
    """One IP address. Raises ValueError."""
    del base
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


def parse_domain(text: str, base: Path | None = None) -> Domain:
    """A domain, or `.domain` for everything below it. Raises ValueError."""
    del base
    dot, name = ("." if text.startswith((".", "*.")) else ""), text.removeprefix("*").removeprefix(".")
    if text == "*":
        raise ValueError("'*' is not a domain; name the domains, .example.net for everything below one")
    ascii_name = to_ascii(name)
    if ascii_name is None:
        raise ValueError(f"{text!r} is not a domain name")
    return Domain(dot + ascii_name)


def parse_host_name(text: str, base: Path | None = None) -> HostName:
    """A name in DNS. Raises ValueError."""
    del base
    name = to_ascii(text)
    if name is None:
        raise ValueError(f"{text[:100]!r} is not a name in DNS")
    return HostName(name)


def parse_destination(text: str, base: Path | None = None) -> Network | str:
    """A place where scripts may connect: a network, an address or a host name. Raises ValueError."""
    if re.fullmatch(r"[0-9.]+(/[0-9]*)?|[^/]*:.*", text):
        return parse_network(text, base)
    name = to_ascii(text)
    if name is None:
        raise ValueError(f"{text!r} is neither a network, nor an address, nor a host name")
    return name


def parse_log_target(text: str, base: Path | None = None) -> LogTarget:
    """A place for log lines. Raises ValueError."""
    if text in ("stderr", "journal"):
        return LogTarget(text)
    word, _, rest = text.partition(":")
    kind, _, place = rest.partition(":")
    if word != "syslog" or kind not in ("unix", "udp", "tcp") or not place:
        raise ValueError(
            f"{text!r} is no place for a log; write stderr, journal, syslog:unix:/dev/log, syslog:udp:HOST:PORT"
        )
    if kind == "unix":
        return LogTarget(f"syslog:unix:{(base or Path()) / place}")
    address = Address.parse(place)
    if address.path is not None:
        raise ValueError(f"{place!r} is not an address; write HOST:PORT")
    return LogTarget(f"syslog:{kind}:{address}")


def parse_word(text: str, base: Path | None = None) -> Word:
    """A name for a thing. Raises ValueError."""
    del base
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", text):
        raise ValueError(f"{text!r} is not a name: letters, digits, '-', '_' and '.', at most 64")
    return Word(text)


def parse_path(text: str, base: Path | None = None) -> Path:
    """A path, relative to `base`. Raises ValueError."""
    if not text or "\0" in text:
        raise ValueError("not a path")
    return (base or Path()) / text


Parser = Callable[[str, Path | None], object]

PARSERS: dict[Any, Parser] = {
    Address: Address.parse,
    NextHop: NextHop.parse,
    NameServer: NameServer.parse,
    Storage: Storage.parse,
    IP: parse_ip,
    Network: parse_network,
    Network | str: parse_destination,
    Domain: parse_domain,
    HostName: parse_host_name,
    LogTarget: parse_log_target,
    Word: parse_word,
    Path: parse_path,
}
"""Which parser makes a value of a type (the keys are annotations, which have no common type) from text and base."""

TOLD: dict[Any, str] = {
    Address: "address",
    NextHop: "address",
    NameServer: "address",
    Storage: "storage",
    IP: "IP address",
    Network: "network",
    Network | str: "network, address or host name",
    Domain: "domain",
    HostName: "name in DNS",
    LogTarget: "place for a log",
    Word: "name",
    Path: "path",
}
"""The types in words, for the reference."""
