"""`cache [...] f(args)`: the process-wide store behind it (HSL reference §1.13).

A bucket is a namespace and a function; an entry its arguments. Expired entries stay until they are evicted, because
`update_function` and a failed refresh need the old value. While one run computes an entry, others that want the same
wait for it (single flight) instead of asking the world again.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowengine.language.binding import share_deep
from flowengine.language.conversion import got
from flowengine.language.problems import FlowError
from flowengine.language.texts import text
from flowengine.language.values import Array, Function, Value, key, share, to_number, truth

OPTIONS = (
    "ttl", "ttl_override", "ttl_function", "update_function", "argv_filter", "force", "size", "namespace",
    "per_message", "lru",
)  # fmt: skip
MOST_BUCKETS = 1000
MOST_MESSAGES = 500
MOST_PARTS = 100_000  # values in the arguments of one cached call
MOST_ENTRIES = 100_000  # in one bucket, whatever `size` says


@dataclass(slots=True)
class Entry:
    """A value and when it expires, in Unix seconds."""

    value: Value
    expires: float


@dataclass(slots=True)
class Flight:
    """A run that computes an entry, and those that wait for it."""

    run: Any
    waiting: list["asyncio.Future[None]"] = field(default_factory=list)


@dataclass(slots=True)
class Bucket:
    """The entries of one function in one namespace."""

    entries: OrderedDict[Any, Entry] = field(default_factory=OrderedDict)
    flights: dict[Any, Flight] = field(default_factory=dict)


class Beyond(Protocol):
    """What barriers share with other processes."""

    def lock(self, name: str) -> bool:
        """Take a lock if no other process holds it; whether it was taken."""
        ...

    async def locked(self, name: str) -> None:
        """Take a lock, after waiting for it."""
        ...

    def unlock(self, name: str) -> None:
        """Give a lock back."""
        ...

    def value(self, name: str) -> Value:
        """What a barrier's shared variable holds; UNSET for one that was never set."""
        ...

    def keep(self, name: str, value: Value) -> bool:
        """Keep a shared variable; whether there was room for it."""
        ...


class Caches:
    """All the caches of a process, and its barriers. Nothing here waits, but for single flight.

    beyond: what barriers share with other processes, if anything.
    """

    def __init__(self, beyond: Beyond | None = None) -> None:
        self.beyond = beyond
        self.buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()
        self.messages: OrderedDict[str, dict[tuple[str, str], Bucket]] = OrderedDict()
        self.barriers: dict[str, Any] = {}

    def bucket(self, namespace: str, function: str) -> Bucket:
        """The bucket of a function; the one that was not used for longest makes room."""
        place = (namespace, function)
        found = self.buckets.get(place)
        if found is None:
            found = self.buckets[place] = Bucket()
            if len(self.buckets) > MOST_BUCKETS:
                self.buckets.popitem(last=False)
        else:
            self.buckets.move_to_end(place)
        return found

    def message_bucket(self, message: str, namespace: str, function: str) -> Bucket:
        """The bucket of a function for one message; the oldest message makes room."""
        found = self.messages.setdefault(message, {})
        if len(self.messages) > MOST_MESSAGES:
            self.messages.popitem(last=False)
        return found.setdefault((namespace, function), Bucket())

    def clear(self, namespace: str | None = None) -> None:
        """Forget everything, or the buckets of one namespace (`file:X` when that file changed)."""
        for place in [one for one in self.buckets if namespace is None or one[0] == namespace]:
            del self.buckets[place]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one `cache [...]`."""

    ttl: float = 60.0
    ttl_override: Array | None = None
    ttl_function: Value = None
    update_function: Value = None
    argv_filter: tuple[int, ...] | None = None
    force: bool = False
    size: int = 32
    namespace: str = ""
    per_message: bool = False
    lru: bool = True


def settings(options: Array | None) -> Settings:
    """The options of a flow. Raises FlowError for one that does not exist or has the wrong type."""
    if options is None:
        return Settings()
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise FlowError(f'cache has no option "{name}"')
        given[name] = _option(name, value)
    return Settings(**given)


def _option(name: str, value: Value) -> Any:
    if name in ("ttl", "size"):
        number = to_number(value)
        return max(0.0, float(number)) if name == "ttl" else int(min(max(1, number), MOST_ENTRIES))
    if name in ("force", "per_message", "lru"):
        return truth(value)
    if name == "namespace":
        return text(value)
    if name in ("ttl_function", "update_function"):
        if value is not None and not isinstance(value, Function):
            raise FlowError(f"cache: {name} is a function, got {got(value)}")
        return value
    if value is not None and type(value) is not Array:
        raise FlowError(f"cache: {name} is an array, got {got(value)}")
    if name == "argv_filter":
        return None if value is None else tuple(int(to_number(one)) for one in value.values())
    return value


def cached(run: Any, options: Array | None, name: str, function: Callable[..., Value], *given: Value) -> Value:
    """`cache [options] name(given)`."""
    how = settings(options)
    if how.per_message:
        message = message_of(run)
        if message is None:
            return function(*given)  # a phase without a message
        bucket = run.caches.message_bucket(message, how.namespace, name)
    else:
        bucket = run.caches.bucket(how.namespace, name)
    chosen = given if how.argv_filter is None else tuple(given[i - 1] for i in how.argv_filter if 0 < i <= len(given))
    place = fingerprint(chosen)
    while True:
        entry = bucket.entries.get(place)
        if entry is not None and not how.force and run.now() < entry.expires:
            if how.lru:
                bucket.entries.move_to_end(place)
            return share(entry.value)
        flight = bucket.flights.get(place)
        if flight is None or how.force or flight.run is run:
            break
        turn = asyncio.get_running_loop().create_future()
        flight.waiting.append(turn)
        run.wait(_turn(turn))
    return _refresh(run, how, bucket, place, function, given)


async def _turn(turn: "asyncio.Future[None]") -> None:
    await turn


def _refresh(
    run: Any, how: Settings, bucket: Bucket, place: Any, function: Callable[..., Value], given: tuple[Value, ...]
) -> Value:
    """Compute an entry while others that want it wait."""
    own = place not in bucket.flights
    if own:
        bucket.flights[place] = Flight(run)
    try:
        new = function(*given)
        old = bucket.entries.get(place)
        if how.update_function is not None and old is not None:
            new = how.update_function(share(old.value), new)
        ttl = _ttl(how, new)
        if keepable(new):
            if type(new) is Array:
                new.shared = True
                share_deep(new)
            _store(bucket, how, place, Entry(new, run.now() + ttl))
        else:
            run.warn("cache: objects and functions are not kept")
        return new
    finally:
        if own:
            for turn in bucket.flights.pop(place).waiting:
                if not turn.done():
                    turn.set_result(None)


def _ttl(how: Settings, value: Value) -> float:
    if how.ttl_override is not None and type(value) is not Array and not hasattr(type(value), "class_name"):
        name = key(value)
        if name in how.ttl_override:
            return max(0.0, float(to_number(how.ttl_override[name])))
    if how.ttl_function is not None:
        return max(0.0, float(to_number(how.ttl_function(share(value)))))
    return how.ttl


def _store(bucket: Bucket, how: Settings, place: Any, entry: Entry) -> None:
    """Put an entry in, and others out when the bucket is full."""
    bucket.entries[place] = entry
    bucket.entries.move_to_end(place)
    while len(bucket.entries) > how.size:
        bucket.entries.popitem(last=False)


def message_of(run: Any) -> str | None:
    """What tells one message from another: the message's or the transaction's id; None when there is none."""
    variables = run.variables
    transaction = getattr(variables, "transaction", None)
    found = getattr(variables, "messageid", None) or (transaction.get("id") if type(transaction) is Array else None)
    return text(found) if found is not None else None


def keepable(value: Value) -> bool:
    """Whether a value may outlive its run: no objects or functions in it."""
    pending, seen = [value], set()
    while pending:
        one = pending.pop()
        if type(one) is Array:
            if id(one) not in seen:
                seen.add(id(one))
                pending.extend(one.values())
        elif isinstance(one, Function) or hasattr(type(one), "class_name"):
            return False
    return True


def fingerprint(values: tuple[Value, ...]) -> bytes:
    """A key for arguments: equal only for equal values of equal types. Secrets leave no trace of themselves."""
    digest = hashlib.sha256()
    pending: list[Any] = [list(values)]
    parts = 0
    while pending:
        one = pending.pop()
        parts += 1
        if parts > MOST_PARTS:
            raise FlowError(f"cache: more than {MOST_PARTS} values in the arguments")
        kind = type(one)
        if kind is list:
            digest.update(b"(%d" % len(one))
            pending.extend(reversed(one))
        elif kind is Array:
            digest.update(b"a")
            pending.append([part for pair in one.items() for part in pair])
        elif isinstance(one, str):
            digest.update(b"s%d:" % len(one) + str(one).encode("latin-1", "replace"))
        elif one is None or kind in (bool, int, float):
            digest.update(f"{kind.__name__}{one!r};".encode())
        else:
            digest.update(f"object{id(one)};".encode())
    return digest.digest()
