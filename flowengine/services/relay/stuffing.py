"""The content of a message as it goes over the wire: after DATA dots doubled and an end (RFC 5321 §4.5.2), or counted.

What needs no change is not copied. A dot is doubled after every LF: after a CRLF because the next hop takes it away
again, after a bare LF, which our own door lets nobody send, so that no next hop can take what follows for the end.
"""

import re
from collections.abc import Iterable

Buffer = bytes | memoryview

END = b".\r\n"
_SMALL = 65536
"""Octets of a message that is put together rather than looked through piece by piece."""
_DOT = re.compile(rb"\n\.").finditer


def _dots(chunk: Buffer) -> Iterable[re.Match[bytes]]:
    """Each LF with a dot behind it. Attachments have no dots, and to see that costs next to nothing."""
    if not isinstance(chunk, bytes):
        return _DOT(chunk)
    first = chunk.find(b".")
    return _DOT(chunk, first - 1, chunk.rfind(b".") + 1) if first > 0 else _DOT(chunk) if first == 0 else ()


def stuffed(chunks: Iterable[Buffer]) -> list[Buffer]:
    """The buffers to write, the end of data among them."""
    if sum(map(len, chunks := list(chunks))) <= _SMALL:
        whole = b"".join(chunks)
        if not whole.startswith(b".") and whole.endswith(b"\r\n") and b"\n." not in whole:
            return [whole + END]
    found: list[Buffer] = []
    last = b"\r\n"  # the last octets so far: the content begins at the start of a line
    for chunk in chunks:
        if not len(chunk):
            continue
        if last[-1] == 10 and chunk[0] == 46:
            found.append(b".")
        start = 0
        for match in _dots(chunk):
            place = match.end()
            found.append(chunk[start:place])
            start = place - 1  # the dot once more
        found.append(chunk[start:] if start else chunk)
        last = bytes(chunk[-2:]) if len(chunk) > 1 else last[-1:] + bytes(chunk)
    if last != b"\r\n":
        found.append(b"\r\n")
    found.append(END)
    return found


def counted(chunks: Iterable[Buffer]) -> list[Buffer]:
    """The buffers to write as one chunk, the command among them (RFC 3030 §2)."""
    found: list[Buffer] = [b"", *chunks]
    tail = b""
    for chunk in reversed(found):
        tail = bytes(chunk[-2:]) + tail
        if len(tail) > 1:
            break
    if tail and tail[-2:] != b"\r\n":
        found.append(b"\r\n")
    found[0] = b"BDAT %d LAST\r\n" % sum(map(len, found))
    return found
