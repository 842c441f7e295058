"""The parts of a message's way, each alone: signing, verifying, reading headers, asking the cache of DNS."""

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import TypeVar

from benchmarks.fixtures import DOMAIN, NOW, SIZES, plain, seal, signed, zone
from benchmarks.timing import Row, Rows, measure, raw_signature
from flowengine.mail.dkim import Seal, SignatureResult, sign, verify
from flowengine.mail.dns import Answer, RecordType, Resolver
from flowengine.mail.headers import parse
from flowengine.mail.message import Message
from flowengine.services.clock import SystemClock
from flowengine.services.config.model import DNS
from flowengine.services.dns import CachingResolver
from flowengine.services.metrics import Metrics

T = TypeVar("T")

_SIGN_GOALS = {"2 KB": "must ≤ 1.3, aim ≤ 1.1"}


class Table:
    """A resolver of TXT records that never waits."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.answers = {name: Answer((text.encode(),), ttl=3600) for name, text in texts.items()}

    async def query(self, name: str, kind: RecordType) -> Answer:
        return self.answers.get(name, Answer(exists=False))


def at_once(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that does not wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("the coroutine waited")


def rows() -> Rows:
    """All of them."""
    yield measure("raw RSA-2048 signature", raw_signature)
    yield from _signing()
    yield from _verifying()
    yield measure("header index, 2 KB", partial(parse, plain(SIZES["2 KB"])))
    yield _cache_hit()


def _signing() -> Rows:
    how = seal()
    for name, size in SIZES.items():
        yield measure(f"DKIM sign, {name}", partial(_sign, plain(size), how), _SIGN_GOALS.get(name, ""))


def _sign(data: bytes, how: Seal) -> str:
    return sign(Message(data), how, NOW)  # a new message each time, so that nothing is known of it


def _verifying() -> Rows:
    resolver = Table(zone())
    for name, size in SIZES.items():
        (result,) = _verify(signed(size), resolver)
        if result.result != "pass":
            raise RuntimeError(f"the signature of the {name} message does not verify: {result.reason}")
        yield measure(f"DKIM verify, {name}", partial(_verify, signed(size), resolver))


def _verify(data: bytes, resolver: Resolver) -> tuple[SignatureResult, ...]:
    return at_once(verify(Message(data), resolver, now=NOW))


def _cache_hit() -> Row:
    async def here() -> Row:
        table = Table(zone())
        resolver = CachingResolver(table.query, DNS(), 10, SystemClock(), Metrics())
        await resolver.query(DOMAIN, "txt")
        return measure("DNS cache hit", lambda: at_once(resolver.query(DOMAIN, "txt")))

    return asyncio.run(here())
