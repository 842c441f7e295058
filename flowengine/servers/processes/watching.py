"""The watch: a process beside the workers that knows how all of them stand.

It serves the metrics endpoint and the control socket, where `flowengine trace` asks for live lines and for the facts of
a transaction. No mail passes through it; without it mail goes on.
"""

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import msgspec
from prometheus_client import make_wsgi_app

from flowengine.servers.processes.child import READY
from flowengine.servers.processes.link import LONGEST, encode
from flowengine.servers.processes.privileges import Account
from flowengine.servers.smtp.listener import BACKLOG, ListenError, bind
from flowengine.services.metrics import Metrics
from flowengine.services.viewing import Filter

if TYPE_CHECKING:
    from flowengine.services.config import Config

NAME = "control.sock"
RECALL_TIME = 2.0
"""Seconds that the workers have to say what they remember."""
_BACKLOG = 1 << 20


class Watch:
    """The sockets, which the parent binds, and the work, which the child does."""

    def __init__(self) -> None:
        self.place: tuple[Path, str] | None = None
        """Where it is to be found: control socket, metrics address."""
        self._control: socket.socket | None = None
        self._metrics: tuple[socket.socket, ...] = ()

    def open(self, config: "Config", account: Account | None) -> None:
        """Bind what this configuration asks for. Raises ListenError."""
        address = str(config.metrics.address) if config.metrics.address is not None else ""
        place = (config.storage.directory / NAME, address)
        if place == self.place:
            return
        if self.place is None or self.place[0] != place[0]:
            self._control = _bind_control(place[0], account)
        if self.place is None or self.place[1] != address:
            fresh = bind(address) if address else ()
            for one in self._metrics:
                one.close()
            self._metrics = fresh
            for one in fresh:
                one.listen(BACKLOG)
        self.place = place

    @property
    def sockets(self) -> list[socket.socket]:
        """Its sockets, which no worker needs."""
        return [*self._metrics, *([self._control] if self._control is not None else [])]

    def close(self) -> None:
        """Close the sockets and take the name away."""
        for one in self._metrics:
            one.close()
        if self._control is not None and self.place is not None:
            self._control.close()
            self.place[0].unlink(missing_ok=True)

    def work(self, control: socket.socket, account: Account | None) -> None:
        """The child's work, until the parent says that it is over, or is gone."""
        if account is not None:
            account.become()
        asyncio.run(self._serve(control))

    async def _serve(self, control: socket.socket) -> None:
        over = asyncio.Event()
        control.setblocking(False)
        asyncio.get_running_loop().add_reader(control, over.set)
        hall = Hall()
        assert self._control is not None  # noqa: S101  # opened before the fork
        async with await asyncio.start_unix_server(hall.visit, sock=self._control, limit=LONGEST):
            for one in self._metrics:
                threading.Thread(target=_Endpoint(one, hall.metrics).serve_forever, daemon=True).start()
            control.send(READY)
            await over.wait()


class Hall:
    """Where workers report and people ask."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._workers: dict[asyncio.StreamWriter, dict[str, float]] = {}
        self._viewers: dict[asyncio.StreamWriter, tuple[str, Filter]] = {}
        self._recalls: dict[str, list[asyncio.Queue[Any]]] = {}

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, of a worker or of somebody who looks on."""
        try:
            while line := await reader.readline():
                await self._hear(msgspec.json.decode(line), writer)
        except (OSError, ValueError, KeyError, TypeError, msgspec.DecodeError):
            pass  # whoever it was, it does not speak our language or is gone
        except asyncio.CancelledError:
            pass  # the watch ends; asyncio's streams would print a traceback
        finally:
            self._workers.pop(writer, None)
            if self._viewers.pop(writer, None) is not None:
                self._tell_filters()
            self._stand()
            writer.close()

    async def _hear(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if "worker" in message:
            self._workers[writer] = {}
            self._tell_filters()
        if "counts" in message:
            for name, labels, amount in message["counts"]:
                with contextlib.suppress(KeyError, ValueError):  # of a worker of another version
                    self.metrics.increment(name, amount, **labels)
            self._workers[writer] = message["stand"]
            self._stand()
        if "line" in message:
            self._show(message["line"])
        if "recalled" in message:
            for answers in self._recalls.get(message["recalled"], ()):
                answers.put_nowait(message["found"])
        if "trace" in message:
            try:
                self._viewers[writer] = message["trace"], Filter.parse(message["trace"])
            except ValueError as error:
                writer.write(encode({"error": str(error)}) + b"\n")
                return
            self._tell_filters()
            writer.write(encode({"workers": len(self._workers)}) + b"\n")
        if "recall" in message:
            found = await self._recall(message["recall"])
            writer.write(encode({"recalled": message["recall"], "found": found}) + b"\n")

    def _show(self, line: dict[str, Any]) -> None:
        client, id_ = str(line.get("client", "")), str(line.get("id", ""))
        for writer, (_, one) in self._viewers.items():
            if one.holds(client, id_) and writer.transport.get_write_buffer_size() <= _BACKLOG:
                writer.write(encode(line) + b"\n")

    async def _recall(self, id_: str) -> Any:
        """What the worker that had this transaction knows of it."""
        answers: asyncio.Queue[Any] = asyncio.Queue()
        self._recalls.setdefault(id_, []).append(answers)
        try:
            asked = len(self._workers)
            for writer in self._workers:
                writer.write(encode({"recall": id_}) + b"\n")
            async with asyncio.timeout(RECALL_TIME):
                for _ in range(asked):
                    if (found := await answers.get()) is not None:
                        return found
        except TimeoutError:
            return None
        finally:
            self._recalls[id_].remove(answers)
            if not self._recalls[id_]:
                del self._recalls[id_]
        return None

    def _tell_filters(self) -> None:
        filters = sorted({text for text, _ in self._viewers.values()})
        for writer in self._workers:
            writer.write(encode({"filters": filters}) + b"\n")

    def _stand(self) -> None:
        sums: dict[str, float] = {"workers": len(self._workers)}
        for stand in self._workers.values():
            for name, value in stand.items():
                sums[name] = sums.get(name, 0) + value
        self.metrics.show(sums)


class _Endpoint(ThreadingMixIn, WSGIServer):
    """`/metrics`, on a socket that is bound already."""

    daemon_threads = True

    def __init__(self, bound: socket.socket, metrics: Metrics) -> None:
        super().__init__(bound.getsockname()[:2], _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        bound.setblocking(True)
        self.server_name, self.server_port = bound.getsockname()[:2]
        self.setup_environ()
        self.set_app(make_wsgi_app(metrics.registry))


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Nothing: who reads the metrics is no news."""


def _bind_control(path: Path, account: Account | None) -> socket.socket:
    """The control socket, for the account alone. One that a dead server left behind is replaced. Raises ListenError."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        (one,) = bind(f"unix:/proc/self/fd/{directory}/{path.name}")
    except ListenError as error:
        raise ListenError(
            error.errno, f"cannot listen on unix:{path}: is another server running on this storage?"
        ) from None
    finally:
        os.close(directory)
    path.chmod(0o600)
    if account is not None and os.geteuid() == 0:
        os.chown(path, account.uid, account.gid)
    one.listen(BACKLOG)
    return one
