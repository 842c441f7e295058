"""check_host() of RFC 7208 §4: the terms of a record, one after the other, until one matches.

Nothing here waits except for the resolver. A question that cannot be answered now is `temperror`; a record that
breaks the rules or asks too much is `permerror`.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from flowengine.mail import names
from flowengine.mail.addresses.paths import split
from flowengine.mail.dns import Resolver
from flowengine.mail.spf.macros import MacroString, SPFSyntaxError, parse_macro_string
from flowengine.mail.spf.questions import PermanentError, Questions, TemporaryError, shown, usable
from flowengine.mail.spf.record import Directive, Record, is_spf, parse
from flowengine.mail.spf.results import Identity, Limits, Result, SPFResult, Step

_EXPLANATION = re.compile(rb"[ -~]{1,900}")
_LONGEST_TARGET = names.MAX_NAME + 2  # a final dot, and one octet to see that there was more
_LONGEST_TRACE = 256
DEFAULT_LIMITS = Limits()


async def check(
    ip: str | IPv4Address | IPv6Address,
    helo: str,
    sender: str,
    resolver: Resolver,
    *,
    receiver: str = "unknown",
    now: float = 0.0,
    limits: Limits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> SPFResult:
    """Check whether the host at `ip` may send as `sender`, or as `helo` when the sender is null (§2.4).

    helo: the name the client gave. sender: the envelope sender, `local@domain`, "" or `<>` for the null path; without
    an @ it is a domain. receiver: our name, for `%{r}`. now: unix time, for `%{t}`. clock: seconds for `limits`.

    Never raises for what comes from outside; ValueError when `ip` is not an address.
    """
    identity: Identity = "mailfrom"
    if sender in ("", "<>"):
        identity, sender = "helo", f"postmaster@{helo}"
    local_part, domain = split(sender) if "@" in sender else ("", sender)
    address = ip_address(ip) if isinstance(ip, str) else ip
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # §5: it is the IPv4 host
    asked = names.to_ascii(domain) or domain.lower()
    client = _Client(address, helo, local_part or "postmaster", asked, receiver, now)  # §4.3
    run = _Evaluation(client, Questions(address, resolver, limits, clock))
    result, mechanism, reason, explanation = await run.conclude(domain)
    used = run.questions
    trace = tuple(run.trace)
    return SPFResult(result, asked, identity, reason, mechanism, explanation, trace, used.lookups, used.voids)


@dataclass(frozen=True, slots=True)
class _Client:
    """Who is asked about, and what the macros of §7.2 say of it."""

    address: IPv4Address | IPv6Address
    helo: str
    local_part: str
    domain: str
    receiver: str
    now: float

    def letters(self) -> dict[str, str]:
        """The values that do not depend on whose record is evaluated."""
        readable, four = str(self.address), self.address.version == 4
        return {
            "s": f"{self.local_part}@{self.domain}",
            "l": self.local_part,
            "o": self.domain,
            "i": readable if four else ".".join(self.address.packed.hex().upper()),
            "v": "in-addr" if four else "ip6",
            "h": self.helo,
            "c": readable,
            "r": self.receiver,
            "t": str(int(self.now)),
        }


class _Evaluation:
    """One check under way."""

    def __init__(self, client: _Client, questions: Questions) -> None:
        self.client, self.questions = client, questions
        address = client.address
        self.version, self.number, self.bits = address.version, int(address), address.max_prefixlen
        self.trace: list[Step] = []

    async def conclude(self, domain: str) -> tuple[Result, str, str, str | None]:
        """The result for the identity, the mechanism, the reason, the explanation."""
        try:
            result, mechanism, explain = await self.check_host(domain)
        except TemporaryError as error:
            return "temperror", "", str(error), None
        except PermanentError as error:
            return "permerror", "", str(error), None
        if result == "none":
            return result, "", f"{shown(domain)} has no SPF record", None
        reason = f"{shown(domain)}: {mechanism or 'nothing'} matches {self.client.address}"
        explanation = await self.explain(*explain) if result == "fail" and explain is not None else None
        return result, mechanism, reason, explanation

    async def check_host(self, domain: str) -> tuple[Result, str, tuple[MacroString, str] | None]:
        """Result, the mechanism that decided, and the explanation to ask for, with the domain it belongs to."""
        name = usable(domain)
        record = None if name is None else await self.record(name)
        if name is None or record is None:
            return "none", "", None
        for directive in record.directives:
            matched = await self.matches(directive, name)
            self.note(name, directive.source, directive.qualifier if matched else "no match")
            if matched:
                explain = None if record.explanation is None else (record.explanation, name)
                return directive.qualifier, directive.source, explain
        if record.redirect is None:
            return "neutral", "", None  # §4.7
        self.questions.spend_lookup(f"redirect={record.redirect.source}")
        target = await self.target(record.redirect, name)
        self.note(name, f"redirect={record.redirect.source}", f"to {shown(target)}")
        result, mechanism, explain = await self.check_host(target)
        if result == "none":  # §6.1
            raise PermanentError(f"{name} redirects to {shown(target)}, which has no SPF record")
        return result, mechanism, explain

    async def record(self, name: str) -> Record | None:
        answer = await self.questions.ask(name, "txt", void_counts=False)
        found = [text for text in answer.txt if is_spf(text)]
        if not found:
            return None
        if len(found) > 1:  # §4.5
            raise PermanentError(f"{name} has {len(found)} SPF records")
        try:
            return parse(found[0])
        except SPFSyntaxError as error:
            raise PermanentError(f"record of {name}: {error}") from None

    async def matches(self, directive: Directive, domain: str) -> bool:
        if directive.version:
            prefix = directive.prefix4 if directive.version == 4 else directive.prefix6
            return directive.version == self.version and self.covers(directive.network, prefix)
        if directive.mechanism == "all":
            return True
        self.questions.spend_lookup(directive.source)
        target = domain if directive.target is None else await self.target(directive.target, domain)
        match directive.mechanism:
            case "include":
                return await self.match_include(target)
            case "a":
                return await self.match_a(directive, target)
            case "mx":
                return await self.match_mx(directive, target)
            case "exists":
                return bool((await self.questions.ask(target, "a")).records)  # §5.7: A, for IPv6 clients too
            case _:
                return await self.match_ptr(target)

    def covers(self, network: int, prefix: int) -> bool:
        return (network ^ self.number) >> (self.bits - prefix) == 0

    async def match_include(self, target: str) -> bool:
        result, _, _ = await self.check_host(target)
        if result == "none":  # §5.2
            raise PermanentError(f"include of {shown(target)}, which has no SPF record")
        return result == "pass"

    async def match_a(self, directive: Directive, target: str) -> bool:
        prefix = directive.prefix4 if self.version == 4 else directive.prefix6
        return any(self.covers(number, prefix) for number in await self.questions.addresses(target))

    async def match_mx(self, directive: Directive, target: str) -> bool:
        exchangers = (await self.questions.ask(target, "mx")).exchangers
        if len(exchangers) > self.questions.limits.names:  # §4.6.4
            raise PermanentError(f"{shown(target)} has more than {self.questions.limits.names} mail exchangers")
        for exchanger in sorted(exchangers):
            if exchanger.host and await self.match_a(directive, exchanger.host):
                return True
        return False

    async def match_ptr(self, target: str) -> bool:
        target = target.lower().removesuffix(".")
        return any(names.is_subdomain(name, target) for name in await self.questions.validated_names())

    def note(self, domain: str, term: str, outcome: str) -> None:
        if len(self.trace) < _LONGEST_TRACE:
            self.trace.append(Step(domain, term, outcome))

    async def target(self, spec: MacroString, domain: str) -> str:
        """The name a domain-spec stands for; too long a name loses labels on the left (§7.3)."""
        if spec.plain is not None:
            text = spec.plain.removesuffix(".")
        else:
            text = spec.expand(await self.letters(spec, domain), longest=_LONGEST_TARGET).removesuffix(".")
        if len(text) > names.MAX_NAME:
            text = text[-names.MAX_NAME - 1 :].partition(".")[2]
        return text

    async def letters(self, spec: MacroString, domain: str) -> dict[str, str]:
        """The values of all letters in the record of this domain."""
        values = self.client.letters()
        values["d"] = domain
        if spec.needs_validated_name:
            values["p"] = await self.questions.validated_name(domain)
        return values

    async def explain(self, spec: MacroString, domain: str) -> str | None:
        """The text for a fail (§6.2); None whenever anything about it is wrong."""
        try:
            target = await self.target(spec, domain)
            texts = (await self.questions.ask(target, "txt", void_counts=False)).txt
            if len(texts) != 1 or not _EXPLANATION.fullmatch(texts[0]):
                return None
            text = parse_macro_string(texts[0].decode("ascii"), explanation=True)
            explanation = text.expand(await self.letters(text, domain))
        except (TemporaryError, PermanentError, SPFSyntaxError):
            return None
        return "".join(character if " " <= character <= "~" else "?" for character in explanation[:2000])
