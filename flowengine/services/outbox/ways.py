"""The transports of the configuration as ways out: the next hops of each with their connections, or a directory."""

from typing import TYPE_CHECKING

from flowengine.services.relay import Patience, Pool, RelaySettings
from flowengine.services.sink import Sink

if TYPE_CHECKING:
    from flowengine.services.config import Config, NextHop, Transport


class Ways:
    """Every transport by name. Connections belong to the event loop in which the first message goes out."""

    def __init__(self, config: "Config") -> None:
        self._hostname = config.hostname
        self._transports = config.transports
        self._pools: dict[str, list[Pool]] = {}
        self._sinks = {name: Sink(one.sink) for name, one in config.transports.items() if one.sink is not None}

    def sink(self, transport: str) -> Sink | None:
        """The directory of a transport that sends nothing."""
        return self._sinks.get(transport)

    def pools(self, transport: str) -> list[Pool]:
        """The next hops of a transport, in order; none for one that there is not."""
        pools = self._pools.get(transport)
        if pools is None:
            found = self._transports.get(transport)
            hops = found.host if found is not None else ()
            pools = [Pool(self._settings(found, hop)) for hop in hops if found is not None]
            self._pools[transport] = pools
        return pools

    def _settings(self, transport: "Transport", hop: "NextHop") -> RelaySettings:
        times = transport.timeouts
        same_family = [ip for ip in transport.source if hop.ip is None or ip.version == hop.ip.version]
        return RelaySettings(
            host=hop.host,
            port=hop.port,
            path=str(hop.path or ""),
            protocol=transport.protocol,
            helo=transport.helo or self._hostname,
            sources=tuple(map(str, same_family)),
            connections=transport.connections,
            messages_per_connection=transport.messages_per_connection,
            idle=transport.idle,
            patience=Patience(times.connect, times.greeting, times.command, times.data, times.end),
        )

    async def close(self) -> None:
        """Close all connections."""
        for pools in self._pools.values():
            for pool in pools:
                await pool.close()
        self._pools.clear()
