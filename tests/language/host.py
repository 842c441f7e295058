"""A run for the tests of the language: no greenlet, no world. Coroutines are driven to their end on the spot."""

import inspect
from collections.abc import Awaitable
from typing import Any, TypeVar

from flowengine.language.budget import Budget
from flowengine.language.caching import Caches
from flowengine.language.host import Final

T = TypeVar("T")


class Variables:
    """The predefined variables of the test phase."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class TestHost:
    """What a flow sees of its run."""

    __test__ = False

    def __init__(self, budget: Budget | None = None, caches: Caches | None = None, **variables: Any) -> None:
        self.budget = budget or Budget()
        self.caches = caches or Caches()
        self.variables = Variables(**variables)
        self.output: list[str] = []
        self.warnings: list[str] = []
        self.calls: list[tuple[Any, ...]] = []
        self.clock = 1_000_000.0
        self.ended = False

    def wait(self, awaitable: Awaitable[T]) -> T:
        assert inspect.iscoroutine(awaitable)
        try:
            while True:
                awaitable.send(None)
        except StopIteration as done:
            result: T = done.value
            return result

    def now(self) -> float:
        return self.clock

    def echo(self, text: str) -> None:
        self.output.append(text)

    def warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def implicit_end(self) -> None:
        self.ended = True

    def traced(self, span: Any, name: str, arguments: tuple[Any, ...], result: Any, milliseconds: float) -> None:
        self.calls.append((span.line, name, arguments, result))

    def finish(self, *what: Any) -> None:
        """End the script with an action."""
        raise Final(*what)
