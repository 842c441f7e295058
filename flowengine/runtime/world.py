"""The one boundary to the outside: every answer a transaction gets passes here and is kept as a `Fact`.

A run is a pure function of message, session facts and these answers; `World(services, recorded=facts)` gives the same
answers again, so a run can be repeated later, with a trace.
"""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from flowengine.language.texts import shown
from flowengine.language.values import Array, Value
from flowengine.mail.dns import Answer, DNSUnavailable, RecordType
from flowengine.mail.keys import PrivateKey
from flowengine.runtime.files import read_below
from flowengine.runtime.queue_view import QueueView
from flowengine.runtime.services import HTTPRequest, HTTPResponse, Level, Services, TLSOptions, Wire, WireRequest
from flowengine.runtime.steps import rest

TOO_LATE = "the message's time for DNS is over ([limits] dns_time)"
T = TypeVar("T")


class Fact(NamedTuple):
    """One answer of the outside world.

    kind: dns, http, clock, random, rate, file, memory, key, deadline. question: what was asked. answer: the value, or
    the exception that stood for "not now". milliseconds: how long it took. Shown, it hides secrets (DESIGN §7).
    """

    kind: str
    question: tuple[object, ...]
    answer: object
    milliseconds: float = 0.0

    def __str__(self) -> str:
        question = " ".join(map(_told, self.question))
        return f"{self.kind} {question} → {_told(self.answer)} ({self.milliseconds:.1f} ms)"

    def __repr__(self) -> str:
        return str(self)


def _told(value: object) -> str:
    """A question or an answer as people may see it: content of files and web pages by its size."""
    if isinstance(value, HTTPResponse):
        return f"{value.status}, {len(value.body)} bytes"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, tuple):
        return f"({', '.join(map(_told, value))})"
    return shown(value if isinstance(value, (str, Array)) else repr(value))


class UnknownFact(Exception):
    """A repeated run asked something that was not recorded."""


class ExpiredAgain(BaseException):
    """A repeated run has come to where its deadline met it the first time. Not an Exception: no flow may catch it."""


class World:
    """What one transaction hears of the outside. It is itself a `mail.dns.Resolver`."""

    def __init__(self, services: Services, recorded: Sequence[Fact] | None = None) -> None:
        self._services = services
        self._limit = services.settings.limits.script_facts
        self._recorded: dict[tuple[str, tuple[object, ...]], deque[Fact]] | None = None
        if recorded is not None:
            self._recorded = {}
            for fact in recorded:
                self._recorded.setdefault((fact.kind, fact.question), deque()).append(fact)
        self.facts: list[Fact] = []
        self.dropped = 0
        """Facts beyond [limits] script_facts: counted, not kept."""
        self._wires = 0
        self._dns_open, self._dns_since, self._dns_spent = 0, 0.0, 0.0

    @property
    def repeats(self) -> bool:
        """Whether this world only says again what was recorded."""
        return self._recorded is not None

    # -- DNS ------------------------------------------------------------------------------------------------------

    async def query(self, name: str, kind: RecordType) -> Answer:
        """Ask DNS. Raises DNSUnavailable."""
        question = (name.lower(), kind)
        if self._recorded is not None:
            return self._again("dns", question)  # type: ignore[no-any-return]  # a dns fact holds an Answer
        started = self._services.clock.monotonic()
        try:
            answer = await self._within_time(name, kind, started)
        except Exception as error:
            self._keep("dns", question, error, started)
            raise
        self._keep("dns", question, answer, started)
        return answer

    async def _within_time(self, name: str, kind: RecordType, started: float) -> Answer:
        """The answer, unless the time that the message has for DNS is over. Questions at the same time count once."""
        if self._dns_open == 0:
            self._dns_since = started
        left = self._services.settings.limits.dns_time - self._dns_spent - (started - self._dns_since)
        if left <= 0:
            raise DNSUnavailable(name, kind, TOO_LATE)
        self._dns_open += 1
        timer = None
        try:
            step = self._services.dns.query(name, kind)
            try:
                pending = step.send(None)
            except StopIteration as known:  # from the cache, and needs no timer
                return known.value  # type: ignore[no-any-return]  # an Answer
            async with asyncio.timeout(left) as timer:
                return await rest(step, pending)
        except TimeoutError:
            if timer is None or not timer.expired():
                raise  # somebody else's
            raise DNSUnavailable(name, kind, TOO_LATE) from None
        finally:
            self._dns_open -= 1
            if self._dns_open == 0:
                self._dns_spent += self._services.clock.monotonic() - self._dns_since

    # -- HTTP -----------------------------------------------------------------------------------------------------

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        """Call a web server. Raises HTTPUnavailable."""
        question = (request.method, request.shown_url or _without_secrets(request.url))
        if self._recorded is not None:
            return self._again("http", question)  # type: ignore[no-any-return]  # an http fact holds an HTTPResponse
        started = self._services.clock.monotonic()
        try:
            response = await self._services.http.request(request)
        except Exception as error:
            self._keep("http", question, error, started)
            raise
        self._keep("http", question, response, started)
        return response

    # -- clock, chance, keys, rates -------------------------------------------------------------------------------

    def now(self) -> float:
        """Unix time in seconds."""
        return self._ask("clock", (), self._services.clock.now)

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return self._ask("clock", ("monotonic",), self._services.clock.monotonic)

    def elapsed(self, since: float) -> float:
        """Seconds since a moment of the clock that never goes back."""
        return self._ask("clock", ("elapsed",), lambda: max(0.0, self._services.clock.monotonic() - since))

    async def sleep(self, seconds: float) -> None:
        """Let time pass; at once when repeated."""
        if self._recorded is None:
            await self._services.clock.sleep(seconds)

    def random_number(self) -> float:
        """A number from 0 up to 1, 1 excluded."""
        return self._ask("random", ("number",), self._services.random.number)

    def random_octets(self, count: int) -> bytes:
        """Random bytes."""
        return self._ask("random", ("octets", count), lambda: self._services.random.octets(count))

    def key(self, name: str) -> PrivateKey | None:
        """The key `pki:NAME` of the configuration."""
        return self._ask("key", (name,), lambda: self._services.keys.find(name))

    def rate_hit(self, namespace: str, entry: str, count: int, interval: float) -> bool:
        """Add one entry to a sliding window that has room for `count`; whether it had room."""
        now = self._services.clock.now()
        question = ("hit", namespace, entry, count, interval)
        return self._ask("rate", question, lambda: self._services.rates.hit(namespace, entry, count, interval, now))

    def rate_count(self, namespace: str, entry: str, interval: float) -> int:
        """The entries of a sliding window."""
        now = self._services.clock.now()
        question = ("count", namespace, entry, interval)
        return self._ask("rate", question, lambda: self._services.rates.count(namespace, entry, interval, now))

    # -- sockets --------------------------------------------------------------------------------------------------

    async def connect(self, request: WireRequest) -> "HeardWire":
        """A connection to a server, within [network]; what it brings is recorded. Raises WireFailed."""
        self._wires += 1
        number = self._wires
        opened: list[Wire] = []

        async def open_wire() -> None:
            opened.append(await self._services.wires.connect(request))

        await self.heard("socket", (number, "connect", request.kind, request.address, request.port), open_wire)
        return HeardWire(self, number, opened[0] if opened else None)

    async def heard(self, kind: str, question: tuple[object, ...], answer: Callable[[], Awaitable[T]]) -> T:
        """What an awaitable gives, or its failure, as a fact; when repeating, what the fact says."""
        if self._recorded is not None:
            return self._again(kind, question)  # type: ignore[no-any-return]  # the kind says what the fact holds
        started = self._services.clock.monotonic()
        try:
            found = await answer()
        except Exception as error:
            self._keep(kind, question, error, started)
            raise
        self._keep(kind, question, found, started)
        return found

    async def ask_queue(self, question: tuple[object, ...], ask: Callable[[QueueView], Awaitable[T]]) -> T:
        """What the queue answers. Raises QueueUnavailable."""
        return await self.heard("queue", question, lambda: ask(self._services.queue))

    def file(self, name: str) -> bytes | None:
        """What a file of the script root holds; None when there is none of this name, or it is too large."""
        settings = self._services.settings
        limit = settings.limits.script_value_size
        return self._ask("file", (name,), lambda: read_below(settings.script_root, name, limit))

    def memory_get(self, key: str) -> tuple[int, Value] | None:
        """Version and value of an entry that the flows of this process share; None when there is none."""
        return self._ask("memory", ("get", key), lambda: self._services.memory.get(key))

    def memory_put(self, key: str, value: Value, version: int | None) -> bool:
        """Write such an entry if it still has this version (`services.Memory.put`); whether it was written."""
        return self._ask("memory", ("put", key, version), lambda: self._services.memory.put(key, value, version))

    def memory_remove(self, key: str) -> bool:
        """Take such an entry out; whether it was there."""
        return self._ask("memory", ("remove", key), lambda: self._services.memory.remove(key))

    def log(self, level: Level, event: str, **fields: object) -> None:
        """Write a line; silent when repeated."""
        if self._recorded is None:
            self._services.log.event(level, event, **fields)

    def expired(self, run: tuple[str, str], steps: int | None) -> None:
        """A run met its deadline. run: phase and recipient. steps: spent by then, None when it was waiting."""
        self.facts.append(Fact("deadline", run, steps))

    def expires(self, run: tuple[str, str]) -> int | None:
        """When repeated: the steps after which a run met its deadline, None if it did not while it computed."""
        facts = (self._recorded or {}).get(("deadline", run))
        return facts[0].answer if facts else None  # type: ignore[return-value]  # what `expired` recorded

    # -- the record -----------------------------------------------------------------------------------------------

    def _ask(self, kind: str, question: tuple[object, ...], answer: Callable[[], T]) -> T:
        if self._recorded is not None:
            return self._again(kind, question)  # type: ignore[no-any-return]  # the kind says what the fact holds
        value = answer()
        self._append(Fact(kind, question, value))
        return value

    def _keep(self, kind: str, question: tuple[object, ...], answer: object, started: float) -> None:
        self._append(Fact(kind, question, answer, (self._services.clock.monotonic() - started) * 1000))

    def _append(self, fact: Fact) -> None:
        if len(self.facts) < self._limit:
            self.facts.append(fact)
        else:
            self.dropped += 1

    def _again(self, kind: str, question: tuple[object, ...]) -> Any:
        assert self._recorded is not None  # noqa: S101  # only called when repeating
        waiting = self._recorded.get((kind, question))
        if not waiting:
            if any(kind == "deadline" for kind, _ in self._recorded):
                raise ExpiredAgain  # the answer did not come in time
            raise UnknownFact(f"not recorded: {kind} {' '.join(map(_told, question))}")
        fact = waiting.popleft() if len(waiting) > 1 else waiting[0]
        self._append(fact)
        if isinstance(fact.answer, Exception):
            raise fact.answer
        return fact.answer


class HeardWire:
    """A connection whose answers are facts. The wire itself is only there the first time."""

    def __init__(self, world: World, number: int, wire: Wire | None) -> None:
        self._world, self._number, self._wire = world, number, wire

    async def send(self, data: bytes, timeout_: float) -> int:
        """Send bytes; how many were taken. Raises WireFailed. What was sent is no fact: it may hold a password."""
        return await self._heard(("send", len(data)), lambda wire: wire.send(data, timeout_))

    async def receive(self, most: int, timeout_: float, *, peek: bool = False, whole: bool = False) -> bytes:
        """The next bytes, b"" at the end. peek: leave them there; whole: wait for `most`. Raises WireFailed."""
        question = ("receive", most, peek, whole)
        return await self._heard(question, lambda wire: wire.receive(most, timeout_, peek=peek, whole=whole))

    async def encrypt(self, options: TLSOptions, timeout_: float) -> bytes | None:
        """Begin TLS; the server's certificate in DER. Raises WireFailed."""
        return await self._heard(("encrypt",), lambda wire: wire.encrypt(options, timeout_))

    def shutdown(self, reading: bool, writing: bool) -> None:
        """End one direction or both."""
        if self._wire is not None:
            self._wire.shutdown(reading, writing)

    def close(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.close()

    async def _heard(self, question: tuple[object, ...], answer: Callable[[Wire], Awaitable[T]]) -> T:
        wire = self._wire

        def ask() -> Awaitable[T]:
            assert wire is not None  # noqa: S101  # only asked when not repeating
            return answer(wire)

        return await self._world.heard("socket", (self._number, *question), ask)


_USERINFO = re.compile(r"//[^/@]*@")


def _without_secrets(url: str) -> str:
    return _USERINFO.sub("//", url)
