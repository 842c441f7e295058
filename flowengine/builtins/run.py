"""What a word that works anywhere asks of the run it stands in: the world, the budget, the settings, who we are.

`runtime.run.Run` is one; words of a phase ask for that one itself. A word that needs only this can be tried without a
visit, a message or a phase.
"""

from typing import Protocol

from flowengine.language.budget import Budget
from flowengine.runtime.services import Settings
from flowengine.runtime.world import World


class Run(Protocol):
    """The run as the standard library sees it."""

    budget: Budget
    settings: Settings
    world: World
    phase: str

    @property
    def message_id(self) -> str:
        """The transaction's id."""
        ...

    @property
    def started(self) -> float:
        """When the script began, in seconds of the world's monotonic clock."""
        ...

    def warn(self, message: str) -> None:
        """Note something odd that the flow's author should know."""
        ...


def worked(run: Run, size: int) -> None:
    """Pay for going through a large value once; `size` in bytes. What is small is paid by the call itself."""
    if size > 4096:
        run.budget.spend(size >> 8)


def grown(run: Run, size: int, more: int) -> None:
    """Pay for what a value of `size` bytes grows by, before it does. Raises BudgetExceeded at the limit for one."""
    run.budget.spend(1 + (more >> 6))
    if size + more > run.budget.size:
        run.budget.grow(size + more)
