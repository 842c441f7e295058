"""What a compiled flow asks of the run that carries it. The runtime implements it; language tests have their own."""

from collections.abc import Awaitable
from typing import Protocol, TypeVar

from flowengine.language.budget import Budget
from flowengine.language.caching import Caches
from flowengine.language.problems import Span
from flowengine.language.values import Value

T = TypeVar("T")


class Final(BaseException):
    """A final action on its way out of the script. Not an Exception: nothing in a script catches it."""


class Host(Protocol):
    """The run as compiled code sees it."""

    budget: Budget
    """What the run may still spend."""
    variables: object
    """The predefined variables of the phase: one attribute a variable."""
    caches: Caches
    """The process-wide store behind `cache [...]`."""

    def wait(self, awaitable: Awaitable[T]) -> T:
        """The result of an awaitable; other runs go on meanwhile."""
        ...

    def now(self) -> float:
        """The time in Unix seconds, from the run's clock."""
        ...

    def echo(self, text: str) -> None:
        """Take one line of output: a flow's string, secrets already hidden."""
        ...

    def warn(self, message: str) -> None:
        """Note something odd that the flow's author should know, once a run and message."""
        ...

    def traced(self, span: Span, name: str, arguments: tuple[Value, ...], result: Value, milliseconds: float) -> None:
        """A builtin was called; only flows compiled with `trace=True` report it. Secrets are not hidden yet."""
        ...

    def implicit_end(self) -> None:
        """The script came to its end without an action, and defines no function of its own for that."""
        ...
