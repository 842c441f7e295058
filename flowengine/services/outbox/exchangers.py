"""Where mail for a domain goes: its mail exchangers with their addresses, in the order in which they are tried.

RFC 5321 §5.1: by preference, equals in random order, the domain itself when it has no MX; a null MX takes no mail
(RFC 7505); what would come back to us is cut. Trouble with DNS is temporary, whatever else was found out.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import NamedTuple

from flowengine.mail.dns import MX, DNSUnavailable, RecordType, Resolver
from flowengine.mail.names import to_ascii
from flowengine.runtime.actions import Reply
from flowengine.runtime.services import Randomness
from flowengine.services.network import NetworkGuard
from flowengine.services.relay import Answer, Stage

MOST_EXCHANGERS = 20
"""Hosts of one domain whose addresses are looked up; more are only there to keep us busy."""
MOST_ADDRESSES = 16
"""Addresses of one host that count."""


class Target(NamedTuple):
    """One address of a host. name: what the domain calls the host."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Ours:
    """What we are known by: mail that would go there is not sent in a circle."""

    names: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()


class NoWay(Exception):
    """There is no host to send to. reply: the reason, with the code that is right for the sender."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code, enhanced, text)

    def answer(self) -> Answer:
        """As an answer for a recipient."""
        return Answer(self.reply, Stage.ROUTE, heard=False)


class Exchangers:
    """Finds next hops. families: of the addresses that we can connect from, 4 and 6."""

    def __init__(
        self,
        resolver: Resolver,
        randomness: Randomness,
        guard: NetworkGuard,
        ours: Ours,
        families: frozenset[int] = frozenset({4, 6}),
    ) -> None:
        self._resolver, self._randomness, self._guard = resolver, randomness, guard
        self._ours, self._families = ours, families

    async def find(self, domain: str) -> list[Target]:
        """The addresses to try for a recipient domain (U-labels or A-labels, or an address literal). Raises NoWay."""
        if domain.startswith("["):
            return self._allowed(domain, [_literal(domain)])
        name = to_ascii(domain)
        if name is None:
            raise NoWay(550, "5.1.2", f"{domain[:100]} is not a domain")
        try:
            answer = await self._resolver.query(name, "mx")
        except DNSUnavailable as error:
            raise _later(name, error) from None
        if not answer.exists:
            raise NoWay(550, "5.1.2", f"The domain {name} does not exist")
        exchangers = [one for one in answer.exchangers if one.host]
        if answer.exchangers and not exchangers:
            raise NoWay(556, "5.1.10", f"The domain {name} takes no mail")
        hosts = self._ordered(name, exchangers or [MX(0, name)])
        return self._allowed(name, await self._addresses(name, hosts, implicit=not exchangers))

    def _ordered(self, domain: str, exchangers: Sequence[MX]) -> list[str]:
        """By preference; from where we stand ourselves on, nobody (RFC 5321 §5.1)."""
        own = [one.preference for one in exchangers if one.host in self._ours.names]
        left = [one for one in exchangers if not own or one.preference < min(own)]
        if not left:
            raise NoWay(550, "5.4.6", f"Mail for {domain} loops back to this host")
        shuffled = sorted(left, key=lambda one: (one.preference, self._randomness.number()))
        return list(dict.fromkeys(one.host for one in shuffled))[:MOST_EXCHANGERS]

    async def _addresses(self, domain: str, hosts: Sequence[str], *, implicit: bool) -> list[Target]:
        """The addresses of all hosts. One that DNS cannot tell now is passed over while there are others."""
        found = await asyncio.gather(*(self._host(host) for host in hosts))
        targets = [target for targets, _ in found for target in targets]
        trouble = next((error for _, error in found if error is not None), None)
        if targets:
            return targets
        if trouble is not None:
            raise _later(domain, trouble)
        if implicit:
            raise NoWay(550, "5.1.2", f"The domain {domain} has neither mail exchangers nor addresses")
        raise NoWay(550, "5.4.4", f"No mail exchanger of {domain} has an address")

    async def _host(self, host: str) -> tuple[list[Target], DNSUnavailable | None]:
        """IPv4 and IPv6 by turns."""
        kinds: list[RecordType] = ["a"] if 4 in self._families else []
        kinds += ["aaaa"] if 6 in self._families else []
        trouble = None
        lists: list[Iterable[str]] = []
        for outcome in await asyncio.gather(*(self._ask(host, kind) for kind in kinds)):
            if isinstance(outcome, DNSUnavailable):
                trouble = outcome
            else:
                lists.append(outcome[:MOST_ADDRESSES])
        turns = chain.from_iterable(zip_longest(*lists))
        return [Target(host, address) for address in turns if address is not None], trouble

    async def _ask(self, host: str, kind: RecordType) -> Sequence[str] | DNSUnavailable:
        try:
            return (await self._resolver.query(host, kind)).names
        except DNSUnavailable as error:
            return error

    def _allowed(self, domain: str, targets: Sequence[Target]) -> list[Target]:
        """Without this machine, its link and the like (unless [network] allows them), and without ourselves."""
        allowed = [one for one in targets if self._guard.allows(one.name, one.address)]
        if not allowed:
            raise NoWay(550, "5.4.4", f"{domain} leads to no address that mail can go to")
        before: list[Target] = []  # as with names: who stands behind us would give it back to us
        for one in allowed:
            if one.address in self._ours.addresses:
                break
            before.append(one)
        if not before:
            raise NoWay(550, "5.4.6", f"Mail for {domain} loops back to this host")
        return before


def _literal(domain: str) -> Target:
    """`[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3)."""
    text = domain.removeprefix("[").removesuffix("]")
    tag, colon, rest = text.partition(":")
    try:
        address = ip_address(rest if colon and tag.lower() == "ipv6" else text)
    except ValueError:
        raise NoWay(550, "5.1.2", f"{domain[:100]} is not an address that mail can go to") from None
    return Target(str(address), str(address))


def _later(domain: str, error: DNSUnavailable) -> NoWay:
    return NoWay(
        451, "4.4.3", f"DNS does not tell now where mail for {domain} goes ({error.kind.upper()} {error.name})"
    )
