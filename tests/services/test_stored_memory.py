"""Half delivered messages on disk: known to other processes and after a restart, and cheap while all goes well."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from next_hop import NextHop, listening
from test_outbox import OK, House, run, to

from flowengine.services.fakes import FakeClock, FakeLog
from flowengine.services.outbox import StoredMemory
from flowengine.services.outbox.remembered import Fate

FATES: list[Fate] = [(bytes([n]) * 32, "a@example.org", f"b{n}@x", "way", 0) for n in range(5)]


def memory(folder: Path, clock: FakeClock | None = None, **more: Any) -> StoredMemory:
    return StoredMemory(folder / "var" / "state.db", clock or FakeClock(), FakeLog(), **more)


def names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def test_what_one_process_wrote_the_other_knows(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = memory(tmp_path), memory(tmp_path)
        assert not one.may_know(100) and names(tmp_path) == [], "nothing is made before it is needed"
        await one.add(FATES[:2], 100)
        assert one.may_know(100) and two.may_know(100)
        assert await two.known(FATES) == set(FATES[:2])
        assert two.may_know(100) and not two.may_know(99), "the sizes are known by now"
        await one.add(FATES[2:3], 99)
        assert two.may_know(99) and await two.known(FATES) == set(FATES[:3])
        await one.close()
        await two.close()
        later = memory(tmp_path)
        assert later.may_know(100) and await later.known(FATES[:1]) == {FATES[0]}
        await later.close()
        held = b"".join(file.read_bytes() for file in (tmp_path / "var").iterdir())
        assert b"b0@x" not in held and b"example.org" not in held
        assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "var").iterdir())

    run(main())


def test_a_child_of_a_fork_has_a_database_of_its_own(tmp_path: Path) -> None:
    program = """
import asyncio, os, sys
from pathlib import Path
from test_stored_memory import FATES, memory
shared = memory(Path(sys.argv[1]))
child = os.fork()
asyncio.run(shared.add(FATES[:1] if child else FATES[1:2], 100))
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert asyncio.run(shared.known(FATES)) == set(FATES[:2])
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(command, check=True, timeout=20, cwd=Path(__file__).parent)  # noqa: S603  # our own


def test_it_is_bounded_in_number_and_time(tmp_path: Path) -> None:
    async def main() -> None:
        clock = FakeClock()
        one, two = memory(tmp_path, clock, seconds=10, entries=3), memory(tmp_path, clock, seconds=10, entries=3)
        for number, fate in enumerate(FATES):
            await one.add([fate], 100 + number)
            await clock.sleep(1)
        assert await two.known(FATES) == set(FATES[2:])
        await clock.sleep(20)
        assert not two.may_know(104) and await two.known(FATES) == set()
        await one.close()
        await two.close()

    run(main())


@pytest.mark.parametrize("trouble", ["directory", "garbage", "locked"])
def test_a_database_that_fails_costs_no_mail(tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowengine.services.outbox.stored.WAIT", 0.05)

    async def main() -> None:
        path = tmp_path / "var" / "state.db"
        path.parent.mkdir()
        if trouble == "directory":
            path.mkdir()
        elif trouble == "garbage":
            path.write_bytes(b"no database " * 100)
        else:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("create table other (x)")
            other.execute("begin exclusive")
        log = FakeLog()
        one = StoredMemory(path, FakeClock(), log)
        await one.add(FATES[:1], 100)
        assert one.may_know(100) and await one.known(FATES) == {FATES[0]}, "the process itself knows"
        assert log.of("storage failed")
        await one.close()

    run(main())


def test_a_retry_in_another_process_delivers_to_nobody_twice(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(NextHop()) as one, listening(NextHop({".": ["451 4.3.0 not now"]})) as two:
            houses = [House({"one": to(one), "two": to(two)}, {}, 20) for _ in range(2)]
            for h in houses:
                h.use(h.config, h.services, memory(tmp_path))
            where = [("b@x", "one"), ("c@x", "two")]
            assert (await houses[0].deliver(*where)).code == 451
            assert await houses[1].deliver(*where) == OK
            assert (len(one.messages), len(two.messages)) == (1, 1)
            assert houses[1].counted("remembered") == 1
            for h in houses:
                await h.outbox.close()

    run(main())


def test_what_every_message_asks_is_cheap(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = memory(tmp_path), memory(tmp_path)
        await one.add(FATES, 100)
        await two.known(FATES)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(1000):
            assert not two.may_know(7)
        assert loop.time() - start < 0.5, "a look at a file, no database"
        await one.close()
        await two.close()

    run(main())
