"""A run for trying words of the standard library: a small world that answers what the examples ask, and no more."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from flowengine.builtins.run import Run
from flowengine.language.budget import Budget
from flowengine.language.caching import Caches
from flowengine.language.functions import Builtin, Vocabulary
from flowengine.language.values import Array, Value, from_bytes, key
from flowengine.mail.dns import MX, Answer, DNSUnavailable, Record, RecordType
from flowengine.mail.keys import PrivateKey
from flowengine.runtime.services import (
    APISettings,
    HTTPRequest,
    HTTPResponse,
    HTTPUnavailable,
    Level,
    NoWires,
    RunLimits,
    Services,
    Settings,
    Wires,
)
from flowengine.runtime.world import Fact, World
from flowengine.services.fakes import FakeQueue

T = TypeVar("T")
NOW = 1767225600.25  # 2026-01-01 00:00:00.25 UTC


class Zone:
    """DNS from a table: (name, type) → records, an exception, or nothing, which means that the name does not exist."""

    def __init__(self, records: Mapping[tuple[str, str], Sequence[Record] | Exception]) -> None:
        self.records, self.asked = dict(records), list[tuple[str, str]]()

    async def query(self, name: str, kind: RecordType) -> Answer:
        self.asked.append((name, kind))
        await asyncio.sleep(0)
        found = self.records.get((name, kind))
        if isinstance(found, Exception):
            raise found
        if found is None:
            return Answer(exists=any(known == name for known, _ in self.records))
        return Answer(tuple(found), ttl=300)


class Web:
    """Answers by method and URL; remembers what was asked. What it does not know is unavailable."""

    def __init__(self, pages: Mapping[str, HTTPResponse]) -> None:
        self.pages, self.requests = dict(pages), list[HTTPRequest]()

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        self.requests.append(request)
        await asyncio.sleep(0)
        if (found := self.pages.get(f"{request.method} {request.url}")) is None:
            raise HTTPUnavailable("no such page in this test")
        return found


class Clock:
    def __init__(self) -> None:
        self.slept = 0.0

    def now(self) -> float:
        return NOW + self.slept

    def monotonic(self) -> float:
        return 1000.0 + self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds


class Chance:
    """Not random at all: each answer follows from the one before."""

    def __init__(self) -> None:
        self.state = 1

    def number(self) -> float:
        self.state = self.state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        return (self.state >> 11) / (1 << 53)

    def octets(self, count: int) -> bytes:
        return bytes(int(self.number() * 256) for _ in range(count))


class KeyRing:
    def __init__(self, keys: Mapping[str, PrivateKey]) -> None:
        self.keys = keys

    def find(self, name: str) -> PrivateKey | None:
        return self.keys.get(name)


class Windows:
    """Sliding windows, exactly."""

    def __init__(self) -> None:
        self.hits: dict[tuple[str, str], list[float]] = {}

    def hit(self, namespace: str, entry: str, count: int, interval: float, now: float) -> bool:
        if self.count(namespace, entry, interval, now) >= count:
            return False
        self.hits.setdefault((namespace, entry), []).append(now)
        return True

    def count(self, namespace: str, entry: str, interval: float, now: float) -> int:
        return sum(now - interval < hit <= now for hit in self.hits.get((namespace, entry), ()))


class Lines:
    def __init__(self) -> None:
        self.lines: list[tuple[Level, str, dict[str, object]]] = []

    def event(self, level: Level, event: str, /, **fields: object) -> None:
        self.lines.append((level, event, fields))


class Counts:
    def increment(self, name: str, amount: float = 1, /, **labels: str) -> None:
        raise AssertionError(f"the standard library counts nothing, and counted {name}")


ZONE: dict[tuple[str, str], Sequence[Record] | Exception] = {
    ("mail.example.net", "a"): ("192.0.2.1", "192.0.2.2"),
    ("mail.example.net", "aaaa"): ("2001:db8::1",),
    ("example.net", "mx"): (MX(20, "backup.example.net"), MX(10, "mail.example.net")),
    ("example.net", "txt"): (b"v=spf1 -all", b"caf\xc3\xa9"),
    ("example.net", "ns"): ("ns.example.net",),
    ("www.example.net", "cname"): ("mail.example.net",),
    ("1.2.0.192.in-addr.arpa", "ptr"): ("mail.example.net",),
    ("2.0.0.127.zen.example.org", "a"): ("127.0.0.4",),
    ("slow.example.net", "a"): DNSUnavailable("slow.example.net", "a", "time-out"),
    ("slow.example.net", "aaaa"): DNSUnavailable("slow.example.net", "aaaa", "time-out"),
    ("broken.example.net", "a"): DNSUnavailable("broken.example.net", "a", "SERVFAIL"),
}
PAGES = {
    "GET http://api.example.net/": HTTPResponse(200, (("Content-Type", "text/plain"),), b"hello"),
    "GET http://api.example.net/?user=alice%40example.net": HTTPResponse(200, (), b'{"allowed":true}'),
    "POST http://api.example.net/form": HTTPResponse(201, (), b"made"),
    "GET http://api.example.net/absent": HTTPResponse(404, (("X-Why", "gone"),), b"not here"),
}


class Standing:
    """The run. `wait` drives what waits on an event loop of its own."""

    def __init__(
        self,
        *,
        limits: RunLimits | None = None,
        keys: Mapping[str, PrivateKey] | None = None,
        wires: Wires | None = None,
        **about: Any,
    ):
        limits = limits or RunLimits(script_value_size=16 << 20)
        self.settings = Settings(
            hostname="mx.example.net", limits=limits, api=APISettings(secret_fields=("rsakey",)), **about
        )
        self.zone, self.web, self.clock, self.lines = Zone(ZONE), Web(PAGES), Clock(), Lines()
        self.services = Services(
            self.zone, self.web, self.clock, Chance(), KeyRing(keys or {}), Windows(), self.lines, Counts(), Caches(),
            self.settings, wires=wires or NoWires(), queue=FakeQueue((3, 0)),
        )  # fmt: skip
        self.world = World(self.services)
        self.budget = Budget(steps=limits.script_steps, depth=limits.script_depth, size=limits.script_value_size)
        self.caches = self.services.caches
        self.phase, self.message_id, self.started = "data", "0123456789ab", 1000.0
        self.variables = object()
        self.warnings: list[str] = []
        self.output: list[str] = []

    def again(self) -> "Standing":
        """The same run once more, on what the world said the first time."""
        run = Standing()
        run.world = World(run.services, recorded=self.world.facts)
        return run

    @property
    def facts(self) -> list[Fact]:
        return self.world.facts

    def wait(self, awaitable: Awaitable[T]) -> T:
        async def whole() -> T:
            return await awaitable

        return asyncio.run(whole())

    def now(self) -> float:
        return self.world.now()

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def echo(self, text: str) -> None:
        self.output.append(text)

    def implicit_end(self) -> None:
        pass


_: type[Run] = Standing


def given(value: Any) -> Value:
    """A Python value as a flow's: lists and dicts as arrays, bytes as strings; a `str` is a flow's string already."""
    if isinstance(value, bytes):
        return from_bytes(value)
    if isinstance(value, list):
        return Array.of(map(given, value))
    if type(value) is dict:
        return Array({key(given(name)): given(item) for name, item in value.items()})
    return value


def plain(value: Value) -> Any:
    """A flow's value as Python's: arrays as lists where they are lists, else as dicts."""
    if not isinstance(value, Array):
        return value
    return [*map(plain, value.values())] if value.is_list() else {name: plain(item) for name, item in value.items()}


class Words:
    """The words of some modules, callable with Python values: `words.str_lower("ABC")`, options as a dict."""

    def __init__(self, *modules: Any, run: Standing | None = None) -> None:
        self.run = run or Standing()
        self._vocabulary = Vocabulary(modules, ())

    def __getattr__(self, name: str) -> Any:
        found: Builtin | None = self._vocabulary.find(name, "data")
        if found is None:
            raise AttributeError(name)

        def call(*arguments: Any) -> Value:
            return plain(found.call(self.run, *map(given, arguments)))

        return call
