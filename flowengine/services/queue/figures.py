"""How much of what is in the queue, for flows that decide by it (`GetMailQueueMetric`, quotas).

Asked over a connection and in a thread of its own, so that a long count keeps nobody from being delivered, and at most
once a second for the same question, so that many messages may ask.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from flowengine.services.queue.model import StoreTrouble

FRESH = 1.0
"""Seconds for which an answer holds."""
_ANSWERS = 1000
_ABOUT = "coalesce(json_extract(cast(about as text), '$.{}'), '')"
_FIELDS = {
    "senderip": _ABOUT.format("client"),
    "remoteip": _ABOUT.format("client"),
    "saslusername": _ABOUT.format("user"),
    "jobid": _ABOUT.format("jobid"),
    "sender": "lower(sender)",
    "senderdomain": "domain(sender)",
    "recipient": "lower(recipient)",
    "recipientdomain": "domain(recipient)",
    "transportid": "transport",
    "retry": "cast(attempts as text)",
}
_EXACT = ("transportid", "saslusername", "jobid")
_FROM = "from entry join message on message.id = entry.message join place on place.id = entry.place"


class Figures:
    """Counts in the file of a queue."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path, self._monotonic = path, monotonic
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._known: dict[tuple[object, ...], tuple[float, asyncio.Future[tuple[int, int]]]] = {}

    async def metric(self, metric: Literal["count", "bytes"], filters: Mapping[str, Sequence[str]]) -> float:
        """How many recipients, or octets, wait for which all filters hold; each by any of its values.

        filters: by the names of the language: senderip, saslusername, sender, senderdomain, recipient,
        recipientdomain, transportid, jobid, retry, metadata.NAME. Raises ValueError for others, StoreTrouble.
        """
        count, octets = await self._ask(*_condition(filters))
        return count if metric == "count" else octets

    async def quota(self, name: str) -> tuple[int, int]:
        """How many recipients, and octets, count towards a quota. Raises StoreTrouble."""
        inside = "exists (select 1 from json_each(cast(about as text), '$.quotas') where value = ?)"
        return await self._ask(inside, (name,))

    async def close(self) -> None:
        """Close the file."""
        if self._thread is not None:
            self._thread.submit(self._shut)
            await asyncio.to_thread(self._thread.shutdown)
            self._thread = None

    async def _ask(self, condition: str, values: tuple[str, ...]) -> tuple[int, int]:
        key, now = (condition, *values), self._monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < FRESH:
            return await asyncio.shield(known[1])
        if len(self._known) >= _ANSWERS:
            self._known = {key: one for key, one in self._known.items() if now - one[0] < FRESH}
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "figures")
        loop = asyncio.get_running_loop()
        answer = loop.run_in_executor(self._thread, self._count, condition, values)
        self._known[key] = (now, answer)
        return await asyncio.shield(answer)

    def _count(self, condition: str, values: tuple[str, ...]) -> tuple[int, int]:
        try:
            if self._database is None:
                self._database = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5.0)
                self._database.create_function("domain", 1, _domain, deterministic=True)
            query = f"select count(*), coalesce(sum(size), 0) {_FROM} where {condition}"  # values are bound
            count, octets = self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise StoreTrouble(str(error)) from error
        return int(count), int(octets)

    def _shut(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _condition(filters: Mapping[str, Sequence[str]]) -> tuple[str, tuple[str, ...]]:
    parts, values = ["1"], list[str]()
    for name, wanted in sorted(filters.items()):
        if name.startswith("metadata."):
            field = "coalesce(json_extract(cast(about as text), ?), '')"
            values.append(f'$.metadata."{_plain(name.removeprefix("metadata."))}"')
        elif name in _FIELDS:
            field = _FIELDS[name]
        else:
            raise ValueError(
                f"the queue cannot be filtered by {name[:100]}; it can by {', '.join(_FIELDS)}, metadata.NAME"
            )
        exact = name in _EXACT or name.startswith("metadata.")
        values += wanted if exact else [one.lower() for one in wanted]
        parts.append(f"{field} in ({','.join('?' * len(wanted))})" if wanted else "0")
    return " and ".join(parts), tuple(values)


def _plain(name: str) -> str:
    if '"' in name:
        raise ValueError("the name of a metadata filter has no quotation mark")
    return name


def _domain(address: object) -> str:
    return str(address).rpartition("@")[2].lower()
