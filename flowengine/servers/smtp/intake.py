"""What is kept of a message while it comes in: pieces in memory, above a size a file without a name.

However it comes (DATA, BDAT), what was refused already is dropped at once and only counted. A disk that is full is no
reason to lose anything: the message is refused for now.
"""

import mmap
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from flowengine.mail.body import Content as Octets
from flowengine.mail.body import Mapped, Memory

JOIN = 1 << 17
"""Octets up to which a message is handed over in one piece."""
_SMALL = 8192
_GATHER = 1 << 16
_LEAST = 1 << 16  # octets in memory until the file is thought of

# Lines that a server which drops NUL would take for the end.
_HIDDEN_END = re.compile(rb"\n(?:\0++\.\0*+|\.\0++)\r?\n").search
_NULS = re.compile(rb"\0++")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one message, in octets. size: with dot-stuffing undone. line: the longest line, its CRLF included.

    spool_above: a larger message goes to a file in `spool`, without that it stays in memory.
    """

    size: int = 50 << 20
    line: int = 1 << 20
    spool_above: int = 8 << 20
    spool: Path | None = None


class Intake:
    """Takes a message piece by piece. size: octets so far, kept or not. held: octets of them in memory."""

    __slots__ = (
        "_bounds", "_file", "_limit", "_nul", "_pieces", "_small", "disk_full", "dropped", "held", "size", "was_shed",
    )  # fmt: skip

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._pieces: list[bytes] = []
        self._small: bytearray | None = None
        self._file: BinaryIO | None = None
        self._nul = self.was_shed = self.disk_full = False
        self._limit = bounds.size
        self.dropped = False
        """Nothing is kept any more: the message will be refused."""
        self.size = self.held = 0

    @property
    def too_large(self) -> bool:
        """Whether the message is over the limit."""
        return self.size > self._bounds.size

    def add(self, piece: bytes) -> None:
        """The next octets of the message."""
        length = len(piece)
        self.size += length
        if self.size > self._limit:
            self.drop()
        if self.dropped:
            return
        self.held += length
        self._nul = self._nul or b"\0" in piece
        if length < _SMALL and (self._pieces or self._small or length < 64):
            if self._small is None:
                self._small = bytearray()
            self._small += piece  # a message that drips in must not cost an object for each octet
            if len(self._small) >= _GATHER:
                self._gather()
        else:
            if self._small:
                self._gather()
            self._pieces.append(piece)
        if (
            self.held > _LEAST
            and self._bounds.spool is not None
            and (self.held > self._bounds.spool_above or self._file is not None)
        ):
            self._spill(self._bounds.spool)

    def _gather(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small = None

    def _spill(self, spool: Path) -> None:
        """Move what is in memory to the file."""
        try:
            if self._file is None:
                spool.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(buffering=0, dir=spool)  # noqa: SIM115  # it lives as long as we do
            for piece in self._take():
                view = memoryview(piece)
                while view:
                    view = view[self._file.write(view) :]
        except OSError:
            self.disk_full = True
            self.drop()

    def _take(self) -> list[bytes]:
        self._gather()
        pieces, self._pieces, self.held = self._pieces, [], 0
        return pieces

    def shed(self) -> None:
        """Give the memory back: the message will be refused for now."""
        self.was_shed = True
        self.drop()

    def drop(self) -> None:
        """Keep nothing of this message."""
        self.dropped = True
        self._pieces = []
        self._small = None
        self.held = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def octets(self) -> Octets:
        """The message, once it has ended: one piece when small. b"" when it was dropped."""
        if self._file is not None and self._bounds.spool is not None:
            self._spill(self._bounds.spool)
        if self._file is not None:  # not dropped just now
            with self._file as file:
                try:
                    return Mapped(mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ))
                except OSError:
                    self.disk_full = self.dropped = True
                    return Memory(())
        if self._small:
            self._gather()
        pieces, self._pieces = self._pieces, []
        if len(pieces) > 1 and self.held <= JOIN:
            pieces = [b"".join(pieces)]
        return Memory(pieces)

    def has_hidden_end(self, octets: Octets) -> bool:
        """Whether a line of the message is a dot once NULs are dropped, as some servers and filters do."""
        return self._nul and hidden_end(data[start:end] for data, start, end in octets.spans(0))

    def has_long_line(self, octets: Octets) -> bool:
        """Whether a line of the message is longer than it may be."""
        return self.size > self._bounds.line and long_line(octets, self._bounds.line)


def hidden_end(pieces: Iterable[bytes]) -> bool:
    """Look for a line of one dot and NULs, in linear time: of a line under way only its outline is kept."""
    carried = b"\n"
    for piece in pieces:
        work = carried + piece
        if _HIDDEN_END(work):
            return True
        outline = _NULS.sub(b"\0", work[work.rfind(b"\n") :])
        carried = outline if len(outline) < 6 else b" "  # a longer one has something else in it
    return False


def long_line(octets: Octets, longest: int) -> bool:
    """Whether a line has more octets than `longest`, CRLF included. Looks only at where a line could be too long."""
    carried = 0  # octets of the line under way
    for data, start, end in octets.spans(0):
        first = data.find(b"\n", start, end)
        if first < 0:
            carried += end - start
            if carried > longest:
                return True
            continue
        if carried + first + 1 - start > longest:
            return True
        place = first + 1
        while end - place > longest:
            last = data.rfind(b"\n", place, place + longest)
            if last < 0:
                return True
            place = last + 1
        carried = end - 1 - data.rfind(b"\n", place - 1, end)
    return carried > longest
