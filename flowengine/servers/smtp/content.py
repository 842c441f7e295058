"""The content of one message as it comes in after DATA: where it ends, what it was before dot-stuffing, what is wrong.

Each chunk is looked at once. Content ends on CRLF.CRLF and on nothing else (RFC 5321 §4.1.1.4): a CR or LF that stands
alone never ends it, so no two servers can disagree about where a message stops ("SMTP smuggling").
"""

import re

from flowengine.servers.smtp.intake import Intake

_DOT = re.compile(rb"\r\n\.").finditer
_DOT_OR_BARE_LF = re.compile(rb"\n(?:\.|(?<!\r\n))").finditer
_BARE_CR = re.compile(rb"\r(?!\n)").search


class Content:
    """Reads one message. `feed` until it says where the end is; `intake` has what came.

    normalize: each CR or LF that stands alone becomes a CRLF. bare: a CR or LF stood alone. What was kept is dropped as
    soon as it is clear that the message will be refused; reading goes on.
    """

    __slots__ = ("_normalize", "_skip", "_tail", "bare", "intake")

    def __init__(self, intake: Intake, *, normalize: bool = False) -> None:
        self.intake, self._normalize = intake, normalize
        self._tail = b"\r\n"  # as if a line had just ended: the very first line may be the lone dot
        self._skip = 2  # octets at the start of the tail that are not content
        self.bare = False

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
            self.intake.drop()
        if cut > start:
            parts.append(work if start == 0 and cut == length else work[start:cut])
        if parts:
            self._keep(parts[0] if len(parts) == 1 else b"".join(parts))
        if end >= 0:
            return end - len(tail) + position
        self._tail, self._skip = work[cut:], max(start - cut, 0)
        return -1

    def _keep(self, piece: bytes) -> None:
        # a piece never begins or ends within a CRLF either
        self.intake.add(normalized(piece) if self.bare and self._normalize else piece)


def normalized(piece: bytes) -> bytes:
    """Each CR or LF that stands alone as a CRLF."""
    return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
