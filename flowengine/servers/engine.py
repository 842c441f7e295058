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
from flowengine.services.clock import SystemClock
from flowengine.services.log_targets import open_log
from flowengine.services.metrics import Tally
from flowengine.services.outbox import Outbox, StoredMemory
from flowengine.services.outside import services_for
from flowengine.services.queue.queue import Queue
from flowengine.services.queue.view import View
from flowengine.services.server_tls import ServerTLS, open_tls
from flowengine.services.shared import NAME as SHARED
from flowengine.services.shared import SharedFile, SharedRates
from flowengine.services.users import PasswordChecker, open_users
from flowengine.services.viewing import ViewedLog

if TYPE_CHECKING:
    from flowengine.services.config import Config


LEVELS: Mapping[str, Level] = {"smtp.trouble": "error", "smtp.limit": "notice", "smtp.refused": "notice"}
"""How loud what the SMTP door tells is."""


@dataclass(frozen=True)
class Engine:
    """What the listeners of one configuration share. Used as a context: on leaving, connections outward are closed.

    viewed, tally: the log and the counters of `services`, as those know them who show them. shared: the file that the
    workers share.
    """

    config: "Config"
    services: Services
    policies: Mapping[str, Policy]
    outbox: Outbox
    queue: Queue
    runner: Runner
    viewed: ViewedLog
    tally: Tally
    shared: SharedFile
    tls: Mapping[str, ServerTLS] = field(default_factory=dict)
    """TLS of the listeners that speak it, by their names."""

    @classmethod
    def build(cls, config: "Config") -> "Engine":
        """Compile and open everything, bind nothing. Raises FlowProblems and ConfigError, each with all there is."""
        policies = Compiler(config).policies()
        viewed, tally = ViewedLog(open_log(config.log, config.hostname)), Tally()
        shared = SharedFile(config.storage.directory / SHARED, SystemClock(), viewed)
        view = View()
        services = replace(services_for(config, viewed, tally, shared), queue=view)
        checkers: dict[Path, PasswordChecker] = {}
        guesses = SharedRates(shared, config.limits.rate_entries, realm="passwords")
        for name, listener in config.listeners.items():
            if listener.users is not None:
                if listener.users not in checkers:
                    checkers[listener.users] = open_users(config, listener.users, services.log, services.clock, guesses)
                policies[name] = replace(policies[name], users=checkers[listener.users])
        outbox = Outbox(config, services, StoredMemory(config.storage.path, services.clock, services.log))
        queue = outbox.queue = Queue(config, services, outbox.ways)
        view.attach(queue)
        tls = open_tls(config, services)
        return cls(config, services, policies, outbox, queue, Runner(), viewed, tally, shared, tls)

    @property
    def directories(self) -> list[Path]:
        """Where workers write."""
        sinks = [one.sink for one in self.config.transports.values() if one.sink is not None]
        return [self.config.storage.directory, *sinks, *(store.path for store in self.config.quarantine.values())]

    async def __aenter__(self) -> "Engine":
        await self.queue.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.queue.close(self.config.limits.drain_time)
        await self.outbox.close()

    def reload_certificates(self) -> bool:
        """Read every listener's certificate again, at once; whether all are good. Broken ones are told and not used."""
        return sum(one.reload() for one in self.tls.values()) == len(self.tls)

    def report(self, event: str, fields: Mapping[str, object]) -> None:
        """What the SMTP door tells of a connection, as a line of the log."""
        level = LEVELS.get(event, "debug")
        if event == "smtp.limit":
            level = "error" if fields["limit"] == "spool" else level  # a full disk is nothing that the client did
            self.services.counters.increment("limits", limit=str(fields["limit"]))
        elif event == "smtp.refused":
            self.services.counters.increment("connections", listener=str(fields["listener"]), result="refused")
        self.services.log.event(level, event, **fields)
