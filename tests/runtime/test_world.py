"""The boundary: what the world said is recorded, and the record gives the same run again."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.language.values import Array, Secret
from flowengine.mail.dns import Answer, DNSUnavailable
from flowengine.runtime.run import RunResult
from flowengine.runtime.services import HTTPRequest, HTTPResponse, HTTPUnavailable, RunLimits
from flowengine.runtime.world import Fact, UnknownFact, World
from flowengine.services.fakes import FakeClock, FakeHTTP, FakeResolver, UnexpectedQuestion
from tests.runtime.stage import Stage, key

ASKING = """
    echo time();
    echo random_number(1, 1000000);
    echo dns_query("example.org", ["type" => "TXT"]);
    echo dns_query("slow.example", ["type" => "TXT"]);
    echo http("https://api.example/a");
    echo http("https://api.example/down", ["extended_result" => true]);
    echo [rate("space", "me", 1, 60), rate("space", "me", 1, 60)];
    echo api_call("?x=$1", ["1"]);
    echo uuid();
    echo [DKIMSign("s1", "example.org", "pki:mine"), DKIMSign("s1", "example.org", "pki:absent")];
    echo ScanDMARC();
    AddHeader("X-Time", time());
"""
DNS = {
    ("example.org", "txt"): ["v=spf1 -all"],
    ("slow.example", "txt"): ["timeout"],
    ("_dmarc.example.org", "txt"): ["v=DMARC1; p=reject"],
}
PAGES = {
    ("GET", "api.example/a"): (200, "hello"),
    ("GET", "api.example/down"): (0, ""),
    ("GET", "?x=1"): (200, '{"rsakey": "topsecret"}'),
}


class Ticking(FakeClock):
    """A clock that is never the same twice."""

    def now(self) -> float:
        self.moment += 1.25
        return self.moment


class Mute:
    """A service that must not be asked."""

    def __getattr__(self, name: str) -> object:
        def asked(*arguments: object, **more: object) -> None:
            raise AssertionError(f"a repeated run asked the world: {name}")

        return asked


def stage() -> Stage:
    return Stage(dns=FakeResolver(DNS), http=FakeHTTP(PAGES), clock=Ticking(), keys={"mine": key("mine", "ed25519")})


def told(run: RunResult) -> tuple[object, ...]:
    """What a run did, without how long it took."""
    actions = [(action.document(), getattr(action, "seals", ())) for action in run.actions]
    error = None if run.error is None else (run.error.message, run.error.span)
    return run.output, run.edits, actions, error, run.warnings, run.unsigned, run.verdict.reply


def again(first: Stage, flow: str, facts: list[Fact]) -> tuple[RunResult, World]:
    """The run once more on its facts, with a world behind it that answers nothing."""
    second = Stage(limits=first.limits)
    mute = Mute()
    services = replace(
        second.services, dns=mute, http=mute, random=mute, keys=mute, rates=mute, memory=mute, log=mute, counters=mute
    )  # type: ignore[arg-type]  # nothing of them may be used
    second.made = services
    transaction = second.transaction(facts)
    transaction.evaluation = _evaluation(transaction.world)
    return asyncio.run(second.run(flow, transaction)), transaction.world


def _evaluation(world: World):
    from flowengine.mail.evaluation import Evaluation
    from flowengine.mail.message import Message
    from tests.runtime.stage import MAIL

    return Evaluation(
        Message(MAIL), world, hostname="mx.example.net", standard="rfc9989", now=world.now, sample=world.random_number
    )


def first_run(on: Stage, flow: str) -> tuple[RunResult, World]:
    transaction = on.transaction()
    transaction.evaluation = _evaluation(transaction.world)
    return asyncio.run(on.run(flow, transaction)), transaction.world


def test_a_run_repeated_on_its_facts_is_the_same_run():
    on = stage()
    run, world = first_run(on, ASKING)
    assert run.error is None, run.error
    repeated, second = again(on, ASKING, world.facts)
    assert told(repeated) == told(run)
    assert [str(fact) for fact in second.facts] == [str(fact) for fact in world.facts]
    assert {fact.kind for fact in world.facts} >= {"dns", "http", "clock", "random", "rate", "key"}


@given(
    st.lists(
        st.sampled_from(
            [
                "echo time();",
                'echo dns_query("example.org", ["type" => "TXT"]);',
                'echo dns_query("slow.example", ["type" => "TXT"]);',
                "echo random_number(1, 100000);",
                'if (rate("a", "b", 2, 60)) AddHeader("X-R", "1"); else Defer("rate");',
                'if (time() % 5 > 2) Reject("now"); ',
                'echo http("https://api.example/a");',
                'if (random_number(1, 3) == 1) throw "chance";',
                'Deliver(["done" => false]);',
                'echo DKIMSign("s1", "example.org", "pki:mine");',
            ]
        ),
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_run_is_a_pure_function_of_its_facts(lines):
    flow = "\n".join(lines)
    on = stage()
    run, world = first_run(on, flow)
    assert told(again(on, flow, world.facts)[0]) == told(run)


def test_a_deadline_that_strikes_while_waiting_is_a_fact_and_strikes_again_there():
    class Never:
        async def query(self, name: str, kind: str) -> Answer:
            await asyncio.sleep(60)
            raise AssertionError

    flow = 'echo "before";\n'
    flow += 'try { dns_query("a.example", ["type" => "TXT"]); } catch ($e) { echo "caught"; }\n'
    flow += 'echo "after";'
    on = Stage(limits=RunLimits(script_time=0.05))
    on.made = replace(on.services, dns=Never())
    run, world = first_run(on, flow)
    assert run.output == ("before",)
    assert run.error is not None and run.error.message == "the script took longer than 0.05 s"
    assert run.error.span is not None and (run.error.span.line, run.error.span.column) == (2, 7)
    assert run.verdict.reply.code == 451
    assert next(fact for fact in world.facts if fact.kind == "deadline").question == ("data", "bob@example.net")
    repeated, _ = again(on, flow, world.facts)
    assert told(repeated) == told(run)


def test_a_deadline_that_strikes_while_computing_is_a_fact_and_strikes_again_there():
    class Running(FakeClock):
        def monotonic(self) -> float:
            self.moment += 1
            return self.moment

    flow = "$n = 0; while (true) $n += 1;"
    on = Stage(clock=Running(), limits=RunLimits(script_time=7, script_steps=50_000_000))
    run, world = first_run(on, flow)
    assert run.error is not None and "deadline" in run.error.message
    (fact,) = [fact for fact in world.facts if fact.kind == "deadline"]
    assert isinstance(fact.answer, int) and fact.answer > 10_000
    repeated, _ = again(on, flow, world.facts)
    assert told(repeated)[:2] == told(run)[:2] and "deadline" in str(repeated.error)


def test_the_record_is_bounded_and_counts_what_it_dropped():
    on = Stage(limits=RunLimits(script_facts=10))
    run, world = first_run(on, "for ($i = 0; $i < 50; $i += 1) time();")
    assert run.error is None
    assert (len(world.facts), world.dropped) == (10, 40)


def test_a_question_that_was_not_recorded_is_told():
    world = World(stage().services, [])
    with pytest.raises(UnknownFact, match=r"not recorded: dns example\.org txt"):
        asyncio.run(world.query("Example.ORG", "txt"))


def test_a_failure_is_a_fact_and_fails_again():
    on = stage()
    world = World(on.services)
    with pytest.raises(DNSUnavailable):
        asyncio.run(world.query("slow.example", "txt"))
    with pytest.raises(HTTPUnavailable):
        asyncio.run(world.request(HTTPRequest("GET", "https://api.example/down")))
    repeated = World(on.services, world.facts)
    with pytest.raises(DNSUnavailable):
        asyncio.run(repeated.query("slow.example", "txt"))
    with pytest.raises(HTTPUnavailable):
        asyncio.run(repeated.request(HTTPRequest("GET", "https://api.example/down")))


def test_answers_come_back_in_their_order():
    world = World(stage().services)
    seen = [world.now(), world.now(), world.random_octets(4), world.now(), world.random_octets(4)]
    repeated = World(stage().services, world.facts)
    assert [
        repeated.now(),
        repeated.now(),
        repeated.random_octets(4),
        repeated.now(),
        repeated.random_octets(4),
    ] == seen


def test_time_does_not_pass_and_nothing_is_logged_when_repeated():
    on = stage()
    world = World(on.services, [])
    before = on.clock.moment
    asyncio.run(world.sleep(60))
    world.log("error", "x")
    assert on.clock.moment == before and on.log.lines == []


@pytest.mark.parametrize(
    ("fact", "shown"),
    [
        (Fact("dns", ("a.example", "txt"), Answer((b"x",))), "dns a.example txt → Answer"),
        (Fact("http", ("GET", "https://a/"), HTTPResponse(200, (), b"topsecret")), "→ 200, 9 bytes (0.0 ms)"),
        (Fact("file", ("k.pem",), b"-----BEGIN PRIVATE KEY-----"), "file k.pem → 27 bytes (0.0 ms)"),
        (Fact("memory", ("get", "x"), (1, Array({"k": Secret("topsecret")}))), "<secret sha256:"),
        (Fact("rate", ("hit", "ns", Secret("topsecret")), True), "<secret sha256:"),
        (Fact("key", ("mine",), key("mine", "ed25519")), "PrivateKey(ed25519 256 SHA256:"),
    ],
)
def test_a_fact_shows_no_secret(fact, shown):
    for text in (str(fact), repr(fact), f"{[fact]}"):
        assert shown in text and "topsecret" not in text and "BEGIN" not in text


def test_a_question_that_nobody_foresaw_passes_every_catch_of_a_flow():
    with pytest.raises(UnexpectedQuestion, match=r"add the line: a.example TXT none"):
        Stage().one('try { dns_query("a.example", ["type" => "TXT"]); } catch ($e) { echo "swallowed"; }')
