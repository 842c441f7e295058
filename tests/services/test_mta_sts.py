"""MTA-STS: policies of domains, and what they mean for the hosts that mail may go to."""

from typing import Any

import pytest

from flowengine.mail.dns import DNSUnavailable
from flowengine.mail.errors import MailError
from flowengine.mail.mta_sts import Policy, parse_policy, record_id
from flowengine.services.config import Config, Transport, TransportTLS
from flowengine.services.fakes import FakeClock, FakeHTTP, FakeLog, FakeResolver, fake_services
from flowengine.services.outbox.exchangers import NoWay
from flowengine.services.outbox.sts_policies import CHECKED, Policies
from flowengine.services.outbox.ways import Ways

pytestmark = pytest.mark.anyio
TEXT = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.mail.example.com\r\nmax_age: 86400\r\n"
PLACE = ("GET", "https://mta-sts.example.com/.well-known/mta-sts.txt")
RECORD = ("_mta-sts.example.com", "txt")
NOW = 1_800_000_000.0


@pytest.mark.parametrize(("records", "id_"), [
    ([b"v=STSv1; id=20260101T00;"], "20260101T00"), ([b"v=STSv1;id=1"], "1"), ([b"v=STSv1; x=y; id = 7 ;z=1"], "7"), ([b"v=spf1 -all"], None),
    ([b"v=STSv1; id=1", b"v=STSv1; id=2"], None), ([b"v=STSv1;"], None), ([b"v=STSv1; id=a-b"], None), ([], None), ([b"v=STSv10; id=1"], None),
])  # fmt: skip
def test_the_record(records: list[bytes], id_: str | None) -> None:
    assert record_id(records) == id_


def test_a_policy() -> None:
    policy = parse_policy(TEXT.encode())
    assert policy == Policy("enforce", ("mx1.example.com", "*.mail.example.com"), 86400)
    assert policy.allows("mx1.example.com") and policy.allows("a.mail.example.com")
    assert not any(
        map(policy.allows, ("mx2.example.com", "mail.example.com", "a.b.mail.example.com", "evilmail.example.com"))
    )
    assert parse_policy(b"version:STSv1\nmode:none\nmax_age:99999999999"[:-1]).max_age == 31557600


@pytest.mark.parametrize("text", [
    b"", b"version: STSv1\nmode: enforce\nmax_age: 1", b"version: STSv2\nmode: none\nmax_age: 1", b"version: STSv1\nmode: strict\nmx: a.b\nmax_age: 1",
    b"version: STSv1\nmode: none", b"version: STSv1\nmode: enforce\nmx: *\nmax_age: 1", b"<html>", b"version: STSv1\nmode: none\nmax_age: -1",
    b"x" * 70_000, b"version: STSv1\nmode: enforce\nmax_age: 1\n" + b"mx: a.b\n" * 200, b"\xff\x00", b"mx: a.*.b\nversion: STSv1\nmode: none\nmax_age: 1",
])  # fmt: skip
def test_what_is_no_policy(text: bytes) -> None:
    with pytest.raises(MailError):
        parse_policy(text)


class World:
    def __init__(self) -> None:
        self.resolver = FakeResolver({RECORD: ["v=STSv1; id=1"]}, strict=False)
        self.http = FakeHTTP({PLACE: (200, TEXT)})
        self.policies = Policies(self.resolver, self.http, FakeLog())

    async def find(self, now: float) -> str | None:
        policy = await self.policies.find("example.com", now)
        return None if policy is None else policy.mode

    def record(self, value: Any) -> None:
        self.resolver.table[RECORD] = value


async def test_a_policy_is_fetched_once_and_again_when_it_changed() -> None:
    world = World()
    assert await world.find(NOW) == await world.find(NOW + 1) == await world.find(NOW + CHECKED) == "enforce"
    assert len(world.http.requests) == 1
    world.record(["v=STSv1; id=2"])
    world.http.table[PLACE] = (200, TEXT.replace("enforce", "testing"))
    assert await world.find(NOW + CHECKED + 1) == "enforce" and await world.find(NOW + 2 * CHECKED) == "testing"


@pytest.mark.parametrize(
    "trouble", [["none"], ["v=STSv1; id=2"], DNSUnavailable("_mta-sts.example.com", "txt", "time-out")]
)
async def test_a_known_policy_holds_until_its_end_whatever_happens(trouble: Any) -> None:
    world = World()
    await world.find(NOW)
    world.record(trouble)
    world.http.table[PLACE] = (500, "")
    assert await world.find(NOW + 86_000) == "enforce"
    assert await world.find(NOW + 87_000) is None


async def test_none_that_can_be_had_is_none() -> None:
    world = World()
    world.http.table[PLACE] = (0, "")
    assert await world.find(NOW) is None and await world.find(NOW + 1) is None
    assert len(world.http.requests) == 1
    assert await Policies(FakeResolver({}, strict=False), FakeHTTP(), FakeLog()).find("example.com", NOW) is None


@pytest.mark.parametrize(("mta_sts", "exchangers", "mode", "hosts"), [
    (True, ["10 mx1.example.com", "20 other.example.net"], "enforce", [("mx1.example.com", True)]),
    (True, ["10 mx1.example.com", "20 other.example.net"], "testing", [("mx1.example.com", False), ("other.example.net", False)]),
    (False, ["10 mx1.example.com", "20 other.example.net"], "enforce", [("mx1.example.com", False), ("other.example.net", False)]),
    (True, ["10 other.example.net"], "enforce", None),
])  # fmt: skip
async def test_only_exchangers_of_the_policy_verified(
    mta_sts: bool, exchangers: list[str], mode: str, hosts: list[tuple[str, bool]] | None
) -> None:
    table: dict[tuple[str, str], Any] = {("example.com", "mx"): exchangers, RECORD: ["v=STSv1; id=1"]}
    for host in ("mx1.example.com", "other.example.net"):
        table[host, "a"], table[host, "aaaa"] = ["192.0.2.1"], "empty"
    http = FakeHTTP({PLACE: (200, TEXT.replace("enforce", mode))})
    services = fake_services(dns=FakeResolver(table), http=http, clock=FakeClock(NOW))
    config = Config(transports={"out": Transport(mx=True, tls=TransportTLS(mta_sts=mta_sts))})
    ways = Ways(config, services)
    if hosts is None:
        with pytest.raises(NoWay) as refused:
            await ways.hosts("out", "example.com")
        assert (refused.value.reply.code, refused.value.reply.enhanced) == (451, "4.7.5")
        return
    pools = await ways.hosts("out", "Example.COM".lower())
    assert [(pool.settings.name, pool.settings.encryption.verified) for pool in pools] == hosts  # type: ignore[union-attr]
