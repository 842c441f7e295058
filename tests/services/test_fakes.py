"""The fakes answer what they were given, say what they lack, and mean the same as the real services."""

import asyncio

import pytest

from flowengine.mail.dns import MX, Answer, DNSUnavailable, RecordType
from flowengine.runtime.services import HTTPRequest, HTTPUnavailable
from flowengine.services.dns_client import DNSClient
from flowengine.services.fakes import (
    FakeClock,
    FakeCounters,
    FakeHTTP,
    FakeRandomness,
    FakeResolver,
    UnexpectedQuestion,
    fake_services,
)
from tests.services.dns_server import DNSServer, Value

pytestmark = pytest.mark.anyio

ZONE: dict[tuple[str, str], list[Value]] = {
    ("a.example", "TXT"): ["v=spf1 -all"],
    ("a.example", "MX"): ["10 MX.a.example", "0 ."],
    ("a.example", "A"): ["192.0.2.1"],
    ("alias.example", "CNAME"): ["A.example"],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["Host.example"],
}


@pytest.mark.parametrize(
    "name, kind",
    [
        ("a.example", "txt"),
        ("A.Example", "mx"),
        ("a.example", "a"),
        ("a.example", "aaaa"),
        ("alias.example", "txt"),
        ("alias.example", "cname"),
        ("1.2.0.192.in-addr.arpa", "ptr"),
        ("gone.example", "txt"),
    ],
)
def test_the_fake_resolver_answers_like_a_server(name: str, kind: RecordType) -> None:
    async def both() -> tuple[Answer, Answer]:
        with DNSServer(ZONE) as server:
            real = await DNSClient([server.address]).ask(name, kind)
        return real, await FakeResolver(ZONE, strict=False).query(name, kind)  # type: ignore[arg-type]  # no troubles here

    real, fake = asyncio.run(both())
    assert (set(fake.records), fake.exists) == (set(real.records), real.exists)


async def test_the_words_of_case_files() -> None:
    dns = FakeResolver({"t.example": "v=x", "n.example": "none", "e.example": ["empty"], "s.example": "servfail"})
    assert await dns.query("t.example", "txt") == Answer((b"v=x",), ttl=300.0)
    assert await dns.query("n.example", "txt") == Answer(exists=False)
    assert await dns.query("e.example", "txt") == Answer()
    assert await dns.query("a..b", "txt") == Answer(exists=False)
    with pytest.raises(DNSUnavailable, match="SERVFAIL"):
        await dns.query("s.example", "txt")
    mine = DNSUnavailable("m.example", "mx", "mine")
    with pytest.raises(DNSUnavailable, match="mine"):
        await FakeResolver({("m.example", "MX"): mine}).query("m.example", "mx")
    assert FakeResolver({("m.example", "MX"): ["5 h.example."]}).table
    assert (await FakeResolver({("m.example", "MX"): ["5 h.example."]}).query("m.example", "mx")).records == (
        MX(5, "h.example"),
    )


async def test_a_question_nobody_foresaw_names_the_line_to_add() -> None:
    with pytest.raises(UnexpectedQuestion, match=r"add the line: _dmarc\.bank\.example TXT none"):
        await FakeResolver().query("_dmarc.bank.example", "txt")
    with pytest.raises(UnexpectedQuestion, match="an HTTP call was made: GET http://x/"):
        await FakeHTTP().request(HTTPRequest("GET", "http://x/"))
    assert not issubclass(UnexpectedQuestion, Exception)


async def test_a_web_server_from_a_table_keeps_its_requests() -> None:
    http = FakeHTTP({("GET", "/a"): (200, '{"b":1}'), ("GET", "/down"): (0, "")})
    assert (await http.request(HTTPRequest("GET", "http://x/a"))).body == b'{"b":1}'
    with pytest.raises(HTTPUnavailable):
        await http.request(HTTPRequest("GET", "http://x/down"))
    assert [request.url for request in http.requests] == ["http://x/a", "http://x/down"]


async def test_time_goes_on_by_hand_and_chance_repeats() -> None:
    clock = FakeClock.at("2026-01-01")
    assert clock.now() == 1_767_225_600 == FakeClock.at("2026-01-01T01:00:00+01:00").now()
    await clock.sleep(5)
    assert clock.monotonic() == 1_767_225_605
    assert FakeRandomness(1).octets(8) == FakeRandomness(1).octets(8) != FakeRandomness(2).octets(8)


async def test_counters_know_what_is_declared() -> None:
    counters = FakeCounters()
    counters.increment("dns_queries", 2, result="hit")
    assert counters.sums == {("dns_queries", (("result", "hit"),)): 2}
    with pytest.raises(KeyError):
        counters.increment("no_such_counter")
    with pytest.raises(KeyError):
        counters.increment("dns_queries", kind="hit")


async def test_services_for_a_test_are_all_fakes() -> None:
    services = fake_services(clock=FakeClock.at("2026-01-01"))
    assert services.clock.now() == 1_767_225_600 and services.keys.find("x") is None
    assert services.rates.hit("n", "e", 1, 60, 0) and not services.rates.hit("n", "e", 1, 60, 0)
