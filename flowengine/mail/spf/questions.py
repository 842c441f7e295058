"""The questions that one SPF check may ask, and how many of them are left (RFC 7208 §4.6.4).

Whatever goes wrong ends the check: `TemporaryError` is its temperror, `PermanentError` its permerror.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from flowengine.mail import names
from flowengine.mail.dns import Answer, DNSUnavailable, RecordType, Resolver
from flowengine.mail.spf.results import Limits

# What no DNS name of mail holds, and a resolver could read as an escape or the end of the name.
_UNASKABLE = re.compile(r"[^!-\[\]-~ ]")


class TemporaryError(Exception):
    """Ends the check with temperror."""


class PermanentError(Exception):
    """Ends the check with permerror."""


def usable(domain: str) -> str | None:
    """The name when it can have a record: at least two labels, none empty or over 63 octets (§4.3)."""
    name = domain.lower().removesuffix(".") if domain.isascii() else names.to_ascii(domain)
    if name is None or len(name) > names.MAX_NAME or "." not in name or name[0] == "[" or _UNASKABLE.search(name):
        return None
    return name if all(0 < len(label) <= names.MAX_LABEL for label in name.split(".")) else None


def shown(domain: str) -> str:
    """A name from outside, fit for a log line."""
    return "".join(character if "!" <= character <= "~" else "?" for character in domain[:253]) or "(empty name)"


class Questions:
    """What is asked on behalf of one client, and what it has cost."""

    def __init__(
        self, address: IPv4Address | IPv6Address, resolver: Resolver, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self.address, self.number = address, int(address)
        self.resolver, self.limits, self.clock = resolver, limits, clock
        self.deadline = clock() + limits.seconds
        self.lookups = self.voids = 0
        self._validated: tuple[str, ...] | None = None

    def spend_lookup(self, term: str) -> None:
        self.lookups += 1
        if self.lookups > self.limits.lookups:
            raise PermanentError(f"more than {self.limits.lookups} terms that ask DNS, at {term[:80]}")

    async def ask(self, name: str, kind: RecordType, *, void_counts: bool = True) -> Answer:
        """Ask DNS once, within the time and the number of empty answers that the check may have."""
        name = name.lower().removesuffix(".")
        if not name or _UNASKABLE.search(name):
            answer = Answer(exists=False)  # RFC 8616 §4: a name that is not ASCII never matches
        elif self.clock() > self.deadline:
            raise TemporaryError(f"no time left to ask for {kind.upper()} of {shown(name)}")
        else:
            try:
                answer = await self.resolver.query(name, kind)
            except DNSUnavailable as error:
                raise TemporaryError(str(error)) from None
        if not answer.records and void_counts:
            self.voids += 1
            if self.voids > self.limits.voids:
                raise PermanentError(f"more than {self.limits.voids} questions without an answer")
        return answer

    async def addresses(self, name: str) -> list[int]:
        """The addresses of a name, of the client's family, as numbers."""
        answer = await self.ask(name, "a" if self.address.version == 4 else "aaaa")
        found = (ip_address(text) for text in answer.names)
        return [int(address) for address in found if address.version == self.address.version]

    async def validated_names(self) -> tuple[str, ...]:
        """The names of the client that lead back to it (§5.5). Errors on the way only cost names."""
        if self._validated is None:
            try:
                pointers = (await self.ask(self.address.reverse_pointer, "ptr")).names[: self.limits.names]
            except TemporaryError:
                pointers = ()
            found = [name for name in pointers if await self.leads_back(name)]
            self._validated = tuple(name.lower().removesuffix(".") for name in found)
        return self._validated

    async def leads_back(self, name: str) -> bool:
        try:
            return self.number in await self.addresses(name)
        except TemporaryError:
            return False

    async def validated_name(self, domain: str) -> str:
        """`%{p}`: the domain itself, else a name below it, else any; discouraged, so no more is asked for it."""
        found = await self.validated_names()
        if domain in found:
            return domain
        below = (name for name in found if names.is_subdomain(name, domain))
        return next(below, found[0] if found else "unknown")
