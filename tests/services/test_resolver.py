"""DNS: what servers say becomes an answer or "not now", and the cache in front of them."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail.dns import MX, Answer, DNSUnavailable, RecordType
from flowengine.services import dns as dns_module
from flowengine.services.config import parse
from flowengine.services.config.model import DNS
from flowengine.services.dns import CachingResolver, resolver
from flowengine.services.dns_client import DNSClient, askable
from flowengine.services.fakes import FakeClock, FakeCounters
from tests.services.dns_server import DNSServer, Trouble

pytestmark = pytest.mark.anyio


def ask(server: DNSServer, name: str, kind: RecordType, timeout: float = 2.0) -> Answer:
    return asyncio.run(DNSClient([server.address], timeout).ask(name, kind))


@pytest.mark.parametrize(
    "kind, values, records",
    [
        ("a", ["192.0.2.1"], ("192.0.2.1",)),
        ("aaaa", ["2001:DB8::1"], ("2001:db8::1",)),
        ("txt", ["v=spf1 -all"], (b"v=spf1 -all",)),
        ("txt", ["x" * 600], (b"x" * 600,)),
        ("txt", ["caf\xe9\x00"], (b"caf\xe9\x00",)),
        ("mx", ["10 MX.Example.NET"], (MX(10, "mx.example.net"),)),
        ("mx", ["0 ."], (MX(0, ""),)),
        ("ptr", ["Host.Example"], ("host.example",)),
        ("ns", ["ns.example"], ("ns.example",)),
        ("tlsa", ["3 1 1 " + "ab" * 32], ("3 1 1 " + "ab" * 32,)),
    ],
)
def test_records_of_a_type(kind: RecordType, values: list[str], records: tuple[object, ...]) -> None:
    with DNSServer({("example.net", kind): values}) as server:
        found = ask(server, "example.net", kind)
    assert found == Answer(records, ttl=60.0)  # type: ignore[arg-type]  # the table holds records


def test_an_answer_too_large_for_udp_comes_over_tcp() -> None:
    with DNSServer({("big.example", "TXT"): ["y" * 30_000, "z" * 30_000]}) as server:
        assert set(ask(server, "big.example", "txt").txt) == {b"y" * 30_000, b"z" * 30_000}
        assert server.over_tcp == 1


def test_a_missing_name_and_a_missing_type_are_answers() -> None:
    with DNSServer({("example.net", "A"): ["192.0.2.1"]}) as server:
        assert ask(server, "no.example", "txt") == Answer(exists=False, ttl=60.0)
        assert ask(server, "example.net", "txt") == Answer(exists=True, ttl=60.0)


def test_a_no_without_soa_may_not_be_kept() -> None:
    with DNSServer({("example.net", "TXT"): [Trouble.NO_SOA]}) as server:
        assert ask(server, "example.net", "txt") == Answer(ttl=0.0)


@pytest.mark.parametrize("target", ["target.example", "no-follow.example"])
def test_aliases_are_followed_by_the_server_or_by_us(target: str) -> None:
    table = {("a.example", "CNAME"): ["b.example"], ("b.example", "CNAME"): [target], (target, "TXT"): ["here"]}
    with DNSServer(table) as server:
        assert ask(server, "a.example", "txt").txt == (b"here",)
        assert ask(server, "a.example", "cname").names == ("b.example",)


def test_an_alias_to_nowhere_does_not_exist_and_a_circle_is_no_answer() -> None:
    table = {("a.example", "CNAME"): ["gone.example"], ("c.example", "CNAME"): ["c.example"]}
    with DNSServer(table) as server:
        assert ask(server, "a.example", "a").exists is False
        with pytest.raises(DNSUnavailable):
            ask(server, "c.example", "a")


def test_the_ad_bit_says_secure() -> None:
    with DNSServer({("example.net", "A"): ["192.0.2.1"]}, secure=True) as server:
        assert ask(server, "example.net", "a").secure


@pytest.mark.parametrize(
    "trouble, reason",
    [
        (Trouble.SILENT, "no answer within 0.3 s"),
        (Trouble.SERVFAIL, "SERVFAIL from 127.0.0.1"),
        (Trouble.REFUSED, "REFUSED from 127.0.0.1"),
        (Trouble.WRONG_ID_ONLY, "no answer within 0.3 s"),
        (Trouble.GARBAGE, "no answer within 0.3 s"),
        (Trouble.TRUNCATED_TCP_CLOSED, "127.0.0.1"),
    ],
)
def test_trouble_is_not_now(trouble: Trouble, reason: str) -> None:
    with DNSServer({("example.net", "TXT"): [trouble]}) as server, pytest.raises(DNSUnavailable, match=reason):
        ask(server, "example.net", "txt", timeout=0.3)


@pytest.mark.parametrize("trouble", [Trouble.NO_EDNS, Trouble.WRONG_ID, Trouble.TRUNCATED])
def test_trouble_that_is_overcome(trouble: Trouble) -> None:
    with DNSServer({("example.net", "TXT"): [trouble, "v=spf1 -all"]}) as server:
        assert ask(server, "example.net", "txt").txt == (b"v=spf1 -all",)


def test_the_next_server_is_asked_when_one_fails_and_a_failing_one_only_once() -> None:
    table = {("example.net", "A"): ["192.0.2.1"]}
    with DNSServer({("example.net", "A"): [Trouble.SERVFAIL]}) as bad, DNSServer(table) as good:
        client = DNSClient([bad.address, good.address], 2.0)
        assert asyncio.run(client.ask("example.net", "a")).names == ("192.0.2.1",)
        assert bad.asked["example.net", "A"] == 1
    with DNSServer({("example.net", "A"): [Trouble.SERVFAIL]}) as bad:
        with pytest.raises(DNSUnavailable):
            ask(bad, "example.net", "a")
        assert bad.asked["example.net", "A"] == 1


def test_nobody_listens() -> None:
    with DNSServer({}) as server:
        pass
    with pytest.raises(DNSUnavailable):
        ask(server, "example.net", "a", timeout=0.3)


@pytest.mark.parametrize("name", ["a\\.b.example", "a b.example", "_s1._domainkey.example", 'a"b.example', "a\\046b.x"])
def test_odd_names_are_asked_as_they_are(name: str) -> None:
    with DNSServer({}) as server:
        assert ask(server, name, "txt").exists is False
        ((asked, _),) = server.asked
    labels = name.replace("\\", "\\\\").replace('"', '\\"').replace(" ", "\\032")
    assert asked == labels


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_whatever_a_server_sends_is_an_answer_or_not_now(octets: bytes, header: bool) -> None:
    with DNSServer({}) as server:
        # A header with one question and the question itself, then anything: it reaches the parser of records.
        question = b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01x\x04test\x00\x00\x10\x00\x01"
        server.raw["x.test"] = (question if header else b"") + octets
        with contextlib.suppress(DNSUnavailable):
            assert isinstance(ask(server, "x.test", "txt", timeout=0.05), Answer)


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", ".a", "a.", "x" * 64 + ".example", ".".join(["abc"] * 64), "é.example"]
)
def test_what_cannot_be_asked_is_not(name: str) -> None:
    assert not askable(name)


# -- the cache --------------------------------------------------------------------------------------------------------


class World:
    """A resolver over a function, with a clock moved by hand."""

    def __init__(self, answer: Callable[[str, str], Answer], **rules: float) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []
        self.clock = FakeClock()
        self.counters = FakeCounters()
        self.gate: asyncio.Event | None = None
        self.resolver = CachingResolver(self._ask, DNS(**rules), 3, self.clock, self.counters)  # type: ignore[arg-type]  # numbers only

    async def _ask(self, name: str, kind: RecordType) -> Answer:
        self.asked.append((name, kind))
        if self.gate is not None:
            await self.gate.wait()
        return self.answer(name, kind)

    async def get(self, name: str = "example.net", kind: RecordType = "txt") -> Answer:
        return await self.resolver.query(name, kind)


def fails(name: str, kind: str) -> Answer:
    raise DNSUnavailable(name, kind, "SERVFAIL")


async def test_an_answer_is_kept_for_its_ttl_whatever_the_case_of_the_name() -> None:
    world = World(lambda name, kind: Answer((name.encode(),), ttl=60))
    await world.get("Example.NET")
    world.clock.moment += 59
    assert (await world.get()).txt == (b"example.net",)
    assert len(world.asked) == 1
    world.clock.moment += 2
    await world.get()
    assert len(world.asked) == 2
    assert world.counters.sums[("dns_queries", (("result", "hit"),))] == 1


@pytest.mark.parametrize(
    "answer, rules, kept",
    [
        (Answer((b"x",), ttl=0), {}, 0),
        (Answer((b"x",), ttl=0), {"minimum_ttl": 30.0}, 30),
        (Answer((b"x",), ttl=1e9), {"maximum_ttl": 100.0}, 100),
        (Answer((), ttl=1e9), {"negative_ttl": 50.0}, 50),
        (Answer((), exists=False, ttl=40), {}, 40),
    ],
)
async def test_how_long_an_answer_is_kept(answer: Answer, rules: dict[str, float], kept: float) -> None:
    world = World(lambda name, kind: answer, **rules)
    assert (await world.get()).ttl == kept
    world.clock.moment += kept - 0.5
    await world.get()
    assert len(world.asked) == (1 if kept else 2)
    world.clock.moment += 1
    await world.get()
    assert len(world.asked) == (2 if kept else 3)


async def test_a_name_that_does_not_exist_does_so_for_every_type() -> None:
    world = World(lambda name, kind: Answer(exists=False, ttl=60))
    await world.get(kind="txt")
    assert (await world.get(kind="a")).exists is False
    assert len(world.asked) == 1


async def test_one_that_came_into_being_is_no_longer_missing() -> None:
    world = World(lambda name, kind: Answer(exists=False, ttl=60))
    await world.get(kind="txt")
    world.clock.moment += 61
    world.answer = lambda name, kind: Answer((b"x",), ttl=60)
    await world.get(kind="txt")
    assert (await world.get(kind="a")).exists


async def test_many_who_ask_at_once_ask_once() -> None:
    world = World(lambda name, kind: Answer((b"x",), ttl=60))
    world.gate = asyncio.Event()
    waiting = [asyncio.create_task(world.get()) for _ in range(100)]
    await asyncio.sleep(0)
    world.gate.set()
    assert {answer.txt for answer in await asyncio.gather(*waiting)} == {(b"x",)}
    assert len(world.asked) == 1


async def test_who_goes_away_does_no_harm_to_who_waits() -> None:
    world = World(lambda name, kind: Answer((b"x",), ttl=60))
    world.gate = asyncio.Event()
    first, second = asyncio.create_task(world.get()), asyncio.create_task(world.get())
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0)
    world.gate.set()
    assert (await second).txt == (b"x",)
    assert first.cancelled() and len(world.asked) == 1


async def test_a_failure_is_not_now_and_is_remembered_for_a_second() -> None:
    world = World(fails)
    for _ in range(2):
        with pytest.raises(DNSUnavailable, match=r"TXT example\.net: SERVFAIL"):
            await world.get()
    assert len(world.asked) == 1
    world.clock.moment += 1.1
    world.answer = lambda name, kind: Answer((b"x",), ttl=60)
    assert (await world.get()).txt == (b"x",)


async def test_an_old_answer_serves_while_dns_fails_and_is_not_asked_for_again_at_once() -> None:
    world = World(lambda name, kind: Answer((b"old",), secure=True, ttl=60), stale=1000.0)
    await world.get()
    world.answer = fails
    world.clock.moment += 100
    for _ in range(3):
        assert await world.get() == Answer((b"old",), secure=True, ttl=30.0)
    assert len(world.asked) == 2
    world.clock.moment += 31
    world.answer = lambda name, kind: Answer((b"new",), ttl=60)
    assert (await world.get()).txt == (b"new",)
    world.answer = fails
    world.clock.moment += 60 + 1001
    with pytest.raises(DNSUnavailable):
        await world.get()


async def test_an_old_answer_serves_while_a_new_one_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_module, "STALE_AFTER", 0.01)
    world = World(lambda name, kind: Answer((b"old",), ttl=60))
    await world.get()
    world.clock.moment += 61
    world.gate = asyncio.Event()
    world.answer = lambda name, kind: Answer((b"new",), ttl=60)
    assert (await world.get()).txt == (b"old",)
    world.gate.set()
    await asyncio.sleep(0.01)
    assert (await world.get()).txt == (b"new",)
    assert len(world.asked) == 2


async def test_the_cache_is_bounded_in_entries_and_octets_and_keeps_what_is_used() -> None:
    world = World(lambda name, kind: Answer((b"x",), ttl=60), cache_entries=10)
    await world.get("used.example")
    for number in range(50):
        await world.get(f"n{number}.example")
        await world.get("used.example")
    assert world.asked.count(("used.example", "txt")) == 1
    await world.get("n0.example")
    assert world.asked.count(("n0.example", "txt")) == 2
    world.answer = lambda name, kind: Answer((b"x" * 60_000,), ttl=60)
    await world.get("large.example")
    await world.get("large.example")
    assert world.asked.count(("large.example", "txt")) == 2


async def test_questions_beyond_the_bound_wait_and_give_up_in_time() -> None:
    world = World(lambda name, kind: Answer((b"x",), ttl=60), timeout=0.1)
    world.gate = asyncio.Event()
    waiting = [asyncio.create_task(world.get(f"n{number}.example")) for number in range(6)]
    await asyncio.sleep(0.01)
    assert len(world.asked) == 3
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, DNSUnavailable) for one in outcomes)


async def test_what_cannot_be_asked_does_not_exist_and_costs_no_question() -> None:
    world = World(lambda name, kind: Answer((b"x",), ttl=60))
    assert await world.get("a..b") == Answer(exists=False)
    assert world.asked == []


async def test_the_whole_way_from_the_configuration_to_a_server() -> None:
    with DNSServer({("example.net", "MX"): ["10 mx.example.net"]}) as server:
        config = parse(f'[dns]\nservers = ["{server.address}"]\ntimeout = 1', files=False)
        dns = resolver(config, FakeClock(), FakeCounters())
        answers = await asyncio.gather(*(dns.query("example.net", "mx") for _ in range(20)))
        assert {answer.exchangers for answer in answers} == {(MX(10, "mx.example.net"),)}
        assert server.asked["example.net", "MX"] == 1
        await dns.close()


async def test_random_questions_agree_with_a_cache_without_bounds() -> None:
    chance = random.Random(5)  # noqa: S311  # a repeatable test
    version = 0
    world = World(lambda name, kind: Answer((f"{name} {version}".encode(),), ttl=10), cache_entries=5)
    told: dict[str, tuple[float, bytes]] = {}
    for _ in range(500):
        name = f"n{chance.randrange(8)}.example"
        world.clock.moment += chance.random() * 3
        version += 1
        before = len(world.asked)
        (value,) = (await world.get(name)).txt
        if len(world.asked) > before:
            told[name] = world.clock.moment, value
        asked, expected = told[name]
        assert value == expected and world.clock.moment < asked + 10
