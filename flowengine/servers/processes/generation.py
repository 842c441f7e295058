"""One set of workers: the same configuration, the same flows, from ready to drained."""

import socket
from collections.abc import Callable, Mapping, Sequence

from flowengine.servers.engine import Engine
from flowengine.servers.processes.child import Child
from flowengine.servers.processes.privileges import Account

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds before a worker that died is replaced: doubled each time, until one has lived for a while."""
HEALTHY = 5.0
"""Seconds after which a worker's death is no longer the fault of its start."""

Sockets = Mapping[str, tuple[socket.socket, ...]]
Start = Callable[["Generation", int], Child]


def addresses_of(engine: Engine) -> dict[str, str]:
    """Where the listeners of a configuration listen, by name."""
    return {name: str(listener.address) for name, listener in engine.config.listeners.items()}


class Slot:
    """A place for a worker, and the sockets that belong to it."""

    def __init__(self) -> None:
        self.child: Child | None = None
        self.pause = 0.0
        self.due = 0.0

    def died(self, child: Child, now: float) -> None:
        """Its worker is gone: when comes the next one?"""
        self.child = None
        lived = now - child.started
        self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE) if lived < HEALTHY else 0.0
        self.due = now + self.pause


class Generation:
    """Workers with one engine, under one account. start: forks one."""

    def __init__(
        self, number: int, engine: Engine, account: Account | None, sockets: Sequence[Sockets], start: Start
    ) -> None:
        self.number, self.engine, self.account, self.sockets = number, engine, account, sockets
        self._start = start
        self.slots = [Slot() for _ in sockets]
        self.promoted: float | None = None
        """When it became the one that serves."""

    @property
    def children(self) -> list[Child]:
        """The living ones."""
        return [slot.child for slot in self.slots if slot.child is not None]

    @property
    def ready(self) -> bool:
        """Whether every worker accepts."""
        return all(slot.child is not None and slot.child.ready for slot in self.slots)

    def fill(self, now: float) -> None:
        """Start the workers that are missing and due."""
        for number, slot in enumerate(self.slots):
            if slot.child is None and slot.due <= now:
                slot.child = self._start(self, number)

    def next_due(self) -> float | None:
        """When the next missing worker is to be started."""
        return min((slot.due for slot in self.slots if slot.child is None), default=None)

    def died(self, child: Child, now: float) -> bool:
        """A child of the server is gone; whether it was one of these."""
        for slot in self.slots:
            if slot.child is child:
                slot.died(child, now)
                return True
        return False

    def end(self, deadline: float) -> list[Child]:
        """Let all workers drain; they are no longer of this generation."""
        leaving = self.children
        for child in leaving:
            child.end(deadline)
        for slot in self.slots:
            slot.child = None
            slot.due = float("inf")
        return leaving
