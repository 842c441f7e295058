"""What a listener allows, and which flows speak for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from flowengine.language.compiler import Program
from flowengine.runtime.places import within


class Users(Protocol):
    """Checks passwords."""

    async def verify(self, username: str, password: str, client: str) -> bool | None:
        """Whether the password is this user's; None when it cannot be told now (too many tries, too busy)."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the relay table: recipients of these domains get these flows and this transport.

    domains: lower case; `.example.net` stands for everything below it.
    """

    domains: tuple[str, ...]
    flows: Mapping[str, Program] = field(default_factory=dict)
    transport: str | None = None

    def holds(self, domain: str) -> bool:
        """Whether the row is about this domain (lower case)."""
        return any(domain == one or (one.startswith(".") and domain.endswith(one)) for one in self.domains)


@dataclass(frozen=True, slots=True)
class Policy:
    """A listener as the session sees it. takes_all: it names nobody, and all it does is keep files."""

    id: str
    flows: Mapping[str, Program] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    transport: str | None = None
    recipient_domains: tuple[str, ...] = ()
    relay_from: tuple[IPv4Network | IPv6Network, ...] = ()
    require_auth: bool = False
    takes_all: bool = False
    users: Users | None = None
    max_recipients: int = 1000
    max_hops: int = 100
    max_header_fields: int = 10_000
    max_header_size: int = 1 << 20

    @property
    def offers_auth(self) -> bool:
        """Whether anybody could authenticate here."""
        return self.users is not None or "auth" in self.flows

    def route(self, domain: str) -> Route | None:
        """The first row of the relay table about a domain."""
        return next((route for route in self.routes if route.holds(domain)), None)

    def relays_for(self, ip: str) -> bool:
        """Whether a client of this address may send anywhere."""
        return within(ip, self.relay_from)

    @property
    def own_domain(self) -> str:
        """The domain of a postmaster who is named without one (RFC 5321 §4.5.1); "" where we take mail for none."""
        rows = (self.recipient_domains, *(route.domains for route in self.routes))
        return next((domain for row in rows for domain in row if not domain.startswith(".")), "")

    def takes(self, domain: str) -> bool:
        """Whether we take mail for a domain (lower case) from anybody.

        takes_all: whoever wrote the configuration may leave it to an rcptto flow, or keep everything in files.
        """
        if Route(self.recipient_domains).holds(domain) or self.route(domain) is not None:
            return True
        guarded = self.recipient_domains or self.require_auth or self.relay_from
        return self.takes_all or (not guarded and "rcptto" in self.flows)
