"""The engine: one configuration's services, policies and outbox, ready for a door."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from flowengine.runtime.policy import Policy
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Level, Services
from flowengine.servers.compiling import Compiler
from flowengine.services.outbox import Outbox
from flowengine.services.outside import services_for
from flowengine.services.server_tls import ServerTLS, open_tls
from flowengine.services.users import PasswordChecker, open_users

if TYPE_CHECKING:
    from flowengine.services.config import Config


LEVELS: Mapping[str, Level] = {"smtp.trouble": "error", "smtp.limit": "notice", "smtp.refused": "notice"}
"""How loud what the SMTP door tells is."""


@dataclass(frozen=True)
class Engine:
    """What the listeners of one configuration share. Used as a context: on leaving, connections outward are closed."""

    config: "Config"
    services: Services
    policies: Mapping[str, Policy]
    outbox: Outbox
    runner: Runner
    tls: Mapping[str, ServerTLS] = field(default_factory=dict)
    """TLS of the listeners that speak it, by their names."""

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
        return cls(config, services, policies, Outbox(config, services), Runner(), open_tls(config, services))

    async def __aenter__(self) -> "Engine":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.outbox.close()

    def reload_certificates(self) -> bool:
        """Read every listener's certificate again, at once; whether all are good. Broken ones are told and not used."""
        return sum(one.reload() for one in self.tls.values()) == len(self.tls)

    def report(self, event: str, fields: Mapping[str, object]) -> None:
        """What the SMTP door tells of a connection, as a line of the log."""
        if event == "smtp.limit":
            self.services.counters.increment("limits", limit=str(fields["limit"]))
        self.services.log.event(LEVELS.get(event, "debug"), event, **fields)
