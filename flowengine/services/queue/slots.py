"""How many attempts run at a time, in all and at one place, so that nobody's trouble is everybody's.

An attempt that takes long gives its slot back while it goes on: a thousand dead hosts that keep silent do not keep
mail from the living.
A destination that nobody knows to be alive gets few attempts at a time until one succeeds.
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

Key = tuple[str, str]
SLOW = 1.0
"""Seconds after which an attempt does not count any more."""
SLOW_SHARE = 10
"""How many times as many as fast attempts there may be slow ones."""


FIRST = 2
"""Attempts at a time at a domain of which nothing is known."""
PROVEN = 20_000
"""Domains that are known to be alive, at most."""


class Slots:
    """The attempts of one worker. most: fast ones at a time. room: attempts at a time at a place, by transport."""

    def __init__(self, most: int, room: Callable[[str], int], monotonic: Callable[[], float]) -> None:
        self.most, self._room, self._monotonic = most, room, monotonic
        self._proven: OrderedDict[Key, None] = OrderedDict()
        self.active: dict[Key, int] = {}
        """Attempts by transport and domain."""
        self._fast: dict[int, float] = {}
        self._slow: set[int] = set()
        self._failing: set[int] = set()
        self._next = 0

    def __len__(self) -> int:
        return len(self._fast) + len(self._slow)

    @property
    def free(self) -> int:
        """How many more may begin."""
        now = self._monotonic()
        while self._fast:
            (number, since), *_ = islice(self._fast.items(), 1)
            if now - since < SLOW:
                break
            del self._fast[number]
            self._slow.add(number)
        if len(self._slow) >= self.most * SLOW_SHARE:
            return 0
        return self.most - len(self._fast)

    @property
    def failing(self) -> int:
        """How many more may go to places that failed last time: half of them all."""
        return max(0, self.most * (SLOW_SHARE + 1) // 2 - len(self._failing))

    def room(self, transport: str, domain: str) -> int:
        """Attempts at a time at a place. A host that the configuration names (domain "") needs no proof."""
        most = self._room(transport)
        return most if not domain or (transport, domain) in self._proven else min(most, FIRST)

    def proved(self, key: Key, alive: bool) -> None:
        """A place took a message, or could not be talked to."""
        if not alive:
            self._proven.pop(key, None)
        elif key[1] and key not in self._proven:
            self._proven[key] = None
            if len(self._proven) > PROVEN:
                self._proven.popitem(last=False)

    def has_room(self, key: Key) -> bool:
        """Whether one more may begin at a place."""
        return self.active.get(key, 0) < self.room(*key) and self.free > 0

    def take(self, key: Key, *, failing: bool = False) -> int:
        """Begin; a number to end with."""
        self._next += 1
        self._fast[self._next] = self._monotonic()
        self.active[key] = self.active.get(key, 0) + 1
        if failing:
            self._failing.add(self._next)
        return self._next

    def give_back(self, number: int, key: Key) -> None:
        """End."""
        self._fast.pop(number, None)
        self._slow.discard(number)
        self._failing.discard(number)
        left = self.active[key] - 1
        if left:
            self.active[key] = left
        else:
            del self.active[key]
