"""One process that the parent forked: how it starts, says that it is ready, and is told to end.

A socket pair joins the two. The child says one word when it is ready, or why it cannot be; the parent says when to end,
and its silence at the other end says that it is gone.
"""

import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable

READY, CANNOT, END = b"R", b"C", b"E"
_LONGEST = 4000


class CannotWork(Exception):
    """The child cannot do its work. The text goes to the operator; the parent does not try again at once."""


class Child:
    """A living child, as the parent sees it. name: what it is, for the log."""

    def __init__(self, name: str, pid: int, control: socket.socket, now: float) -> None:
        self.name, self.pid, self.control = name, pid, control
        self.started = now
        self.ready = False
        self.ending = False
        """It was told to end, and does not count as dead when it does."""
        self.deadline: float | None = None
        """When it has had time enough to end."""
        self.reason = ""
        """Why it cannot work."""
        self._heard = b""

    def hear(self) -> bool:
        """Read what it says; whether that was all it will ever say."""
        try:
            data = self.control.recv(_LONGEST)
        except OSError:
            return False
        self._heard += data
        self.ready = self._heard.startswith(READY)
        if self._heard.startswith(CANNOT):
            self.reason = self._heard[1:].decode("utf-8", "replace")
        return self.ready or not data

    def end(self, deadline: float) -> None:
        """Ask it to finish what it is at, and to end."""
        if self.ending:
            return
        self.ending, self.deadline = True, deadline
        try:
            self.control.send(END)
        except OSError:
            self.kill(signal.SIGTERM)

    def kill(self, number: int) -> None:
        """Send it a signal."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def forget(self) -> None:
        """It is gone."""
        self.hear()
        self.control.close()


def fork(
    name: str,
    work: Callable[[socket.socket], None],
    now: float,
    close: Iterable[socket.socket] = (),
) -> Child:
    """A child that does this work, given its end of the pair, and ends. close: the parent's ends, not for children."""
    ours, theirs = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    gc.collect()
    gc.freeze()  # what is there now is shared, and stays so as long as nobody counts its references
    pid = os.fork()
    if pid == 0:
        _live(work, theirs, [ours, *close])
    gc.unfreeze()
    theirs.close()
    ours.setblocking(False)
    return Child(name, pid, ours, now)


def _live(work: Callable[[socket.socket], None], control: socket.socket, close: Iterable[socket.socket]) -> None:
    """The child's whole life."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):  # they are for the parent, but reach the whole group
            signal.signal(number, signal.SIG_IGN)
        for one in close:
            one.close()
        work(control)
        code = 0
    except CannotWork as error:
        control.setblocking(True)
        control.send(CANNOT + str(error).encode("utf-8", "replace")[: _LONGEST - 1])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  # nothing may go on from here as if it were the parent
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue
        os._exit(code)
