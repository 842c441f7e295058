"""The way out of one process: carries out the outcomes of all sessions (`runtime.session.Outbox`)."""

import asyncio
from typing import TYPE_CHECKING

from flowengine.mail.errors import MailError
from flowengine.runtime.actions import Reply
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.sealing import CANNOT_SIGN
from flowengine.runtime.services import Services
from flowengine.runtime.visit import Connection
from flowengine.services.outbox.commit import Commit
from flowengine.services.outbox.remembered import Memory, Remembered
from flowengine.services.outbox.ways import Ways
from flowengine.services.quarantine import Quarantines

if TYPE_CHECKING:
    from flowengine.services.config import Config
    from flowengine.services.queue.queue import Queue

LOCAL_ERROR = Reply(451, "4.3.0", "Local error, try again later")


class Outbox:
    """Transports, quarantines and the memory of what was half delivered (default: one of this process alone)."""

    def __init__(self, config: "Config", services: Services, remembered: Memory | None = None) -> None:
        self.services = services
        self.hostname: str = config.hostname
        self.time = config.limits.transaction_time
        """Seconds from the dot to the reply."""
        self.destinations = config.limits.destinations
        """Next hops of one message at a time."""
        self.ways = Ways(config, services)
        self.quarantines = Quarantines({name: store.path for name, store in config.quarantine.items()})
        self.remembered: Memory = remembered or Remembered(services.clock.monotonic)
        self.queue: Queue | None = None
        """Where messages go whose listener says `delivery = "queue"`; None for a process without one."""
        self._queueing = frozenset(name for name, one in config.listeners.items() if one.delivery == "queue")
        self._under_way: set[asyncio.Task[None]] = set()

    async def commit(self, connection: Connection, outcome: Outcome) -> Reply:
        """Carry out what was decided; the reply the client may hear. Never raises but for cancellation."""
        if not outcome.kept:
            return outcome.reply
        try:
            return await Commit(self, connection, outcome).carry_out()
        except MailError as error:
            self.services.log.event("error", "seal failed", id=outcome.transaction.id, error=str(error))
            return CANNOT_SIGN
        except Exception as error:  # noqa: BLE001  # whatever it is, the client comes back and nothing is lost
            problem = f"{type(error).__name__}: {error}"
            self.services.log.event("error", "delivery failed", id=outcome.transaction.id, error=problem)
        return LOCAL_ERROR

    def queues(self, connection: Connection) -> bool:
        """Whether a client's mail is answered once it is in the queue."""
        return self.queue is not None and connection.listener in self._queueing

    def keep_alive(self, task: "asyncio.Task[None]") -> None:
        """A task goes on although nobody waits for it any more."""
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Let what is under way end, as far as it does soon, and close the connections outward."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=1.0)
        await self.ways.close()
        await self.remembered.close()
