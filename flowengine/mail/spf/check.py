"""check_host() of RFC 7208 §4: one evaluation, its budget of questions, and the answer.

Nothing here waits except for the resolver. A question that cannot be answered now is `temperror`, a record that
breaks the rules or asks too much is `permerror`; both end the check, as exceptions inside this file only.
"""

import re
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from flowengine.mail import names
from flowengine.mail.addresses.paths import split
from flowengine.mail.dns import Answer, DNSUnavailable, RecordType, Resolver
from flowengine.mail.spf.macros import MacroString, SPFSyntaxError, parse_macro_string
from flowengine.mail.spf.record import Directive, Record, is_spf, parse
from flowengine.mail.spf.results import Identity, Limits, Result, SPFResult, Step

_EXPLANATION = re.compile(rb"[ -~]{1,900}")
# What no DNS name of mail holds and a resolver could read as an escape or end of the name.
_UNASKABLE = re.compile(r"[^!-\[\]-~ ]")
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
    local_part, domain = split(sender)
    if "@" not in sender:
        local_part, domain = "", sender
    local_part = local_part or "postmaster"  # §4.3
    address = ip_address(ip) if isinstance(ip, str) else ip
    run = _Evaluation(address, helo, local_part, domain, resolver, receiver, now, limits, clock)
    result, mechanism, reason, explanation = await run.conclude(domain)
    checked = names.to_ascii(domain) or domain.lower()
    trace = tuple(run.trace)
    return SPFResult(result, checked, identity, reason, mechanism, explanation, trace, run.lookups, run.voids)


class _TemporaryError(Exception):
    """Ends the check with temperror."""


class _PermanentError(Exception):
    """Ends the check with permerror."""


def _usable(domain: str) -> str | None:
    """The name when it can have a record: at least two labels, none empty or over 63 octets (§4.3)."""
    name = names.to_ascii(domain) if not domain.isascii() else domain.lower().removesuffix(".")
    if name is None or len(name) > names.MAX_NAME or "." not in name or name[0] == "[" or _UNASKABLE.search(name):
        return None
    return name if all(0 < len(label) <= names.MAX_LABEL for label in name.split(".")) else None


class _Evaluation:
    """One check: who is asked about, and what has been spent."""

    def __init__(
        self,
        address: IPv4Address | IPv6Address,
        helo: str,
        local_part: str,
        sender_domain: str,
        resolver: Resolver,
        receiver: str,
        now: float,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # §5: it is the IPv4 host
        self.address = address
        self.version, self.number, self.bits = address.version, int(address), address.max_prefixlen
        self.helo, self.local_part, self.sender_domain = helo, local_part, sender_domain
        self.resolver, self.receiver, self.now = resolver, receiver, now
        self.limits, self.clock = limits, clock
        self.deadline = clock() + limits.seconds
        self.lookups = self.voids = 0
        self.trace: list[Step] = []
        self.validated: tuple[str, ...] | None = None

    async def conclude(self, domain: str) -> tuple[Result, str, str, str | None]:
        """The result for the identity, the mechanism, the reason, the explanation."""
        try:
            result, mechanism, explain = await self.check_host(domain)
        except _TemporaryError as error:
            return "temperror", "", str(error), None
        except _PermanentError as error:
            return "permerror", "", str(error), None
        if result == "none":
            return result, "", f"{_shown(domain)} has no SPF record", None
        reason = f"{_shown(domain)}: {mechanism or 'nothing'} matches {self.address}"
        explanation = await self.explain(*explain) if result == "fail" and explain is not None else None
        return result, mechanism, reason, explanation

    async def check_host(self, domain: str) -> tuple[Result, str, tuple[MacroString, str] | None]:
        """Result, the mechanism that decided, and the explanation to ask for, with the domain it belongs to."""
        name = _usable(domain)
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
        self.spend_lookup(f"redirect={record.redirect.source}")
        target = await self.target(record.redirect, name)
        self.note(name, f"redirect={record.redirect.source}", f"to {_shown(target)}")
        result, mechanism, explain = await self.check_host(target)
        if result == "none":  # §6.1
            raise _PermanentError(f"{name} redirects to {_shown(target)}, which has no SPF record")
        return result, mechanism, explain

    async def record(self, name: str) -> Record | None:
        answer = await self.ask(name, "txt", void_counts=False)
        found = [text for text in answer.txt if is_spf(text)]
        if not found:
            return None
        if len(found) > 1:  # §4.5
            raise _PermanentError(f"{name} has {len(found)} SPF records")
        try:
            return parse(found[0])
        except SPFSyntaxError as error:
            raise _PermanentError(f"record of {name}: {error}") from None

    async def matches(self, directive: Directive, domain: str) -> bool:
        if directive.version:
            prefix = directive.prefix4 if directive.version == 4 else directive.prefix6
            return directive.version == self.version and self.covers(directive.network, prefix)
        if directive.mechanism == "all":
            return True
        self.spend_lookup(directive.source)
        target = domain if directive.target is None else await self.target(directive.target, domain)
        match directive.mechanism:
            case "include":
                return await self.match_include(target)
            case "a":
                return await self.match_a(directive, target)
            case "mx":
                return await self.match_mx(directive, target)
            case "exists":
                return bool((await self.ask(target, "a")).records)  # §5.7: A, for IPv6 clients too
            case _:
                return await self.match_ptr(target)

    def covers(self, network: int, prefix: int) -> bool:
        return (network ^ self.number) >> (self.bits - prefix) == 0

    async def match_include(self, target: str) -> bool:
        result, _, _ = await self.check_host(target)
        if result == "none":  # §5.2
            raise _PermanentError(f"include of {_shown(target)}, which has no SPF record")
        return result == "pass"

    async def match_a(self, directive: Directive, target: str) -> bool:
        prefix = directive.prefix4 if self.version == 4 else directive.prefix6
        return any(self.covers(number, prefix) for number in await self.addresses(target))

    async def match_mx(self, directive: Directive, target: str) -> bool:
        exchangers = (await self.ask(target, "mx")).exchangers
        if len(exchangers) > self.limits.names:  # §4.6.4
            raise _PermanentError(f"{_shown(target)} has more than {self.limits.names} mail exchangers")
        for exchanger in sorted(exchangers):
            if exchanger.host and await self.match_a(directive, exchanger.host):
                return True
        return False

    async def match_ptr(self, target: str) -> bool:
        target = target.lower().removesuffix(".")
        return any(names.is_subdomain(name, target) for name in await self.validated_names())

    async def addresses(self, name: str) -> list[int]:
        """The addresses of a name, of the client's family, as numbers."""
        answer = await self.ask(name, "a" if self.version == 4 else "aaaa")
        found = (ip_address(text) for text in answer.names)
        return [int(address) for address in found if address.version == self.version]

    async def validated_names(self) -> tuple[str, ...]:
        """The names of the client that lead back to it (§5.5). Errors on the way only cost names."""
        if self.validated is None:
            try:
                pointers = (await self.ask(self.address.reverse_pointer, "ptr")).names[: self.limits.names]
            except _TemporaryError:
                pointers = ()
            found = [name for name in pointers if await self.leads_back(name)]
            self.validated = tuple(name.lower().removesuffix(".") for name in found)
        return self.validated

    async def leads_back(self, name: str) -> bool:
        try:
            return self.number in await self.addresses(name)
        except _TemporaryError:
            return False

    def note(self, domain: str, term: str, outcome: str) -> None:
        if len(self.trace) < _LONGEST_TRACE:
            self.trace.append(Step(domain, term, outcome))

    def spend_lookup(self, term: str) -> None:
        self.lookups += 1
        if self.lookups > self.limits.lookups:
            raise _PermanentError(f"more than {self.limits.lookups} terms that ask DNS, at {term[:80]}")

    async def ask(self, name: str, kind: RecordType, *, void_counts: bool = True) -> Answer:
        """Ask DNS once, within the time and the number of empty answers that the check may have."""
        name = name.lower().removesuffix(".")
        if not name or _UNASKABLE.search(name):
            answer = Answer(exists=False)  # RFC 8616 §4: a name that is not ASCII never matches
        elif self.clock() > self.deadline:
            raise _TemporaryError(f"no time left to ask for {kind.upper()} of {_shown(name)}")
        else:
            try:
                answer = await self.resolver.query(name, kind)
            except DNSUnavailable as error:
                raise _TemporaryError(str(error)) from None
        if not answer.records and void_counts:
            self.voids += 1
            if self.voids > self.limits.voids:
                raise _PermanentError(f"more than {self.limits.voids} questions without an answer")
        return answer

    async def target(self, spec: MacroString, domain: str) -> str:
        """The name a domain-spec stands for; too long a name loses labels on the left (§7.3)."""
        text = spec.plain if spec.plain is not None else spec.expand(await self.values(spec, domain))
        text = text.removesuffix(".")
        if len(text) > names.MAX_NAME:
            text = text[-names.MAX_NAME - 1 :].partition(".")[2]
        return text

    async def values(self, spec: MacroString, domain: str) -> dict[str, str]:
        """The letters of §7.2."""
        packed, readable = self.address.packed, str(self.address)
        return {
            "s": f"{self.local_part}@{self.sender_domain}",
            "l": self.local_part,
            "o": self.sender_domain,
            "d": domain,
            "i": readable if self.version == 4 else ".".join(packed.hex().upper()),
            "p": await self.validated_name(domain) if spec.needs_validated_name else "unknown",
            "v": "in-addr" if self.version == 4 else "ip6",
            "h": self.helo,
            "c": readable,
            "r": self.receiver,
            "t": str(int(self.now)),
        }

    async def validated_name(self, domain: str) -> str:
        """`%{p}`: the domain itself, else a name below it, else any; discouraged, so no more is asked for it."""
        found = await self.validated_names()
        if domain in found:
            return domain
        below = (name for name in found if names.is_subdomain(name, domain))
        return next(below, found[0] if found else "unknown")

    async def explain(self, spec: MacroString, domain: str) -> str | None:
        """The text for a fail (§6.2); None whenever anything about it is wrong."""
        try:
            target = await self.target(spec, domain)
            texts = (await self.ask(target, "txt", void_counts=False)).txt
            if len(texts) != 1 or not _EXPLANATION.fullmatch(texts[0]):
                return None
            text = parse_macro_string(texts[0].decode("ascii"), explanation=True)
            explanation = text.expand(await self.values(text, domain))
        except (_TemporaryError, _PermanentError, SPFSyntaxError):
            return None
        return "".join(character if " " <= character <= "~" else "?" for character in explanation[:2000])


def _shown(domain: str) -> str:
    """A name from outside, fit for a log line."""
    return "".join(character if "!" <= character <= "~" else "?" for character in domain[:253]) or "(empty name)"
