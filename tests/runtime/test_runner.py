"""The runner: a flow waits at its line, is cancelled at its line, and leaves nothing behind."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import greenlet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.runtime.runner import Place, Runner

Log = list[object]


def running(work: Callable[[Place], object], runner: Runner | None = None) -> object:
    """What a piece of work gives when it is carried out in a loop of its own."""

    async def whole() -> object:
        return await one(work, runner or Runner())

    return asyncio.run(whole())


async def one(work: Callable[[Place], object], runner: Runner) -> object:
    place, found = Place(), []
    await runner.execute(lambda: found.append(work(place)), place)
    return found[0]


async def late(value: object, turns: int = 1) -> object:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


def test_a_wait_gives_the_answer_of_the_awaitable():
    assert running(lambda place: [place.wait(late(1)), place.wait(late(2, 5)), place.wait(late(3, 0))]) == [1, 2, 3]


def test_work_that_does_not_wait_never_leaves_its_greenlet():
    async def whole() -> list[int]:
        runner, seen = Runner(), []
        steps = runner.execute(lambda: seen.append(1), Place())
        with pytest.raises(StopIteration):  # one step, and it is done
            steps.send(None)
        return seen

    assert asyncio.run(whole()) == [1]


def test_a_failure_is_raised_at_the_waiting_line():
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    def work(place: Place) -> str:
        try:
            place.wait(fails())
        except ValueError as error:
            return f"caught {error}"
        return "nothing raised"

    assert running(work) == "caught no"


def test_what_the_work_raises_is_raised_to_who_waits_for_it():
    def work(place: Place) -> None:
        place.wait(late(None))
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        running(work)


def test_cancelling_the_task_cancels_at_the_waiting_line_and_runs_what_must_run():
    log: Log = []

    async def careful() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0)  # cleaning up may wait as well
            log.append("cleaned")

    def work(place: Place) -> None:
        try:
            place.wait(careful())
        except Exception:  # noqa: BLE001  # cancellation is no Exception, so no flow can swallow it
            log.append("swallowed")
        log.append("went on")

    async def whole() -> None:
        task = asyncio.create_task(one(work, Runner()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())
    assert log == ["cleaned"]


def test_a_deadline_strikes_at_the_waiting_line():
    log: Log = []

    def work(place: Place) -> None:
        place.wait(late(1))
        log.append("before")
        place.wait(asyncio.sleep(30))
        log.append("after")

    async def whole() -> None:
        async with asyncio.timeout(0.05):
            await one(work, Runner())

    with pytest.raises(TimeoutError):
        asyncio.run(whole())
    assert log == ["before"]


def test_a_time_out_inside_a_flow_is_its_own():
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            return "too late"
        return "in time"

    assert running(lambda place: [place.wait(impatient()), place.wait(late("next"))]) == ["too late", "next"]


def test_at_most_so_many_are_in_flight_and_the_others_stand_in_line():
    flying, most, order = 0, 0, []

    async def fly(number: int) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.001)
        flying -= 1
        order.append(number)

    async def whole() -> None:
        runner = Runner(limit=3)
        await asyncio.gather(*(one(lambda place, n=n: place.wait(fly(n)), runner) for n in range(20)))

    asyncio.run(whole())
    assert most == 3
    assert sorted(order) == list(range(20)) and order[:3] == [0, 1, 2]


def test_who_is_cancelled_in_line_gives_the_place_to_the_next():
    async def whole() -> object:
        runner = Runner(limit=1)
        gate = asyncio.Event()
        first = asyncio.create_task(one(lambda place: place.wait(gate.wait()), runner))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(one(lambda place: place.wait(late("through")), runner)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        gate.set()
        await first
        waiting[1].cancel()  # it has been given the place and does not know it yet
        return await asyncio.wait_for(waiting[2], 1)

    assert asyncio.run(whole()) == "through"


def test_a_place_is_free_again_after_failure_and_cancellation():
    async def whole() -> list[object]:
        runner = Runner(limit=1)

        def fails(place: Place) -> None:
            raise ValueError

        for _ in range(3):
            with pytest.raises(ValueError):
                await one(fails, runner)
            task = asyncio.create_task(one(lambda place: place.wait(asyncio.sleep(9)), runner))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return [await one(lambda place, n=n: place.wait(late(n)), runner) for n in range(3)]

    assert asyncio.run(whole()) == [0, 1, 2]


def test_a_thousand_runs_wait_at_once_and_each_gets_its_own():
    async def whole() -> list[object]:
        runner = Runner()
        sums = (
            one(lambda place, n=n: sum(place.wait(late(n, turn % 7)) for turn in range(5)), runner) for n in range(1000)
        )
        return await asyncio.gather(*sums)

    assert asyncio.run(whole()) == [5 * n for n in range(1000)]


def test_nothing_of_a_run_stays_behind():
    class Thing:
        pass

    known: list[weakref.ref[Thing]] = []

    def work(place: Place) -> None:
        thing = Thing()
        known.append(weakref.ref(thing))
        place.wait(late(thing))

    def failing(place: Place) -> None:
        thing = Thing()
        known.append(weakref.ref(thing))
        place.wait(late(thing))
        raise ValueError

    def greenlets() -> int:
        gc.collect()
        return sum(isinstance(thing, greenlet.greenlet) for thing in gc.get_objects())

    async def whole() -> list[int]:
        runner, counts = Runner(keep=2), []
        for _ in range(3):
            await asyncio.gather(*(one(work, runner) for _ in range(20)))
            await asyncio.gather(*(one(failing, runner) for _ in range(20)), return_exceptions=True)
            await asyncio.sleep(0)  # the loop lets go of its tasks
            counts.append(greenlets())
        return counts

    first, second, third = asyncio.run(whole())
    assert first == second == third
    assert len(known) == 120
    assert [one for one in known if one() is not None] == []


def test_idle_workers_are_used_again():
    workers = []

    async def whole() -> None:
        runner = Runner()
        for _ in range(5):
            await one(lambda place: workers.append(id(greenlet.getcurrent())), runner)

    asyncio.run(whole())
    assert len(set(workers)) == 1


def test_each_run_has_the_context_of_its_task():
    variable: ContextVar[int] = ContextVar("variable", default=0)

    def work(place: Place) -> int:
        place.wait(late(None))
        return variable.get()

    async def whole() -> list[object]:
        runner = Runner()

        async def visit(number: int) -> object:
            variable.set(number)
            return await one(work, runner)

        return await asyncio.gather(*map(visit, range(5)))

    assert asyncio.run(whole()) == [0, 1, 2, 3, 4]


def test_a_flow_cannot_wait_outside_its_run():
    with pytest.raises(RuntimeError, match="outside"):
        Place().wait(late(1))


def test_another_greenlet_cannot_wait_in_the_place_of_a_run():
    def work(place: Place) -> None:
        greenlet.greenlet(lambda: place.wait(asyncio.sleep(1))).switch()

    with pytest.raises(RuntimeError, match="outside"):
        running(work)


Plan = list[tuple[int, bool]]


@given(
    plans=st.lists(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=4), max_size=12),
    limit=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_whatever_waits_and_fails_every_run_ends_with_its_own(plans: list[Plan], limit: int):
    async def step(value: object, turns: int, fails: bool) -> object:
        await late(None, turns)
        if fails:
            raise ValueError(value)
        return value

    def work(place: Place, number: int, plan: Plan) -> list[object]:
        seen: list[object] = []
        for turns, fails in plan:
            try:
                seen.append(place.wait(step(number, turns, fails)))
            except ValueError as error:
                seen.append(error.args)
        return seen

    async def whole() -> list[object]:
        runner = Runner(limit, keep=1)
        runs: list[Awaitable[object]] = [
            one(lambda place, n=n, plan=plan: work(place, n, plan), runner) for n, plan in enumerate(plans)
        ]
        return await asyncio.gather(*runs)

    assert asyncio.run(whole()) == [[(n,) if fails else n for _, fails in plan] for n, plan in enumerate(plans)]
