"""Counters over sliding windows: exact, in memory, bounded.

Each (namespace, entry) keeps the times of its hits, oldest first. When all windows together hold more than `limit`
times, the windows used longest ago are forgotten: a limiter that forgets lets too much through, never too little.
"""

from collections import OrderedDict, deque


class MemoryRates:
    """The rates of one process (`runtime.services.Rates`). limit: times remembered at most."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self._limit, self._held = limit, 0
        self._windows: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def hit(self, namespace: str, entry: str, count: int, interval: float, now: float) -> bool:
        """Add one entry if fewer than `count` lie in the last `interval` seconds; whether it was added."""
        window = self._window(namespace, entry, interval, now)
        if len(window) >= count:
            return False
        window.append(now)
        self._held += 1
        self._forget()
        return True

    def count(self, namespace: str, entry: str, interval: float, now: float) -> int:
        """How many entries lie in the last `interval` seconds."""
        if (namespace, entry) not in self._windows:
            return 0
        window = self._windows[namespace, entry]
        return sum(1 for moment in window if moment > now - interval)

    def _window(self, namespace: str, entry: str, interval: float, now: float) -> deque[float]:
        key = (namespace, entry)
        window = self._windows.setdefault(key, deque())
        self._windows.move_to_end(key)
        while window and window[0] <= now - interval:
            window.popleft()
            self._held -= 1
        return window

    def _forget(self) -> None:
        while self._held > self._limit and self._windows:
            _, oldest = self._windows.popitem(last=False)
            self._held -= len(oldest)
