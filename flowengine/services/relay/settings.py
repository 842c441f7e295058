"""What a relay needs to know: where to, how patiently, and what about the message."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from ssl import SSLContext
from typing import Literal


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for the next hop, step by step (RFC 5321 §4.5.3.2). data: for 354 and for each block."""

    connect: float = 30.0
    greeting: float = 60.0
    command: float = 60.0
    data: float = 120.0
    end: float = 600.0


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are at a next hop."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """One next hop. path: a Unix socket in place of host and port.

    helo: our name. source: the local address to connect from, "" for any. connections: at a time.
    messages_per_connection: then it is closed. idle: seconds an unused one is kept. patience: seconds, step by step.
    tls: `may` takes what it gets, `require` and `verify` send nothing in clear text. implicit: from the first byte in
    place of STARTTLS. context: how; without one there is no TLS. login: told under TLS, or to this machine only.
    """

    host: str = ""
    port: int = 25
    path: str = ""
    protocol: Literal["smtp", "lmtp"] = "smtp"
    helo: str = "localhost"
    source: str = ""
    connections: int = 20
    messages_per_connection: int = 1000
    idle: float = 30.0
    patience: Patience = field(default_factory=Patience)
    tls: Literal["off", "may", "require", "verify"] = "off"
    implicit: bool = False
    context: SSLContext | None = None
    login: Login | None = None

    @property
    def local(self) -> bool:
        """Whether nobody but this machine hears what we say."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """For whom a message is, and what of it a next hop must know beforehand.

    sender: "" for the null sender. size: octets. eight_bit: some are not ASCII. utf8_header: SMTPUTF8 was asked for,
    and the header has what only SMTPUTF8 allows (RFC 6531 §3.6).
    """

    sender: str
    recipients: tuple[str, ...]
    size: int = 0
    eight_bit: bool = False
    utf8_header: bool = False
