"""An attempt to deliver a message of the queue: what a flow is told of it, and what it may decide (HSL reference §2.5).

The queue makes an `Attempt`, `attempt_run.py` gives a `Decision` back. Nothing here sends, stores or waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from flowengine.language.values import Value
from flowengine.mail.addresses import Path
from flowengine.mail.message import Message
from flowengine.runtime.actions import Action, Reply

if TYPE_CHECKING:
    from flowengine.runtime.run import RunResult

TLSMode = Literal["disabled", "optional", "optional_verify", "dane", "dane_require", "require", "require_verify"]
Upcoming = Literal["", "QUEUE", "BOUNCE", "DELETE"]
NOBODY_HEARS = Reply(250, "2.0.0", "Ok")


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """One message in the queue for one recipient.

    transaction: the id it was received under. queue: its number in the queue. received: Unix time in seconds.
    listener: where it came in, "" for our own. client_ip, helo, username: of who brought it, "" for nobody.
    size: octets. content: the message itself, None when the flow need not see it.
    """

    transaction: str
    queue: int
    received: float
    sender: Path
    recipient: Path
    transport: str | None = None
    listener: str = ""
    client_ip: str = ""
    helo: str = ""
    username: str = ""
    jobid: str = ""
    size: int = 0
    actionid: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)
    content: Message | None = None


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How an attempt went.

    code, enhanced, reason: what the next hop said, code 0 when it said nothing. state: the command it answered, such as
    MAIL, RCPT, DATA, EOD. error: our own words for trouble without a reply; temporary: whether trying again may help.
    tls: protocol, cipher, keysize; empty without TLS. duration in seconds.
    """

    code: int = 0
    enhanced: tuple[int, ...] = ()
    reason: tuple[str, ...] = ()
    state: str = ""
    error: str = ""
    temporary: bool = True
    local_ip: str = ""
    remote_ip: str = ""
    remote_port: int = 0
    remote_mx: str = ""
    tls: Mapping[str, Value] = field(default_factory=dict)
    duration: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a pre-delivery or post-delivery flow is told.

    retry: attempts before this one. retries: how many there may be. destination, port, source_ips: what the transport
    says. context: `$context`, from the pre-delivery flow to the post-delivery flow of the same attempt.
    action: what the queue will do if the post-delivery flow says nothing, "" after a delivery. result: None before.
    """

    message: QueuedMessage
    retry: int = 0
    retries: int = 0
    destination: str = ""
    port: int = 25
    source_ips: tuple[str, ...] = ()
    context: Value = None
    action: Upcoming = ""
    result: AttemptResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """What a flow says of one attempt in place of its transport; None everywhere means: as the transport says.

    host: a name or address, or lookup-mx. sender, recipient: the envelope of this attempt. sender_params,
    recipient_params: ESMTP parameters. sources: addresses or names to connect from, each with its HELO name or "".
    timeout: seconds by SMTP state. tls_protocols: such as "TLSv1.2,TLSv1.3" or "!TLSv1".
    """

    host: str | None = None
    port: int | None = None
    protocol: Literal["smtp", "lmtp"] | None = None
    sender: Path | None = None
    sender_params: Mapping[str, str] | None = None
    recipient: Path | None = None
    recipient_params: Mapping[str, str] | None = None
    helo: str | None = None
    sources: tuple[tuple[str, str], ...] | None = None
    source_random: bool | None = None
    nonlocal_source: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TLSMode | None = None
    tls_sni: str | bool | None = None
    tls_protocols: str | None = None
    tls_ciphers: str | None = None
    tls_verify_host: bool | None = None
    tls_verify_name: tuple[str, ...] | None = None
    tls_default_ca: bool | None = None
    tls_client_cert: str | None = None
    xclient: Mapping[str, str] | None = None
    mx_include: tuple[str, ...] | None = None
    mx_exclude: tuple[str, ...] | None = None
    jobid: str | None = None
    timeout: Mapping[str, float] | None = None
    connect_timeout: float | None = None

    def document(self) -> dict[str, object]:
        """What was said, without the password, for traces and `run --json`."""
        said: dict[str, object] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if value is None or value is False or name == "password":
                continue
            said[name] = str(value) if isinstance(value, Path) else list(value) if type(value) is tuple else value
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptAction(Action):
    """What a flow decided about a message in the queue."""

    reply: Reply = NOBODY_HEARS

    def document(self) -> dict[str, object]:
        """The action as `run --json` prints it."""
        said = {name: value for name, value in self._said().items() if value not in (None, False, "", {})}
        return {"action": self.name, **said, "reason": self.reason, "implicit": self.implicit}

    def _said(self) -> dict[str, object]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Try(AttemptAction):
    """Try to deliver now, as the transport and `hop` say."""

    hop: Hop = field(default_factory=Hop)

    def _said(self) -> dict[str, object]:
        return self.hop.document()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue(AttemptAction):
    """Try again later.

    delay: seconds, None for the transport's own. hold: not before somebody releases it. increment_retry: this counts
    as an attempt. reset_retry: begin to count anew. transport: another one from now on.
    """

    delay: float | None = None
    hold: bool = False
    increment_retry: bool = True
    reset_retry: bool = False
    transport: str | None = None

    def _said(self) -> dict[str, object]:
        no_count = {} if self.increment_retry else {"increment_retry": "no"}
        about = {"delay": self.delay, "hold": self.hold, "reset_retry": self.reset_retry, "transportid": self.transport}
        return {**about, **no_count}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce(AttemptAction):
    """Give up, and tell the sender; a null sender is told nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard(AttemptAction):
    """Take the message out of the queue without a word."""

    @property
    def name(self) -> str:
        """The word of the language for it."""
        return "Delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Default(AttemptAction):
    """What the queue does anyway after such an attempt."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What came of a flow about an attempt.

    action: Try, Queue, Bounce, Discard or Default. metadata: the message's from now on, None when it was not changed.
    dsn: what the flow wants of a bounce, should there be one (`SetDSN`, `Bounce(["dsn" => …])`): subject, from,
    from_name, headers, recipient, transportid, metadata, dkim. context: for the post-delivery flow. run: for traces.
    """

    action: AttemptAction
    metadata: Mapping[str, str] | None
    dsn: Mapping[str, Any]
    context: Value
    run: "RunResult | None" = None
