"""What one run may spend: steps, depth of calls, size of values, memory, time.

Compiled flows count loop turns and calls of their own functions; operators and builtins add what grows. Steps come in
slices, and between two slices the deadline and the memory are looked at, so that a flow that only computes meets them
too.
"""

from collections.abc import Callable, Sized
from time import monotonic
from typing import Protocol

from flowengine.language.problems import BudgetExceeded

FIRST, LEAST, MOST = 256, 16, 10_000  # steps between two looks at the clock: as many as take about a millisecond
BREATH = 0.01  # seconds of computing until others may go on
FREE = 4096  # values below this size grow without cost: straight-line code makes only so many of them
BYTES_A_STEP = 64
BYTES_AN_ITEM = 96  # what an array really takes for one entry
LARGEST_VALUES = 8  # how many values of the largest size all small ones together may amount to


class Budget:
    """The limits of a run and what is left of them.

    steps: how many steps in all. depth: how many calls of recursive functions inside one another. size: the largest
    single value in bytes. overdue: called between slices; true when the run's deadline is over.
    held: called there too; the memory of the process, which may grow by that of eight values of the largest size while
    the run computes. breathe: called there when the last time was a while ago; lets others go on.
    """

    __slots__ = (
        "breathe",
        "breathed",
        "depth",
        "grown",
        "held",
        "left",
        "looked",
        "most_depth",
        "overdue",
        "rest",
        "seen",
        "size",
        "slice",
    )

    def __init__(
        self,
        steps: int = 5_000_000,
        depth: int = 200,
        size: int = 64 * 1024 * 1024,
        overdue: Callable[[], bool] | None = None,
        held: Callable[[], int] | None = None,
        breathe: Callable[[], None] | None = None,
    ) -> None:
        self.left = min(steps, FIRST)  # of this slice; compiled code takes from it directly
        self.rest = steps - self.left
        self.slice, self.looked = FIRST, monotonic()
        self.depth = self.most_depth = depth
        self.size, self.overdue, self.held = size, overdue, held
        self.breathe, self.breathed = breathe, self.looked
        self.seen: int | None = None  # the memory of the process at the last look, None after a wait
        self.grown = 0

    def spend(self, steps: int) -> None:
        """Take steps. Raises BudgetExceeded when there are not enough, or when the deadline is over."""
        self.left -= steps
        if self.left < 0:
            self.refill()

    def refill(self) -> None:
        """The next slice. Raises BudgetExceeded when there is none, or when the deadline is over."""
        if self.overdue is not None and self.overdue():
            raise BudgetExceeded("the script ran past its deadline")
        self._look_at_memory()
        now = monotonic()  # only paces the looks; what a run may spend does not depend on it
        if now - self.looked > 0.01:
            self.slice = max(LEAST, self.slice // 8)
        elif now - self.looked < 0.001:
            self.slice = min(MOST, self.slice * 2)
        if self.breathe is not None and now - self.breathed > BREATH:
            self.breathe()
            self.breathed = now = monotonic()
        self.looked = now
        need = self.slice - self.left
        if self.rest <= 0 or self.rest + self.left < 0:
            self.rest = 0
            raise BudgetExceeded("the script ran too long: its steps are used up")
        taken = min(need, self.rest)
        self.rest -= taken
        self.left += taken

    def waited(self) -> None:
        """Others may have run since the last look."""
        self.seen = None

    def _look_at_memory(self) -> None:
        if self.held is None:
            return
        held = self.held()
        if self.seen is not None:
            self.grown += held - self.seen
            if self.grown > LARGEST_VALUES * self.size:
                raise BudgetExceeded(f"the values of the script take more than {LARGEST_VALUES * self.size} bytes")
        self.seen = held

    def grow(self, size: int) -> None:
        """Pay for a new value before it is made. size: in bytes. Raises BudgetExceeded above the limit."""
        if size > self.size:
            raise BudgetExceeded(f"a value of {size} bytes is larger than the limit of {self.size}")
        if size > FREE:
            self.spend(size // BYTES_A_STEP)

    def grow_items(self, items: int) -> None:
        """Pay for an array of so many entries before it is made."""
        self.grow(items * BYTES_AN_ITEM)

    def paid(self, value: Sized) -> None:
        """Pay for a value that is there already: a string by its bytes, an array by its entries."""
        self.grow(len(value) * (1 if isinstance(value, str) else BYTES_AN_ITEM))

    def enter(self) -> None:
        """One recursive call deeper. Raises BudgetExceeded at the limit."""
        self.depth -= 1
        if self.depth < 0:
            self.depth += 1
            raise BudgetExceeded(f"functions call one another more than {self.most_depth} deep")

    def leave(self) -> None:
        """Back from a recursive call."""
        self.depth += 1


class Running(Protocol):
    """What operators and library code need of a run."""

    budget: Budget

    def warn(self, message: str) -> None:
        """Note something odd for the flow's author."""
        ...
