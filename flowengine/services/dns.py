"""DNS behind a cache: each question is asked once at a time, answers are kept for their TTL, old ones serve in need.

A question that nobody has an answer to runs in a Task of its own; those who wait for it may go away without harm to the
others. Nothing is asked, and no server is looked up, before the first question.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, replace

from flowengine.mail.dns import MX, Answer, DNSUnavailable, RecordType
from flowengine.runtime.services import Clock, Counters
from flowengine.services.config.model import DNS, Config
from flowengine.services.dns_client import DNSClient, askable

Ask = Callable[[str, RecordType], Awaitable[Answer]]

FAILURE_TTL = 1.0
"""Seconds for which a failure is remembered: the least that RFC 9520 §3.2 asks for, as waiting mail comes back soon."""
STALE_AFTER = 1.8
"""Seconds of waiting after which an old answer serves, while the question goes on (RFC 8767 §5)."""
STALE_RETRY = 30.0
"""Seconds an old answer serves before DNS is tried again (RFC 8767 §5), and its TTL (§4)."""

_ENTRY_SIZE = 1024
"""Octets an entry may take on average: the cache is bounded by `cache_entries` and by this many octets for each."""
_OVERHEAD = 400

_Key = tuple[str, str]


@dataclass(slots=True)
class _Entry:
    answer: Answer
    fresh_until: float
    stale_until: float
    size: int


class CachingResolver:
    """The `Resolver` of a worker.

    ask: asks for real. rules: [dns]. in_flight: questions at a time; further ones wait, within the time-out.
    """

    def __init__(self, ask: Ask, rules: DNS, in_flight: int, clock: Clock, counters: Counters) -> None:
        self._ask = ask
        self._rules = rules
        self._clock = clock
        self._counters = counters
        self._places = asyncio.Semaphore(in_flight)
        self._entries: dict[_Key, _Entry] = {}  # the least recently used first
        self._size = 0
        self._failures: dict[_Key, tuple[float, str]] = {}
        self._flights: dict[_Key, asyncio.Task[Answer | DNSUnavailable]] = {}

    async def query(self, name: str, kind: RecordType) -> Answer:
        """The answer to one question; a name that cannot be asked does not exist. Raises DNSUnavailable."""
        name = name.lower()
        key = name, kind
        now = self._clock.monotonic()
        entry = self._kept(key)
        if entry is not None and now < entry.fresh_until:
            self._counters.increment("dns_queries", result="hit")
            return entry.answer
        if not askable(name):
            return Answer(exists=False)
        stale = entry if entry is not None and now < entry.stale_until else None
        failure = self._failures.get(key)
        if failure is not None and now < failure[0]:
            outcome: Answer | DNSUnavailable | None = DNSUnavailable(name, kind, failure[1])
        else:
            outcome = await self._flown(key, name, kind, STALE_AFTER if stale else None)
        if isinstance(outcome, Answer):
            return outcome
        if stale is not None:
            self._counters.increment("dns_queries", result="stale")
            return replace(stale.answer, ttl=STALE_RETRY)
        self._counters.increment("dns_queries", result="error")
        reason = outcome.reason if outcome is not None else "no answer"
        raise DNSUnavailable(name, kind, reason)

    def forget(self) -> None:
        """Drop every answer that is kept."""
        self._entries.clear()
        self._failures.clear()
        self._size = 0

    async def close(self) -> None:
        """End the questions that are still out."""
        flights = list(self._flights.values())
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    # -- one question at a time ---------------------------------------------------------------------------------------

    async def _flown(
        self, key: _Key, name: str, kind: RecordType, patience: float | None
    ) -> Answer | DNSUnavailable | None:
        """Ask, or wait for who is asking; None when there was no answer after `patience` seconds."""
        task = self._flights.get(key)
        if task is None:
            # A context of its own: what a run put into its context must not outlive it in here.
            task = asyncio.get_running_loop().create_task(self._fly(key, name, kind), context=Context())
            self._flights[key] = task
        if patience is None:
            return await asyncio.shield(task)
        waiting = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(patience, _settle, waiting)
        landed = lambda _: _settle(waiting)  # noqa: E731  # needed by name, to be taken off again
        task.add_done_callback(landed)
        try:
            await waiting
        finally:
            timer.cancel()
            task.remove_done_callback(landed)
        return task.result() if task.done() and not task.cancelled() else None

    async def _fly(self, key: _Key, name: str, kind: RecordType) -> Answer | DNSUnavailable:
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._rules.timeout + 1):  # the client keeps its own time; this bounds the queue
                async with self._places:
                    answer = await self._ask(name, kind)
        except DNSUnavailable as error:
            return self._failed(key, error)
        except TimeoutError:
            return self._failed(key, DNSUnavailable(name, kind, "too many questions at a time"))
        finally:
            del self._flights[key]
            self._counters.increment("dns_seconds", self._clock.monotonic() - started)
        self._counters.increment("dns_queries", result="miss")
        return self._keep(key, answer)

    def _failed(self, key: _Key, error: DNSUnavailable) -> DNSUnavailable:
        now = self._clock.monotonic()
        entry = self._entries.get(key)
        spared = STALE_RETRY if entry is not None and now < entry.stale_until else FAILURE_TTL
        if len(self._failures) >= 10_000:
            self._failures.clear()  # they live for a second; forgetting them costs one more question each
        self._failures[key] = now + spared, error.reason
        return error

    # -- what is kept -------------------------------------------------------------------------------------------------

    def _kept(self, key: _Key) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            # RFC 8020 §2: a name that does not exist does so for every type.
            key = key[0], ""
            entry = self._entries.get(key)
            if entry is None:
                return None
        del self._entries[key]  # put in again: the last used is last
        self._entries[key] = entry
        return entry

    def _keep(self, key: _Key, answer: Answer) -> Answer:
        no = not answer.records
        longest = min(self._rules.maximum_ttl, self._rules.negative_ttl) if no else self._rules.maximum_ttl
        ttl = min(max(answer.ttl, self._rules.minimum_ttl), longest)
        answer = replace(answer, ttl=ttl)
        for old in {key, (key[0], "")}:
            if (gone := self._entries.pop(old, None)) is not None:
                self._size -= gone.size
        if ttl <= 0:
            return answer
        now = self._clock.monotonic()
        entry = _Entry(answer, now + ttl, now + ttl + self._rules.stale, _weight(key, answer))
        self._entries[(key[0], "") if not answer.exists else key] = entry
        self._size += entry.size
        bound = self._rules.cache_entries
        while self._entries and (len(self._entries) > bound or self._size > bound * _ENTRY_SIZE):
            self._size -= self._entries.pop(next(iter(self._entries))).size
        return answer


def resolver(config: Config, clock: Clock, counters: Counters) -> CachingResolver:
    """The resolver that a configuration asks for. Call it where a loop runs."""
    client = DNSClient(config.dns.servers, config.dns.timeout)
    return CachingResolver(client.ask, config.dns, config.limits.dns_in_flight, clock, counters)


def _weight(key: _Key, answer: Answer) -> int:
    held = sum(len(record.host) if isinstance(record, MX) else len(record) for record in answer.records)
    return _OVERHEAD + len(key[0]) + held + 60 * len(answer.records)


def _settle(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
