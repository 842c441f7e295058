"""The sockets of a server. The parent binds them and keeps them open, so that no reload and no crash closes one.

Each worker has a TCP socket of its own for each address (SO_REUSEPORT: the kernel spreads the connections); a worker
that takes a dead one's place takes its socket too, with whoever waits in it. Unix sockets, and those that systemd
bound, are shared by all workers.
"""

import errno
import os
import socket
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path

from flowengine.servers.processes.systemd import activated
from flowengine.servers.smtp.listener import BACKLOG, ListenError, address_of, bind, split_address

Row = tuple[socket.socket, ...]
"""The sockets of one listener in one worker."""


class Sockets:
    """Everything that is bound, by listener name: one tuple of sockets for each worker."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._given = list(activated(environment))
        self._bound: dict[tuple[str, str], list[tuple[socket.socket, ...]]] = {}

    def open(self, addresses: Mapping[str, str], workers: int) -> list[dict[str, tuple[socket.socket, ...]]]:
        """For each worker, its sockets by listener. What is bound already is used again. Raises ListenError."""
        fresh: list[tuple[str, str]] = []
        try:
            for name, address in addresses.items():
                if (name, address) not in self._bound:
                    self._bound[name, address] = self._rows(name, address)
                    fresh.append((name, address))
                rows = self._bound[name, address]
                while len(rows) < workers:
                    rows.append(_sibling(rows[0]))
        except OSError:
            self._close(fresh)
            raise
        return [{name: self._bound[name, at][number] for name, at in addresses.items()} for number in range(workers)]

    def keep(self, addresses: Mapping[str, str], workers: int) -> None:
        """Close what none of these listeners needs any more."""
        self._close([one for one in self._bound if one not in set(addresses.items())])
        for rows in self._bound.values():
            for one in _without(rows[:workers], rows[workers:]):
                one.close()
            del rows[workers:]

    def others(self, own: Mapping[str, tuple[socket.socket, ...]]) -> list[socket.socket]:
        """Everything that is bound but these: what a draining worker holds open still takes connections."""
        return _without(own.values(), (row for rows in self._bound.values() for row in rows))

    def close(self) -> None:
        """Close everything, and take the names of Unix sockets away."""
        self._close(list(self._bound))

    def _rows(self, name: str, address: str) -> list[tuple[socket.socket, ...]]:
        given = tuple(one for given, one in self._given if given == name) or tuple(
            one for _, one in self._given if address_of(one) == address
        )
        rows = [given or bind(address, reuse_port=True)]
        for one in rows[0]:
            one.listen(BACKLOG)
        return rows

    def _close(self, places: Sequence[tuple[str, str]]) -> None:
        given = {id(one) for _, one in self._given}
        for place in places:
            for one in _without((), self._bound.pop(place)):
                if one.family == socket.AF_UNIX and id(one) not in given:
                    Path(os.fsdecode(one.getsockname())).unlink(missing_ok=True)
                one.close()


def _without(kept: Iterable[Row], rows: Iterable[Row]) -> list[socket.socket]:
    """The sockets of these rows, each once, that are not kept."""
    left = {id(one): one for row in rows for one in row}
    for row in kept:
        for one in row:
            left.pop(id(one), None)
    return list(left.values())


def _sibling(first: tuple[socket.socket, ...]) -> tuple[socket.socket, ...]:
    """Sockets on the same addresses as these; the same ones where they cannot be had twice. Raises ListenError."""
    found: list[socket.socket] = []
    for one in first:
        if one.family == socket.AF_UNIX or not one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
            found.append(one)
            continue
        address = address_of(one)
        host, port = split_address(address)
        beside = bind(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", reuse_port=True)
        if len(beside) != 1:
            raise ListenError(errno.EINVAL, f"cannot listen on {address} a second time")
        beside[0].listen(BACKLOG)
        found += beside
    return tuple(found)
