"""The verdicts a flow can reach, and which of them the client hears.

Every action is a value. Nothing here sends, stores or logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from flowengine.mail.arc_seal import ArcSeal
from flowengine.mail.dkim import Seal
from flowengine.mail.message import Message


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client hears: SMTP code, enhanced code (RFC 3463, "" for none), text; `\\n` makes several lines.

    disconnect: the connection ends after it.
    """

    code: int
    enhanced: str
    text: str
    disconnect: bool = False
    positive: bool = field(init=False, repr=False, compare=False)
    """Whether the client may take its work as done (2xx)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "positive", 200 <= self.code < 300)

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}" if self.enhanced else f"{self.code} {self.text}"

    def document(self) -> dict[str, object]:
        """The reply as `run --json` prints it."""
        return {"code": self.code, "enhanced": self.enhanced, "text": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a flow decided. `gravity` orders the verdicts of several recipients (HSL reference §2.1).

    reason: the text the flow gave, "" for none. implicit: the script came to its end without an action of its own.
    """

    gravity: ClassVar[int] = 0
    ends: ClassVar[bool] = True

    reply: Reply
    reason: str = ""
    reply_codes: Mapping[str, object] = field(default_factory=dict)
    implicit: bool = False

    @property
    def name(self) -> str:
        """The word of the language for it."""
        return type(self).__name__

    def document(self) -> dict[str, object]:
        """The action as `run --json` prints it: the language's own words, without what was left at its default."""
        found: dict[str, object] = {"action": self.name}
        for one in fields(self):
            if one.name in ("reply", "message", "seals", "sender", "own_sender", "implicit"):
                continue
            value = getattr(self, one.name)
            if value != one.default and value not in ({}, None):
                found[one.name] = value
        return {**found, "reason": self.reason, "implicit": self.implicit}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(Action):
    """Refuse for good."""

    gravity: ClassVar[int] = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer(Action):
    """Refuse for now: the client is to come back."""

    gravity: ClassVar[int] = 4


AnySeal = Seal | ArcSeal
"""What is set on a message when it leaves (sealing.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Action):
    """An action that keeps the message as it stood then, with the seals asked for by then.

    own_sender: the sender is this delivery's own, whatever `SetSender` says about the transaction's.
    """

    message: Message
    seals: tuple[AnySeal, ...] = ()
    sender: str = ""
    own_sender: bool = False
    recipient: str
    transportid: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    done: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine(Kept):
    """Keep aside under an id; the client hears a refusal unless `reject` is false."""

    gravity: ClassVar[int] = 3

    id: str
    reject: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Action):
    """Drop, and say that it went well."""

    gravity: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(Kept):
    """Send on to a recipient.

    delay in seconds before the first attempt. queue false: while the client waits. hold: not before somebody releases
    it. quotas: names that it counts towards.
    """

    gravity: ClassVar[int] = 1

    delay: float = 0
    queue: bool = True
    jobid: str = ""
    quotas: tuple[str, ...] = ()
    hold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept(Action):
    """Say yes, for the phases that only ask."""

    gravity: ClassVar[int] = 1
    changes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass(Action):
    """Say nothing, for the phases that nobody waits for; let a command line through, in proxy flows.

    command: the line in its place, None for the client's own. next: the flow wants the next line too.
    """

    gravity: ClassVar[int] = 1
    command: str | None = None
    next: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Action):
    """Answer a command line in place of the server, in proxy flows. next: the flow wants the next line too."""

    gravity: ClassVar[int] = 1
    next: bool = False

    @property
    def name(self) -> str:
        """The word of the language for it."""
        return "Reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge(Action):
    """Ask the client that wants to authenticate for more: a 334 whose text is the challenge, a character an octet."""

    gravity: ClassVar[int] = 4

    @property
    def name(self) -> str:
        """The word of the language for it."""
        return "Reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Action):
    """End the script without a further action."""

    gravity: ClassVar[int] = 4
