"""Recipients are isolated: what a run does for one is not seen by the next, but for what HSL says is for all."""

import pytest

from tests.runtime.stage import MAIL, Stage, key

TWO = ["a@example.net", "b@example.net"]


def said(flow: str, stage: Stage | None = None) -> list[list[str]]:
    """What each run of two echoed."""
    outcome = (stage or Stage()).data(flow, recipients=TWO)
    assert [run.error for run in outcome.runs] == [None, None]
    return [list(run.output) for run in outcome.runs]


def test_edits_for_one_do_not_reach_the_next():
    stage = Stage()
    stage.data('if ($recipient == "a@example.net") { AddHeader("X-A", "1"); DelHeader("Subject"); }', recipients=TWO)
    (_, first), (_, second) = stage.outbox.left
    assert first == b"X-A: 1\r\n" + MAIL.replace(b"Subject: Lunch?\r\n", b"")
    assert second == MAIL


def test_seals_for_one_do_not_reach_the_next():
    stage = Stage(keys={"k": key("k", "ed25519")})
    stage.data('if ($recipient == "a@example.net") DKIMSign("s", "example.org", "pki:k");', recipients=TWO)
    assert [message.count(b"DKIM-Signature") for _, message in stage.outbox.left] == [1, 0]


def test_shared_edits_are_the_old_behaviour():
    stage = Stage(settings={"shared_edits": True})
    outcome = stage.data('echo GetHeader("X-N"); AddHeader("X-N", $recipient); echo DiscardMailDataChanges(); '
                         'AddHeader("X-K", $recipient);', recipients=TWO)  # fmt: skip
    # reading sees the message as received; each run undoes only what it did itself
    assert [run.output for run in outcome.runs] == [("", "1"), ("", "1")]
    assert [len(run.edits) for run in outcome.runs] == [1, 1]
    (_, first), (_, second) = stage.outbox.left
    assert first == b"X-K: a@example.net\r\n" + MAIL
    assert second == b"X-K: b@example.net\r\nX-K: a@example.net\r\n" + MAIL


def test_reading_sees_the_message_as_received():
    flow = """
        SetHeader("Subject", "new"); DelHeader("To"); AddHeader("X-N", "1");
        echo [GetHeader("Subject"), GetHeader("To"), GetHeader("X-N"), GetHeaders("Subject")];
    """
    assert Stage().echoed(flow) == ['[0=>"Lunch?",1=>"bob@example.net",2=>"",3=>[0=>"Lunch?"]]']


def test_variables_of_a_run_end_with_it():
    assert said('echo isset($mine); $mine = 1; echo $mine;') == [["false", "1"]] * 2  # fmt: skip


@pytest.mark.parametrize(
    ("change", "show", "runs"),
    [
        ('SetSender("x@example.org")', "$sender", ["x@example.org", "x@example.org"]),
        ('SetSenderIP("192.0.2.99")', "$senderip", ["192.0.2.99", "192.0.2.99"]),
        ('SetSenderHELO("other.example")', "$senderhelo", ["other.example", "other.example"]),
        ('SetMetaData(["k" => "v"])', 'GetMetaData()["k"] ?? ""', ["v", "v"]),
        ('$context = ["seen" => 1]', 'json_encode($context)', ['{"seen":1}', '{"seen":1}']),
        ('SetRecipient("x@example.org")', "$recipient", ["x@example.org", "b@example.net"]),
        ('SetMailTransport("other")', "$transportid", ["other", "out"]),
    ],
)  # fmt: skip
def test_what_is_for_all_and_what_is_for_one(change, show, runs):
    assert said(f'if ($actionid == 1) {change}; echo {show};') == [[one] for one in runs]  # fmt: skip


def test_a_run_is_called_by_the_recipient_it_began_with():
    outcome = Stage().data('SetRecipient("x@example.org");', recipients=TWO)
    assert [run.recipient for run in outcome.runs] == TWO
    assert [kept.recipient for kept in outcome.kept] == ["x@example.org"] * 2


def test_a_sender_set_late_is_for_those_decided_before_too():
    outcome = Stage().data('if ($actionid == 2) SetSender("late@example.org");', recipients=TWO)
    assert [kept.sender for kept in outcome.kept] == ["late@example.org"] * 2


@pytest.mark.parametrize(
    ("flow", "ids"),
    [
        ("echo $actionid;", [["1"], ["2"]]),
        ('echo $actionid; CopyMail("c@example.net"); echo $actionid; CopyMail("d@example.net"); echo $actionid;',
         [["1", "2", "3"], ["4", "5", "6"]]),
        ('echo $actionid; Deliver(["done" => false]); echo $actionid; Done();', [["1", "2"], ["3", "4"]]),
        ("echo $actionid; Done();", [["1"], ["2"]]),
    ],
)  # fmt: skip
def test_actionid_counts_recipients_and_copies(flow, ids):
    assert [list(run.output) for run in Stage().data(flow, recipients=TWO).runs] == ids


def test_every_delivery_of_a_transaction_has_its_own_actionid():
    flow = 'CopyMail($actionid . "@example.net"); AddHeader("X-Id", $actionid);'
    outcome = Stage().data(flow, recipients=[*TWO, "c@example.net"])
    copies = [kept.recipient for kept in outcome.kept if not kept.done]
    heads = [kept.message.edits[0].describe()["value"] for kept in outcome.kept if kept.done]
    assert [one.partition("@")[0] for one in copies] == ["1", "3", "5"] and heads == ["2", "4", "6"]


def test_one_evaluation_serves_all_recipients():
    from flowengine.services.fakes import FakeResolver

    dns = FakeResolver({("_dmarc.example.org", "txt"): ["v=DMARC1; p=none"], ("example.org", "txt"): ["v=spf1 +all"]})
    assert said('echo ScanDMARC()["example.org"];', Stage(dns=dns)) == [["pass"], ["pass"]]
    assert sorted(dns.asked) == [("_dmarc.example.org", "txt"), ("example.org", "txt")]


def test_a_failed_run_does_not_touch_the_next():
    outcome = Stage().data(
        'if ($recipient == "a@example.net") { SetMailTransport("x"); $y = 1 - [1]; }', recipients=TWO
    )
    assert [run.error is None for run in outcome.runs] == [False, True]
    assert outcome.runs[1].verdict.name == "Deliver"
