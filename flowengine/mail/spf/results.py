"""What an SPF check answers, and the limits it keeps."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Result = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]
Identity = Literal["mailfrom", "helo"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one check may ask (RFC 7208 §4.6.4).

    lookups: terms that ask DNS. voids: answers without a record. names: hosts of one mx, names of one ptr.
    seconds: time for the whole check; no question is asked after it.
    """

    lookups: int = 10
    voids: int = 2
    names: int = 10
    seconds: float = 20.0


class Step(NamedTuple):
    """One term as it was evaluated: whose record, which term, and what came of it."""

    domain: str
    term: str
    outcome: str


@dataclass(frozen=True, slots=True)
class SPFResult:
    """The outcome of a check (RFC 7208 §2.6).

    domain: the one that was checked, lower case, A-labels where it is a name. identity: which of the two it was.
    mechanism: the term that decided, "" when none did; after a redirect that of the other record.
    explanation: the domain's own text for a fail (untrusted: printable ASCII), None when it gives none.
    reason: one sentence. trace: the terms evaluated, in order, 256 at most. lookups, voids: used of the limits.
    """

    result: Result
    domain: str
    identity: Identity
    reason: str
    mechanism: str = ""
    explanation: str | None = None
    trace: tuple[Step, ...] = ()
    lookups: int = 0
    voids: int = 0
