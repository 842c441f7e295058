"""The real outside world of a configuration, put together."""

from flowengine.language.caching import Caches
from flowengine.runtime.memory import SharedMemory
from flowengine.runtime.services import Counters, Log, Services
from flowengine.services.barriers import NAME as BARRIERS
from flowengine.services.barriers import WorkersBarriers
from flowengine.services.clock import SystemClock, SystemRandomness
from flowengine.services.config import Config, settings
from flowengine.services.dns import resolver
from flowengine.services.http import GuardedHTTP
from flowengine.services.keys import open_keys
from flowengine.services.log import Silence
from flowengine.services.metrics import Tally
from flowengine.services.network import NetworkGuard
from flowengine.services.rates import MemoryRates
from flowengine.services.shared import SharedFile, SharedRates, WorkersMemory
from flowengine.services.wires import GuardedWires


def services_for(
    config: Config, log: Log | None = None, counters: Counters | None = None, shared: SharedFile | None = None
) -> Services:
    """The real outside world of a configuration. Raises ConfigError for keys that cannot be read.

    log: None for commands that print a result of their own: nothing is logged and no key is made. shared: what the
    workers of a server share; None for a process of its own.
    """
    clock, counters = SystemClock(), counters or Tally()
    guard = NetworkGuard(config.network.allow, [config.api.url])
    most = config.limits.rate_entries
    memory = WorkersMemory(shared) if shared is not None else SharedMemory()
    locks = shared.path.with_name(BARRIERS) if shared is not None else None
    return Services(
        dns=resolver(config, clock, counters),
        http=GuardedHTTP(guard, config.limits.http_in_flight, counters),
        clock=clock,
        random=SystemRandomness(),
        keys=open_keys(config, make=log is not None, log=log),
        rates=SharedRates(shared, most) if shared is not None else MemoryRates(most),
        log=log or Silence(),
        counters=counters,
        caches=Caches(WorkersBarriers(locks, memory, log or Silence())),
        settings=settings(config),
        memory=memory,
        wires=GuardedWires(guard),
    )
