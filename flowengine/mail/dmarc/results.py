"""What DMARC is told and what it answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from flowengine.mail.dmarc.record import Policy, Record, Standard

ResultWord = Literal["pass", "fail", "none", "temperror", "permerror"]
ScanWord = Literal["temperror", "permerror", "policy_absent", "pass", "none", "reject", "quarantine"]


class Identifier(NamedTuple):
    """A domain that SPF or a DKIM signature may authenticate.

    domain: of the envelope sender (of HELO for a null sender), or the d= of a signature.
    result: the word of SPF or DKIM (`pass` … `temperror`), or a function that finds it; it is called at most once,
        and only when the domain is aligned.
    """

    domain: str
    result: str | Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Alignment:
    """What became of one mechanism.

    aligned: whether a domain of it is aligned; None when DNS could not say. passed: aligned and `pass`.
    domain, result: of the identifier that decided; result is "" when nobody asked. reason: half a sentence.
    """

    aligned: bool | None
    passed: bool
    domain: str
    result: str
    reason: str

    @property
    def word(self) -> Literal["pass", "fail", "unaligned"]:
        """As aggregate logs say it."""
        return "pass" if self.passed else "fail" if self.aligned else "unaligned"


NOT_EVALUATED = Alignment(None, False, "", "", "not evaluated")


class DMARCResult(NamedTuple):
    """The outcome for one message.

    result: RFC 8601 §2.7 word. policy: the published policy that applies, None without one.
    disposition: what the domain asks to do now, after t=y or sampling; "none" unless the result is fail.
    domain: the author domain. policy_domain: where the record was found, "" when nowhere.
    organizational_domain: of the author domain, "" when it was not needed.
    record: as it is applied. sampled_out: pct (RFC 7489) spared this message. reason: one sentence.
    """

    result: ResultWord
    policy: Policy | None
    disposition: Policy
    domain: str
    reason: str
    policy_domain: str = ""
    organizational_domain: str = ""
    spf: Alignment = NOT_EVALUATED
    dkim: Alignment = NOT_EVALUATED
    record: Record | None = None
    sampled_out: bool = False
    standard: Standard = "rfc9989"


def scan_word(result: DMARCResult) -> ScanWord:
    """The word that `ScanDMARC` gives to flows: `none` is a failure that the domain asks nothing about."""
    match result.result:
        case "fail":
            return result.disposition
        case "none":
            return "policy_absent"
        case word:
            return word
