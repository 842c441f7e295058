"""Caches and barriers among runs that wait: single flight, one holder at a time."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from flowengine.language.caching import Caches
from flowengine.language.compiler import compile_flow
from flowengine.language.functions import PhaseSpec, Vocabulary, builtin
from flowengine.language.loader import Loader, Source
from tests.language.host import TestHost

T = TypeVar("T")
asked: list[str] = []


@builtin
async def ask(name: str) -> str:
    """A question to the world."""
    asked.append(name)
    await asyncio.sleep(0.01)
    if name == "bad":
        raise ValueError("the world is down")
    return f"answer {len(asked)}"


class WaitingHost(TestHost):
    """A run in a greenlet: what its coroutines yield goes to the Task behind it."""

    def wait(self, awaitable: Awaitable[T]) -> T:
        here = getcurrent()
        assert here.parent is not None
        answer: T = here.parent.switch(awaitable)
        return answer


def vocabulary() -> Vocabulary:
    return Vocabulary([sys.modules[__name__]], [PhaseSpec("data", {})])


async def play(text: str, host: TestHost) -> list[str]:
    flow = compile_flow(Source("flow.hsl", text), vocabulary(), "data", Loader())
    run: Callable[..., Any] = flow.run
    worker = greenlet(run)
    pending = worker.switch(host)
    while not worker.dead:
        try:
            pending = worker.switch(await pending)
        except ValueError as error:
            pending = worker.throw(error)
    return host.output


async def together(*texts: str) -> list[Any]:
    caches = Caches()
    hosts = [WaitingHost(caches=caches) for _ in texts]
    return await asyncio.gather(*(play(*pair) for pair in zip(texts, hosts, strict=True)), return_exceptions=True)


def test_one_run_asks_and_the_others_wait() -> None:
    asked.clear()
    results = asyncio.run(together(*['echo cache ["ttl" => 60] ask("x");'] * 5))
    assert results == [["answer 1"]] * 5
    assert asked == ["x"]


def test_when_the_first_fails_the_next_one_asks() -> None:
    asked.clear()
    results = asyncio.run(together(*['echo cache [] ask("bad");'] * 3))
    assert asked == ["bad"] * 3
    assert all(isinstance(one, Exception) for one in results)


def test_a_cached_function_may_call_itself() -> None:
    asked.clear()
    text = 'function f($n) { global $again; $again = !($again ?? false); return $again ? cache [] f($n) : ask("x"); }'
    assert asyncio.run(together(text + " echo cache [] f(1);")) == [["answer 1"]]


def test_a_barrier_lets_one_in_at_a_time() -> None:
    asked.clear()
    text = 'barrier "b" => $n { $n = ($n ?? 0) + 1; $mine = $n; ask("x"); echo $mine == $n; }'
    assert asyncio.run(together(*[text] * 4)) == [["true"]] * 4


def test_two_barriers_are_independent() -> None:
    texts = [f'barrier "{name}" {{ ask("x"); echo "{name}"; }}' for name in "abab"]
    assert asyncio.run(together(*texts)) == [["a"], ["b"], ["a"], ["b"]]


def test_a_value_in_a_cache_is_not_written_to() -> None:
    host = TestHost()
    text = "function f() { return [1, [2]]; } $a = cache [] f(); $a[1][] = 3; $b = cache [] f(); echo $b;"
    compile_flow(Source("flow.hsl", text), vocabulary(), "data", Loader()).run(host)
    assert host.output == ["[0=>1,1=>[0=>2]]"]
