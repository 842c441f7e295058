"""The engine: one configuration's services, policies and outbox, ready for a door."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from flowengine.runtime.policy import Policy
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Services
from flowengine.servers.compiling import Compiler
from flowengine.services.outbox import Outbox, StoredMemory
from flowengine.services.outside import services_for
from flowengine.services.users import PasswordChecker, open_users

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
        checkers: dict[Path, PasswordChecker] = {}
        for name, listener in config.listeners.items():
            if listener.users is not None:
                if listener.users not in checkers:
                    checkers[listener.users] = open_users(config, listener.users, services.log, services.clock)
                policies[name] = replace(policies[name], users=checkers[listener.users])
        memory = StoredMemory(config.storage.path, services.clock, services.log)
        return cls(config, services, policies, Outbox(config, services, memory), Runner())

    async def __aenter__(self) -> "Engine":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.outbox.close()

    def report(self, event: str, fields: Mapping[str, object]) -> None:
        """What the SMTP door tells of a connection, as a line of the log."""
        self.services.log.event("error" if event == "smtp.trouble" else "debug", event, **fields)
