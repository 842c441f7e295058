"""Two machines with one queue in PostgreSQL: no message is lost, and none is delivered by both at once."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from next_hop import NextHop, listening
from queue_backends import PostgreSQL
from queue_world import NOW, running
from test_queue import to

from flowengine.services.config import Timeouts
from flowengine.services.fakes import FakeClock
from flowengine.services.queue.model import StoreTrouble
from flowengine.services.queue.postgresql import PostgreSQLStore
from flowengine.services.queue.postgresql_link import _PATIENCE
from tests.world.postgresql import Cluster

pytestmark = pytest.mark.anyio
LONG = Timeouts(connect=30.0, greeting=30.0, command=30.0, data=30.0, end=30.0)


class RealClock(FakeClock):
    """Its moments are those of a test, its seconds go by."""

    def monotonic(self) -> float:
        return time.monotonic()


def machine(machines: PostgreSQL, directory: Path, name: str, lease: float = 30.0) -> PostgreSQLStore:
    return PostgreSQLStore(machines.url, directory / name, lease)


async def test_two_machines_deliver_each_message_once(machines: PostgreSQL, tmp_path: Path) -> None:
    async with listening(NextHop()) as hop:
        clock = FakeClock(time.time())
        transports = {"one": to(hop.port)}
        async with (
            running(tmp_path / "a", transports, machine(machines, tmp_path, "a"), clock=clock) as one,
            running(tmp_path / "b", transports, machine(machines, tmp_path, "b"), clock=clock) as two,
        ):
            await asyncio.gather(
                *(world.send(f"{name}{n}@x") for n in range(40) for name, world in (("a", one), ("b", two)))
            )
            await one.empty()
            await two.empty()
        assert sorted(people for _, people, _ in hop.messages) == sorted(
            (f"{name}{n}@x",) for n in range(40) for name in "ab"
        )


async def test_what_one_machine_has_no_time_for_another_takes_at_once(
    machines: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowengine.services.queue.queue.POLL", 60.0)
    async with listening(NextHop()) as hop:
        clock = FakeClock(time.time())
        transports = {"one": to(hop.port)}
        async with (
            running(tmp_path / "b", transports, machine(machines, tmp_path, "b"), clock=clock) as other,
            running(tmp_path / "a", transports, machine(machines, tmp_path, "a"), clock=clock) as full,
        ):
            await asyncio.sleep(0.6)  # both listen, and have looked
            full.queue.stop()
            await full.send("b@x")
            await other.until(lambda: hop.messages, 3.0)


async def test_a_machine_that_lost_its_lease_leaves_its_attempts_to_the_others(
    machines: PostgreSQL, tmp_path: Path
) -> None:
    slow, quick = NextHop(answers={"CONNECT": "silence"}), NextHop()
    async with listening(slow) as silent, listening(quick) as hop:
        mine, other = machine(machines, tmp_path, "a"), machine(machines, tmp_path, "b")
        async with running(tmp_path / "a", {"one": to(silent.port, timeouts=LONG)}, mine) as cut_off:
            await cut_off.send("b@x")
            await cut_off.until(lambda: cut_off.queue.attempts)
            cut_off.queue.stop()  # it takes nothing again
            machines.execute("update holder set until = clock_timestamp() - interval '1 s' where id = %s", mine.holder)
            async with running(tmp_path / "b", {"one": to(hop.port)}, other) as living:
                await living.until(lambda: hop.messages)
                await cut_off.until(lambda: cut_off.log.of("lease lost"))
                await cut_off.until(lambda: not cut_off.queue.attempts)
                await living.empty()
        assert len(hop.messages) == 1


async def test_what_the_next_hop_may_have_goes_on_and_is_counted(machines: PostgreSQL, tmp_path: Path) -> None:
    async with listening(NextHop(answers={".": "silence"})) as hop:
        store = machine(machines, tmp_path, "a")
        async with running(tmp_path / "a", {"one": to(hop.port, timeouts=LONG)}, store) as world:
            await world.send("b@x")
            await world.until(lambda: any(one.sending for _, one in world.queue.attempts))
            store._renewed -= 60.0  # noqa: SLF001  # no renewal came through
            await world.until(lambda: world.log.of("lease lost"))
            assert world.log.of("lease lost")[0]["sending"] and len(world.queue.attempts) == 1
            assert world.counters.sums["deliveries", (("result", "duplicate"), ("transport", "one"))] == 1


async def test_a_database_that_starts_again_loses_nothing(
    machines: PostgreSQL, cluster: Cluster, tmp_path: Path
) -> None:
    async with listening(NextHop()) as hop:
        async with running(tmp_path / "a", {"one": to(hop.port)}, machine(machines, tmp_path, "a")) as world:
            promised: list[str] = []
            over = asyncio.Event()

            async def client(name: str) -> None:
                number = 0
                while not over.is_set():
                    number += 1
                    with contextlib.suppress(StoreTrouble):
                        await world.send(f"{name}{number}@x")
                        promised.append(f"{name}{number}@x")
                    await asyncio.sleep(0.002)

            clients = [asyncio.create_task(client(name)) for name in "abc"]
            await asyncio.sleep(0.3)
            await asyncio.to_thread(cluster.stop)
            before = len(promised)
            with pytest.raises(StoreTrouble):
                await world.send("refused@x")
            await asyncio.to_thread(cluster.start)
            await world.until(lambda: len(promised) > before + 10)
            over.set()
            await asyncio.gather(*clients)
            await world.empty(15.0)
        arrived = {people[0] for _, people, _ in hop.messages}
        assert before and set(promised) <= arrived and "refused@x" not in arrived


class Line:
    """A proxy in front of the server's socket, which can fall silent without a word, as a network does."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.works = threading.Event()
        self.works.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.works.wait()
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.works.set()
        self._listener.close()


@contextmanager
def line(cluster: Cluster) -> Iterator[Line]:
    found = Line(f"{cluster.folder}/.s.PGSQL.5432")
    yield found
    found.close()


async def test_a_network_that_falls_silent_is_trouble_in_time_and_work_goes_on_after(
    machines: PostgreSQL, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowengine.services.queue.lease.RENEW", 0.1)
    monkeypatch.setattr("flowengine.services.queue.lease.SILENCE", 0.5)
    monkeypatch.setitem(_PATIENCE, "connect_timeout", 2)
    async with listening(NextHop()) as hop:
        with line(cluster) as wire:
            store = PostgreSQLStore(f"postgresql://tests@127.0.0.1:{wire.port}/postgres", tmp_path / "a", 1.2)
            async with running(tmp_path / "a", {"one": to(hop.port)}, store, clock=RealClock(NOW)) as world:
                await world.send("a@x")
                await world.empty()
                wire.works.clear()
                with pytest.raises(StoreTrouble):
                    async with asyncio.timeout(4):
                        await world.send("b@x")
                wire.works.set()
                await again(world, "c@x")
                await world.until(lambda: any(people == ("c@x",) for _, people, _ in hop.messages))
                await world.empty()


async def again(world: Any, recipient: str) -> None:
    """As a client does that heard 451."""
    async with asyncio.timeout(8):
        while True:
            with contextlib.suppress(StoreTrouble):
                await world.send(recipient)
                return
            await asyncio.sleep(0.1)
