"""Time and chance from the system."""

import asyncio
import os
import random
import time

_SYSTEM = random.SystemRandom()


class SystemClock:
    """The machine's clock (`runtime.services.Clock`)."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        await asyncio.sleep(max(0.0, seconds))


class SystemRandomness:
    """The operating system's generator (`runtime.services.Randomness`)."""

    def number(self) -> float:
        """A number from 0 up to 1, 1 excluded."""
        return _SYSTEM.random()

    def octets(self, count: int) -> bytes:
        """That many random bytes."""
        return os.urandom(count)
