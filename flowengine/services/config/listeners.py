"""[listeners.*] and [transports.*]: the doors in and the ways out. A field is a key of the file, with its sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from flowengine.services.config.values import IP, Address, Domain, HostName, Network, NextHop, Word

Phase = Literal[
    "connect",
    "proxy",
    "helo",
    "auth",
    "mailfrom",
    "rcptto",
    "data",
    "eod",
    "predelivery",
    "postdelivery",
    "disconnect",
]
Flows = Mapping[Phase, Path]
Mechanism = Annotated[str, Meta(pattern="^[A-Z0-9_-]{1,20}$", description="Name of a SASL mechanism (RFC 4422 §3.1).")]


@dataclass(frozen=True, slots=True)
class ListenerTLS:
    """TLS of a listener: STARTTLS is offered, or spoken at once. Files are read again when they change."""

    certificate: Annotated[Path, Meta(description="Certificate chain, PEM.", examples=["tls/cert.pem"])]
    key: Annotated[Path, Meta(description="Its private key, PEM; mode 600.", examples=["tls/key.pem"])]
    implicit: Annotated[bool, Meta(description="TLS from the first byte (RFC 8314) in place of STARTTLS.")] = False
    required: Annotated[
        bool,
        Meta(description="Nothing before TLS but EHLO, STARTTLS, NOOP, QUIT (530); not for public mail exchangers."),
    ] = False
    minimum: Annotated[Literal["1.2", "1.3"], Meta(description="Lowest TLS version that is spoken.")] = "1.2"
    client_ca: Annotated[
        Path | None,
        Meta(
            description="Authorities whose client certificates are good, PEM; set, clients are asked for one.",
            examples=["tls/clients.pem"],
        ),
    ] = None
    client: Annotated[
        Literal["ask", "require"], Meta(description="require: no TLS without a good client certificate.")
    ] = "ask"


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One row of a listener's relay table: recipients of these domains get these flows and this transport."""

    domains: Annotated[
        tuple[Domain, ...],
        Meta(
            description="Recipient domains; `.example.net` is everything below it. Mail for them is taken.",
            min_length=1,
            examples=[["lists.example.net"]],
        ),
    ]
    flows: Annotated[
        Flows,
        Meta(
            description="Flows in place of the listener's own, for the phases from rcptto on.",
            examples=[{"data": "flows/lists.hsl"}],
        ),
    ] = field(default_factory=dict)
    transport: Annotated[Word | None, Meta(description="Transport of `Deliver()`.", examples=["lists"])] = None


@dataclass(frozen=True, slots=True)
class Listener:
    """A door: an address, the flows that speak there, and whom it takes mail for."""

    address: Annotated[
        Address,
        Meta(
            description="`host:port`, `[v6]:port` or `unix:path`.",
            examples=["0.0.0.0:25"],
            extra={"stand-in": Address("", 0)},
        ),
    ]
    protocol: Annotated[Literal["smtp", "lmtp", "milter", "policy"], Meta(description="What is spoken here.")] = "smtp"
    flows: Annotated[
        Flows,
        Meta(
            description="Phase → flow. Phases: connect proxy helo auth mailfrom rcptto, data or eod, predelivery "
            "postdelivery disconnect. Without a data or eod flow mail is delivered as it is.",
            examples=[{"mailfrom": "flows/mailfrom.hsl", "data": "flows/inbound.hsl"}],
        ),
    ] = field(default_factory=dict)
    recipient_domains: Annotated[
        tuple[Domain, ...],
        Meta(
            description="Domains for which mail is taken from anybody; `.example.net` is everything below it.",
            examples=[["example.net"]],
        ),
    ] = ()
    require_auth: Annotated[bool, Meta(description="No mail without authentication.")] = False
    relay_from: Annotated[
        tuple[Network, ...],
        Meta(description="Networks that may send to anywhere.", examples=[["192.0.2.0/24", "2001:db8::/32"]]),
    ] = ()
    transport: Annotated[
        Word | None, Meta(description="Transport of `Deliver()` when a flow names none.", examples=["local"])
    ] = None
    delivery: Annotated[
        Literal["inline", "queue"],
        Meta(
            description="queue: 250 after the message is on disk, and we try until it is delivered or returned. "
            "inline: 250 after the next hop's own. What a sink keeps is on disk with either."
        ),
    ] = "queue"
    routes: Annotated[
        tuple[RouteRow, ...], Meta(description="The relay table: first match wins, else the listener's own.")
    ] = ()
    tls: Annotated[ListenerTLS | None, Meta(description="TLS of this door.")] = None
    users: Annotated[
        Path | None,
        Meta(description="Users file (see `flowengine users`); or an auth flow decides.", examples=["users.toml"]),
    ] = None
    allow_plaintext_auth: Annotated[bool, Meta(description="Offer AUTH before TLS; only for loopback and tests.")] = (
        False
    )
    auth_mechanisms: Annotated[
        tuple[Mechanism, ...],
        Meta(
            description="SASL mechanisms that AUTH offers. Others than PLAIN and LOGIN need an auth flow.",
            min_length=1,
            max_length=20,
            examples=[["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"]],
        ),
    ] = ("PLAIN", "LOGIN")
    bare_newline: Annotated[
        Literal["reject", "normalize"],
        Meta(description="A CR or LF alone in a message: refuse the message with 550, or make it CRLF."),
    ] = "reject"
    hostname: Annotated[
        HostName | None, Meta(description="Name of this door in place of the global one.", examples=["mx.example.net"])
    ] = None
    banner: Annotated[
        str | None,
        Meta(description="Text of the greeting after the host name.", max_length=200, examples=["ESMTP flowengine"]),
    ] = None
    xclient: Annotated[tuple[Network, ...], Meta(description="Networks that may use XCLIENT.")] = ()
    xforward: Annotated[tuple[Network, ...], Meta(description="Networks that may use XFORWARD.")] = ()
    proxy: Annotated[
        tuple[Network, ...], Meta(description="Networks whose connections begin with a PROXY protocol header.")
    ] = ()


@dataclass(frozen=True, slots=True)
class TransportTLS:
    """TLS towards the next hop."""

    mode: Annotated[
        Literal["off", "may", "require", "verify"],
        Meta(description="may: if offered. require: or defer. verify: with a certificate that names the host."),
    ] = "may"
    mta_sts: Annotated[
        bool,
        Meta(description="With `mx`: do as the recipient's domain says (RFC 8461): its exchangers only, verified."),
    ] = False
    implicit: Annotated[bool, Meta(description="TLS from the first byte in place of STARTTLS.")] = False
    minimum: Annotated[Literal["1.2", "1.3"], Meta(description="Lowest TLS version that is spoken.")] = "1.2"
    authorities: Annotated[
        Path | None, Meta(description="Certificates to trust, PEM; default: the system's.", examples=["tls/ca.pem"])
    ] = None
    certificate: Annotated[
        Path | None, Meta(description="Our own certificate, PEM, when the next hop asks.", examples=["tls/client.pem"])
    ] = None
    key: Annotated[
        Path | None, Meta(description="Its private key, PEM; mode 600.", examples=["tls/client-key.pem"])
    ] = None


@dataclass(frozen=True, slots=True)
class SASL:
    """How we authenticate at the next hop."""

    username: Annotated[str, Meta(description="Name.", min_length=1, examples=["relay"])]
    password: Annotated[
        str,
        Meta(
            description="Password; `${NAME}` is taken from the environment, else the file must have mode 600.",
            min_length=1,
            examples=["${RELAY_PASSWORD}"],
            extra={"environment": True},
        ),
    ] = field(repr=False)
    mechanism: Annotated[
        Literal["plain", "login", "xoauth2"] | None,
        Meta(
            description="How; default: plain, else login. xoauth2: the password is an access token.", examples=["login"]
        ),
    ] = None
    allow_plaintext: Annotated[
        bool, Meta(description="Authenticate without TLS, too; else only to this machine. For trusted networks.")
    ] = False


Seconds = Annotated[float, Meta(ge=0.1, le=3600)]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for the next hop, step by step (RFC 5321 §4.5.3.2)."""

    connect: Annotated[Seconds, Meta(description="For the connection.")] = 30.0
    greeting: Annotated[Seconds, Meta(description="For the greeting.")] = 60.0
    command: Annotated[Seconds, Meta(description="For the reply to EHLO, MAIL, RCPT, AUTH, STARTTLS and RSET.")] = 60.0
    data: Annotated[Seconds, Meta(description="For the reply to DATA, and for each block of the message.")] = 120.0
    end: Annotated[Seconds, Meta(description="For the reply to the final dot.")] = 600.0


@dataclass(frozen=True, slots=True)
class Transport:
    """A way out: exactly one of `host`, `mx = true` and `sink`."""

    host: Annotated[
        tuple[NextHop, ...],
        Meta(description="Next hop, or a list tried in order.", examples=["127.0.0.1:26"], extra={"or one": True}),
    ] = ()
    mx: Annotated[bool, Meta(description="Deliver to the mail exchangers of the recipient's domain.")] = False
    port: Annotated[int, Meta(description="Port of mail exchangers.", ge=1, le=65535)] = 25
    sink: Annotated[
        Path | None, Meta(description="Keep messages as files in this directory.", examples=["var/sink"])
    ] = None
    protocol: Annotated[Literal["smtp", "lmtp"], Meta(description="What the next hop speaks.")] = "smtp"
    helo: Annotated[
        str | None, Meta(description="Our name in EHLO; default: hostname.", examples=["out.example.net"])
    ] = None
    source: Annotated[
        tuple[IP, ...],
        Meta(description="Local IP addresses to connect from.", examples=["192.0.2.25"], extra={"or one": True}),
    ] = ()
    tls: Annotated[TransportTLS, Meta(description="TLS towards the next hop.")] = field(default_factory=TransportTLS)
    sasl: Annotated[SASL | None, Meta(description="How we authenticate there.")] = None
    retry: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=604800)], ...],
        Meta(description="Seconds between attempts; the last one repeats.", min_length=1, max_length=100),
    ] = (60, 300, 900, 3600, 14400)
    expire: Annotated[int, Meta(description="Seconds after which a message is returned.", ge=1, le=2592000)] = 432000
    connections: Annotated[int, Meta(description="Connections to one next hop at a time.", ge=1, le=10000)] = 20
    messages_per_connection: Annotated[int, Meta(description="Then a connection is closed.", ge=1, le=1000000)] = 1000
    idle: Annotated[float, Meta(description="Seconds an unused connection is kept.", ge=0, le=300)] = 30.0
    attempts: Annotated[
        int, Meta(description="Addresses tried for one message, of all the hosts of a next hop.", ge=1, le=100)
    ] = 10
    rest: Annotated[
        float,
        Meta(
            description="Seconds for which a host that failed is tried last, and one that kept silent is not asked.",
            ge=0,
            le=3600,
        ),
    ] = 30.0
    chunking: Annotated[bool, Meta(description="BDAT in place of DATA where it is offered (RFC 3030).")] = True
    timeouts: Annotated[Timeouts, Meta(description="Seconds to wait, step by step.")] = field(default_factory=Timeouts)
