"""The content of one message that comes by BDAT (RFC 3030): counted octets, chunk by chunk, no end to look for.

A line end may be cut by the end of a chunk. What a lone CR or LF means is the same as after DATA.
"""

import re

from flowengine.servers.smtp.content import normalized
from flowengine.servers.smtp.intake import Intake

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)").search
_SYNTAX = re.compile(rb"([0-9]{1,20})(?: +([Ll][Aa][Ss][Tt]))?").fullmatch


class Chunks:
    """Reads the chunks of one message. `begin` one, `feed` until it says where its end is; `intake` has what came.

    bare: a CR or LF stood alone. last: the chunk is the last one.
    """

    __slots__ = ("_left", "_normalize", "_tail", "bare", "intake", "last", "octets")

    def __init__(self, intake: Intake, *, normalize: bool = False) -> None:
        self.intake, self._normalize = intake, normalize
        self._left = 0
        self._tail = b""  # a CR whose LF may be in the next chunk
        self.bare = self.last = False
        self.octets = 0
        """Of the chunk under way, as announced."""

    @property
    def refused_bare(self) -> bool:
        """Whether a CR or LF stood alone where that is not allowed."""
        return self.bare and not self._normalize

    def begin(self, octets: int, *, last: bool) -> None:
        """A chunk of so many octets follows."""
        self.octets = self._left = octets
        self.last = last

    def feed(self, data: bytes, position: int = 0) -> int:
        """Take what came, from `position` on. The place after the end of the chunk, or -1 while it goes on."""
        end = min(len(data), position + self._left)
        self._left -= end - position
        self._take(data if position == 0 and end == len(data) else data[position:end])
        return -1 if self._left else end

    def finish(self) -> None:
        """The last chunk was read: a CR that still waits for its LF stands alone."""
        if self._tail:
            self._tail = b""
            self._keep(b"\r", alone=True)

    def _take(self, piece: bytes) -> None:
        if self._tail:
            piece, self._tail = self._tail + piece, b""
        if piece.endswith(b"\r"):
            piece, self._tail = piece[:-1], b"\r"
        if piece:
            self._keep(piece, alone=_BARE(piece) is not None)

    def _keep(self, piece: bytes, *, alone: bool) -> None:
        self.bare = self.bare or alone
        if alone and self._normalize:
            piece = normalized(piece)
        elif self.bare and not self._normalize:
            self.intake.drop()
        self.intake.add(piece)


def read_argument(argument: bytes) -> tuple[int, bool] | None:
    """`octets [LAST]` of a BDAT command: how many, and whether they are the last. None for anything else."""
    match = _SYNTAX(argument)
    return (int(match[1]), match[2] is not None) if match else None
