"""Honest fakes of the outside world, for tests and case files.

A fake answers what it was given and nothing else: a question that nobody foresaw is `UnexpectedQuestion`, which names
the line to add.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from flowengine.language.caching import Caches
from flowengine.mail.dns import MX, Answer, DNSUnavailable, Record, RecordType
from flowengine.mail.keys import PrivateKey
from flowengine.runtime.memory import SharedMemory
from flowengine.runtime.queue_view import Letter, PickupPolicy, Suspension
from flowengine.runtime.services import HTTPRequest, HTTPResponse, HTTPUnavailable, Level, Services, Settings
from flowengine.services.barriers import WorkersBarriers
from flowengine.services.dns_client import askable
from flowengine.services.log import Unviewed
from flowengine.services.metrics import COUNTERS
from flowengine.services.rates import MemoryRates


class UnexpectedQuestion(BaseException):
    """The world was asked something it has no answer for. Not an Exception: no flow may swallow it."""


Values = str | Sequence[str] | DNSUnavailable
Table = (
    Mapping[tuple[str, str], Values]
    | Mapping[tuple[str, str], Sequence[str]]
    | Mapping[str, Values]
    | Mapping[str, str]
)


class FakeResolver:
    """DNS from a table: (name, type), or a name alone for TXT → values as a case file writes them.

    `none` is a name that does not exist, `empty` one without such a record, `timeout` and `servfail` cannot be had; a
    DNSUnavailable is raised as it is. A CNAME of the table is followed. strict: a question that the table does not name
    is UnexpectedQuestion, else a name that is not there does not exist.
    """

    def __init__(self, table: Table | None = None, *, strict: bool = True) -> None:
        self.table: dict[tuple[str, str], Values] = {}
        for key, values in (table or {}).items():
            name, kind = (key, "txt") if isinstance(key, str) else key
            self.table[name.lower(), kind.lower()] = values
        self.strict = strict
        self.asked: list[tuple[str, str]] = []

    async def query(self, name: str, kind: RecordType) -> Answer:
        """The answer of the table. Raises DNSUnavailable, UnexpectedQuestion."""
        name = name.lower().rstrip(".")
        self.asked.append((name, kind))
        if not askable(name):
            return Answer(exists=False)
        for _ in range(8):
            values = self.table.get((name, kind))
            alias = self.table.get((name, "cname"))
            if values is not None or alias is None:
                break
            (name,) = _answer(name, "cname", alias).names or (name,)
        if values is not None:
            return _answer(name, kind, values)
        if self.strict:
            line = f"{name} {kind.upper()} none"
            raise UnexpectedQuestion(f"DNS was asked for {name} {kind.upper()}; add the line: {line}")
        return Answer(exists=any(known == name for known, _ in self.table))


def _answer(name: str, kind: RecordType, values: Values) -> Answer:
    if isinstance(values, DNSUnavailable):
        raise values
    values = [values] if isinstance(values, str) else values
    words = {value.lower() for value in values}
    if words & {"timeout", "servfail"}:
        raise DNSUnavailable(name, kind, "time-out" if "timeout" in words else "SERVFAIL")
    if words & {"none", "nxdomain"}:
        return Answer(exists=False)
    if words == {"empty"}:
        return Answer()
    return Answer(tuple(_record(kind, value) for value in values), ttl=300.0)


def _record(kind: str, value: str) -> Record:
    if kind == "txt":
        return value.removeprefix('"').removesuffix('"').encode("utf-8", "surrogateescape")
    if kind == "mx":
        preference, _, host = value.partition(" ")
        return MX(int(preference), host.strip().rstrip(".").lower())
    return value.rstrip(".").lower()


class FakeHTTP:
    """Web servers from a table: (method, address) → (status, body). An address may be the end of the asked one.

    Status 0 stands for no answer.
    """

    def __init__(self, table: Mapping[tuple[str, str], tuple[int, str]] | None = None) -> None:
        self.table = dict(table or {})
        self.requests: list[HTTPRequest] = []

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        """The answer of the table."""
        self.requests.append(request)
        for (method, address), (status, body) in self.table.items():
            if request.method == method and request.url.endswith(address):
                if status == 0:
                    raise HTTPUnavailable(f"{method} {address}: no answer in time")
                return HTTPResponse(
                    status, (("Content-Type", "application/json"),), body.encode("utf-8", "surrogateescape")
                )
        line = f"{request.method} {request.url}"
        raise UnexpectedQuestion(f"an HTTP call was made: {line}; add below -- api --: {line} and its status and JSON")


class FakeClock:
    """A clock that stands still, or goes on by hand."""

    def __init__(self, moment: float = 1_767_225_600.0) -> None:
        self.moment = moment

    @classmethod
    def at(cls, text: str) -> "FakeClock":
        """A clock at a moment such as 2026-01-01 or 2026-01-01T12:00:00Z (UTC unless it says otherwise)."""
        moment = datetime.fromisoformat(text)
        return cls((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())

    def now(self) -> float:
        """Unix time in seconds."""
        return self.moment

    def monotonic(self) -> float:
        """The same."""
        return self.moment

    async def sleep(self, seconds: float) -> None:
        """The clock goes on by so much, and nobody waits."""
        self.moment += max(0.0, seconds)


class FakeRandomness:
    """Chance that repeats: the same seed gives the same numbers."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311  # repeating is what it is for

    def number(self) -> float:
        """A number from 0 up to 1."""
        return self._random.random()

    def octets(self, count: int) -> bytes:
        """Bytes that look random."""
        return self._random.randbytes(count)


class FakeKeys:
    """Keys by name."""

    def __init__(self, keys: Mapping[str, PrivateKey] | None = None) -> None:
        self.keys = dict(keys or {})
        self._parsed: dict[str, PrivateKey] = {}

    def find(self, name: str) -> PrivateKey | None:
        """The key of this name."""
        return self.keys.get(name)

    def parsed(self, text: str) -> PrivateKey | None:
        """The key of a text read before."""
        return self._parsed.get(text)

    def parse(self, text: str) -> PrivateKey:
        """The key of a text. Raises MailError."""
        return self._parsed.setdefault(text, PrivateKey.parse(text, validated=True))


class FakeLog(Unviewed):
    """Keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[Level, str, dict[str, object]]] = []

    def event(self, level: Level, event: str, /, **fields: object) -> None:
        """Keep one line."""
        self.lines.append((level, event, fields))

    def of(self, event: str) -> list[dict[str, object]]:
        """The fields of every line of this event."""
        return [fields for _, name, fields in self.lines if name == event]


class FakeCounters:
    """Keeps its sums."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def increment(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a sum. Raises KeyError for a counter or label that services/metrics.py does not declare."""
        if set(labels) != set(COUNTERS[name][0]):
            raise KeyError(f"{name} has the labels {COUNTERS[name][0]}, not {tuple(labels)}")
        key = (name, tuple(sorted(labels.items())))
        self.sums[key] = self.sums.get(key, 0) + amount


class FakeQueue:
    """A queue that remembers what it was asked. messages: how many, and how many octets, whatever the filter."""

    def __init__(self, messages: tuple[int, int] = (0, 0)) -> None:
        self.messages = messages
        self.suspensions: list[Suspension] = []
        self.policies: list[PickupPolicy] = []
        self.letters: list[Letter] = []
        self.connections: dict[tuple[str, str], set[str]] = {}

    async def metric(self, metric: Literal["count", "bytes"], filters: Mapping[str, Sequence[str]]) -> float:
        """How many."""
        return self.messages[metric == "bytes"]

    async def connect(self, attempt: str, namespace: str, entry: str, most: int) -> bool:
        """Take a place."""
        taken = self.connections.setdefault((namespace, entry), set())
        if attempt not in taken and len(taken) >= most:
            return False
        taken.add(attempt)
        return True

    async def suspend(self, suspension: Suspension) -> str:
        """Remember a suspension."""
        self.suspensions.append(suspension)
        return f"s{len(self.suspensions)}"

    async def limit(self, policy: PickupPolicy) -> str:
        """Remember a policy."""
        self.policies.append(policy)
        return f"p{len(self.policies)}"

    async def unlimit(self, policy: str) -> bool:
        """Forget one."""
        return policy == "p1"

    async def quota(self, name: str) -> tuple[int, int]:
        """How much counts."""
        return self.messages

    async def submit(self, letter: Letter) -> str:
        """Remember a letter."""
        self.letters.append(letter)
        return f"letter{len(self.letters)}"


def fake_services(**parts: Any) -> Services:
    """Services for a test: what is not said is an empty fake."""
    log, memory = parts.pop("log", None) or FakeLog(), parts.pop("memory", None) or SharedMemory()
    return Services(
        dns=parts.pop("dns", None) or FakeResolver(),
        http=parts.pop("http", None) or FakeHTTP(),
        clock=parts.pop("clock", None) or FakeClock(),
        random=parts.pop("random", None) or FakeRandomness(),
        keys=parts.pop("keys", None) or FakeKeys(),
        rates=parts.pop("rates", None) or MemoryRates(),
        log=log,
        counters=parts.pop("counters", None) or FakeCounters(),
        caches=parts.pop("caches", None) or Caches(WorkersBarriers(None, memory, log)),
        settings=parts.pop("settings", None) or Settings(),
        memory=memory,
        **parts,
    )
