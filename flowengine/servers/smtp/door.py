"""What the SMTP door needs from the rest: a session to speak with, and the settings of a listener.

The door knows no flow, no policy and no configuration file. A step of the session answers with a `Reply` at once, or
with a coroutine that the door awaits in a Task of its own before it reads the next command.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal, Protocol

from flowengine.mail.addresses import Path
from flowengine.mail.message import Message
from flowengine.runtime.actions import Action, Reply
from flowengine.servers.smtp.encryption import About, Encryption
from flowengine.servers.smtp.intake import Bounds

Waiting = Coroutine[Any, Any, Reply | Action]
Step = Reply | Waiting

Report = Callable[[str, Mapping[str, object]], None]
"""Hears what happened, as a name and fields for the log: never content, never a password."""


class Session(Protocol):
    """One visit. The door calls its steps one after the other, in the order RFC 5321 §4.1.4 allows."""

    def connect(self) -> Step:
        """Somebody came. A 2xx lets the client in, with the text behind the greeting; anything else shows it out."""
        ...

    def proxy(self, command: str) -> Action | Waiting:
        """A command line before it is carried out, where the options say so. Pass lets it through, or another line in
        its place; of anything else the client hears the reply. `next`: the next line too, whatever it is."""
        ...

    def helo(self, verb: str, host: str, extensions: Sequence[str] = ()) -> Step:
        """HELO or EHLO with the client's name and what we offer. An open transaction ends."""
        ...

    def encrypted(self, tls: About) -> None:
        """The connection is under TLS, and what the client said before counts no more (RFC 3207 §4.2)."""
        ...

    def authenticate(self, mechanism: str, username: str, password: str, response: bytes | None = None) -> Step:
        """Who a client says it is, and its password or token. 235 lets it in, 334 asks for more.

        response: the client's own words, where the mechanism says more with them.
        """
        ...

    def exchange(self, mechanism: str, response: bytes | None, state: int) -> Step:
        """A response that means something to the session only: of another mechanism, or the answer to a 334.

        state: how many questions were answered. The text of a 334 is the challenge, one character an octet.
        """
        ...

    def impersonate(
        self, client: "Client", *, name: str | None, helo: str | None, protocol: str | None, login: str | None
    ) -> Step:
        """XCLIENT: from now on it is another client's connection, which has just come and may have authenticated.

        None for what is unknown. name: its host name, confirmed. protocol: SMTP or ESMTP. Answers as `connect`.
        """
        ...

    def forwarded(self, attributes: Mapping[str, str | None]) -> None:
        """XFORWARD: what is known of the client of the next transaction. Decides nothing."""
        ...

    def mail_from(self, sender: Path, parameters: Mapping[str, str]) -> Step:
        """A transaction begins. Parameters: upper-case keywords, "" for one without a value."""
        ...

    def rcpt_to(self, address: Path, parameters: Mapping[str, str]) -> Step:
        """One recipient."""
        ...

    def data(self, message: Message) -> Step:
        """The whole message, dot-stuffing undone. Whatever the reply, the transaction is over."""
        ...

    def refused(self, reply: Reply) -> Reply:
        """The door has refused the content of the message; `reset` follows. The reply as the client hears it."""
        ...

    def reset(self) -> None:
        """The transaction ended without a message: RSET, a new EHLO, or content that the door refused."""
        ...

    def disconnect(self) -> Coroutine[Any, Any, object] | None:
        """The connection is gone. Called once, after the last step has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Client:
    """Both ends of a connection. Addresses as text, "" on a Unix socket."""

    ip: str = ""
    port: int = 0
    server_ip: str = ""
    server_port: int = 0


Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection. Sizes in octets, times in seconds.

    command_line, auth_line: the longest line, CRLF included; RFC 5321 §4.5.3.1.4 asks for 512 and whatever the
    extensions add, RFC 4954 §4 for 12288. message: its size is also what SIZE announces. recipients: what LIMITS
    announces; the session counts them. session_commands, session_messages: then the client has to come again.
    errors: commands that break the protocol until the client is shown out. idle_commands: commands that bring no
    message nearer (NOOP, RSET, EHLO …) between two messages. auth_failures: wrong passwords. pending_input: what is
    read ahead while a step is under way.
    greeting_delay: who talks before it is over is refused. proxy_time: until a PROXY header is complete. tarpit: before
    replies that are errors, for each. command_time: until a command is complete (RFC 5321 §4.5.3.2.7). data_time:
    silence within a message (§4.5.3.2.5). message_time: a whole message, however slowly it drips. farewell_time: to
    fetch our last reply.
    """

    command_line: int = 2048
    auth_line: int = 12288
    message: Bounds = field(default_factory=Bounds)
    recipients: int = 1000
    session_commands: int = 1_000_000
    session_messages: int = 100_000
    errors: int = 20
    idle_commands: int = 100
    auth_failures: int = 3
    pending_input: int = 65536
    command_time: float = 300.0
    data_time: float = 180.0
    message_time: float = 1800.0
    farewell_time: float = 10.0
    greeting_delay: float = 0.0
    proxy_time: float = 10.0
    tarpit: float = 0.0


def _nobody_knows() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Options:
    """How one listener speaks.

    bare_newline: what a CR or LF that stands alone means. Under "reject" a message with one is refused and so is a
    command; under "normalize" each becomes a CRLF once the message has ended, and a bare LF ends a command.
    auth: the SASL mechanisms that the session can check, none to offer no AUTH. allow_plaintext_auth: without TLS too.
    encryption: None where TLS is not spoken.
    next_hop: what the only next hop offered last, None as long as nobody knows or where there are several.
    proxied: the session sees every command line before it is carried out.
    xclient, xforward: who may use these commands. proxy: whose connections begin with a PROXY header.
    trace: every command and its reply is reported, not only what goes wrong and who came and went.
    """

    hostname: str
    bare_newline: Literal["reject", "normalize"] = "reject"
    auth: tuple[str, ...] = ()
    allow_plaintext_auth: bool = False
    encryption: Encryption | None = None
    next_hop: Callable[[], Mapping[str, str] | None] = _nobody_knows
    proxied: bool = False
    trace: bool = False
    xclient: Networks = ()
    xforward: Networks = ()
    proxy: Networks = ()
    limits: Limits = field(default_factory=Limits)
    extensions: tuple[str, ...] = field(init=False)
    """What EHLO offers to everybody."""

    def __post_init__(self) -> None:
        limits = self.limits
        # RFC 9422 §4: six digits at most
        most = f"LIMITS MAILMAX={min(limits.session_messages, 999_999)} RCPTMAX={min(limits.recipients, 999_999)}"
        offered = ("PIPELINING", f"SIZE {limits.message.size}", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN")
        object.__setattr__(self, "extensions", (*offered, "ENHANCEDSTATUSCODES", most))


@dataclass(frozen=True, slots=True)
class Capacity:
    """Bounds of all connections together.

    connections_per_client, client_commands: of all in one network of client_prefix_v4 or client_prefix_v6 bits; the
    latter is for a minute.
    bytes_in_flight: octets of messages in memory, those coming in and those being decided.
    """

    connections: int = 1000
    connections_per_client: int = 100
    client_commands: int = 5_000_000
    client_prefix_v4: int = 32
    client_prefix_v6: int = 64
    bytes_in_flight: int = 512 << 20
