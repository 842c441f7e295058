"""Sockets that listen, and the server that holds them together with their connections.

    async with Server([Listener("inbound", "127.0.0.1:2525", options, open_session)]) as server:
        ...
        await server.drain(30)

Addresses are `host:port`, `[v6]:port` or `unix:path`; port 0 takes a free one. A parent process may bind first
(`bind`) and hand the sockets to its workers.
"""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from flowengine.servers.smtp.door import Capacity, Client, Options, Report, Session
from flowengine.servers.smtp.lobby import Lobby
from flowengine.servers.smtp.shell import Entrance

BACKLOG = 1024


class ListenError(OSError):
    """An address that cannot be bound. The text names the address and the reason."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen, how to speak, and who answers. sockets: bound already, else `address` is bound.

    watched: whether somebody wants to see every command of a new connection from this address.
    """

    name: str
    address: str
    options: Options
    open_session: Callable[[Client], Session]
    sockets: tuple[socket.socket, ...] = ()
    watched: Callable[[str], bool] | None = None


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The fastest event loop there is: uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class Server:
    """Several listeners, one set of connections. Used as a context: on leaving, what is left is cut off."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        capacity: Capacity | None = None,
        report: Report | None = None,
        *,
        sweep: float = 1.0,
    ) -> None:
        self._listeners, self._capacity, self._report, self._sweep = listeners, capacity or Capacity(), report, sweep
        self._servers: list[asyncio.Server] = []
        self._lobby: Lobby | None = None
        self._stopped = asyncio.Event()
        self.addresses: dict[str, tuple[str, ...]] = {}
        """For each listener by name, the addresses where it accepts."""

    async def __aenter__(self) -> "Server":
        loop = asyncio.get_running_loop()
        self._lobby = lobby = Lobby(loop, self._capacity, self._report, self._sweep)
        try:
            for listener in self._listeners:
                sockets = listener.sockets or bind(listener.address)
                report = self._report and partial(_tell, self._report, listener.name)
                self.addresses[listener.name] = tuple(address_of(one) for one in sockets)
                for one in sockets:
                    entrance = Entrance(
                        lobby,
                        listener.options,
                        listener.open_session,
                        report,
                        _own_end(one),
                        listener.watched,
                    )
                    one.setblocking(False)
                    if one.family == socket.AF_UNIX:
                        server = await loop.create_unix_server(entrance, sock=one, backlog=BACKLOG)
                    else:
                        server = await loop.create_server(entrance, sock=one, backlog=BACKLOG)
                    self._servers.append(server)
        except BaseException:
            self._stop_accepting()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.drain(0)

    async def serve_forever(self) -> None:
        """Wait until somebody drains the server."""
        await self._stopped.wait()

    async def drain(self, deadline: float) -> None:
        """Stop accepting. Idle clients hear 421 now, the others after their transaction, all within `deadline` s."""
        self._stop_accepting()
        if self._lobby is not None:
            await self._lobby.drain(deadline)
        self._stopped.set()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._lobby.shells) if self._lobby is not None else 0

    @property
    def bytes_in_flight(self) -> int:
        """Octets of messages in memory."""
        return self._lobby.in_flight if self._lobby is not None else 0

    def _stop_accepting(self) -> None:
        given = {one.fileno() for listener in self._listeners for one in listener.sockets}
        for server in self._servers:
            ours = [one for one in server.sockets if one.family == socket.AF_UNIX and one.fileno() not in given]
            paths = [one.getsockname() for one in ours]
            server.close()
            for path in paths:
                Path(path).unlink(missing_ok=True)
        self._servers.clear()


def bind(address: str, *, reuse_port: bool = False) -> tuple[socket.socket, ...]:
    """Sockets bound to an address, one for each that its name stands for. Raises ListenError.

    reuse_port: other sockets, of workers, may share a TCP port with these.
    """
    if address.startswith("unix:"):
        return (_bind_unix(address.removeprefix("unix:")),)
    host, port = split_address(address)
    found: list[socket.socket] = []
    try:
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in dict.fromkeys(places):
            one = socket.socket(family, kind, protocol)
            found.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(place)
    except OSError as error:
        for one in found:
            one.close()
        raise ListenError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error
    return tuple(found)


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`. Raises ListenError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ListenError(errno.EINVAL, f"not an address: {address!r}; write host:port, [v6]:port or unix:path")
    return host.removeprefix("[").removesuffix("]"), int(port)


def address_of(bound: socket.socket) -> str:
    """The address of a socket as the configuration writes it."""
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    return f"[{name[0]}]:{name[1]}" if bound.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def _tell(report: Report, listener: str, event: str, fields: Mapping[str, object]) -> None:
    report(event, {"listener": listener, **fields})


def _own_end(bound: socket.socket) -> tuple[str, int] | None:
    """Address and port of our end of every connection, if it is always the same."""
    if bound.family == socket.AF_UNIX:
        return None
    host, port = bound.getsockname()[:2]
    return None if host in ("0.0.0.0", "::") else (host, port)  # noqa: S104  # compared with, not bound to


def _bind_unix(path: str) -> socket.socket:
    """A Unix socket. One that a dead process left behind is replaced, a living one is not."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        place = Path(path)
        if place.exists() and stat.S_ISSOCK(place.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
                if trial.connect_ex(path) == errno.ECONNREFUSED:
                    place.unlink()
        one.bind(path)
    except OSError as error:
        one.close()
        raise ListenError(error.errno, f"cannot listen on unix:{path}: {error.strerror or error}") from error
    return one
