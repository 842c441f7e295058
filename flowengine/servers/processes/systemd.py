"""What systemd and we say to each other: sockets it bound for us, and how we are (sd_listen_fds(3), sd_notify(3))."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator, MutableMapping

FIRST = 3
"""The first descriptor that is handed over."""


def activated(environment: MutableMapping[str, str] = os.environ) -> Iterator[tuple[str, socket.socket]]:
    """The sockets that systemd bound, with their `FileDescriptorName`. The variables are for us alone and are taken."""
    owner, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if owner != str(os.getpid()) or not count.isdigit():
        return
    for number in range(int(count)):
        one = socket.socket(fileno=FIRST + number)
        os.set_inheritable(one.fileno(), False)
        yield (names[number] if number < len(names) else ""), one


class Supervisor:
    """Tells systemd how we are; nobody when it did not start us."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        environment.pop("WATCHDOG_PID", None)
        self.interval = int(microseconds) / 2e6 if self._address and microseconds.isdigit() else None
        """Seconds between two signs of life; None when nobody waits for them."""

    def ready(self, status: str) -> None:
        """Every listener accepts, for the first time or after a reload."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A new generation is on its way."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """We drain."""
        self._say("STOPPING=1")

    def alive(self) -> None:
        """A sign of life, for who waits for it."""
        if self.interval is not None:
            self._say("WATCHDOG=1")

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)
