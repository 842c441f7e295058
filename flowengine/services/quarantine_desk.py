"""What people do with quarantined messages: look, search, release into the queue, delete; and what time does.

A message is NAME.eml and NAME.json (files.py); the name begins with the time at which it came, in nanoseconds as hex.
Everything here blocks.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowengine.services.quarantine import NAME, delete, expire, names
from flowengine.services.queue.backends import open_store
from flowengine.services.queue.bodies import digest
from flowengine.services.queue.model import About, NewEntry, NewMessage, StoreTrouble

if TYPE_CHECKING:
    from flowengine.services.config import Config

LARGEST = 1 << 20
"""Octets of a .json that is read."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One quarantined message. came: Unix time in seconds. about: what its .json says, nothing if that is broken."""

    name: str
    came: float
    about: dict[str, Any]

    @property
    def recipients(self) -> list[str]:
        """For whom it was."""
        found = self.about.get("recipients")
        return [str(one) for one in found] if isinstance(found, list) else []


class QuarantineDesk:
    """The directory of one quarantine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def kept(self, words: Sequence[str] = (), older: float | None = None) -> Iterator[Kept]:
        """Messages, the oldest first. words: each occurs in the sender, a recipient, the reason, the client, the id or
        the name. older: only those that came so many seconds ago. Raises OSError."""
        for name in names(self._directory, older or 0.0):
            one = self._kept(name)
            text = " ".join([name, *(str(one.about.get(key, "")) for key in _SEARCHED), *one.recipients]).lower()
            if all(word.lower() in text for word in words):
                yield one

    def find(self, name: str) -> Kept | None:
        """One message by its name."""
        return self._kept(name) if NAME(name) and (self._directory / f"{name}.eml").exists() else None

    def content(self, name: str) -> bytes:
        """The message. Raises OSError."""
        return (self._directory / f"{name}.eml").read_bytes()

    def delete(self, name: str) -> None:
        """Take a message away. Raises OSError."""
        delete(self._directory, name)

    def expire(self, seconds: float) -> int:
        """Delete what came longer ago than that; how many."""
        return expire(self._directory, seconds)

    def _kept(self, name: str) -> Kept:
        return Kept(name, int(name[:16], 16) / 1e9, self._read(name))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            with (self._directory / f"{name}.json").open("rb") as file:
                found = json.loads(file.read(LARGEST))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


_SEARCHED = ("sender", "reason", "client", "transaction", "user", "listener")


class Release:
    """Puts quarantined messages into the queue. Use it as a context; raises StoreTrouble."""

    def __init__(self, config: "Config") -> None:
        self._config = config
        self._store = open_store(config)

    def __enter__(self) -> "Release":
        self._store.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def put(self, one: Kept, content: bytes, transport: str | None = None, recipients: Sequence[str] = ()) -> str:
        """Put a message into the queue; the transport by which it goes. It is on disk when this returns.

        transport, recipients: in place of those it was to have. Raises ValueError when there are none.
        """
        place = transport or self._transport(one)
        people = list(recipients) or one.recipients
        if place is None:
            raise ValueError(f"{one.name}: no transport is known for it; name one")
        if place not in self._config.transports:
            raise ValueError(f"there is no transport {place}; there are {', '.join(sorted(self._config.transports))}")
        if not people:
            raise ValueError(f"{one.name}: nobody is known whom it is for; name a recipient")
        now = time.time()
        chunks = [self._trace(one, now), content]
        by_domain = self._config.transports[place].mx
        entries = tuple(
            NewEntry(number, who, who.rpartition("@")[2].lower() if by_domain else "")
            for number, who in enumerate(people, 1)
        )
        about = self._about(one, eight_bit=not content.isascii(), utf8=not content.partition(b"\r\n\r\n")[0].isascii())
        message = NewMessage(
            transaction=str(one.about.get("transaction") or one.name),
            sender=str(one.about.get("sender") or ""),
            transport=place,
            entries=entries,
            chunks=chunks,
            size=sum(map(len, chunks)),
            digest=digest(chunks),
            about=about,
            queued=now,
            due=now,
            expires=now + self._config.transports[place].expire,
        )
        prepared = self._store.prepare(message)
        try:
            with self._store.transaction():
                self._store.put(prepared)
        except StoreTrouble:
            self._store.discard(prepared)
            raise
        return place

    def _transport(self, one: Kept) -> str | None:
        own = one.about.get("transport")
        if own:
            return str(own)
        listener = self._config.listeners.get(str(one.about.get("listener")))
        return listener.transport if listener is not None else None

    def _about(self, one: Kept, *, eight_bit: bool, utf8: bool) -> About:
        metadata = one.about.get("metadata")
        user = one.about.get("user")
        return About(
            eight_bit=eight_bit,
            utf8_header=utf8,
            listener=str(one.about.get("listener") or ""),
            client=str(one.about.get("client") or ""),
            helo=str(one.about.get("helo") or ""),
            user=str(user) if user is not None else None,
            metadata={str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {},
        )

    def _trace(self, one: Kept, now: float) -> bytes:
        """The Received field that a message lacks as long as it has not left (RFC 5321 §4.4)."""
        client = re.sub(r"[^0-9A-Fa-f:.]", "", str(one.about.get("client") or ""))
        helo = re.sub(r"[^A-Za-z0-9._:\[\]-]", "", str(one.about.get("helo") or "")) or "unknown"
        source = f" ([{'IPv6:' if ':' in client else ''}{client}])" if client else ""
        date = format_datetime(datetime.fromtimestamp(int(now), UTC))
        lines = (
            f"Received: from {helo}{source}",
            f"\tby {self._config.hostname} with SMTP id {one.name};",
            f"\t{date}",
        )
        return "\r\n".join(lines).encode("ascii", "replace") + b"\r\n"
