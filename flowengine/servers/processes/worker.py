"""A worker: one process that serves all listeners on sockets of its own, until it is told to drain."""

import asyncio
import gc
import os
import signal
import socket
from functools import partial
from pathlib import Path

from flowengine.servers.engine import Engine
from flowengine.servers.processes.child import END, READY, CannotWork
from flowengine.servers.processes.generation import Sockets
from flowengine.servers.processes.link import Link
from flowengine.servers.processes.privileges import Account, unwritable
from flowengine.servers.processes.watching import NAME
from flowengine.servers.serve import server_of
from flowengine.servers.smtp.listener import ListenError, Server, loop_factory

GARBAGE = 10_000, 10, 10
"""Objects, and collections, between two looks for garbage in circles: a message makes thousands and few circles."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def work(engine: Engine, sockets: Sockets, control: socket.socket, account: Account | None) -> None:
    """Serve until the parent says that it is over, or is gone, or SIGTERM comes. Raises CannotWork."""
    if account is not None:
        account.become()
    os.umask(0o077)
    closed = unwritable(engine.directories)
    if closed:
        raise CannotWork(f"cannot write to {', '.join(map(str, closed))}")
    gc.set_threshold(*GARBAGE)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(engine, sockets, control))


async def _serve(engine: Engine, sockets: Sockets, control: socket.socket) -> None:
    config = engine.config
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    control.setblocking(False)
    loop.add_reader(control, _hear, control, stop)
    try:
        async with engine, server_of(engine, sockets) as server:
            stand = partial(_stand, engine, server)
            async with Link(config.storage.directory / NAME, engine.tally, engine.viewed, stand).running():
                control.send(READY)
                await stop.wait()
                engine.queue.stop()
                await server.drain(config.limits.drain_time)
    except ListenError as error:
        raise CannotWork(error.strerror or str(error)) from None


def _hear(control: socket.socket, stop: asyncio.Event) -> None:
    """The parent said that it is over, or is gone."""
    try:
        said = control.recv(16)
    except OSError:
        said = b""
    asyncio.get_running_loop().remove_reader(control)
    if said in (END, b""):
        stop.set()


def _stand(engine: Engine, server: Server) -> dict[str, float]:
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        pages = 0
    return {
        "open_connections": server.connections,
        "in_flight_bytes": server.bytes_in_flight,
        "resident_bytes": pages * _PAGE,
        **engine.queue.stand(),
    }
