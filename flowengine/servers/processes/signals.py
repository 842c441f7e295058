"""The signals of the parent, as something that a selector can wait for."""

import contextlib
import signal
import socket

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Signals:
    """Catches the parent's signals from now on, until it is closed."""

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in CAUGHT}
        signal.set_wakeup_fd(self._in.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """What becomes readable."""
        return self._out.fileno()

    @property
    def ends(self) -> tuple[socket.socket, socket.socket]:
        """Both ends, which no child needs."""
        return self._out, self._in

    def take(self) -> bytes:
        """The numbers of the signals that came."""
        with contextlib.suppress(BlockingIOError):
            return self._out.recv(4096)
        return b""

    def close(self) -> None:
        """Leave the signals as they were."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for end in self.ends:
            end.close()
