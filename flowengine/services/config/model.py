"""`flowengine.toml` as values: one frozen dataclass a table, one documented field a key.

Sample, reference page and JSON schema are made from these fields (pages.py), and so is the reading (reading.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from flowengine.language.problems import Problem, Span
from flowengine.services.config.limits import Limits
from flowengine.services.config.listeners import Listener, Transport
from flowengine.services.config.positions import Path as KeyPath
from flowengine.services.config.positions import Positions
from flowengine.services.config.problems import ConfigError, named
from flowengine.services.config.queue import QueueRules
from flowengine.services.config.values import (
    LOCALHOST,
    STATE,
    STDERR,
    Address,
    HostName,
    LogTarget,
    NameServer,
    Network,
    Storage,
    Word,
)

PKIName = Annotated[
    str, Meta(description="A key of [pki].", pattern="^pki:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", examples=["pki:example"])
]


@dataclass(frozen=True, slots=True)
class DNS:
    """[dns]: whom we ask, and how long answers are kept."""

    servers: Annotated[
        tuple[NameServer, ...],
        Meta(description="DNS servers; default: the system's.", examples=[["127.0.0.1:53"]], max_length=10),
    ] = ()
    timeout: Annotated[float, Meta(description="Seconds for one question, all attempts together.", ge=0.1, le=60)] = 5.0
    cache_entries: Annotated[int, Meta(description="Answers kept at most.", ge=0, le=10_000_000)] = 50_000
    minimum_ttl: Annotated[float, Meta(description="Seconds an answer is kept at least.", ge=0, le=3600)] = 0.0
    maximum_ttl: Annotated[float, Meta(description="Seconds an answer is kept at most.", ge=0, le=604800)] = 86400.0
    negative_ttl: Annotated[float, Meta(description="Seconds a `no` is kept at most.", ge=0, le=86400)] = 3600.0
    stale: Annotated[
        float,
        Meta(
            description="Seconds past its TTL for which an answer still serves when DNS fails (RFC 8767).",
            ge=0,
            le=604800,
        ),
    ] = 86400.0


@dataclass(frozen=True, slots=True)
class DMARC:
    """[dmarc]: which DMARC."""

    standard: Annotated[
        Literal["rfc9989", "rfc7489"], Meta(description="The new DMARC (tree walk), or the one of 2015 (suffix list).")
    ] = "rfc9989"


@dataclass(frozen=True, slots=True)
class API:
    """[api]: where `api_call` asks."""

    url: Annotated[
        str | None,
        Meta(
            description="Address that queries are appended to; without it `api_call` returns none.",
            examples=["https://keys.example.net/api"],
        ),
    ] = None
    headers: Annotated[
        Mapping[str, str],
        Meta(
            description="Header fields of each call; `${NAME}` is taken from the environment.",
            examples=[{"Authorization": "Bearer ${API_TOKEN}"}],
            extra={"environment": True},
        ),
    ] = field(default_factory=dict, repr=False)
    timeout: Annotated[float, Meta(description="Seconds for one call.", ge=0.1, le=60)] = 5.0
    secret_fields: Annotated[
        tuple[str, ...],
        Meta(description="Fields of answers whose values are secrets from the moment they are decoded."),
    ] = ("rsakey", "privatekey")


@dataclass(frozen=True, slots=True)
class PKI:
    """[pki.NAME]: a private key, `pki:NAME` in flows. With neither file nor data it is made at first start and kept."""

    file: Annotated[Path | None, Meta(description="The key, mode 600.", examples=["keys/example.pem"])] = None
    data: Annotated[
        str | None,
        Meta(
            description="The key itself, PEM; the configuration must then have mode 600.",
            min_length=1,
            examples=["-----BEGIN PRIVATE KEY-----…"],
        ),
    ] = field(default=None, repr=False)
    selector: Annotated[
        HostName | None, Meta(description="Default of `keys record` and `keys check`.", examples=["s1"])
    ] = None
    domain: Annotated[
        HostName | None, Meta(description="Default of `keys record` and `keys check`.", examples=["example.net"])
    ] = None
    type: Annotated[Literal["rsa", "ed25519"], Meta(description="Type of a key made at first start.")] = "rsa"
    bits: Annotated[Literal[2048, 3072, 4096], Meta(description="Size of an RSA key made at first start.")] = 2048


@dataclass(frozen=True, slots=True)
class DSN:
    """[dsn]: our bounces. With a key they are signed, by its selector and domain."""

    from_: Annotated[
        str,
        Meta(description="Their From address.", min_length=3, max_length=254, examples=["mailer-daemon@example.net"]),
    ]
    key: Annotated[PKIName | None, Meta(description="The key that signs them.", examples=["pki:example"])] = None
    transport: Annotated[
        Word | None,
        Meta(
            description="The way they go; default: that of the sender's domain where a listener takes mail for it, "
            "else the first with `mx`, else that of the message they are about.",
            examples=["local"],
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class QuarantineStore:
    """[quarantine.NAME]: where `Quarantine("NAME")` keeps messages."""

    path: Annotated[Path, Meta(description="Directory; made when needed.", examples=["var/quarantine/spam"])]
    keep: Annotated[
        int | None,
        Meta(description="Seconds after which a message is deleted; default: never.", ge=60, examples=[2592000]),
    ] = None


@dataclass(frozen=True, slots=True)
class Scripts:
    """[scripts]: where flows find what they import."""

    root: Annotated[
        Path | None, Meta(description="Directory of imports; default: that of this file.", examples=["flows"])
    ] = None


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """[network]: where scripts may connect.

    Loopback, link-local and metadata addresses are out of reach unless named here, as [api] url or by option.
    """

    allow: Annotated[
        tuple[Network | str, ...],
        Meta(description="Networks, addresses or host names.", examples=[["127.0.0.1", "10.0.0.0/8"]]),
    ] = ()


@dataclass(frozen=True, slots=True)
class Compatibility:
    """[compatibility]: old behaviour for flows that count on it."""

    shared_edits: Annotated[bool, Meta(description="Edits made for one recipient show for the next.")] = False
    mixed_verdicts: Annotated[
        Literal["strict", "halon"],
        Meta(description="strict: the gravest speaks for all. halon: others are delivered in spite of a Reject."),
    ] = "strict"


@dataclass(frozen=True, slots=True)
class LogRules:
    """[log]: where lines go, and which."""

    format: Annotated[
        Literal["json", "text"], Meta(description="One JSON object a line, or text for people; for stderr.")
    ] = "json"
    target: Annotated[
        LogTarget,
        Meta(
            description="`stderr`, `journal` (systemd's, with every field), or a syslog server (RFC 5424, facility "
            "mail): `syslog:unix:/dev/log`, `syslog:udp:HOST:PORT`, `syslog:tcp:HOST:PORT`.",
            examples=["syslog:udp:192.0.2.9:514"],
        ),
    ] = STDERR
    level: Annotated[
        Literal["debug", "info", "notice", "warning", "error"],
        Meta(description="The least grave lines that are written."),
    ] = "info"


@dataclass(frozen=True, slots=True)
class MetricsRules:
    """[metrics]: where Prometheus finds us."""

    address: Annotated[
        Address | None,
        Meta(
            description="`/metrics` is served here, to anybody who gets there; keep it on loopback. Default: nowhere.",
            examples=["127.0.0.1:9925"],
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    hostname: Annotated[
        HostName,
        Meta(description="HELO, Received, authserv-id; default: the system's.", examples=["mx.example.net"]),
    ] = LOCALHOST
    storage: Annotated[
        Storage, Meta(description="Where state is kept; `postgresql://…` for one queue of several machines.")
    ] = field(default_factory=lambda: Storage("sqlite", Path(STATE, "state.db")))
    state: Annotated[
        Path, Meta(description="Where this machine keeps what is its own, when `storage` is a database server.")
    ] = Path(STATE)
    workers: Annotated[int | None, Meta(description="Processes; default: one a core.", ge=1, le=1024, examples=[2])] = (
        None
    )
    user: Annotated[
        Word | None,
        Meta(description="Account to become after binding ports as root; default: stay.", examples=["flowengine"]),
    ] = None
    dns: Annotated[DNS, Meta(description="Whom we ask.")] = field(default_factory=DNS)
    dmarc: Annotated[DMARC, Meta(description="Which DMARC.")] = field(default_factory=DMARC)
    api: Annotated[API, Meta(description="Where `api_call` asks.")] = field(default_factory=API)
    pki: Annotated[Mapping[str, PKI], Meta(description="Private keys.", extra={"name": "example"})] = field(
        default_factory=dict
    )
    listeners: Annotated[Mapping[str, Listener], Meta(description="Doors in.", extra={"name": "inbound"})] = field(
        default_factory=dict
    )
    transports: Annotated[Mapping[str, Transport], Meta(description="Ways out.", extra={"name": "local"})] = field(
        default_factory=dict
    )
    queue: Annotated[QueueRules, Meta(description="What is kept after a 250, and tried again.")] = field(
        default_factory=QueueRules
    )
    dsn: Annotated[DSN | None, Meta(description="Our bounces.")] = None
    quarantine: Annotated[
        Mapping[str, QuarantineStore], Meta(description="Where messages are kept aside.", extra={"name": "spam"})
    ] = field(default_factory=dict)
    limits: Annotated[Limits, Meta(description="What one client, message or run may take.")] = field(
        default_factory=Limits
    )
    scripts: Annotated[Scripts, Meta(description="Where flows find what they import.")] = field(default_factory=Scripts)
    network: Annotated[NetworkRules, Meta(description="Where scripts may connect.")] = field(
        default_factory=NetworkRules
    )
    compatibility: Annotated[Compatibility, Meta(description="Old behaviour.")] = field(default_factory=Compatibility)
    log: Annotated[LogRules, Meta(description="Where lines go, and which.")] = field(default_factory=LogRules)
    metrics: Annotated[MetricsRules, Meta(description="Where Prometheus finds us.")] = field(
        default_factory=MetricsRules
    )

    # what follows is no key of the file
    path: Path | None = None
    """The file that was read; None for the embedded default."""
    directory: Path = field(default_factory=Path.cwd)
    """What relative paths were taken from: the file's directory, else the working directory."""
    warnings: tuple[Problem, ...] = ()
    """What is allowed and unwise."""

    positions: Positions | None = field(default=None, repr=False, compare=False)
    """Where the keys stand in the text."""

    def problem(self, path: KeyPath, message: str, id: str, *, table: bool = False) -> Problem:  # noqa: A002  # as Problem's
        """A problem with a key (or with the whole table at this path) that shows only when the world is looked at."""
        span = self.positions.value(path) if self.positions else Span(str(self.path or "<configuration>"), 1, 1, 1, 1)
        return Problem(span, id, "error", f"{named(path, table)}{message}")

    def with_options(self, dns: str | None = None, api_url: str | None = None) -> "Config":
        """What `--dns` and `--api-url` say in place of the file. Raises ConfigError."""
        changed = self
        if dns is not None:
            try:
                server = NameServer.parse(dns)
            except ValueError as error:
                raise ConfigError([Problem(Span("--dns", 1, 1, 1, 1), "bad-value", "error", str(error))]) from None
            changed = replace(changed, dns=replace(changed.dns, servers=(server,)))
        if api_url is not None:
            changed = replace(changed, api=replace(changed.api, url=api_url))
        return changed

    def takes_all(self, listener: Listener) -> bool:
        """Whether a listener takes mail for everybody: it names nobody, and all it does is keep files."""
        names = {listener.transport, *(route.transport for route in listener.routes)} - {None}
        guarded = listener.recipient_domains or listener.require_auth or listener.relay_from
        return not guarded and all(name in self.transports and self.transports[name].sink for name in names if name)
