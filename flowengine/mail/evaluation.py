"""One evaluation a message: SPF, DKIM, DMARC and ARC are asked once and shared by builtins, doors, log and trace."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Literal, get_args

from flowengine.mail import arc, dkim, dmarc, spf
from flowengine.mail.addresses import FromRefused, from_domain, split
from flowengine.mail.arc import ChainResult
from flowengine.mail.arc_trust import Vouched, newest_sealer, vouched
from flowengine.mail.authentication_results import MethodResult, Property, of_signature
from flowengine.mail.dkim import SignatureResult
from flowengine.mail.dmarc import DMARCResult
from flowengine.mail.dns import Resolver
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.mail.spf import Identity, SPFResult

IN_A_THREAD = 1 << 20
"""Bodies from this size on (bytes) are hashed in a thread, so that other sessions go on meanwhile."""


Method = Literal["spf", "dkim", "dmarc", "arc"]


class Evaluation:
    """What the world says about one message. Each part is computed when it is first asked for.

    now: gives Unix time in seconds. sample: gives a number from 0 up to 1 for `pct` (RFC 7489 §6.6.4).
    hostname: our name, the `r` of SPF macros and the authserv-id.
    """

    def __init__(
        self,
        message: Message,
        resolver: Resolver,
        *,
        hostname: str,
        standard: Literal["rfc9989", "rfc7489"],
        now: Callable[[], float],
        sample: Callable[[], float],
    ) -> None:
        self.message = message
        self.hostname, self.standard = hostname, standard
        self._resolver, self._now, self._sample = resolver, now, sample
        self._author: str | FromRefused | None = None
        self._refused = False
        self._signatures: tuple[SignatureResult, ...] | None = None
        self._chain: ChainResult | None = None
        self._spf: dict[tuple[str, str, str], SPFResult] = {}
        self._dmarc: dict[tuple[str, str, str], DMARCResult] = {}
        self._vouched: Vouched | None = None

    @property
    def author(self) -> str | FromRefused:
        """The one domain of the From field in A-labels, or why there is none."""
        if self._author is None:
            self._author = from_domain([field.value for field in self.message.headers.all("from")])
        return self._author

    async def spf(self, ip: str, helo: str, sender: str) -> SPFResult:
        """SPF of the envelope sender, or of the HELO name for a null sender. ip "" (unknown) gives `none`."""
        key = (ip, helo, sender)
        if key not in self._spf:
            self._spf[key] = await self._check_spf(ip, helo, sender)
        return self._spf[key]

    async def _check_spf(self, ip: str, helo: str, sender: str) -> SPFResult:
        if not ip:
            identity: Identity = "mailfrom" if sender else "helo"
            return SPFResult("none", _spf_domain(helo, sender), identity, "the client's address is not known")
        return await spf.check(ip, helo, sender, self._resolver, receiver=self.hostname, now=self._now())

    async def dkim(self) -> tuple[SignatureResult, ...]:
        """Every DKIM signature of the message, from top to bottom."""
        if self._signatures is None:
            message, now = self.message, self._now()
            large = message.body.size >= IN_A_THREAD and bool(message.headers.places("dkim-signature"))
            prepared = await asyncio.to_thread(dkim.prepare, message, now=now) if large else None
            self._signatures = await dkim.verify(message, self._resolver, now=now, prepared=prepared)
        return self._signatures

    async def dmarc(self, ip: str, helo: str, sender: str) -> DMARCResult | FromRefused:
        """DMARC of the author domain, or why there is no author domain. Only identifiers that could be aligned are
        asked for."""
        author = self.author
        if isinstance(author, FromRefused):
            self._refused = True
            return author
        key = (ip, helo, sender)
        if key not in self._dmarc:

            async def spf_word() -> str:
                return (await self.spf(ip, helo, sender)).result

            self._dmarc[key] = await dmarc.evaluate(
                author,
                dmarc.Identifier(_spf_domain(helo, sender), spf_word),
                [dmarc.Identifier(domain, self._word(place)) for place, domain in self.signers(dkim.MOST_CHECKED)],
                self._resolver,
                standard=self.standard,
                sample=self._sample,
            )
        return self._dmarc[key]

    async def vouched(self, verdict: DMARCResult, trusted: Collection[str]) -> Vouched | None:
        """Whether the ARC chain lets a DMARC failure pass, see `arc_trust`. trusted: A-labels. DNS is asked only when
        the newest sealer is one of them."""
        if verdict.result != "fail" or newest_sealer(self.message) not in trusted:
            return None
        self._vouched = vouched(await self.arc(), trusted, verdict.domain)
        return self._vouched

    def signers(self, limit: int | None = None) -> list[tuple[int, str]]:
        """Place and domain of every signature that can be read, or of those among the first `limit`: of more than are
        verified DMARC is not even asked whether they are aligned, which would take DNS for each."""
        found = []
        for place, field in enumerate(self.message.headers.all("dkim-signature")[:limit]):
            try:
                found.append((place, dkim.parse_signature(field).domain))
            except MailError:
                continue
        return found

    def _word(self, place: int) -> Callable[[], Awaitable[str]]:
        async def word() -> str:
            return (await self.dkim())[place].result

        return word

    async def arc(self) -> ChainResult:
        """The ARC chain."""
        if self._chain is None:
            message, now = self.message, self._now()
            if message.body.size >= IN_A_THREAD and message.headers.places("arc-message-signature"):
                await asyncio.to_thread(arc.hash_body, message)
            self._chain = await arc.validate(message, self._resolver, now=now)
        return self._chain

    async def results(
        self, ip: str, helo: str, sender: str, methods: Collection[Method] = get_args(Method)
    ) -> list[MethodResult]:
        """SPF, DKIM, DMARC (and ARC where there is a chain) as Authentication-Results has them (RFC 8601).

        methods: only these; what is not named is not asked for.
        """
        found: list[MethodResult] = []
        if "spf" in methods:
            found.append(_spf_result(await self.spf(ip, helo, sender), helo, sender))
        if "dkim" in methods:
            signatures = await self.dkim()
            found += map(of_signature, signatures) if signatures else [MethodResult("dkim", "none")]
        if "dmarc" in methods:
            found.append(_dmarc_result(await self.dmarc(ip, helo, sender)))
        if "arc" in methods and self.message.headers.places("arc-seal"):
            found.append((await self.arc()).result())
        return found

    def summary(self) -> dict[str, object]:
        """What was asked, in the words of RFC 8601, for the log: nothing is computed for it."""
        found: dict[str, object] = {}
        for result in list(self._spf.values())[-1:]:
            found["spf"] = {"result": result.result, "domain": result.domain}
        if self._signatures is not None:
            found["dkim"] = [
                {"result": one.result, "domain": one.domain, "selector": one.selector} for one in self._signatures
            ]
        for verdict in list(self._dmarc.values())[-1:]:
            found["dmarc"] = {"result": verdict.result, "policy": verdict.policy, "domain": verdict.domain}
        if self._vouched is not None:
            found["trusted_sealer"] = self._vouched.reason
        if self._chain is not None:
            found["arc"] = self._chain.status
        return found

    def dmarc_event(self, transaction: str, time: float) -> dict[str, object] | None:
        """What the log says of DMARC, once a message: result, domain, reason, and `line`, which `opendmarc-halonlog`
        reads. None when nobody asked for DMARC; nothing is computed for it.

        transaction: the id of the message. time: Unix time at which it came. A result of temperror or permerror has no
        line, as no report counts it; SPF and signatures that nobody asked for stand in it as unknown or not at all.
        """
        if isinstance(self._author, FromRefused):
            return {"result": "permerror", "reason": str(self._author)} if self._refused else None
        if not self._dmarc:
            return None
        (ip, helo, sender), verdict = next(iter(self._dmarc.items()))
        about: dict[str, object] = {
            "result": verdict.result,
            "domain": verdict.domain,
            "disposition": verdict.disposition,
            "reason": verdict.reason,
        }
        spared = self._vouched is not None and self._vouched.status == "pass"
        if self._vouched is not None:
            about["trusted_sealer"] = self._vouched.reason
        if verdict.result in ("pass", "fail", "none"):
            asked = self._spf.get((ip, helo, sender))
            about["line"] = dmarc.log_line(
                verdict,
                transaction=transaction,
                time=time,
                ip=ip,
                sender=split(sender)[1],
                helo=helo,
                spf=asked.result if asked is not None else "unknown",
                dkim=[(one.selector, one.domain, one.result) for one in self._signatures or ()],
                spared=spared,
            )
        return about


def _spf_domain(helo: str, sender: str) -> str:
    """The domain that SPF is about: the envelope sender's, the HELO name for a null sender (RFC 7208 §2.4)."""
    return split(sender)[1] if sender else helo


def _spf_result(result: SPFResult, helo: str, sender: str) -> MethodResult:
    told = Property("smtp", "mailfrom", sender) if result.identity == "mailfrom" else Property("smtp", "helo", helo)
    reason = result.reason if result.result in ("temperror", "permerror") else ""
    return MethodResult("spf", result.result, reason, (told,) if told.value else ())


def _dmarc_result(verdict: DMARCResult | FromRefused) -> MethodResult:
    if isinstance(verdict, FromRefused):
        return MethodResult("dmarc", "permerror", str(verdict))
    told = [Property("header", "from", verdict.domain)]
    if (
        verdict.policy is not None
    ):  # RFC 9989 §9.1: what is to be applied, t=y and pct considered; for a pass what would
        policy = verdict.disposition if verdict.result == "fail" else verdict.policy
        told.append(Property("policy", "dmarc", policy))
    return MethodResult(
        "dmarc", verdict.result, "" if verdict.result in ("pass", "none") else verdict.reason, tuple(told)
    )
