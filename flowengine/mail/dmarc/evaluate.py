"""The DMARC algorithm: policy first, then alignment, and only then the results that alignment makes matter.

RFC 9989 §5.3 by default, RFC 7489 §6.6 by parameter. SPF and DKIM come as values or as functions not yet called.
"""

import random
from collections.abc import Callable, Sequence

from flowengine.mail import names
from flowengine.mail.dmarc.record import Policy, Record, Standard
from flowengine.mail.dmarc.results import Alignment, DMARCResult, Identifier
from flowengine.mail.dmarc.tree import Discovery, Found
from flowengine.mail.dns import DNSUnavailable, Resolver
from flowengine.mail.suffixes import DEFAULT, SuffixList

_LOWER: dict[Policy, Policy] = {"reject": "quarantine", "quarantine": "none", "none": "none"}


async def evaluate(
    author: str,
    spf: Identifier | None,
    dkim: Sequence[Identifier],
    resolver: Resolver,
    *,
    standard: Standard = "rfc9989",
    sample: Callable[[], float] = random.random,
    suffixes: SuffixList = DEFAULT,
) -> DMARCResult:
    """Evaluate DMARC for one author domain (`addresses.from_domain` gives it).

    spf: the domain that SPF checked, None when there is none. dkim: the signatures, in the order to try them; the
    first aligned pass ends it. sample: a number from 0 up to 1 for each message, for pct of RFC 7489.

    Never raises for what comes from outside: DNS that cannot answer is `temperror` (unless something aligned passed
    all the same), an author that is no domain name is `permerror`.
    """
    domain = names.to_ascii(author)
    if domain is None:
        return DMARCResult(
            "permerror", None, "none", author[:253], "the author domain is not a domain name", standard=standard
        )
    discovery = Discovery(resolver, standard, suffixes)
    absent = DMARCResult("none", None, "none", domain, f"{domain} publishes no DMARC policy", standard=standard)
    try:
        found = await discovery.policy(domain)
    except DNSUnavailable as error:
        return absent._replace(result="temperror", reason=f"the policy of {domain} cannot be had now: {error}")
    if found is None:
        return absent
    record = found.record.effective(standard)
    if record is None:
        reason = f"the record of {found.domain} has neither a valid policy nor a report address"
        return absent._replace(policy_domain=found.domain, reason=reason)
    aligner = _Aligner(domain, discovery, found.organizational_domain)
    spf_alignment = await aligner.spf(spf, strict=record.aspf == "s")
    dkim_alignment = await aligner.dkim(dkim, strict=record.adkim == "s")
    known = absent._replace(
        policy_domain=found.domain,
        organizational_domain=aligner.organizational_domain,
        spf=spf_alignment,
        dkim=dkim_alignment,
        record=record,
    )
    return await _conclude(known, found._replace(record=record), resolver, sample)


async def _conclude(known: DMARCResult, found: Found, resolver: Resolver, sample: Callable[[], float]) -> DMARCResult:
    spf, dkim = known.spf, known.dkim
    record, standard = found.record, known.standard
    passed = dkim if dkim.passed else spf if spf.passed else None
    try:
        policy = await _applicable(known.domain, found, standard, resolver)
    except DNSUnavailable as error:
        if passed is None:
            reason = f"whether {known.domain} exists cannot be known now: {error}"
            return known._replace(result="temperror", reason=reason)
        policy = record.sp or record.p
    known = known._replace(policy=policy)
    if passed is not None:
        return known._replace(result="pass", reason=passed.reason)
    why = f"{spf.reason}; {dkim.reason}"
    for alignment in (spf, dkim):
        if alignment.aligned is None or (alignment.aligned and alignment.result == "temperror"):
            return known._replace(result="temperror", reason=why)
    disposition, spared = _disposition(policy or "none", record, standard, sample)
    reason = f"{why}; the policy of {found.domain} is {policy}"
    if disposition != policy:
        reason += f", {disposition} for this message ({'pct' if spared else 't=y'})"
    return known._replace(result="fail", disposition=disposition, sampled_out=spared, reason=reason)


async def _applicable(domain: str, found: Found, standard: Standard, resolver: Resolver) -> Policy | None:
    """The policy of p, or of sp and np for a domain below the record's (RFC 9989 §4.10.1)."""
    record = found.record
    if found.own:
        return record.p
    existing = record.sp or record.p
    if standard == "rfc7489" or record.np is None or record.np == existing:
        return existing
    answer = await resolver.query(domain, "a")
    return existing if answer.exists else record.np


def _disposition(
    policy: Policy, record: Record, standard: Standard, sample: Callable[[], float]
) -> tuple[Policy, bool]:
    """What to do with a failure, and whether sampling spared it."""
    if policy == "none":
        return "none", False
    if standard == "rfc9989":
        return (_LOWER[policy] if record.test else policy), False  # §4.7 t
    spared = record.percent < 100 and sample() * 100 >= record.percent  # RFC 7489 §6.6.4
    return (_LOWER[policy] if spared else policy), spared


class _Aligner:
    """Compares domains with the author's (RFC 9989 §4.10.2); asks DNS only for names that could be aligned."""

    def __init__(self, author: str, discovery: Discovery, organizational_domain: str) -> None:
        self.author, self.discovery = author, discovery
        self.organizational_domain = organizational_domain

    async def spf(self, identifier: Identifier | None, *, strict: bool) -> Alignment:
        if identifier is None or not identifier.domain:
            return Alignment(False, False, "", "", "SPF has no domain")
        return await self._judge("SPF of", identifier, strict)

    async def dkim(self, identifiers: Sequence[Identifier], *, strict: bool) -> Alignment:
        """The best of the signatures: the first that passes, else one in doubt, else an aligned one, else the last."""
        best = Alignment(False, False, "", "", "no DKIM signature")
        rank = -1
        for identifier in identifiers:
            judged = await self._judge("DKIM signature of", identifier, strict)
            if judged.passed:
                return judged
            doubt = judged.aligned is None or (judged.aligned and judged.result == "temperror")
            if (judged_rank := 2 if doubt else int(judged.aligned is True)) > rank:
                best, rank = judged, judged_rank
        return best

    async def _judge(self, what: str, identifier: Identifier, strict: bool) -> Alignment:
        domain = names.to_ascii(identifier.domain)
        if domain is None:
            return Alignment(False, False, "", "", f"{what} something that is not a domain name")
        try:
            aligned = await self._aligned(domain, strict)
        except DNSUnavailable as error:
            reason = f"whether {what} {domain} is aligned cannot be known now: {error}"
            return Alignment(None, False, domain, "", reason)
        if not aligned:
            how = "strictly aligned" if strict else "aligned"
            return Alignment(False, False, domain, "", f"{what} {domain} is not {how} with {self.author}")
        result = identifier.result if isinstance(identifier.result, str) else await identifier.result()
        says = "passed" if result == "pass" else f"says {result}"
        return Alignment(True, result == "pass", domain, result, f"{what} {domain} is aligned and {says}")

    async def _aligned(self, domain: str, strict: bool) -> bool:
        if domain == self.author:
            return True
        if strict or domain.rpartition(".")[2] != self.author.rpartition(".")[2]:
            return False
        if not self.organizational_domain:
            self.organizational_domain = await self.discovery.organizational_domain(self.author)
        if not names.is_subdomain(domain, self.organizational_domain):
            return False
        return await self.discovery.organizational_domain(domain) == self.organizational_domain
