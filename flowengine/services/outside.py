"""The real outside world of a configuration, put together."""

from flowengine.language.caching import Caches
from flowengine.runtime.services import Services
from flowengine.services.clock import SystemClock, SystemRandomness
from flowengine.services.config import Config, settings
from flowengine.services.dns import resolver
from flowengine.services.http import GuardedHTTP
from flowengine.services.keys import open_keys
from flowengine.services.log import Silence, StructuredLog
from flowengine.services.metrics import Metrics
from flowengine.services.network import NetworkGuard
from flowengine.services.rates import MemoryRates
from flowengine.services.wires import GuardedWires


def services_for(config: Config, *, quiet: bool = False) -> Services:
    """The real outside world of a configuration. Raises ConfigError for keys that cannot be read.

    quiet: for commands that print a result of their own; nothing is logged and no key is made.
    """
    clock, metrics = SystemClock(), Metrics()
    guard = NetworkGuard(config.network.allow, [config.api.url])
    return Services(
        dns=resolver(config, clock, metrics),
        http=GuardedHTTP(guard, config.limits.http_in_flight, metrics),
        clock=clock,
        random=SystemRandomness(),
        keys=open_keys(config, make=not quiet),
        rates=MemoryRates(config.limits.rate_entries),
        log=Silence() if quiet else StructuredLog(config.log.format, config.log.level),
        counters=metrics,
        caches=Caches(),
        settings=settings(config),
        wires=GuardedWires(guard),
    )
