"""Whole messages through the whole server: received, signed or verified, handed on, and only then answered.

CPU of the engine's processes alone; the client, the next hop and DNS are this process.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.engine_config import Scenario, Setting, write
from benchmarks.fixtures import DOMAIN, SELECTOR, SIZES, key, plain, signed, zone
from benchmarks.load import Load, load
from benchmarks.processes import cpu_seconds, forget_peak, peak_rss, pss
from benchmarks.sink import Sink, sink
from benchmarks.timing import Row, raw_cost
from flowengine.servers.demo import dns_server
from tests.world.engine import Engine, serving

SESSIONS = 20
SECONDS = 2.0  # wall time that one round should take
ROUNDS = 3
ARRIVAL_TIME = 60.0  # seconds until what was queued has arrived


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to measure."""

    scenario: Scenario
    size: str
    per_connection: int
    goal: str = ""

    @property
    def name(self) -> str:
        """As it is printed and kept."""
        word = {"queue": "sign + queue on disk"}.get(self.scenario, self.scenario)
        return f"{word} + relay, {self.size}, {self.per_connection} a connection"


CELLS = (
    Cell("sign", "2 KB", 1, "must ≤ 3, aim ≤ 2"),
    Cell("sign", "2 KB", 20, "must ≤ 2.2, aim ≤ 1.6"),
    Cell("sign", "50 KB", 1),
    Cell("sign", "1 MB", 1),
    Cell("verify", "2 KB", 1),
    Cell("verify", "2 KB", 20),
    Cell("verify", "1 MB", 1),
    Cell("queue", "2 KB", 1),
    Cell("queue", "2 KB", 20),
    Cell("queue", "50 KB", 20),
    Cell("queue", "1 MB", 1),
)


def rows() -> Iterator[Row | str]:
    """The cells, and lines about latency and memory."""
    for scenario in ("sign", "verify", "queue"):
        cells = [cell for cell in CELLS if cell.scenario == scenario]
        yield from asyncio.run(_played(scenario, cells))


async def _played(scenario: Scenario, cells: list[Cell]) -> list[Row | str]:
    told: list[Row | str] = []
    async with sink() as hop:
        with engine(scenario, hop) as server:
            idle = pss(server.pid)
            for cell in cells:
                told.extend(await _measured(cell, server, hop))
            loaded, before = pss(server.pid), forget_peak(server.pid)
            await load(server.ports["bench"], _message(scenario, "20 MB"), 1, 1, 1)
            grown = (peak_rss(server.pid) - before) / SIZES["20 MB"]
            told.append(
                f"memory, {scenario}: idle {idle / 1e6:.0f} MB PSS, after the load {loaded / 1e6:.0f} MB; "
                f"a message of 20 MB raises the peak by {grown:.2f} of its size (must ≤ 3, aim ≤ 1.5)"
            )
    return told


async def _measured(cell: Cell, server: Engine, hop: Sink) -> list[Row | str]:
    """The median of some rounds, each between two looks at the raw signature."""
    message, port = _message(cell.scenario, cell.size), server.ports["bench"]
    before = hop.arrived
    trial = await load(port, message, 3 * SESSIONS, SESSIONS, cell.per_connection)  # also the warm-up
    await _arrived(hop, before + trial.messages)
    _check(cell, hop)
    count = max(3 * SESSIONS, min(20_000, int(trial.messages / trial.seconds * SECONDS)))
    costs: list[float] = []
    ratios: list[float] = []
    rounds: list[Load] = []
    for _ in range(ROUNDS):
        raw = raw_cost()
        start, arrived = cpu_seconds(server.pid), hop.arrived
        rounds.append(await load(port, message, count, SESSIONS, cell.per_connection))
        await _arrived(hop, arrived + count)
        cost = (cpu_seconds(server.pid) - start) / count * 1e6
        if hop.arrived - arrived != count:
            raise RuntimeError(f"{cell.name}: {count} were taken and {hop.arrived - arrived} arrived")
        costs.append(cost)
        ratios.append(cost / ((raw + raw_cost()) / 2))
    last = rounds[-1]
    pace = f"{last.messages / last.seconds:.0f}/s, {last.latency(0.5):.1f} ms median, {last.latency(0.99):.1f} ms p99"
    return [Row(cell.name, median(costs), median(ratios), cell.goal), f"    {pace}"]


async def _arrived(hop: Sink, count: int) -> None:
    """Until so many have arrived: what was queued comes after its reply."""
    async with asyncio.timeout(ARRIVAL_TIME):
        while hop.arrived < count:  # noqa: ASYNC110  # it counts in protocol callbacks
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # what it takes to write that down belongs to the cost


def _check(cell: Cell, hop: Sink) -> None:
    """What arrived was signed or verified; a fast nothing is worth nothing."""
    head = hop.last.partition(b"\r\n\r\n")[0]
    if cell.scenario != "verify" and b"DKIM-Signature:" not in head:
        raise RuntimeError(f"{cell.name}: the message arrived without a signature")
    if cell.scenario == "verify" and not all(word in head for word in (b"dkim=pass", b"spf=pass", b"dmarc=pass")):
        raise RuntimeError(f"{cell.name}: the message arrived without three passes:\n{head.decode('latin-1')}")


def _message(scenario: Scenario, size: str) -> bytes:
    return signed(SIZES[size]) if scenario == "verify" else plain(SIZES[size])


@contextmanager
def engine(scenario: Scenario, hop: Sink) -> Iterator[Engine]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowengine-bench-")))
        dns_port = stack.enter_context(dns_server(zone()))
        pem = folder / "given.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(key().pem())
        setting = Setting(
            scenario, "127.0.0.1:0", f"127.0.0.1:{hop.port}", f"127.0.0.1:{dns_port}", pem, DOMAIN, SELECTOR
        )
        yield stack.enter_context(serving(write(setting, folder), 1, folder / "log"))
