"""What workers share: one file, seen by several as by one."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.language.values import Array, Function, Secret
from flowengine.services.clock import SystemClock
from flowengine.services.fakes import FakeLog
from flowengine.services.shared import SharedFile, SharedRates, WorkersMemory


class House:
    """Two workers on one file."""

    def __init__(self, folder: Path) -> None:
        self.log = FakeLog()
        self.path = folder / "shared.db"
        self.files = [SharedFile(self.path, SystemClock(), self.log) for _ in range(2)]
        self.files[0].prepare()

    def close(self) -> None:
        for one in self.files:
            one.close()


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()


def test_workers_count_together(house):
    first, second = (SharedRates(one) for one in house.files)
    assert [worker.hit("n", "e", 3, 60, now) for now, worker in enumerate((first, second, first, second))] == [
        True,
        True,
        True,
        False,
    ]
    assert first.count("n", "e", 60, 4) == second.count("n", "e", 60, 4) == 3
    assert first.hit("n", "e", 3, 60, 61) is True
    assert first.count("ne", "", 60, 4) == 0, "names do not run together"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 4), st.sampled_from([5.0, 20.0])), max_size=30))
def test_a_window_is_a_list_of_times(tmp_path_factory, steps):
    house = House(tmp_path_factory.mktemp("rates"))
    workers = [SharedRates(one) for one in house.files]
    plain, now = [], 0.0
    workers[0].hit("n", "e", 1, 20.0, -100)
    for number, (step, most, interval) in enumerate(steps):
        now += step
        within = sum(1 for moment in plain if moment > now - interval)
        assert workers[number % 2].count("n", "e", interval, now) == within
        assert workers[(number + 1) % 2].hit("n", "e", most, interval, now) is (within < most)
        if within < most:
            plain.append(now)
    house.close()


def test_windows_that_nobody_needs_go(house):
    rates = SharedRates(house.files[0])
    for number in range(1500):
        rates.hit("n", str(number), 1, 10, number)
    assert house.files[0].read("SELECT count(*) FROM windows")[0] < 520


def test_a_limiter_that_is_full_forgets_what_was_used_longest_ago(house):
    rates = SharedRates(house.files[0], limit=500)
    for number in range(2001):
        rates.hit("n", str(number), 1, 1e6, number)
    assert house.files[0].read("SELECT count(*) FROM hits")[0] <= 1001


def test_a_file_that_cannot_be_used_stops_nothing_and_is_said_once(house):
    rates, memory = SharedRates(house.files[0]), WorkersMemory(house.files[0])
    house.files[0].close()
    house.path.write_bytes(b"no database" * 1000)
    assert rates.hit("n", "e", 1, 60, 0) is True
    assert rates.count("n", "e", 60, 0) == 0
    assert memory.put("k", "v", -1) is False and memory.get("k") is None
    assert len(house.log.of("shared state")) == 1


def test_a_damaged_file_is_made_anew_at_the_start(tmp_path):
    (tmp_path / "shared.db").write_bytes(b"no database" * 1000)
    house = House(tmp_path)
    assert WorkersMemory(house.files[0]).put("k", "v", None)
    house.close()


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -1, 2**53, 0.1, float("inf"), "", "\x00\xff", Array.of([1, Array({"a": None, 5: "\xe5"})])],
)
def test_a_value_is_the_same_in_the_other_worker(house, value):
    first, second = (WorkersMemory(one) for one in house.files)
    assert first.put("key \xff", value, None)
    found = second.get("key \xff")
    assert found is not None and found[1] == value and type(found[1]) is type(value)
    if isinstance(value, Array):
        assert list(found[1]) == list(value) and found[1].next_index == value.next_index


def test_a_change_that_another_overtook_is_refused(house):
    first, second = (WorkersMemory(one) for one in house.files)
    assert first.put("k", 1, None) and not second.put("k", 2, None)
    version, _ = first.get("k")
    assert second.put("k", 3, -1)
    assert not first.put("k", 4, version)
    assert first.get("k")[1] == 3
    assert second.remove("k") and not first.remove("k") and first.get("k") is None


@pytest.mark.parametrize("value", [Secret("s"), Array.of([Secret("s")]), Function("f", lambda: None)])
def test_secrets_and_functions_stay_in_their_worker(house, value):
    first, second = (WorkersMemory(one) for one in house.files)
    assert first.put("k", "before", None) and first.put("k", value, -1)
    version, found = first.get("k")
    assert found == value and version < -1
    assert second.get("k") is None
    assert not first.put("k", 1, None) and first.put("k", 1, version)
    assert second.get("k")[1] == 1
    first.put("other", value, None)
    assert first.remove("other") and not first.remove("other")


def test_memory_is_bounded(house):
    memory = WorkersMemory(house.files[0], entries=2, entry_size=100, total_size=140)
    assert memory.put("a", "x" * 50, None) and not memory.put("b", "x" * 200, None)
    assert memory.put("b", "x" * 50, None) and not memory.put("c", "", None)
    assert not memory.put("a", "x" * 90, -1), "the others leave no room for it"
    assert memory.remove("b") and memory.put("a", "x" * 90, -1)


def test_a_new_start_begins_with_empty_memory_and_the_old_rates(house):
    WorkersMemory(house.files[0]).put("k", 1, None)
    SharedRates(house.files[0]).hit("n", "e", 1, 1e9, 0)
    house.close()
    house.files[1].prepare()
    assert WorkersMemory(house.files[1]).get("k") is None
    assert SharedRates(house.files[1]).count("n", "e", 1e9, 1) == 1
