"""How a run ends, and what that means."""

import asyncio

import pytest

from flowengine.runtime.actions import Deliver
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import RunLimits
from tests.runtime.stage import Stage, program

OWN = "function Deliver(...$args) { %s }\n"


def ends(flow: str) -> tuple[str, int, list[str]]:
    """Verdict, code, and the actions in their order."""
    run = Stage(quarantines=("spam",)).one(flow)
    return run.verdict.name, run.verdict.reply.code, [action.name for action in run.actions]


@pytest.mark.parametrize(
    ("flow", "verdict", "code", "actions"),
    [
        ("", "Deliver", 250, ["Deliver"]),
        ("Deliver();", "Deliver", 250, ["Deliver"]),
        ("Done();", "Defer", 451, ["Done"]),
        ("CopyMail(); Done();", "Deliver", 250, ["Deliver", "Done"]),
        ('Deliver(["done" => false]); Done();', "Deliver", 250, ["Deliver", "Done"]),
        ('Quarantine("spam", ["done" => false]); Done();', "Quarantine", 550, ["Quarantine", "Done"]),
        ('Quarantine("spam", ["done" => false, "reject" => false]);', "Deliver", 250, ["Quarantine", "Deliver"]),
        ('Quarantine("mailquarantine:spam");', "Quarantine", 550, ["Quarantine"]),
        ('Quarantine("spam", "other@example.net", ["final_action" => false]); Delete();', "Delete", 250,
         ["Quarantine", "Delete"]),
        ('CopyMail("x@example.org");', "Deliver", 250, ["Deliver", "Deliver"]),
        ("DirectDeliver();", "Deliver", 250, ["Deliver"]),
        ('CopyMail(); $x = 1 - [1];', "Defer", 451, ["Deliver"]),
        ('Reject("a"); Deliver();', "Reject", 550, ["Reject"]),
        ("return;", "Deliver", 250, ["Deliver"]),
        ('function f() { Reject("deep"); } try { f(); } catch { }', "Reject", 550, ["Reject"]),
        ('array_map(function ($x) { Delete(); }, [1, 2]);', "Delete", 250, ["Delete"]),
        # the script's own Deliver is the implicit end
        (OWN % "builtin Deliver();", "Deliver", 250, ["Deliver"]),
        (OWN % 'Reject("own");', "Reject", 550, ["Reject"]),
        (OWN % "", "Defer", 451, []),
        (OWN % "return;", "Defer", 451, []),
        (OWN % 'builtin Deliver(["done" => false]); Done();', "Deliver", 250, ["Deliver", "Done"]),
        (OWN % "$x = 1 - [1];", "Defer", 451, []),
        (OWN % "builtin Deliver(...$args);" + 'Deliver(["reason" => "own"]);', "Deliver", 250, ["Deliver"]),
        (OWN % "" + "Deliver();", "Defer", 451, []),
    ],
)  # fmt: skip
def test_a_run_ends_with(flow, verdict, code, actions):
    assert ends(flow) == (verdict, code, actions)


def test_only_the_implicit_end_is_called_implicit():
    assert Stage().one("").verdict.implicit
    assert not Stage().one("Deliver();").verdict.implicit
    assert not Stage().one(OWN % "builtin Deliver();").verdict.implicit


def test_without_a_flow_mail_is_delivered():
    run = Stage().one("")
    assert isinstance(run.verdict, Deliver)
    assert Stage().data("", phase="data").reply.code == 250


@pytest.mark.parametrize(
    ("flow", "limits", "says", "place"),
    [
        ("\n $x = 1 - [2];", RunLimits(), "cannot subtract", (2, 7)),
        ('throw "no";', RunLimits(), "uncaught: no", (1, 1)),
        ("while (true) { }", RunLimits(script_steps=20_000), "steps are used up", (1, 1)),
        ("function f() { return f(); } f();", RunLimits(script_depth=50), "more than 50 deep", None),
        ('$s = "x"; while (true) $s = $s . $s;', RunLimits(script_value_size=1 << 20), "larger than the limit", None),
        ("sleep(30);", RunLimits(script_time=0.05), "took longer than 0.05 s", (1, 1)),
        ('try { sleep(30); } catch { } Deliver();', RunLimits(script_time=0.05), "took longer than 0.05 s", (1, 7)),
    ],
)  # fmt: skip
def test_a_failure_defers_with_its_place_in_log_and_counter(flow, limits, says, place):
    from flowengine.services.clock import SystemClock

    stage = Stage(limits=limits, clock=SystemClock())  # type: ignore[arg-type]  # a clock that runs
    run = stage.one(flow)
    assert run.error is not None and says in run.error.message
    if place is not None:
        assert run.error.span is not None and (run.error.span.line, run.error.span.column) == place
    assert (run.verdict.name, run.verdict.reply.code) == ("Defer", 451)
    (line,) = stage.log.of("flow")
    assert says in str(line["text"]) and line["phase"] == "data"
    assert stage.counters.sums[("flow_errors", (("phase", "data"),))] == 1


def test_a_mistake_of_ours_defers_and_says_so():
    class Broken:
        async def query(self, name: str, kind: str) -> object:
            raise ZeroDivisionError("ours")

    stage = Stage(dns=Broken())  # type: ignore[arg-type]  # it is broken
    run = stage.one('dns_query("a.example", ["type" => "TXT"]);')
    assert run.error is not None and "internal error: ZeroDivisionError" in run.error.message
    assert run.verdict.reply.code == 451


def test_a_flow_that_cannot_wait_answers_without_the_runner():
    plain = program('Reject("no");')
    assert not plain.waits and program('dns_query("a", ["type" => "TXT"]);').waits

    class Untouched(Runner):
        def execute(self, work, place):  # type: ignore[no-untyped-def,override]  # must not be called
            raise AssertionError

    assert asyncio.run(Stage().run(plain, runner=Untouched())).verdict.name == "Reject"


def test_output_and_warnings_are_bounded():
    run = Stage(limits=RunLimits(script_output=25)).one('for ($i = 0; $i < 9; $i += 1) echo "1234567890";')
    assert run.output == ("1234567890", "1234567890") and run.error is None


def test_cancellation_goes_through_a_run():
    async def whole() -> None:
        class Never:
            async def query(self, name: str, kind: str) -> object:
                await asyncio.sleep(60)
                raise AssertionError

        stage = Stage(dns=Never())  # type: ignore[arg-type]  # it never answers
        task = asyncio.create_task(stage.run('try { dns_query("a.b", ["type" => "TXT"]); } catch { } Deliver();'))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.log.lines == []

    asyncio.run(whole())
