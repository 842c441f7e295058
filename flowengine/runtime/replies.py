"""What a client hears: default codes for each phase, and the cleaning of text that flows put into a reply.

A reply never carries a control character, a secret or a script error's text, and no line a client could not take.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flowengine.language.texts import shown
from flowengine.language.values import to_text
from flowengine.runtime.actions import Reply

LINE = 496
"""Characters: RFC 5321 §4.5.3.1.5 allows 512 octets, with code, enhanced code and CRLF."""
LINES = 50


def clean(reason: str | Sequence[str], most: int = LINES, length: int = LINE) -> str:
    """A flow's reason as reply text: lines joined by `\\n`, controls gone, non-ASCII replaced, long lines wrapped.

    most, length: lines, and characters of one; RFC 5321 has the last word.
    """
    length = min(length, LINE)
    parts = [reason] if isinstance(reason, str) else list(reason)
    lines = [line for part in parts for line in to_text(shown(part)).split("\n")]
    wrapped: list[str] = []
    for line in lines[:most]:
        text = "".join(
            " " if c in "\t\r" else c if " " <= c <= "~" else "" if ord(c) < 32 or c == "\x7f" else "?"
            for c in line[: length * most]
        )
        wrapped.extend(_wrap(text.strip(), length))
    del wrapped[most:]
    while wrapped and not wrapped[-1]:
        wrapped.pop()
    return "\n".join(wrapped)


def _wrap(line: str, length: int) -> list[str]:
    pieces: list[str] = []
    while len(line) > length:
        cut = line.rfind(" ", 1, length)
        cut = cut if cut > 0 else length
        pieces.append(line[:cut].rstrip())
        line = line[cut:].lstrip()
    return [*pieces, line]


def speak(
    default: Reply,
    reason: str | Sequence[str],
    codes: Mapping[str, object],
    disconnect: bool = False,
    most: int = LINES,
    length: int = LINE,
) -> Reply:
    """The default reply of a phase, with what the flow said of it.

    codes: the `reply_codes` option, {code, enhanced [a, b, c]}; numbers may come as text. Raises ValueError for codes
    that SMTP does not know.
    """
    if not reason and not codes and not disconnect:
        return default
    reply = default
    text = clean(reason, most, length)
    if text:
        reply = replace(reply, text=text)
    if codes.get("code") is not None:
        code = _number(codes["code"])
        if code not in range(200, 300) and code not in range(400, 600):
            raise ValueError(f"reply code {code} is no 2xx, 4xx or 5xx")
        enhanced = reply.enhanced if code // 100 == reply.code // 100 else f"{code // 100}.0.0"
        reply = replace(reply, code=code, enhanced=enhanced)
    if codes.get("enhanced") is not None:
        reply = replace(reply, enhanced=_enhanced(codes["enhanced"]))
    return replace(reply, disconnect=True) if disconnect else reply


def _number(value: object) -> int:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        return int(value)
    raise ValueError("its numbers are numbers, or text of digits")


def _enhanced(value: object) -> str:
    parts = value.split(".") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else []
    numbers = [_number(part) for part in parts]
    if len(numbers) != 3 or numbers[0] not in (2, 4, 5) or not all(0 <= number < 1000 for number in numbers[1:]):
        raise ValueError("enhanced is a list of three numbers such as [5, 7, 1] (RFC 3463)")
    return ".".join(map(str, numbers))
