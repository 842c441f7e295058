"""`flowengine serve` as an operator starts it: ready when every listener says so, ended by SIGTERM."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_TIME = 30.0  # seconds until the listeners accept
DRAIN_TIME = 15.0  # seconds until it has ended


@dataclass(frozen=True, slots=True)
class Engine:
    """A running server. ports: by listener. seconds: from its start until every listener was ready."""

    pid: int
    ports: dict[str, int]
    seconds: float


@contextmanager
def serving(config: Path, listeners: int, log: Path) -> Iterator[Engine]:
    """The server of a configuration with so many listeners. log: the file for what it writes on stderr.

    Raises RuntimeError with the end of that file when it does not start, or does not end with 0 on SIGTERM.
    """
    command = [sys.executable, "-m", "flowengine", "serve", "-c", str(config)]
    start = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603 — our own
    overdue = threading.Timer(START_TIME, process.kill)
    overdue.start()
    try:
        ports: dict[str, int] = {}
        assert process.stdout is not None  # a pipe was asked for
        while len(ports) < listeners:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"flowengine serve ended before it was ready:\n{end_of(log)}")
            if line.startswith("ready "):
                _, name, address = line.split()[:3]
                ports[name] = int(address.rpartition(":")[2])
        overdue.cancel()
        yield Engine(process.pid, ports, time.monotonic() - start)
    finally:
        overdue.cancel()
        process.terminate()
        try:
            process.wait(DRAIN_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.returncode != os.EX_OK:
        raise RuntimeError(f"flowengine serve ended with {process.returncode}:\n{end_of(log)}")


def end_of(log: Path, octets: int = 2000) -> str:
    """The last words of a log file."""
    return log.read_bytes()[-octets:].decode("utf-8", "replace")
