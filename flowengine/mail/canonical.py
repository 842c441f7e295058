"""Canonicalization of DKIM and ARC (RFC 6376 §3.4), exact for any bytes and linear.

White space is space and tab and nothing else; a line ends in CRLF and nothing else. The work is done with searches
for single bytes (memchr), because a character class costs thirty times as much; a large body is hashed in blocks
where it lies. Only white space at the end of a block waits for what follows it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from flowengine.mail.body import BLOCK, Body, Span
from flowengine.mail.headers import Field

Canonicalization = Literal["simple", "relaxed"]
Hash = Literal["sha1", "sha256"]


def new_hash(algorithm: Hash, data: bytes = b"") -> "hashlib._Hash":
    """A hash under way. SHA-1 is for what others signed with it, and for no security (RFC 8301)."""
    return hashlib.sha256(data) if algorithm == "sha256" else hashlib.sha1(data, usedforsecurity=False)


def body_hash(
    body: Body, canonicalization: Canonicalization, algorithm: Hash = "sha256", length: int | None = None
) -> tuple[bytes, int]:
    """The digest of the canonical body, or of its first `length` octets, and the size of the whole canonical body in
    octets. Found once a body; safe to call from a thread in order to have it ready (hashing releases the GIL)."""
    key = (canonicalization, algorithm, length)
    found = body.hashes.get(key)
    if found is None:
        digest = new_hash(algorithm)
        size = 0
        for piece in canonical_body(body, canonicalization):
            if length is None or size + len(piece) <= length:
                digest.update(piece)
            elif size < length:
                digest.update(piece[: length - size])
            size += len(piece)
        found = body.hashes[key] = digest.digest(), size
    return found


def canonical_body(body: Body, canonicalization: Canonicalization) -> Iterator[bytes | memoryview]:
    """The canonical body in pieces."""
    return _relaxed(body.spans()) if canonicalization == "relaxed" else _simple(body.spans())


def _simple(spans: Iterable[Span]) -> Iterator[bytes | memoryview]:
    """RFC 6376 §3.4.3: empty lines at the end go, and one CRLF ends the body, even an empty one."""
    held: list[memoryview] = []  # line ends that more text may follow
    for data, start, end in spans:
        solid = _solid(data, start, end, b"\r\n")
        if solid > start:
            yield from held
            held.clear()
            yield memoryview(data)[start:solid]
        if solid < end:
            held.append(memoryview(data)[solid:end])
    yield _without_empty_lines(b"".join(held)) + b"\r\n"


def _relaxed(spans: Iterable[Span]) -> Iterator[bytes | memoryview]:
    """RFC 6376 §3.4.4: white space shrinks to one space, at the end of a line to nothing; then as in simple, but an
    empty body stays empty."""
    held: list[bytes] = []  # white space and line ends that more text may follow
    empty = True
    for data, low, high in spans:
        for start in range(low, high, BLOCK):
            end = min(start + BLOCK, high)
            solid = _solid(data, start, end, b" \t\r\n")
            if solid > start:
                if not held and data.find(b" ", start, solid) < 0 and data.find(b"\t", start, solid) < 0:
                    yield memoryview(data)[start:solid]  # runs of base64: no copy at all
                else:
                    held.append(data[start:solid])
                    yield _reduced(b"".join(held))
                    held.clear()
                empty = False
            if solid < end:
                held.append(data[solid:end])
    held.append(b"\r\n")  # the last line may lack its end, and is a line all the same
    rest = _without_empty_lines(_reduced(b"".join(held)))
    if rest or not empty:
        yield rest + b"\r\n"


def _solid(data: bytes, start: int, end: int, space: bytes) -> int:
    """Where the run of `space` that ends the span begins."""
    if data[end - 1] not in space:
        return end
    step = 64
    while end > start:
        low = max(start, end - step)
        kept = len(data[low:end].rstrip(space))
        if kept:
            return low + kept
        end, step = low, BLOCK
    return start


def _reduced(text: bytes) -> bytes:
    """Runs of white space as one space, none in front of a CRLF."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    # rfind, because a search from the front stops at each of the many single spaces: half the speed.
    while text.rfind(b"  ") >= 0:  # halves every run: at most as many rounds as a run's length has bits
        text = text.replace(b"  ", b" ")
    if text.rfind(b" \r\n") >= 0:
        text = text.replace(b" \r\n", b"\r\n")
    return text


def _without_empty_lines(text: bytes) -> bytes:
    """The text without the CRLFs at its end. A bare CR or LF there is text."""
    kept = len(text.rstrip(b"\r\n"))
    run = text[kept:]
    if not run.endswith(b"\n"):
        return text
    start = max(run.rfind(b"\r\r"), run.rfind(b"\n\n")) + 1  # from here on CR and LF alternate
    if run.startswith(b"\n", start):
        start += 1
    return text[: kept + start]


def canonical_fields(fields: Sequence[Field], canonicalization: Canonicalization) -> list[bytes]:
    """Header fields in canonical form (RFC 6376 §3.4.1, §3.4.2), without the CRLF that ends each."""
    if canonicalization == "simple":
        return [field.raw for field in fields]
    together = b"".join([field.raw for field in fields])
    ends = together.count(b"\r\n")
    if b"\v" in together or b"\f" in together or ends != together.count(b"\r") or ends != together.count(b"\n"):
        return [field.key + b":" + _reduced(field.value.replace(b"\r\n", b"")).strip(b" ") for field in fields]
    # Now bytes.split(), which knows more white space than the RFC, finds only what the RFC means.
    return [field.key + b":" + b" ".join(field.raw.partition(b":")[2].split()) for field in fields]


def select(fields: Sequence[Field], names: Sequence[bytes]) -> list[Field]:
    """The fields that h= names, in its order: each name takes the lowest field not yet taken, and a name without
    one stands for nothing (RFC 6376 §5.4.2). Names are in lower case."""
    left: dict[bytes, list[Field]] = {name: [] for name in names}
    for field in fields:
        if field.key in left:
            left[field.key].append(field)
    return [left[name].pop() for name in names if left[name]]
