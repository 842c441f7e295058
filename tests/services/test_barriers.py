"""Barriers among workers: each is a set of caches of its own here, on one file."""

import asyncio
import multiprocessing
import time
from pathlib import Path

import pytest

from flowengine.language.arrays import UNSET
from flowengine.language.caching import Caches
from flowengine.language.values import Array
from flowengine.runtime.memory import SharedMemory
from flowengine.services.barriers import NAME, WorkersBarriers
from flowengine.services.clock import SystemClock
from flowengine.services.fakes import FakeLog
from flowengine.services.shared import SharedFile, WorkersMemory
from tests.language.test_waiting import WaitingHost, play


def worker(folder: Path) -> WorkersBarriers:
    """What one worker has."""
    memory = WorkersMemory(SharedFile(folder / "shared.db", SystemClock(), FakeLog()))
    return WorkersBarriers(folder / NAME, memory, FakeLog())


@pytest.fixture
def folder(tmp_path):
    SharedFile(tmp_path / "shared.db", SystemClock(), FakeLog()).prepare()
    return tmp_path


def test_one_worker_at_a_time(folder):
    first, second = worker(folder), worker(folder)
    assert first.lock("a") and not second.lock("a") and second.lock("b")
    first.unlock("a")
    assert second.lock("a") and not first.lock("a")


def test_runs_of_two_workers_take_turns_and_share_the_variable(folder):
    text = 'barrier "b" => $n { $n = ($n ?? 0) + 1; $mine = $n; ask("x"); echo $mine == $n; } barrier "b" => $n { echo $n; }'

    async def together():
        hosts = [WaitingHost(caches=Caches(worker(folder))) for _ in range(2)]
        many = [hosts[number % 2].caches for number in range(6)]
        return await asyncio.gather(*(play(text, WaitingHost(caches=one)) for one in many))

    results = asyncio.run(together())
    assert [one[0] for one in results] == ["true"] * 6
    assert worker(folder).value("b") == 6


def test_a_lock_is_given_back_when_the_block_fails(folder):
    async def twice():
        host = WaitingHost(caches=Caches(worker(folder)))
        return await play('try { barrier "b" => $n { $n = [1, "k" => "v"]; throw "x"; } } catch { } echo "out";', host)

    assert asyncio.run(twice()) == ["out"]
    other = worker(folder)
    assert other.lock("b")
    assert other.value("b") == Array({0: 1, "k": "v"})
    assert other.value("never") is UNSET


def test_none_is_kept_and_unset_forgets(folder):
    text = """
        barrier "b" => $n { $n = none; } barrier "b" => $n { echo isset($n); unset($n); } barrier "b" => $n { echo isset($n); }
    """
    for beyond in (worker(folder), None):
        assert asyncio.run(play(text, WaitingHost(caches=Caches(beyond)))) == ["true", "false"]


def test_the_memory_is_that_of_memory_functions(folder):
    assert worker(folder).keep("b", 7)
    assert WorkersMemory(SharedFile(folder / "shared.db", SystemClock(), FakeLog())).get("b")[1] == 7


def hold(folder: Path, ready: "multiprocessing.synchronize.Event") -> None:
    mine = worker(folder)
    assert mine.lock("a")
    ready.set()
    time.sleep(60)


def test_a_worker_that_dies_holds_nothing(folder):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(folder, ready))
    process.start()
    try:
        assert ready.wait(30)
        mine = worker(folder)
        assert not mine.lock("a")
    finally:
        process.kill()
        process.join()
    assert mine.lock("a")


def test_a_file_that_cannot_be_opened_stops_nothing(tmp_path):
    log = FakeLog()
    mine = WorkersBarriers(tmp_path / "missing" / NAME, SharedMemory(), log)
    assert mine.lock("a") and mine.lock("a")
    mine.unlock("a")
    assert len(log.of("barriers")) == 1


def test_what_does_not_fit_into_the_memory_stays_in_the_worker():
    class Full(WorkersBarriers):
        def keep(self, name, value):
            return False

    async def twice(folder):
        host = WaitingHost(caches=Caches(Full(folder / NAME, SharedMemory(), FakeLog())))
        return await play('barrier "b" => $n { $n = 1; } barrier "b" => $n { echo $n; }', host)

    assert asyncio.run(twice(Path("/nowhere"))) == ["1"]
