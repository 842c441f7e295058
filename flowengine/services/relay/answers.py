"""What a next hop said, read from its bytes without trusting them (RFC 5321 §4.2).

A reply that breaks the rules, or never comes, becomes an answer of ours in the 4xx class: trouble on the way is never a
permanent failure.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from flowengine.runtime.actions import Reply

LONGEST_LINE = 4096
MOST_LINES = 200


class Stage(StrEnum):
    """How far it had come."""

    ROUTE = "route"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    ENVELOPE = "envelope"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    END = "end"
    RESET = "reset"


ARRIVING = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.TLS, Stage.AUTH})
"""Before a word was said about a message: whatever goes wrong here is between the next hop and us."""


class Answer(NamedTuple):
    """One reply. heard: the next hop said it, else it is ours and tells why there is none.

    uncertain: the next hop had the whole message when the connection broke, and may have taken it (RFC 1047).
    """

    reply: Reply
    stage: Stage
    heard: bool = True
    uncertain: bool = False

    @property
    def positive(self) -> bool:
        """Whether it is a 2xx."""
        return self.reply.positive

    @property
    def closes(self) -> bool:
        """Whether nothing further can be said on this connection: 421, or no reply at all."""
        return not self.heard or self.reply.code == 421


_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL).fullmatch
_USUAL = 256  # octets of replies that are worth knowing again
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)").match


class ReplyReader:
    """Takes bytes, gives whole replies, up to the first octets that are none."""

    __slots__ = ("_buffer", "_code", "_lines", "broken")

    def __init__(self) -> None:
        self.broken = ""
        """What came in place of a reply. From then on nothing is read."""
        self._buffer = b""
        self._code = b""
        self._lines: list[bytes] = []

    @property
    def within(self) -> bool:
        """Whether a reply has begun and not ended."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that these bytes complete."""
        if self._buffer:
            data = self._buffer + data
        elif not self._lines and len(data) <= _USUAL and (known := _batch(data)):
            return list(known)
        replies: list[Reply] = []
        position = 0
        while not self.broken and (end := data.find(b"\n", position)) >= 0:
            if end - position > LONGEST_LINE:
                self.broken = "a line without end"
                break
            reply = self._line(data[position : end - 1 if end > position and data[end - 1] == 13 else end])
            if reply is not None:
                replies.append(reply)
            position = end + 1
        self._buffer = data[position:]
        if len(self._buffer) > LONGEST_LINE:
            self.broken = "a line without end"
        return replies

    def _line(self, line: bytes) -> Reply | None:
        if not self._lines and (known := _single(line)) is not None:
            return known
        match = _LINE(line)
        if match is None:
            self.broken = "a line without a code"
            return None
        code, mark, text = match.groups()
        if self._lines and code != self._code:
            self.broken = "two codes in one reply"
            return None
        self._code = code
        self._lines.append(text or b"")
        if mark == b"-":
            if len(self._lines) >= MOST_LINES:
                self.broken = "a reply without end"
            return None
        lines, self._lines = self._lines, []
        return _reply(int(code), lines)


@lru_cache(maxsize=256)
def _batch(data: bytes) -> tuple[Reply, ...]:
    """Replies of one line each that come together, as those to MAIL, RCPT and DATA; none where there is more to it."""
    lines = data.split(b"\r\n")
    replies = [_single(line) for line in lines[:-1]]
    return () if lines[-1] or None in replies or b"\n" in b"".join(lines) else tuple(filter(None, replies))


@lru_cache(maxsize=256)
def _single(line: bytes) -> Reply | None:
    """A reply of one line; most are the same few."""
    match = _LINE(line)
    return None if match is None or match[2] == b"-" else _reply(int(match[1]), [match[3] or b""])


def _reply(code: int, lines: list[bytes]) -> Reply:
    """Code, enhanced code and text apart; the enhanced code stands on every line (RFC 2034 §4)."""
    texts = [line.decode("utf-8", "replace") for line in lines]
    first = _ENHANCED(texts[0])
    if first is None or first[1][0] != str(code // 100):
        return Reply(code, "", "\n".join(texts))
    enhanced = first[1]
    return Reply(code, enhanced, "\n".join(text.removeprefix(enhanced).lstrip(" ") for text in texts))
