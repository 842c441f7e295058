"""What a relay needs to know: where to, how patiently, how safely, and what about the message."""

from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for the next hop, step by step (RFC 5321 §4.5.3.2). data: for 354 and for each block."""

    connect: float = 30.0
    greeting: float = 60.0
    command: float = 60.0
    data: float = 120.0
    end: float = 600.0


@dataclass(frozen=True, slots=True)
class Encryption:
    """TLS towards a next hop.

    name: the host that is meant, for SNI and for the certificate; "" for a Unix socket. required: nothing is sent
    without TLS. implicit: from the first byte in place of STARTTLS. verified: the context checks the certificate.
    """

    context: SSLContext
    name: str = ""
    required: bool = False
    implicit: bool = False
    verified: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """How we authenticate. mechanisms: in order of preference. in_clear: also without TLS, over a network."""

    username: str
    password: str = field(repr=False)
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    in_clear: bool = False


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """One next hop. path: a Unix socket in place of host and port. name: what DNS calls a host that is an address.

    helo: our name. sources: local addresses to connect from, at most one a family; with any, other families are not
    used. connections: at a time. messages_per_connection: then it is closed. idle: seconds an unused one is kept.
    rest: seconds for which a host that failed is tried last, and one that kept silent is not asked. chunking: BDAT in
    place of DATA where it is offered. patience: seconds, step by step.
    """

    host: str = ""
    port: int = 25
    path: str = ""
    name: str = ""
    protocol: Literal["smtp", "lmtp"] = "smtp"
    helo: str = "localhost"
    sources: tuple[str, ...] = ()
    connections: int = 20
    messages_per_connection: int = 1000
    idle: float = 30.0
    rest: float = 30.0
    chunking: bool = True
    encryption: Encryption | None = None
    login: Login | None = None
    patience: Patience = field(default_factory=Patience)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if self.name:
            return f"{self.name}[{self.host}]:{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Envelope(NamedTuple):
    """For whom a message is, and what of it a next hop must know beforehand.

    sender: "" for the null sender. size: octets. eight_bit: some are not ASCII. utf8_header: SMTPUTF8 was asked for,
    and the header has what only SMTPUTF8 allows (RFC 6531 §3.6). tls_required: REQUIRETLS was asked for (RFC 8689).
    dsn: parameters of MAIL for reports of delivery, each with a space in front (RFC 3461); recipient_dsn: those of each
    RCPT, none at all or one for each recipient. They are left out where the next hop does not offer DSN.
    """

    sender: str
    recipients: tuple[str, ...]
    size: int = 0
    eight_bit: bool = False
    utf8_header: bool = False
    tls_required: bool = False
    dsn: str = ""
    recipient_dsn: tuple[str, ...] = ()
