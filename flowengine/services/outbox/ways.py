"""The transports of the configuration as ways out: the next hops of each with their connections, or a directory."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from flowengine.mail.mta_sts import Policy
from flowengine.mail.names import to_ascii
from flowengine.runtime.services import Services
from flowengine.services.network import NetworkGuard
from flowengine.services.outbox import safety
from flowengine.services.outbox.exchangers import Exchangers, NoWay, Ours
from flowengine.services.outbox.sts_policies import Policies
from flowengine.services.relay import Patience, Pool, RelaySettings
from flowengine.services.sink import Sink

if TYPE_CHECKING:
    from flowengine.services.config import Config, Transport

MOST_POOLS = 2000
"""Hosts that are remembered; beyond, those without a connection are forgotten."""


class Ways:
    """Every transport by name. Connections belong to the event loop in which the first message goes out."""

    def __init__(self, config: "Config", services: Services) -> None:
        self._hostname = config.hostname
        self._transports = config.transports
        self._fixed: dict[tuple[str, bool], list[Pool]] = {}
        self._pools: dict[tuple[str, str, str, bool], Pool] = {}
        self._sinks = {name: Sink(one.sink) for name, one in config.transports.items() if one.sink is not None}
        self._policies, self._clock = Policies(services.dns, services.http, services.log), services.clock
        guard = NetworkGuard(config.network.allow)
        ours = _ours(config)
        self._exchangers = {
            name: Exchangers(services.dns, services.random, guard, ours, _families(one))
            for name, one in config.transports.items()
            if one.mx
        }

    def sink(self, transport: str) -> Sink | None:
        """The directory of a transport that sends nothing."""
        return self._sinks.get(transport)

    def relays(self, transport: str) -> bool:
        """Whether there is such a transport and it leads to a next hop."""
        found = self._transports.get(transport)
        return found is not None and bool(found.host or found.mx)

    def offered(self, transport: str) -> Mapping[str, str] | None:
        """What the host of a transport that has only one offered last; None when nobody knows."""
        pools = self._fixed.get((transport, False), ())
        return pools[0].offered if len(pools) == 1 else None

    def domain(self, transport: str, recipient: str) -> str:
        """What decides about the next hop of a recipient: recipients for whom it is the same go together."""
        return recipient.rpartition("@")[2].lower() if transport in self._exchangers else ""

    async def hosts(self, transport: str, domain: str, *, secure: bool = False) -> Sequence[Pool]:
        """The hosts of a next hop in the order in which they are tried, at least one.

        transport: one that `relays`. domain: as `domain` says. secure: only with TLS and a good certificate, whatever
        the transport says (REQUIRETLS). Raises NoWay.
        """
        exchangers = self._exchangers.get(transport)
        if exchangers is None:
            return self._fixed.get((transport, secure)) or self._fix(transport, secure)
        one = self._transports[transport]
        targets = await exchangers.find(domain)
        if one.tls.mta_sts and (policy := await self._policy(domain)) is not None:
            secure, targets = True, [target for target in targets if policy.allows(target.name)]
            if not targets:
                raise NoWay(451, "4.7.5", f"No mail exchanger of {domain} is one of its MTA-STS policy")
        targets = targets[: one.attempts]
        return [self._exchanger(transport, *target, secure) for target in targets]

    async def _policy(self, domain: str) -> Policy | None:
        """What a domain enforces (RFC 8461)."""
        name = to_ascii(domain) if not domain.startswith("[") else None
        found = await self._policies.find(name.lower(), self._clock.now()) if name is not None else None
        return found if found is not None and found.mode == "enforce" else None

    def _fix(self, transport: str, secure: bool) -> list[Pool]:
        one = self._transports[transport]
        make = partial(self._settings, one, secure=secure)
        pools = [Pool(make(hop.host, hop.port, path=str(hop.path or ""))) for hop in one.host[: one.attempts]]
        self._fixed[transport, secure] = pools
        return pools

    def _exchanger(self, transport: str, name: str, address: str, secure: bool) -> Pool:
        key = (transport, name, address, secure)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= MOST_POOLS:
                self._pools = {key: pool for key, pool in self._pools.items() if pool.connections or pool.resting}
            one = self._transports[transport]
            pool = self._pools[key] = Pool(self._settings(one, address, one.port, name=name, secure=secure))
        return pool

    def _settings(
        self, transport: "Transport", host: str, port: int, *, path: str = "", name: str = "", secure: bool = False
    ) -> RelaySettings:
        times = transport.timeouts
        sources = [ip for ip in transport.source if path or _may_reach(ip.version, host)]
        return RelaySettings(
            host=host,
            port=port,
            path=path,
            name=name,
            protocol=transport.protocol,
            helo=transport.helo or self._hostname,
            sources=tuple(map(str, sources)),
            connections=transport.connections,
            messages_per_connection=transport.messages_per_connection,
            idle=transport.idle,
            rest=transport.rest,
            chunking=transport.chunking,
            encryption=safety.encryption(transport.tls, name or host, verified=secure),
            login=safety.login(transport.sasl),
            patience=Patience(times.connect, times.greeting, times.command, times.data, times.end),
        )

    async def close(self) -> None:
        """Close all connections."""
        pools = [pool for fixed in self._fixed.values() for pool in fixed]
        for pool in (*pools, *self._pools.values()):
            await pool.close()
        self._fixed.clear()
        self._pools.clear()


def _families(transport: "Transport") -> frozenset[int]:
    return frozenset(ip.version for ip in transport.source) or frozenset({4, 6})


def _may_reach(version: int, host: str) -> bool:
    """Whether a source address of this version fits a host; a name may have addresses of both."""
    if ":" in host:
        return version == 6
    return version == 4 or not host.replace(".", "").isdigit()


def _ours(config: "Config") -> Ours:
    """What other hosts know us by."""
    listeners = config.listeners.values()
    names = {config.hostname, *(one.hostname for one in listeners), *(one.helo for one in config.transports.values())}
    addresses = {one.address.ip for one in listeners}
    return Ours(
        frozenset(name.lower() for name in names if name),
        frozenset(str(ip) for ip in addresses if ip is not None and not ip.is_unspecified),
    )
