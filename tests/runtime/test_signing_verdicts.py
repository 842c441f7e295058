"""Promise 2: what was meant to be signed never leaves unsigned in silence. Log and counter say it of each delivery."""

import pytest

from flowengine.runtime.actions import Reply
from tests.runtime.stage import Stage, key

SIGN = 'DKIMSign("s1", "example.org", "pki:mine");'
MISS = 'DKIMSign("s1", "example.org", "pki:absent");'
WHY = "example.org: there is no key pki:absent; add [pki.absent] to the configuration"


def verdicts(flow: str, recipients: list[str] | None = None, reply: Reply | None = None) -> tuple[Stage, list[object]]:
    stage = Stage(keys={"mine": key("mine", "ed25519")})
    stage.outbox.reply = reply
    stage.data(flow, recipients=recipients or ["bob@example.net"])
    (line,) = stage.log.of("verdict")
    found = line["signing"]
    assert isinstance(found, list)
    return stage, found


def counted(stage: Stage) -> dict[str, float]:
    return {
        dict(labels)["verdict"]: n for (name, labels), n in stage.counters.sums.items() if name == "signing_verdicts"
    }


@pytest.mark.parametrize(
    ("flow", "verdict"),
    [
        (SIGN, {"verdict": "signed", "domains": ["example.org/s1"]}),
        (SIGN + SIGN, {"verdict": "signed", "domains": ["example.org/s1"]}),
        (SIGN + 'DKIMSign("s2", "b.example", "pki:mine");',
         {"verdict": "signed", "domains": ["example.org/s1", "b.example/s2"]}),
        ("", {"verdict": "unsigned", "reason": "the flow asked for no signature"}),
        (MISS, {"verdict": "failed", "reason": WHY}),
        (MISS + MISS, {"verdict": "failed", "reason": f"{WHY}; {WHY}"}),
        (MISS + SIGN, {"verdict": "signed", "domains": ["example.org/s1"]}),
        ('AddHeader("DKIM-Signature", DKIMSign("s1", "example.org", "pki:mine", ["return_header" => true]), false);',
         {"verdict": "signed", "domains": ["example.org/s1"]}),
        ('$lost = DKIMSign("s1", "example.org", "pki:mine", ["return_header" => true]);',
         {"verdict": "unsigned", "reason": "the flow asked for no signature"}),
        ('AddHeader("DKIM-Signature", "nonsense");',
         {"verdict": "unsigned", "reason": "the flow asked for no signature"}),
    ],
)  # fmt: skip
def test_a_delivery_has_a_signing_verdict_with_a_reason(flow, verdict):
    stage, found = verdicts(flow)
    assert found == [{"recipient": "bob@example.net", **verdict}]
    assert counted(stage) == {verdict["verdict"]: 1}


def test_each_delivery_has_its_own():
    flow = f"""
        CopyMail("archive@example.net");
        if ($recipient == "a@example.net") {{ {SIGN} }} else {{ {MISS} }}
    """
    stage, found = verdicts(flow, ["a@example.net", "b@example.net"])
    assert [(one["recipient"], one["verdict"]) for one in found] == [
        ("archive@example.net", "unsigned"), ("a@example.net", "signed"),
        ("archive@example.net", "failed"), ("b@example.net", "failed"),
    ]  # fmt: skip
    assert counted(stage) == {"signed": 1, "unsigned": 1, "failed": 2}


@pytest.mark.parametrize("flow", ["Delete();", 'Reject("x");', MISS + 'Defer("x");', SIGN + 'Reject("x");', "Done();"])
def test_what_does_not_leave_has_no_signing_verdict(flow):
    stage, found = verdicts(flow)
    assert found == [] and counted(stage) == {}


def test_what_was_quarantined_has_none_and_what_left_beside_it_has():
    _, found = verdicts('Quarantine("spam", ["done" => false, "reject" => false]);' + SIGN)
    assert [one["verdict"] for one in found] == ["signed"]


def test_a_commit_that_failed_counts_nothing_as_left():
    stage, found = verdicts(SIGN, reply=Reply(451, "4.3.0", "Local error"))
    assert found == [] and counted(stage) == {}
    assert stage.log.of("verdict")[0]["reply"] == "451 4.3.0 Local error"


def test_many_recipients_are_all_counted_and_the_first_ones_named():
    recipients = [f"r{number}@example.net" for number in range(300)]
    stage, found = verdicts(MISS, recipients)
    assert counted(stage) == {"failed": 300} and len(found) == 50


def test_the_line_tells_what_happened():
    stage = Stage(keys={"mine": key("mine", "ed25519")})
    stage.data(
        SIGN, recipients=["bob@example.net"], user="alice", message=b"From: a@b.c\r\nMessage-ID: <1@x>\r\n\r\nx\r\n"
    )
    (line,) = stage.log.of("verdict")
    facts = line.pop("facts")
    assert isinstance(facts, int) and facts > 0
    identity = line.pop("id")
    assert isinstance(identity, str) and len(identity) == 24
    assert line == {
        "listener": "inbound", "client": "192.0.2.7", "helo": "mx.example.org", "user": "alice",
        "sender": "alice@example.org", "recipients": ["bob@example.net"], "recipient_count": 1, "message_id": "<1@x>",
        "size": 37, "verdict": "Deliver", "reply": "250 2.0.0 Ok", "deliveries": [], "actions": ["Deliver*"], "errors": [], "results": {}, "kept": 1,
        "signing": [{"recipient": "bob@example.net", "verdict": "signed", "domains": ["example.org/s1"]}],
        "seconds": 0.0,
    }  # fmt: skip
    assert stage.counters.sums[("verdicts", (("listener", "inbound"), ("verdict", "Deliver")))] == 1


def test_the_line_names_errors_and_the_level_says_who_should_look():
    stage = Stage()
    stage.data("$x = 1 - [2];")
    ((level, _, line),) = [one for one in stage.log.lines if one[1] == "verdict"]
    assert level == "notice" and line["verdict"] == "Defer"
    assert line["errors"] == ["flow.hsl:1:6: cannot subtract an array from a number"]
