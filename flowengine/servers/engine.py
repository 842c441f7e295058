"""The engine: one configuration's services, policies and outbox, ready for a door."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

from flowengine.runtime.policy import Policy
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Services
from flowengine.servers.compiling import Compiler
from flowengine.services.outbox import Outbox
from flowengine.services.outside import services_for
from flowengine.services.users import open_users

if TYPE_CHECKING:
    from flowengine.services.config import Config


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
