"""The outside world as a run sees it: one small protocol a service, handed in, never imported.

The real ones live in `flowengine/services`, the honest fakes in `flowengine/services/fakes.py`. A run reaches them
only through its `World` (world.py), which records what they answered.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from flowengine.language.caching import Caches
from flowengine.language.values import Value
from flowengine.mail.dns import Resolver
from flowengine.mail.keys import PrivateKey
from flowengine.runtime.memory import SharedMemory
from flowengine.runtime.queue_view import NoQueue, QueueView

if TYPE_CHECKING:
    from flowengine.runtime.world import Fact


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """One call of a flow to a web server.

    url: complete, already encoded. body: None for none. timeouts in seconds. max_size: bytes of the answer's body that
    are taken at most; a longer answer is an error. redirects: how many are followed. shown_url: what facts and log
    show instead of a URL that holds secrets, "" when it holds none.
    """

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    connect_timeout: float = 10.0
    timeout: float = 30.0
    max_size: int = 1 << 20
    redirects: int = 0
    verify_peer: bool = True
    verify_host: bool = True
    source_address: str | None = None
    shown_url: str = ""


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """What a web server answered: status code, header fields in order, body as bytes, which may hold keys."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


class HTTPUnavailable(Exception):
    """No answer could be had: refused, timed out, not allowed by [network], too large, broken. The text says which."""


class HTTPClient(Protocol):
    """Calls web servers, within [network]."""

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        """The answer, whatever its status. Raises HTTPUnavailable."""
        ...


class WireFailed(Exception):
    """A connection could not be made or used. code: of errno.h, or 1 for what TLS refuses."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A connection that a script asks for. address: IPv4 or IPv6 as text; source: address and port to come from."""

    kind: Literal["stream", "datagram"]
    address: str
    port: int
    source: tuple[str, int] | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """How a script's connection is encrypted.

    sni: name to ask for. names: any of which the certificate must have. verify: whether its authority must be known.
    protocols: the versions that may be spoken. ciphers: OpenSSL's list for TLS up to 1.2.
    """

    sni: str | None = None
    names: tuple[str, ...] = ()
    verify: bool = False
    protocols: frozenset[str] = frozenset({"TLSv1.2", "TLSv1.3"})
    ciphers: str | None = None


class Wire(Protocol):
    """One connection of a script. Each operation has its time-out in seconds and raises WireFailed."""

    async def send(self, data: bytes, timeout_: float) -> int:
        """Send bytes; how many were taken."""
        ...

    async def receive(self, most: int, timeout_: float, *, peek: bool, whole: bool) -> bytes:
        """The next bytes, at most so many; b"" at the end."""
        ...

    async def encrypt(self, options: TLSOptions, timeout_: float) -> bytes | None:
        """Begin TLS; the server's certificate in DER."""
        ...

    def shutdown(self, reading: bool, writing: bool) -> None:
        """End one direction or both."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Wires(Protocol):
    """Connections for scripts, within [network]."""

    async def connect(self, request: WireRequest) -> Wire:
        """A connection. Raises WireFailed."""
        ...


class NoWires:
    """Where scripts cannot connect anywhere."""

    async def connect(self, request: WireRequest) -> Wire:
        """Always refused."""
        raise WireFailed(errno.EACCES, "connections are not offered here")


class Clock(Protocol):
    """The time."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...


class Randomness(Protocol):
    """Chance, from the system's generator."""

    def number(self) -> float:
        """A number from 0 up to 1, 1 excluded."""
        ...

    def octets(self, count: int) -> bytes:
        """That many random bytes."""
        ...


class Keys(Protocol):
    """The private keys of the configuration."""

    def find(self, name: str) -> PrivateKey | None:
        """The key called `pki:NAME` in flows (name without the prefix); None when there is none."""
        ...

    def parsed(self, text: str) -> PrivateKey | None:
        """The key of a text that `parse` has read before; None for one it has not. Texts are known by digest."""
        ...

    def parse(self, text: str) -> PrivateKey:
        """The key of a text (PEM, base64 DER, Ed25519 seed), kept for the next time. Takes tens of milliseconds, so
        call it in a thread. Raises MailError, which never quotes the text."""
        ...


class Rates(Protocol):
    """Counters over sliding windows, shared by the workers of this machine."""

    def hit(self, namespace: str, entry: str, count: int, interval: float, now: float) -> bool:
        """Add one entry if fewer than `count` lie in the last `interval` seconds; whether it was added."""
        ...

    def count(self, namespace: str, entry: str, interval: float, now: float) -> int:
        """How many entries lie in the last `interval` seconds."""
        ...


class Memory(Protocol):
    """What the flows of a process share: `memory_*`. Bounded; values are a flow's own.

    Each entry has a version, so that a change worked out while others ran is refused instead of undoing theirs.
    """

    def get(self, key: str) -> tuple[int, Value] | None:
        """Version and value of an entry; None when there is none."""
        ...

    def put(self, key: str, value: Value, version: int | None) -> bool:
        """Write an entry if it still has this version (None: if there is none, -1: in any case). Whether it was
        written; also false when the store is full."""
        ...

    def remove(self, key: str) -> bool:
        """Take an entry out; whether it was there."""
        ...


Level = Literal["debug", "info", "notice", "warning", "error", "critical"]


class Log(Protocol):
    """Structured lines about transactions, and the lines that flows write."""

    def event(self, level: Level, event: str, /, **fields: object) -> None:
        """One line: what happened, and its facts. Values are cleaned of control characters and secrets here."""
        ...

    def takes(self, level: Level) -> bool:
        """Whether anybody would see a line of this level: one that is costly to make need not be made for nobody."""
        ...

    def began(self, id_: str, client: str) -> None:
        """A visit or transaction of this client began: lines with this id are about it."""
        ...

    def concluded(self, id_: str, facts: "Sequence[Fact]") -> None:
        """A transaction is over: what the outside world answered it, for who asks later."""
        ...


class Counters(Protocol):
    """Counters and gauges for the metrics endpoint."""

    def increment(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter; its name is one of those declared in services/metrics.py."""
        ...


@dataclass(frozen=True, slots=True)
class APISettings:
    """[api]: where `api_call` asks."""

    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 5.0
    secret_fields: tuple[str, ...] = ("rsakey", "privatekey")


@dataclass(frozen=True, slots=True)
class RunLimits:
    """[limits], the part that bounds one run: steps, depth of calls, seconds, bytes of one value; and
    dns_time, seconds that one message waits for DNS in all; transaction_time, seconds from its dot to our reply."""

    script_steps: int = 5_000_000
    script_depth: int = 200
    script_time: float = 60.0
    script_value_size: int = 64 << 20
    script_facts: int = 1000
    dns_time: float = 30.0
    transaction_time: float = 240.0
    script_output: int = 1 << 20
    reply_lines: int = 50
    reply_line_length: int = 500


@dataclass(frozen=True, slots=True)
class Settings:
    """What the runtime and the builtins may know of the configuration.

    transports, quarantines: those that there are; None where nothing is carried out and any name will do.
    sends: whether a script may send mail itself; not in a play.
    """

    hostname: str = "localhost"
    dmarc_standard: Literal["rfc9989", "rfc7489"] = "rfc9989"
    dns_timeout: float = 5.0
    api: APISettings = field(default_factory=APISettings)
    limits: RunLimits = field(default_factory=RunLimits)
    network_allow: tuple[IPv4Network | IPv6Network | str, ...] = ()
    transports: Mapping[str, object] | None = None
    quarantines: frozenset[str] | None = None
    shared_edits: bool = False
    mixed_verdicts: Literal["strict", "halon"] = "strict"
    script_root: Path | None = None
    sends: bool = True


@dataclass(frozen=True, slots=True)
class Services:
    """Everything outside, in one value."""

    dns: Resolver
    http: HTTPClient
    clock: Clock
    random: Randomness
    keys: Keys
    rates: Rates
    log: Log
    counters: Counters
    caches: Caches
    settings: Settings = field(default_factory=Settings)
    memory: Memory = field(default_factory=SharedMemory)
    wires: Wires = field(default_factory=NoWires)
    queue: QueueView = field(default_factory=NoQueue)
