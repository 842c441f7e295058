"""How fast a connection goes: when its client is not read from, and how long one that makes errors waits."""

from abc import abstractmethod
from asyncio import AbstractEventLoop, Transport

from aiosmtpd.smtp import SMTP

from flowengine.servers.smtp.door import Limits
from flowengine.servers.smtp.machine import Machine

# Why a connection is not read from at the moment.
BUSY, UNREAD, MEMORY, HANDSHAKE, TARPIT = 1, 2, 4, 8, 16

LONGEST_TARPIT = 60.0
"""Seconds at a time, however many errors a client had."""


class Pacing(SMTP):
    """Back-pressure and tarpit of one connection."""

    transport: Transport | None
    _loop: AbstractEventLoop
    _limits: Limits
    _machine: Machine | None
    _paused = 0
    _refusals = 0
    _stuck: list[bytes] | None = None

    @abstractmethod
    def _reached(self, limit: str) -> None:
        """The client has come to a limit, by its name in the configuration."""

    @abstractmethod
    def _settle(self, machine: Machine, step: None) -> None:
        """After the machine has worked: write, wait, close."""

    def _pause(self, reason: int) -> None:
        if not self._paused and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._paused |= reason

    def _resume(self, reason: int) -> None:
        if self._paused & reason:
            self._paused &= ~reason
            if not self._paused and self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    # -- the tarpit -----------------------------------------------------------------------------------------------

    def _sticks(self, machine: Machine) -> bool:
        """Whether what the machine says now has to wait."""
        return self._stuck is not None or (machine.refusals != self._refusals and self._limits.tarpit > 0)

    def _stick(self, machine: Machine, replies: bytes) -> None:
        """A client that makes errors waits for its replies, and we do not read on."""
        if self._stuck is not None:
            self._stuck.append(replies)
            return
        self._stuck = [replies]
        self._reached("tarpit")
        self._pause(TARPIT)
        self._wait_in_tarpit(machine)

    def _wait_in_tarpit(self, machine: Machine) -> None:
        errors, self._refusals = machine.refusals - self._refusals, machine.refusals
        self._loop.call_later(min(errors * self._limits.tarpit, LONGEST_TARPIT), self._unstick)

    def _unstick(self) -> None:
        """The time is over, unless there were more errors meanwhile."""
        machine = self._machine
        if machine is None or self._stuck is None or self.transport is None:
            return
        if machine.refusals != self._refusals and not machine.closing:
            self._wait_in_tarpit(machine)
            return
        self._let_go()
        self._settle(machine, None)

    def _let_go(self) -> None:
        """Say now what was held back."""
        if self._machine is not None:
            self._refusals = self._machine.refusals
        stuck, self._stuck = self._stuck, None
        if stuck is not None and self.transport is not None:
            self.transport.write(b"".join(stuck))
            self._resume(TARPIT)
