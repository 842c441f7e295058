"""Finding policy and organizational domain: the DNS tree walk of RFC 9989 §4.10, the suffix list of RFC 7489.

One `Discovery` serves one message and asks each name once.
"""

from typing import NamedTuple

from flowengine.mail import names
from flowengine.mail.dmarc.record import Record, Standard, parse
from flowengine.mail.dns import DNSUnavailable, Resolver
from flowengine.mail.suffixes import DEFAULT, SuffixList

_MOST_QUERIES = 8
"""RFC 9989 §4.10: a name of more labels is cut to seven after the first question."""


class Found(NamedTuple):
    """A record that applies.

    own: whether it is that of the author domain itself (p) or from above (sp, np).
    organizational_domain: of the author domain, as far as the search had to find it out, else "".
    """

    domain: str
    record: Record
    own: bool
    organizational_domain: str = ""


class Walk(NamedTuple):
    """What a tree walk met: names with their records, longest first, and the organizational domain."""

    records: tuple[tuple[str, Record], ...]
    organizational_domain: str


class Discovery:
    """The questions of one message. Its methods raise DNSUnavailable."""

    def __init__(self, resolver: Resolver, standard: Standard = "rfc9989", suffixes: SuffixList = DEFAULT) -> None:
        self.resolver, self.standard, self.suffixes = resolver, standard, suffixes
        self._records: dict[str, tuple[Record, ...] | DNSUnavailable] = {}
        self._walks: dict[str, Walk] = {}

    async def policy(self, author: str) -> Found | None:
        """The record for an author domain: its own, or that of its organizational or public suffix domain."""
        own = await self.records(author)
        if len(own) == 1:
            return Found(author, own[0], own=True)
        if self.standard == "rfc9989":
            return await self._policy_above(author)
        if own:  # RFC 7489 §6.6.3 step 5: several records end the search
            return None
        domain = self.suffixes.organizational_domain(author)
        above = await self.records(domain) if domain != author else ()
        return Found(domain, above[0], own=False, organizational_domain=domain) if len(above) == 1 else None

    async def _policy_above(self, author: str) -> Found | None:
        """RFC 9989 §4.10.1: the organizational domain's record, then that of the public suffix domain."""
        records, top = await self.walk(author)
        by_name = dict(records)
        suffix = top.partition(".")[2]  # has a record only if its psd=y ended the walk
        domain = top if top in by_name else suffix
        return Found(domain, by_name[domain], own=False, organizational_domain=top) if domain in by_name else None

    async def organizational_domain(self, name: str) -> str:
        """The organizational domain of any name."""
        if self.standard == "rfc7489":
            return self.suffixes.organizational_domain(name)
        return (await self.walk(name)).organizational_domain

    async def walk(self, name: str) -> Walk:
        """RFC 9989 §4.10 and §4.10.2: from the name to the top, at most eight questions."""
        if (walk := self._walks.get(name)) is None:
            found: list[tuple[str, Record]] = []
            for target in _targets(name):
                records = await self.records(target)
                if len(records) == 1:  # several are all discarded
                    found.append((target, records[0]))
                    if records[0].psd != "u":
                        break
            walk = self._walks[name] = Walk(tuple(found), _select(name, found))
        return walk

    async def records(self, name: str) -> tuple[Record, ...]:
        """The DMARC records at `_dmarc.NAME`."""
        if (known := self._records.get(name)) is None:
            known = self._records[name] = await self._ask(name)
        if isinstance(known, DNSUnavailable):
            raise known
        return known

    async def _ask(self, name: str) -> tuple[Record, ...] | DNSUnavailable:
        """An answer that cannot be had is kept too: nobody waits for it twice."""
        try:
            answer = await self.resolver.query(f"_dmarc.{name}", "txt")
        except DNSUnavailable as error:
            return error
        parsed = (parse(text) for text in answer.txt)
        return tuple(record for record in parsed if record is not None)


def _targets(name: str) -> tuple[str, ...]:
    above = names.parents(name)
    return (name, *above[-(_MOST_QUERIES - 1) :])


def _select(start: str, found: list[tuple[str, Record]]) -> str:
    """RFC 9989 §4.10.2: the organizational domain from the records of a walk, longest name first."""
    for name, record in found:
        if record.psd == "n":
            return name
        if record.psd == "y" and name != start:
            label = start.removesuffix("." + name).rpartition(".")[2]
            return f"{label}.{name}"
    return found[-1][0] if found else start
