"""What it takes to start: the command line, and the server until it accepts."""

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from benchmarks.end_to_end import engine
from benchmarks.processes import peak_rss, pss
from benchmarks.sink import sink
from benchmarks.timing import Row, raw_cost


def rows() -> Iterator[Row | str]:
    """All of them."""
    yield from _command("--version")
    yield from asyncio.run(_server())


_TELLING = """
import atexit, runpy, sys
atexit.register(lambda: sys.stderr.write(open("/proc/self/status").read()))
sys.argv[0] = "flowengine"
runpy.run_module("flowengine", run_name="__main__")
"""


def _command(*words: str) -> Iterator[Row | str]:
    """A command of our own, which tells its memory at its end (what wait4 tells includes this process's)."""
    costs: list[float] = []
    peak = 0
    raw = raw_cost()
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", _TELLING, *words], capture_output=True, text=True, check=True)  # noqa: S603 — ours
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e6)
        peak = max(peak, int(done.stderr.partition("VmHWM:")[2].split()[0]))
    cost = median(costs)
    yield Row(f"flowengine {' '.join(words)}", cost, cost / ((raw + raw_cost()) / 2))
    yield f"    {peak / 1024:.0f} MB at most"


async def _server() -> list[Row | str]:
    async with sink() as hop:
        with engine("sign", hop) as server:
            idle, most = pss(server.pid), peak_rss(server.pid)
    return [f"flowengine serve: ready after {server.seconds:.2f} s, {idle / 1e6:.0f} MB PSS, {most / 1e6:.0f} MB peak"]
