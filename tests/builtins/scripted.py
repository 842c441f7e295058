"""Servers of a test that say what they are told to, on the loopback, one connection after another."""

import contextlib
import socket
import threading
from collections.abc import Callable

from standing import Standing

from flowengine.services.network import NetworkGuard
from flowengine.services.wires import GuardedWires


class Server:
    """Serves each connection with a function, in a thread."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._serve = serve
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client:
                client.settimeout(5)
                try:
                    self._serve(client)
                except OSError:
                    continue

    def close(self) -> None:
        """Nobody is there any more, also for who waits to be accepted."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def standing(**about: object) -> Standing:
    """A run that may connect to the loopback."""
    from ipaddress import ip_network

    return Standing(wires=GuardedWires(NetworkGuard([ip_network("127.0.0.0/8")])), **about)
