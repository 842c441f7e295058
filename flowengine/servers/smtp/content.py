"""The content of one message as it comes in after DATA: where it ends, what it was before dot-stuffing, what is wrong.

Each chunk is looked at once. Content ends on CRLF.CRLF and on nothing else (RFC 5321 §4.1.1.4): a CR or LF that stands
alone never ends it, so no two servers can disagree about where a message stops ("SMTP smuggling").
"""

import re
from collections.abc import Iterable

JOIN = 1 << 17
"""Octets up to which a message is handed over in one piece."""
_SMALL = 8192
_GATHER = 1 << 16

_DOT = re.compile(rb"\r\n\.").finditer
_DOT_OR_BARE_LF = re.compile(rb"\n(?:\.|(?<!\r\n))").finditer
_BARE_CR = re.compile(rb"\r(?!\n)").search
# Lines that a server which drops NUL would take for the end.
_HIDDEN_END = re.compile(rb"\n(?:\0++\.\0*+|\.\0++)\r?\n").search
_NULS = re.compile(rb"\0++")


class Content:
    """Reads one message. `feed` until it says where the end is; then `pieces`.

    normalize: each CR or LF that stands alone becomes a CRLF. size: octets so far, dot-stuffing undone, kept or not.
    bare: a CR or LF stood alone. Pieces are dropped as soon as it is clear that the message will be refused; reading
    goes on.
    """

    __slots__ = (
        "_dropped", "_limit", "_normalize", "_nul", "_pieces", "_skip", "_small", "_tail", "bare", "held", "size",
        "was_shed",
    )  # fmt: skip

    def __init__(self, limit: int, *, normalize: bool = False) -> None:
        self._limit, self._normalize = limit, normalize
        self._tail = b"\r\n"  # as if a line had just ended: the very first line may be the lone dot
        self._skip = 2  # octets at the start of the tail that are not content
        self._pieces: list[bytes] = []
        self._small: bytearray | None = None
        self._dropped = self._nul = False
        self.bare = self.was_shed = False
        self.size = 0
        self.held = 0
        """Octets in memory now."""

    @property
    def too_large(self) -> bool:
        """Whether the message is over the limit."""
        return self.size > self._limit

    @property
    def refused_bare(self) -> bool:
        """Whether a CR or LF stood alone where that is not allowed."""
        return self.bare and not self._normalize

    def feed(self, data: bytes, position: int = 0) -> int:
        """Take what came, from `position` on. The place after the end of the message, or -1 while it goes on."""
        tail = self._tail
        work = tail + data[position:] if tail or position else data
        length, start = len(work), self._skip
        first, end, cut = start, -1, -1
        parts: list[bytes] = []
        for match in (_DOT if self.bare else _DOT_OR_BARE_LF)(work):
            after = match.end()
            if work[after - 3 : after] != b"\r\n.":
                self.bare = True
                continue
            following = work[after : after + 2]
            if following == b"\r\n":
                cut, end = after - 1, after + 2
                break
            if not following or following == b"\r":  # the next chunk tells
                cut = after - 3
                break
            parts.append(work[start : after - 1])
            start = after
        else:
            cut = length - 2 if work.endswith(b"\r\n") else length - 1 if work.endswith(b"\r") else length
        # A region never begins or ends within a CRLF.
        self.bare = self.bare or _BARE_CR(work, first, cut) is not None
        if self.bare and not self._normalize:
            self._drop()
        if cut > start:
            parts.append(work if start == 0 and cut == length else work[start:cut])
        if parts:
            self._keep(parts[0] if len(parts) == 1 else b"".join(parts))
        if end >= 0:
            return end - len(tail) + position
        self._tail, self._skip = work[cut:], max(start - cut, 0)
        return -1

    def _keep(self, piece: bytes) -> None:
        if self.bare and self._normalize:
            piece = _normalized(piece)  # a piece never begins or ends within a CRLF either
        self.size += len(piece)
        if self.size > self._limit:
            self._drop()
        if self._dropped:
            return
        self.held += len(piece)
        self._nul = self._nul or b"\0" in piece
        if len(piece) < _SMALL and (self._pieces or self._small or len(piece) < 64):
            if self._small is None:
                self._small = bytearray()
            self._small += piece  # a message that drips in must not cost an object for each octet
            if len(self._small) >= _GATHER:
                self._gather()
        else:
            self._gather()
            self._pieces.append(piece)

    def _gather(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small = None

    def shed(self) -> None:
        """Give the memory back: the message will be refused for now."""
        self.was_shed = True
        self._drop()

    def _drop(self) -> None:
        """Keep nothing of this message, read on to its end."""
        self._dropped = True
        self._pieces = []
        self._small = None
        self.held = 0

    def pieces(self) -> list[bytes]:
        """The message, once it has ended: one piece when small."""
        self._gather()
        pieces, self._pieces = self._pieces, []
        if len(pieces) > 1 and self.held <= JOIN:
            pieces = [b"".join(pieces)]
        return pieces

    def has_hidden_end(self, pieces: Iterable[bytes]) -> bool:
        """Whether a line of the message is a dot once NULs are dropped, as some servers and filters do."""
        return self._nul and hidden_end(pieces)


def _normalized(piece: bytes) -> bytes:
    return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


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
