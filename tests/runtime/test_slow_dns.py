"""A slow resolver holds up the message that asks, for a bounded time, and nobody else."""

import asyncio
import itertools
import time

import pytest

from flowengine.mail import dkim
from flowengine.mail.addresses import parse_path
from flowengine.mail.dns import Answer, DNSUnavailable, RecordType
from flowengine.mail.message import Message
from flowengine.runtime.services import RunLimits
from flowengine.runtime.world import World
from flowengine.services.clock import SystemClock
from flowengine.services.fakes import FakeResolver

from .stage import MAIL, Stage, key, now

NOW = 1_767_225_600.0


class Slow:
    """Answers after some time; keeps the questions."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[str] = []

    async def query(self, name: str, kind: RecordType) -> Answer:
        self.asked.append(name)
        await asyncio.sleep(self.seconds)
        return Answer(exists=False)


def slow_stage(seconds: float, budget: float) -> tuple[Stage, Slow]:
    dns = Slow(seconds)
    return Stage(dns=dns, clock=SystemClock(), limits=RunLimits(dns_time=budget)), dns  # type: ignore[arg-type]  # as they ask


def test_what_is_asked_after_the_messages_time_for_dns_is_a_temporary_error() -> None:
    seal = dkim.Seal(selector="s1", domain="example.org", key=key("example"))
    signed = dkim.sealed(Message(MAIL), seal, time.time()).render()
    world, dns = slow_stage(60, 0.2)
    started = time.monotonic()
    said = world.echoed(
        'echo ScanDMARC(); echo DKIMResults()[0]["result"]; echo spf_query($senderip, $senderhelo, $sender)["result"];'
        'echo dns_query("example.net")["error"];',
        message=signed,
    )
    assert said == ['["example.org"=>"temperror"]', "temperror", "temperror", "TRY_AGAIN"]
    assert time.monotonic() - started < 20  # on a busy machine too: what grows too fast takes minutes
    assert dns.asked == ["_dmarc.example.org"]


def test_the_time_is_the_messages_in_all_and_not_the_questions() -> None:
    world, dns = slow_stage(0.1, 0.25)
    said = world.echoed('for ($i = 0; $i < 5; $i += 1) echo dns_query("x$i.example")["error"];')
    assert said[0] == "NXDOMAIN"
    assert said[-1] == "TRY_AGAIN"
    assert len(dns.asked) < 5


def test_questions_at_the_same_time_count_once() -> None:
    stage, _ = slow_stage(0.1, 0.25)
    world = World(stage.services)

    async def many() -> list[Answer]:
        return list(await asyncio.gather(*(world.query(f"x{n}.example", "txt") for n in range(20))))

    assert len(asyncio.run(many())) == 20


def test_a_time_out_of_the_flow_is_not_taken_for_the_messages() -> None:
    world, _ = slow_stage(60, 30)
    assert world.echoed(
        'echo spf_query($senderip, $senderhelo, $sender, ["timeout" => 0.05])["result"]; echo "on";'
    ) == ["temperror", "on"]


def test_the_failure_is_a_fact_like_others() -> None:
    stage, dns = slow_stage(60, 0.05)

    async def ask(world: World) -> str:
        try:
            await world.query("example.org", "txt")
        except DNSUnavailable as error:
            return error.reason
        return ""

    first = World(stage.services)
    reason = asyncio.run(ask(first))
    assert "[limits] dns_time" in reason
    again = World(stage.services, recorded=first.facts)
    asked = list(dns.asked)
    assert asyncio.run(ask(again)) == reason
    assert dns.asked == asked  # a repeated run asks nobody


def test_other_sessions_go_on_while_one_waits() -> None:
    """Two clients at one listener: the first one's domain is slow, the second one's mail is decided meanwhile."""
    quick = FakeResolver({"_dmarc.example.com": "none", "_dmarc.com": "none"})

    class Mixed:
        async def query(self, name: str, kind: RecordType) -> Answer:
            if name.endswith("example.org"):
                await asyncio.sleep(1)
                return Answer(exists=False)
            return await quick.query(name, kind) if name.endswith("com") else Answer(exists=False)

    stage = Stage(dns=Mixed(), clock=SystemClock())  # type: ignore[arg-type]  # they ask as the fakes do
    order: list[str] = []

    async def visit(domain: str) -> None:
        session = stage.session({"data": "ScanDMARC(); Deliver();"})
        await now(session.helo("EHLO", f"mx.{domain}"))
        await now(session.mail_from(parse_path(f"<a@{domain}>"), {}))
        await now(session.rcpt_to(parse_path("<bob@example.net>"), {}))
        assert (await session.data(Message(MAIL.replace(b"example.org", domain.encode())))).positive
        order.append(domain)

    async def both() -> float:
        slow = asyncio.create_task(visit("example.org"))
        await asyncio.sleep(0)
        started = time.monotonic()
        await asyncio.gather(*(visit("example.com") for _ in range(20)))
        quick_ones = time.monotonic() - started
        await slow
        return quick_ones

    assert asyncio.run(both()) < 0.9
    assert order == ["example.com"] * 20 + ["example.org"]


@pytest.mark.parametrize(
    "call",
    [
        "ScanDMARC();",
        'DKIMVerify(GetMailMessage()->getHeaders("DKIM-Signature", ["field" => true])[0])["result"];',
        'DKIMSDID([], ["signature_limit" => 3]);',
        'GetMailMessage()->verifyDKIM(GetMailMessage()->getHeaders("DKIM-Signature", ["field" => true])[0])["result"];',
    ],
)
def test_other_sessions_go_on_while_a_large_body_is_hashed(call: str) -> None:
    raw = b"From: a@example.org\r\n\r\n" + b"y \t z\r\n" * 6_000_000
    seal = dkim.Seal(selector="s1", domain="example.org", key=key("example"))
    signed = dkim.sealed(Message(raw), seal, NOW).render()
    stage = Stage(
        dns=FakeResolver(
            {
                "_dmarc.example.org": "v=DMARC1; p=reject",
                "_dmarc.org": "none",
                "example.org": "none",
                "s1._domainkey.example.org": key("example").record(),
            }
        )
    )
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.005)

    async def visit() -> None:
        session = stage.session({"data": f"echo {call}"})
        await now(session.helo("EHLO", "mx.example.org"))
        await now(session.mail_from(parse_path("<a@example.org>"), {}))
        await now(session.rcpt_to(parse_path("<bob@example.net>"), {}))
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.02)
        ticks.clear()
        await session.data(Message(signed))
        ticking.cancel()

    asyncio.run(visit())
    assert "pass" in str(stage.outbox.outcomes[-1].runs[0].output)
    assert max(late - soon for soon, late in itertools.pairwise(ticks)) < (ticks[-1] - ticks[0]) / 2
