"""The bytes of a message where they are, in memory or in a spool file, read in spans and never gathered.

`Content` is all that the rest of the package asks of them. A `Body` is a content from some offset on; it remembers
the hashes that were made of it, which is why two signatures and a verification cost one pass.
"""

from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import Protocol

BLOCK = 65536
_READ = 1 << 18

Span = tuple[bytes, int, int]
"""An object and the part of it that is meant: bytes, first, past the last. The object is not copied."""


class Content(Protocol):
    """Bytes that stay what they are."""

    size: int

    def spans(self, start: int) -> Iterator[Span]:
        """All bytes from `start` on, in order, in non-empty spans."""
        ...

    def buffers(self, start: int) -> list[bytes | memoryview]:
        """All bytes from `start` on, in order, uncopied: whole objects as they are, parts as memoryviews."""
        ...


def uncopied(spans: Iterable[Span]) -> list[bytes | memoryview]:
    """Spans as buffers: whole objects as they are, parts as memoryviews."""
    return [data if start == 0 and end == len(data) else memoryview(data)[start:end] for data, start, end in spans]


class Memory:
    """Content in memory: the chunks as they came from the network."""

    __slots__ = ("chunks", "size")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = tuple(chunk for chunk in chunks if chunk)
        self.size = sum(map(len, self.chunks))

    def spans(self, start: int) -> Iterator[Span]:
        """See Content."""
        for chunk in self.chunks:
            length = len(chunk)
            if start < length:
                yield chunk, start, length
                start = 0
            else:
                start -= length

    def buffers(self, start: int) -> list[bytes | memoryview]:
        """See Content."""
        return uncopied(self.spans(start))


class Mapped:
    """Content in a file, which ends with the last one who looks at it. Whoever writes it on reads from the file."""

    __slots__ = ("_map", "size")

    def __init__(self, file: mmap) -> None:
        self._map = file
        self.size = len(file)

    def spans(self, start: int) -> Iterator[Span]:
        """See Content. Each span is a copy that nobody else keeps: the message is never in memory as a whole."""
        for place in range(start, self.size, _READ):
            data = self._map[place : place + _READ]
            yield data, 0, len(data)

    def buffers(self, start: int) -> list[bytes | memoryview]:
        """See Content."""
        return [memoryview(self._map)[start:]] if start < self.size else []


def head_of(content: Content) -> Iterator[bytes]:
    """Beginnings of the content, each longer than the one before and the last one whole: for a reader that
    stops as soon as one is long enough. The total of the copies is linear in what is read."""
    gathered: list[bytes] = []
    have, wanted = 0, 0
    for data, start, end in content.spans(0):
        if start == 0 and end == len(data) == content.size:
            yield data  # one piece: no copy
            return
        gathered.append(data[start:end])
        have += end - start
        if have >= wanted and have < content.size:
            gathered = [b"".join(gathered)]
            yield gathered[0]
            wanted = 2 * have
    yield b"".join(gathered)


class Body:
    """The body of a message. Its hashes are kept: (canonicalization, hash, length) → what `canonical` found."""

    __slots__ = ("content", "hashes", "size", "start")

    def __init__(self, content: Content, start: int = 0) -> None:
        self.content, self.start = content, start
        self.size = content.size - start
        self.hashes: dict[tuple[str, str, int | None], tuple[bytes, int]] = {}

    def spans(self) -> Iterator[Span]:
        """The bytes in order, uncopied."""
        return self.content.spans(self.start)

    def chunks(self) -> list[bytes | memoryview]:
        """The bytes in order: whole objects as they are, parts as memoryviews."""
        return self.content.buffers(self.start)

    def __bytes__(self) -> bytes:
        return b"".join(self.chunks())
