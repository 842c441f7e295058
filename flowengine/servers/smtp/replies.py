"""Replies as the bytes a client reads (RFC 5321 §4.2, RFC 2034).

Whoever wrote the text, what leaves here is whole lines of at most 512 octets without control characters.
"""

import re
from functools import lru_cache

from flowengine.runtime.actions import Reply

LINE = 480
"""Characters of text a line, so that code, enhanced code and CRLF fit into 512 octets (RFC 5321 §4.5.3.1.5)."""
LINES = 64

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]+")
_SPACE = re.compile(r"[ \t]+")


def render(reply: Reply) -> bytes:
    """The reply, one line for each line of its text. A code that ends no command becomes 451."""
    if len(reply.text) <= LINE:
        return _short(reply.code, reply.enhanced, reply.text)
    return _lines(reply.code, reply.enhanced, reply.text)


def _lines(code: int, enhanced: str, text: str) -> bytes:
    if not (200 <= code <= 299 or 400 <= code <= 599):
        return b"451 4.3.0 Local error\r\n"
    if not _ENHANCED.fullmatch(enhanced):
        enhanced = f"{code // 100}.0.0"  # RFC 2034 §4: every reply has one once the extension is offered
    return plain(code, [f"{enhanced} {line}".rstrip() for line in lines_of(text)])


_short = lru_cache(maxsize=512)(_lines)  # most replies are the same few


def plain(code: int, lines: list[str]) -> bytes:
    """A reply of these lines and no enhanced code: greeting, EHLO, 334, 354 (RFC 2034 §4)."""
    head, last = f"{code}-", lines[-1]
    return "".join([f"{head}{line}\r\n" for line in lines[:-1]] + [f"{code} {last}\r\n"]).encode("ascii", "replace")


@lru_cache(maxsize=64)
def greeting(code: int, hostname: str, text: str, extensions: tuple[str, ...] = ()) -> bytes:
    """The reply that begins with our name (RFC 5321 §4.2): 220, and 250 to HELO and EHLO."""
    return plain(code, [f"{hostname} {lines_of(text)[0]}".rstrip(), *extensions])


def lines_of(text: str) -> list[str]:
    """Text as clean lines: controls gone, long lines wrapped at a space, never none and never very many."""
    found: list[str] = []
    for line in text[: LINE * LINES].split("\n"):
        line = _SPACE.sub(" ", _CONTROL.sub(" ", line)).strip()
        while len(line) > LINE:
            cut = line.rfind(" ", 1, LINE)
            cut = cut if cut > 0 else LINE
            found.append(line[:cut])
            line = line[cut:].lstrip()
        found.append(line)
        if len(found) >= LINES:
            break
    while len(found) > 1 and not found[-1]:
        found.pop()
    return found[:LINES]
