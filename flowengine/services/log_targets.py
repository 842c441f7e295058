"""Places for the log beside standard error: a syslog server (RFC 5424) and systemd's journal.

Nothing here waits: a line that cannot be handed over at once is dropped and counted by the log. Each process opens its
own socket at its first line.
"""

import os
import socket
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from flowengine.runtime.services import Level
from flowengine.services.log import StructuredLog, Target

if TYPE_CHECKING:
    from flowengine.services.config import LogRules

MAIL = 2
"""The facility (RFC 5424 §6.2.1)."""
SEVERITY: dict[Level, int] = {"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3, "critical": 2}
REPORTER = "smtpd"
"""Under which name `opendmarc-halonlog` expects the lines for DMARC reports."""
JOURNAL = "/run/systemd/journal/socket"
LONGEST = 60_000
"""Octets of a datagram."""
BACKLOG = 1 << 20
"""Octets that may wait for a syslog server that does not keep up."""
PAUSE = 5.0
"""Seconds between two attempts to reach a syslog server over TCP."""


def open_log(rules: "LogRules", hostname: str) -> StructuredLog:
    """The log of a configuration. hostname: ours, as syslog names it."""
    return StructuredLog(rules.format, rules.level, sys.stderr, _target(rules.target, hostname))


def _target(text: str, hostname: str) -> Target | None:
    if text == "stderr":
        return None
    if text == "journal":
        return Journal()
    _, kind, place = text.split(":", 2)
    if kind == "tcp":
        return SyslogStream(place, hostname)
    return SyslogDatagrams(kind, place, hostname)


def syslog_line(level: Level, line: dict[str, object], hostname: str) -> bytes:
    """One message (RFC 5424 §6): the event as MSGID, all fields as JSON; but see `for_reports`."""
    event = "".join(c if "!" <= c <= "~" else "_" for c in str(line.get("event", "")))[:32] or "-"
    name, process, text = "flowengine", str(os.getpid()), msgspec.json.encode(line)
    if (report := for_reports(line)) is not None:
        # The reader knows no process whose number has a 0 in it, and would lose the reporter's name.
        name, process, text = REPORTER, process.replace("0", ""), report.encode("utf-8", "replace")
    head = f"<{MAIL * 8 + SEVERITY[level]}>1 {line['timestamp']} {hostname} {name} {process} {event} - "
    return head.encode("ascii", "replace") + text


def for_reports(line: dict[str, object]) -> str | None:
    """The text that `opendmarc-halonlog` reads, of an event that has one: in syslog and in the journal it is the whole
    message, under the name that the reader looks for."""
    text = line.get("line")
    return text if line.get("event") == "dmarc" and isinstance(text, str) else None


class SyslogDatagrams:
    """A syslog server that takes datagrams: over UDP (RFC 5426) or a Unix socket."""

    def __init__(self, kind: str, place: str, hostname: str) -> None:
        self._kind, self._place, self._hostname = kind, place, hostname
        self._socket: socket.socket | None = None

    def __call__(self, level: Level, line: dict[str, object]) -> None:
        """Send a line. Raises OSError."""
        if self._socket is None:
            self._socket = self._open()
        try:
            self._socket.send(syslog_line(level, line, self._hostname)[:LONGEST])
        except OSError:
            self._socket.close()
            self._socket = None
            raise

    def _open(self) -> socket.socket:
        if self._kind == "unix":
            one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            place: object = self._place
        else:
            family, place = _resolved(self._place, socket.SOCK_DGRAM)
            one = socket.socket(family, socket.SOCK_DGRAM)
        one.setblocking(False)
        try:
            one.connect(place)  # type: ignore[arg-type]  # of the family's form
        except OSError:
            one.close()
            raise
        return one


class SyslogStream:
    """A syslog server over TCP, with counted octets (RFC 6587 §3.4.1). What it does not take at once waits a while."""

    def __init__(self, place: str, hostname: str) -> None:
        self._place, self._hostname = place, hostname
        self._socket: socket.socket | None = None
        self._waiting = bytearray()
        self._tried = -PAUSE

    def __call__(self, level: Level, line: dict[str, object]) -> None:
        """Send a line, behind those that wait. Raises OSError when too many do."""
        message = syslog_line(level, line, self._hostname)
        if len(self._waiting) > BACKLOG:
            self._push()
            raise OSError("the syslog server does not keep up")
        self._waiting += b"%d " % len(message) + message
        self._push()

    def _push(self) -> None:
        if self._socket is None and not self._open():
            return
        assert self._socket is not None  # noqa: S101  # _open says so
        try:
            while self._waiting:
                del self._waiting[: self._socket.send(self._waiting)]
        except BlockingIOError:
            return
        except OSError:  # what was cut is sent again, whole or not: a broken connection loses its place in the stream
            self._socket.close()
            self._socket = None
            self._waiting.clear()

    def _open(self) -> bool:
        now = time.monotonic()
        if now - self._tried < PAUSE:
            return False
        self._tried = now
        try:
            family, place = _resolved(self._place, socket.SOCK_STREAM)
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            self._socket.connect(place)  # type: ignore[arg-type]  # of the family's form
        except BlockingIOError:
            return True
        except OSError:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            return False
        return True


class Journal:
    """systemd's journal, each field under its own name (systemd.journal-fields(7))."""

    def __init__(self, path: str = JOURNAL) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def __call__(self, level: Level, line: dict[str, object]) -> None:
        """Send a line. Raises OSError."""
        report = for_reports(line)
        fields = {"MESSAGE": report or msgspec.json.encode(line).decode(), "PRIORITY": str(SEVERITY[level])}
        fields |= {"SYSLOG_IDENTIFIER": REPORTER if report else "flowengine", "SYSLOG_FACILITY": str(MAIL)}
        for name, value in line.items():
            if name.isascii() and name.isidentifier():
                text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
                fields[f"FLOWENGINE_{name.upper()}"] = text
        data = b"".join(_journal_field(name, value.encode()) for name, value in fields.items())
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self._socket.sendto(data, self._path)


def _journal_field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def _resolved(place: str, kind: socket.SocketKind) -> tuple[socket.AddressFamily, object]:
    host, _, port = place.rpartition(":")
    found = socket.getaddrinfo(host.removeprefix("[").removesuffix("]"), int(port), type=kind)
    return found[0][0], found[0][4]
