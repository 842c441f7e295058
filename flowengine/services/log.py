"""Structured lines on standard error: JSON for machines, or text for people.

Values are cleaned here, once: secrets hidden, control characters escaped, long texts cut. A log line can neither show
a key nor break out of its line, and a log that cannot be written stops no mail.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, TextIO

import structlog

from flowengine.language.texts import shown_string
from flowengine.runtime.services import Level

ORDER: tuple[Level, ...] = ("debug", "info", "notice", "warning", "error", "critical")
LONGEST = 2000
"""Characters of one text in a line."""
MOST_ITEMS = 200
"""Items of one list or table in a line."""
DEEPEST = 6
"""Lists within lists."""

# C0 and C1 controls, line and paragraph separators, marks that change the direction of text, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
Target = Callable[[Level, dict[str, object]], None]
"""Takes one line, its values cleaned; raises OSError or ValueError when it cannot."""
_OWN = ("timestamp", "level", "event", "exc_info", "exception", "stack", "stack_info")
"""Names that mean something to structlog; a field of such a name gets `_` behind it."""


class Unviewed:
    """The part of a `runtime.services.Log` that nobody looks into while it is written (viewing.py is for those)."""

    def takes(self, level: Level) -> bool:
        """Every line, unless the log itself says otherwise."""
        return True

    def began(self, id_: str, client: str) -> None:
        """Nobody looks."""

    def concluded(self, id_: str, facts: Sequence[object]) -> None:
        """Nobody will ask."""


class StructuredLog(Unviewed):
    """Writes lines (`runtime.services.Log`). least: the least grave level that is written.

    dropped: lines that could not be written.
    """

    def __init__(
        self,
        form: Literal["json", "text"] = "json",
        least: Level = "info",
        stream: TextIO | None = None,
        target: Target | None = None,
    ) -> None:
        self._least = ORDER.index(least)
        self._write: Target = target or to_stream(form, stream or sys.stderr)
        self.dropped = 0

    def takes(self, level: Level) -> bool:
        """Whether a line of this level is written."""
        return ORDER.index(level) >= self._least

    def event(self, level: Level, event: str, /, **fields: object) -> None:
        """One line: what happened, and its facts. Fields that are None are left out."""
        if ORDER.index(level) < self._least:
            return
        line: dict[str, object] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level,
            "event": clean(event),
        }
        for name, value in fields.items():
            if value is not None:
                line[f"{name}_" if name in _OWN else str(clean(name))] = clean(value)
        try:
            self._write(level, line)
        except (OSError, ValueError):  # nobody reads any more, the disk is full, the stream is closed
            self.dropped += 1


def to_stream(form: Literal["json", "text"], stream: TextIO) -> Target:
    """Lines on a stream: JSON for machines, or text for people."""
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )

    def write(level: Level, line: dict[str, object]) -> None:
        stream.write(f"{render(None, level, line)!s}\n")
        stream.flush()

    return write


class Silence(Unviewed):
    """A log that nobody reads, for commands that print their own result."""

    def takes(self, level: Level) -> bool:
        """No."""
        return False

    def event(self, level: Level, event: str, /, **fields: object) -> None:
        """Nothing is written."""


def clean(value: object, depth: int = DEEPEST) -> object:
    """A value that a log line may hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 63 else clean(hex(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return _text(value[: LONGEST * 4].decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return (
            {_text(str(name)): clean(item, depth - 1) for name, item in islice(value.items(), MOST_ITEMS)}
            if depth
            else "…"
        )
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean(item, depth - 1) for item in islice(value, MOST_ITEMS)] if depth else "…"
    return _text(str(value))


def _text(value: str) -> str:
    """A string on one line, without secrets (which are looked for before it is cut)."""
    safe = shown_string(value)
    if len(safe) > LONGEST:
        safe = safe[: LONGEST - 1] + "…"
    return _UNSAFE.sub(_escape, safe)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
