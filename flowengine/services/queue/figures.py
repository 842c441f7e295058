"""How much of what is in the queue, for flows that decide by it (`GetMailQueueMetric`, quotas).

Asked over a connection and in a thread of its own, so that a long count keeps nobody from being delivered, and at most
once a second for the same question, so that many messages may ask.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

FRESH = 1.0
"""Seconds for which an answer holds."""
_ANSWERS = 1000
_EXACT = ("transportid", "saslusername", "jobid")


class Counts(Protocol):
    """What counts in one storage, in a thread of its own."""

    fields: Mapping[str, str]
    """By the names of the language, as SQL."""
    metadata: str
    """One of these, as SQL; its value is what `path` gives."""
    inside: str
    """Whether a message counts towards a quota, as SQL."""

    def path(self, name: str) -> str:
        """What stands for the name of a metadata field."""
        ...

    def count(self, condition: str, values: Sequence[str]) -> tuple[int, int]:
        """How many recipients, and octets. Raises StoreTrouble."""
        ...

    def close(self) -> None:
        """The end."""
        ...


def columns(about: Callable[[str], str], domain: Callable[[str], str], retry: str) -> Mapping[str, str]:
    """`Counts.fields` of a storage: how it finds a field of `About`, the domain of a column, and attempts as text."""
    return {
        "senderip": about("client"),
        "remoteip": about("client"),
        "saslusername": about("user"),
        "jobid": about("jobid"),
        "sender": "lower(sender)",
        "senderdomain": domain("sender"),
        "recipient": "lower(recipient)",
        "recipientdomain": domain("recipient"),
        "transportid": "transport",
        "retry": retry,
    }


class Figures:
    """Answers from the counts of one storage."""

    def __init__(self, counts: Counts, monotonic: Callable[[], float]) -> None:
        self._counts, self._monotonic = counts, monotonic
        self._thread: ThreadPoolExecutor | None = None
        self._known: dict[tuple[object, ...], tuple[float, asyncio.Future[tuple[int, int]]]] = {}

    async def metric(self, metric: Literal["count", "bytes"], filters: Mapping[str, Sequence[str]]) -> float:
        """How many recipients, or octets, wait for which all filters hold; each by any of its values.

        filters: by the names of the language: senderip, saslusername, sender, senderdomain, recipient,
        recipientdomain, transportid, jobid, retry, metadata.NAME. Raises ValueError for others, StoreTrouble.
        """
        count, octets = await self._ask(*_condition(self._counts, filters))
        return count if metric == "count" else octets

    async def quota(self, name: str) -> tuple[int, int]:
        """How many recipients, and octets, count towards a quota. Raises StoreTrouble."""
        return await self._ask(self._counts.inside, (name,))

    async def close(self) -> None:
        """Close what was opened."""
        if self._thread is not None:
            self._thread.submit(self._counts.close)
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
        answer = loop.run_in_executor(self._thread, self._counts.count, condition, values)
        self._known[key] = (now, answer)
        return await asyncio.shield(answer)


def _condition(counts: Counts, filters: Mapping[str, Sequence[str]]) -> tuple[str, tuple[str, ...]]:
    parts, values = ["true"], list[str]()
    for name, wanted in sorted(filters.items()):
        if name.startswith("metadata."):
            field = counts.metadata
            values.append(counts.path(name.removeprefix("metadata.")))
        elif name in counts.fields:
            field = counts.fields[name]
        else:
            raise ValueError(
                f"the queue cannot be filtered by {name[:100]}; it can by {', '.join(counts.fields)}, metadata.NAME"
            )
        exact = name in _EXACT or name.startswith("metadata.")
        values += wanted if exact else [one.lower() for one in wanted]
        parts.append(f"{field} in ({','.join('?' * len(wanted))})" if wanted else "false")
    return " and ".join(parts), tuple(values)
