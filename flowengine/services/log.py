"""Structured lines on standard error: JSON for machines, or text for people.

Values are cleaned here, once: secrets hidden, control characters escaped, long texts cut. A log line can neither show
a key nor break out of its line.
"""

import sys
from collections.abc import Mapping
from typing import Literal, TextIO

import structlog

from flowengine.language.secrecy import shown
from flowengine.language.values import Secret, to_text
from flowengine.runtime.services import Level

ORDER: tuple[Level, ...] = ("debug", "info", "notice", "warning", "error", "critical")
LONGEST = 2000
"""Characters of one text in a line."""


class StructuredLog:
    """Writes lines through structlog (`runtime.services.Log`)."""

    def __init__(
        self, form: Literal["json", "text"] = "json", least: Level = "info", stream: TextIO | None = None
    ) -> None:
        self._least = ORDER.index(least)
        renderer: structlog.typing.Processor = (
            structlog.processors.JSONRenderer(ensure_ascii=False)
            if form == "json"
            else structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())
        )
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(stream or sys.stderr),
            processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), renderer],
        )

    def event(self, level: Level, event: str, /, **fields: object) -> None:
        """One line: what happened, and its facts. Fields that are None are left out."""
        if ORDER.index(level) < self._least:
            return
        self._logger.msg(
            event, level=level, **{name: clean(value) for name, value in fields.items() if value is not None}
        )


class Silence:
    """A log that nobody reads, for commands that print their own result."""

    def event(self, level: Level, event: str, /, **fields: object) -> None:
        """Nothing is written."""


def clean(value: object) -> object:
    """A value that a log line may hold."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (Secret, str)):
        text = to_text(shown(value)) if isinstance(value, Secret) or "PRIVATE KEY" in value else value
        text = "".join(c if c >= " " and c != "\x7f" else _escape(c) for c in text[: LONGEST + 1])
        text = text.encode("utf-8", "replace").decode("utf-8")
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    if isinstance(value, Mapping):
        return {str(clean(str(name))): clean(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean(item) for item in value]
    return clean(str(value))


def _escape(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{ord(character):02x}")
