"""A coroutine that is begun before anybody awaits it: what needs no waiting then costs no Task and no timer."""

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def rest(step: Coroutine[Any, Any, T] | Generator[Any, Any, T], pending: object) -> Generator[Any, Any, T]:
    """What remains of a coroutine whose `send(None)` gave `pending`. Failures and cancellation go where it waits."""
    try:
        while True:
            try:
                answer = yield pending
            except BaseException as error:  # noqa: BLE001  # a cancellation goes where the waiting is
                pending = step.throw(error)
            else:
                pending = step.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # the step's own result
