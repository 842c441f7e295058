"""The three life times of a visit: Connection ⊃ Transaction ⊃ Recipient. A new field goes where it dies."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowengine.language.compiler import Program
from flowengine.language.values import Value
from flowengine.mail.addresses import Path
from flowengine.mail.evaluation import Evaluation
from flowengine.runtime.world import World


@dataclass(frozen=True, slots=True)
class Client:
    """Who is on the other side: addresses as text, ports, and the confirmed host name if one was looked up."""

    ip: str = "127.0.0.1"
    port: int = 0
    server_ip: str = "127.0.0.1"
    server_port: int = 25
    ptr: str | None = None


@dataclass(slots=True)
class Connection:
    """What is known of the client as long as it is there.

    listener: the listener's name. tls: protocol, cipher, … once encrypted. username: who authenticated, by which
    mechanism. forwarded: what XFORWARD said about the next transaction. context: what the flows want to remember
    (`$context`).
    """

    client: Client
    listener: str
    helo: str | None = None
    helo_verb: str = ""
    tls: Mapping[str, Value] | None = None
    username: str | None = None
    mechanism: str = ""
    forwarded: Mapping[str, str | None] = field(default_factory=dict)
    context: Value = None


@dataclass(slots=True)
class Recipient:
    """One recipient. `SetRecipient`, `SetMailTransport` and `SetMetaData` write here."""

    address: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    transportid: str | None = None
    flow: Program | None = None


@dataclass(slots=True)
class Transaction:
    """One message on its way, from MAIL FROM to the reply after the dot.

    started: Unix time in seconds. ip, helo: the client's, as SPF and the flows see them (`SetSenderIP`).
    delay: what `SetDelayedDeliver` asked for, seconds. actionid: `$actionid`. deliveries: for each next hop that took
    the message the transport, host, TLS and reply, for the log. deadline: when the client has to have its reply to the
    dot, in seconds of the monotonic clock.
    """

    id: str
    started: float
    world: World
    sender: Path
    ip: str = ""
    helo: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    recipients: list[Recipient] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    actionid: int = 1
    delay: float = 0
    deadline: float | None = None
    deliveries: list[Mapping[str, str]] = field(default_factory=list)
    evaluation: Evaluation | None = None
