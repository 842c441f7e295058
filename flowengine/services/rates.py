"""Counters over sliding windows: exact, in memory, bounded.

Each (namespace, entry) keeps the times of its hits. When all windows together hold more than `limit`, those used
longest ago are forgotten: a limiter that forgets lets too much through, never too little.
"""

import hashlib
from bisect import bisect_right
from collections import OrderedDict

_WINDOW_WEIGHT = 15
"""What a window costs besides its times, in times: some 500 octets beside 32 for each."""

_Key = tuple[str, str]


class _Window:
    """The times of one entry, oldest first, from `start` on. longest: the longest interval anybody asked about."""

    __slots__ = ("longest", "start", "times")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start = 0
        self.longest = 0.0

    def within(self, interval: float, now: float) -> int:
        """How many times lie in the last `interval` seconds."""
        return len(self.times) - bisect_right(self.times, now - interval, lo=self.start)

    def drop(self, now: float) -> int:
        """Forget what no interval reaches any more; how many times that were."""
        start = bisect_right(self.times, now - self.longest, lo=self.start)
        dropped, self.start = start - self.start, start
        if self.start > 64 and self.start * 2 > len(self.times):
            del self.times[: self.start]
            self.start = 0
        return dropped


class MemoryRates:
    """The rates of one process (`runtime.services.Rates`). limit: times remembered at most, a window counting as 15."""

    def __init__(self, limit: int = 2_000_000) -> None:
        self._limit, self._held = limit, 0
        self._windows: OrderedDict[_Key, _Window] = OrderedDict()

    def hit(self, namespace: str, entry: str, count: int, interval: float, now: float) -> bool:
        """Add one entry if fewer than `count` lie in the last `interval` seconds; whether it was added."""
        if count <= 0:
            return False
        key = _key(namespace, entry)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window()
            self._held += _WINDOW_WEIGHT
        else:
            self._windows.move_to_end(key)
        window.longest = max(window.longest, interval)
        self._held -= window.drop(now)
        if window.within(interval, now) >= count:
            return False
        times = window.times
        times.append(now if len(times) == window.start else max(now, times[-1]))  # the clock may be set back
        self._held += 1
        self._forget()
        return True

    def count(self, namespace: str, entry: str, interval: float, now: float) -> int:
        """How many entries lie in the last `interval` seconds."""
        window = self._windows.get(_key(namespace, entry))
        if window is None:
            return 0
        window.longest = max(window.longest, interval)
        return window.within(interval, now)

    def _forget(self) -> None:
        while self._held > self._limit and self._windows:
            _, window = self._windows.popitem(last=False)
            self._held -= len(window.times) - window.start + _WINDOW_WEIGHT


def _key(namespace: str, entry: str) -> _Key:
    """The names of a window, long ones by their digest: a flow may use any text."""
    return _short(namespace), _short(entry)


def _short(text: str) -> str:
    if len(text) <= 100:
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
