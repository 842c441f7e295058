"""The engine: one configuration's services, policies and outbox, ready for a door."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

from flowengine.language.caching import Caches
from flowengine.runtime.policy import Policy
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Services
from flowengine.servers.compiling import Compiler
from flowengine.services.clock import SystemClock, SystemRandomness
from flowengine.services.config import settings
from flowengine.services.dns import resolver
from flowengine.services.http import GuardedHTTP
from flowengine.services.keys import open_keys
from flowengine.services.log import Silence, StructuredLog
from flowengine.services.metrics import Metrics
from flowengine.services.network import NetworkGuard
from flowengine.services.outbox import Outbox
from flowengine.services.rates import MemoryRates
from flowengine.services.users import open_users

if TYPE_CHECKING:
    from flowengine.services.config import Config


def services_for(config: "Config", *, quiet: bool = False) -> Services:
    """The real outside world of a configuration. Raises ConfigError for keys that cannot be read.

    quiet: for commands that print a result of their own; nothing is logged and no key is made.
    """
    clock, metrics = SystemClock(), Metrics()
    return Services(
        dns=resolver(config, clock, metrics),
        http=GuardedHTTP(NetworkGuard(config.network.allow, [config.api.url]), config.limits.http_in_flight, metrics),
        clock=clock,
        random=SystemRandomness(),
        keys=open_keys(config, make=not quiet),
        rates=MemoryRates(config.limits.rate_entries),
        log=Silence() if quiet else StructuredLog(config.log.format, config.log.level),
        counters=metrics,
        caches=Caches(),
        settings=settings(config),
    )


@dataclass(frozen=True)
class Engine:
    """What the listeners of one configuration share. Used as a context: on leaving, connections outward are closed."""

    config: "Config"
    services: Services
    policies: Mapping[str, Policy]
    outbox: Outbox
    runner: Runner

    @classmethod
    def build(cls, config: "Config") -> "Engine":
        """Compile and open everything, bind nothing. Raises FlowProblems and ConfigError, each with all there is."""
        policies = Compiler(config).policies()
        services = services_for(config)
        users = {name: open_users(config, listener.users) for name, listener in config.listeners.items() if listener.users}
        policies = {name: replace(policy, users=users.get(name)) for name, policy in policies.items()}
        return cls(config, services, policies, Outbox(config, services), Runner())

    async def __aenter__(self) -> "Engine":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.outbox.close()

    def report(self, event: str, fields: Mapping[str, object]) -> None:
        """What the SMTP door tells of a connection, as a line of the log."""
        self.services.log.event("debug", event, **fields)
