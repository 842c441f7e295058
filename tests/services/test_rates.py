"""Sliding windows: exact against a plain list, and bounded."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.services.rates import MemoryRates


def test_so_many_within_the_interval_and_no_more() -> None:
    rates = MemoryRates()
    assert [rates.hit("n", "e", 2, 60, now) for now in (0, 10, 20, 59, 60, 61, 70)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
    ]
    assert rates.count("n", "e", 60, 70) == 2
    assert rates.count("n", "other", 60, 70) == 0 == rates.count("other", "e", 60, 70)
    assert rates.hit("n", "e", 0, 60, 1000) is False


def test_several_intervals_over_one_entry() -> None:
    rates = MemoryRates()
    for now in range(0, 100, 10):
        rates.hit("n", "e", 1000, 3600, now)
        rates.hit("n", "e", 0, 5, now)
    assert rates.count("n", "e", 3600, 100) == 10
    assert rates.count("n", "e", 25, 100) == 2
    assert rates.hit("n", "e", 3, 25, 100) is True


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 4), st.sampled_from([5.0, 20.0])), max_size=60))
def test_it_is_a_list_of_times(steps: list[tuple[float, int, float]]) -> None:
    rates, plain, now = MemoryRates(), [], 0.0
    rates.count("n", "e", 20.0, 0)
    rates.hit("n", "e", 1, 20.0, -100)
    for step, most, interval in steps:
        now += step
        within = sum(1 for moment in plain if moment > now - interval)
        assert rates.count("n", "e", interval, now) == within
        assert rates.hit("n", "e", most, interval, now) is (within < most)
        if within < most:
            plain.append(now)


def test_a_clock_set_back_lets_nobody_through_twice() -> None:
    rates = MemoryRates()
    assert rates.hit("n", "e", 2, 60, 1000) and rates.hit("n", "e", 2, 60, 900)
    assert not rates.hit("n", "e", 2, 60, 1001)


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    rates = MemoryRates(limit=1600)
    rates.hit("n", "first", 1, 60, 0)
    for number in range(1000):
        rates.hit("n", f"e{number}", 5, 60, 0)
        rates.hit("n", f"e{number}", 0, 60, 0)
    assert rates.count("n", "first", 60, 0) == 0 and rates.count("n", "e999", 60, 0) == 1
    assert sum(rates.count("n", f"e{number}", 60, 0) for number in range(1000)) == 100
    for _ in range(5000):
        rates.hit("n", "many", 10**9, 60, 0)
    assert rates.count("n", "many", 60, 0) <= 1600


def test_names_of_any_size_cost_the_same() -> None:
    rates = MemoryRates()
    assert rates.hit("n", "x" * 10**6, 1, 60, 0) and not rates.hit("n", "x" * 10**6, 1, 60, 0)
    assert rates.hit("n", "x" * 10**6 + "y", 1, 60, 0)


def test_a_large_window_is_not_slow() -> None:
    rates = MemoryRates()
    started = time.monotonic()
    for number in range(50_000):
        rates.hit("n", "e", 10**9, 10_000, number * 0.5)
        rates.count("n", "e", 10_000, number * 0.5)
    assert time.monotonic() - started < 20  # on a busy machine too: what grows too fast takes minutes
