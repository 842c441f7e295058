"""Pre- and post-delivery flows: what they are told of an attempt, and the decision that the queue gets back."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from flowengine.builtins.vocabulary import vocabulary
from flowengine.mail.addresses import parse_path
from flowengine.mail.message import Message
from flowengine.runtime.attempt_run import AFTER_A_FAILURE, after, before
from flowengine.runtime.attempts import (
    Attempt,
    AttemptResult,
    Bounce,
    Decision,
    Default,
    Discard,
    Hop,
    Queue,
    QueuedMessage,
    Try,
)
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Settings
from flowengine.services.fakes import FakeQueue, fake_services
from tests.runtime.stage import MAIL, program

QUEUED = QueuedMessage(
    "tx1", 7, 1000.0, parse_path("<Alice@Example.org>"), parse_path("<bob@Example.NET>"), "out", "inbound",
    "192.0.2.7", "mx.example.org", "alice", "news", 120, 2, {"tenant": "acme"}, Message(MAIL),
)  # fmt: skip
ATTEMPT = Attempt(QUEUED, retry=2, retries=5, destination="mx.example.net", port=25, source_ips=("198.51.100.1",))
BUSY = AttemptResult(
    451, (4, 7, 1), ("Busy", "later"), "RCPT", local_ip="198.51.100.1", remote_ip="203.0.113.25", remote_port=25,
    remote_mx="mx.example.net", tls={"protocol": "TLSv1.3", "cipher": "X", "keysize": 256}, duration=1.5,
)  # fmt: skip


def decide(flow: str | None, phase: str, attempt: Attempt = ATTEMPT, **parts: Any) -> Decision:
    settings = Settings(transports={"out": None, "slow": None})
    services = fake_services(settings=settings, **parts)
    made = None if flow is None else program(flow, phase)
    way = before if phase == "predelivery" else after
    decision = asyncio.run(way(made, attempt, services, Runner()))
    if decision.run is not None and "error" not in (flow or ""):
        assert decision.run.error is None, decision.run.error
    return decision


def echoed(expression: str, phase: str, attempt: Attempt = ATTEMPT) -> Any:
    decision = decide(f"echo json_encode({expression});", phase, attempt)
    assert decision.run is not None
    return json.loads(decision.run.output[0])


FAILED = replace(ATTEMPT, result=BUSY, action="QUEUE", context=None)
DELIVERED = replace(ATTEMPT, result=replace(BUSY, code=250, enhanced=(2, 0, 0), reason=("Ok",), state="EOD"))
GONE = replace(ATTEMPT, result=AttemptResult(error="connection refused", temporary=True), action="QUEUE")


@pytest.mark.parametrize(
    ("phase", "flow", "action"),
    [
        ("predelivery", None, Try(implicit=True)),
        ("predelivery", "", Try(implicit=True)),
        ("predelivery", "Try();", Try()),
        ("predelivery", 'Try(["host" => "192.0.2.1", "port" => 2525, "tls" => "require", "helo" => "h.example"]);',
         Try(hop=Hop(host="192.0.2.1", port=2525, tls="require", helo="h.example"))),
        ("predelivery", 'Try(["sourceip" => ["a", ["address" => "b", "helo" => "c"]], "timeout" => ["DATA" => 9]]);',
         Try(hop=Hop(sources=(("a", ""), ("b", "c")), timeout={"DATA": 9.0}))),
        ("predelivery", 'Try(["sender" => "", "recipient" => ["localpart" => "x", "domain" => "y.example"]]);',
         Try(hop=Hop(sender=parse_path("<>"), recipient=parse_path("<x@y.example>")))),
        ("predelivery", 'SetDestination("h", 26); SetTLS(["tls" => "dane"]); SetHELO("me"); SetProtocol("lmtp");',
         Try(hop=Hop(host="h", port=26, tls="dane", helo="me", protocol="lmtp"), implicit=True)),
        ("predelivery", 'SetSASL("u", "p"); SetXCLIENT(["ADDR" => "1"]); SetSourceIP("ip:1"); Try(["jobid" => "j"]);',
         Try(hop=Hop(username="u", password="p", xclient={"ADDR": "1"}, sources=(("ip:1", ""),), jobid="j"))),  # noqa: S106
        ("predelivery", 'SetSender("a@b.example"); SetSenderParams(["RET" => "HDRS"]); SetRecipient("c@d.example");',
         Try(hop=Hop(sender=parse_path("<a@b.example>"), sender_params={"RET": "HDRS"},
                     recipient=parse_path("<c@d.example>")), implicit=True)),
        ("predelivery", 'Queue(["delay" => 60, "reason" => "later", "increment_retry" => false]);',
         Queue(delay=60, reason="later", increment_retry=False)),
        ("predelivery", 'Queue(["hold" => true, "transportid" => "slow", "reset_retry" => true]);',
         Queue(hold=True, transport="slow", reset_retry=True)),
        ("predelivery", 'Reschedule(30, ["reason" => "busy", "increment_retry" => false]);',
         Queue(delay=30, reason="busy", increment_retry=False)),
        ("predelivery", 'Bounce(["reason" => "no"]);', Bounce(reason="no")),
        ("predelivery", "Delete();", Discard()),
        ("postdelivery", None, Default(implicit=True)),
        ("postdelivery", "", Default(implicit=True)),
        ("postdelivery", "Default();", Default()),
        ("postdelivery", "Queue();", Queue()),
        ("postdelivery", 'Retry(["delay" => 5]);', Queue(delay=5)),
        ("postdelivery", "Bounce();", Bounce()),
        ("postdelivery", "GenerateDSN();", Bounce()),
        ("postdelivery", "Delete();", Discard()),
    ],
)  # fmt: skip
def test_a_decision_is_as_the_flow_says(phase, flow, action):
    assert decide(flow, phase, FAILED if phase == "postdelivery" else ATTEMPT).action == action


@pytest.mark.parametrize(
    ("phase", "expression", "value"),
    [
        ("predelivery", "[$senderip, $senderhelo, $saslusername, $serverid, $messageid, $queueid, $actionid]",
         ["192.0.2.7", "mx.example.org", "alice", "inbound", "tx1", 7, 2]),
        ("predelivery", "[$sender, $senderdomain, $senderlocalpart]", ["alice@example.org", "example.org", "alice"]),
        ("predelivery", "[$recipient, $recipientdomain, $recipientlocalpart]",
         ["bob@Example.NET", "example.net", "bob"]),
        ("predelivery", "[$transportid, $retry, $retries, $receivedtime, $sourceip, $destination, $destinationport]",
         ["out", 2, 5, 1000, "198.51.100.1", "mx.example.net", 25]),
        ("predelivery", "$arguments", {"retry": 2}),
        ("predelivery", "$message",
         {"id": {"transaction": "tx1", "queue": 7}, "ts": 1000, "serverid": "inbound", "sender": "alice@example.org",
          "senderaddress": {"localpart": "Alice", "domain": "Example.org"}, "recipient": "bob@Example.NET",
          "recipientaddress": {"localpart": "bob", "domain": "Example.NET"}, "transportid": "out", "queueid": 7,
          "jobid": "news", "size": 120}),
        ("predelivery", "[GetMetaData(), GetMailFile()->readline()]",
         [{"tenant": "acme"}, "From: Alice <alice@example.org>"]),
        ("postdelivery", "[$errorcode, $errorndr, $errormsg, $transfertime, $action, $serverip, $serverport]",
         [451, "4.7.1", "Busy\nlater", 1.5, "RETRY", "203.0.113.25", 25]),
        ("postdelivery", "$arguments",
         {"retry": 2, "action": "QUEUE", "attempt": {
             "result": {"code": 451, "enhanced": [4, 7, 1], "reason": ["Busy", "later"], "state": "RCPT"},
             "connection": {"localip": "198.51.100.1", "remoteip": "203.0.113.25", "remotemx": "mx.example.net",
                            "tls": {"started": True, "protocol": "TLSv1.3", "cipher": "X", "keysize": 256}},
             "duration": 1.5}}),
        ("postdelivery", 'GetTLS()["protocol"]', "TLSv1.3"),
    ],
)  # fmt: skip
def test_a_variable_says_what_is_known(phase, expression, value):
    assert echoed(expression, phase, FAILED if phase == "postdelivery" else ATTEMPT) == value


def test_trouble_without_a_reply_is_an_error_with_its_words():
    about = echoed("$arguments", "postdelivery", GONE)
    assert about["attempt"] == {
        "error": {"temporary": True, "message": "connection refused", "reason": "connection refused"}, "duration": 0,
    }  # fmt: skip
    assert echoed("[$errorcode, $errormsg]", "postdelivery", GONE) == [0, "connection refused"]


def test_after_a_delivery_there_is_no_action_and_nothing_to_retry():
    assert echoed('[isset($arguments["action"]), $action]', "postdelivery", DELIVERED) == [False, ""]
    for flow in ("Queue(); /* error */", "Retry(); /* error */", "Bounce(); /* error */", "Delete(); /* error */"):
        decision = decide(flow, "postdelivery", DELIVERED)
        assert decision.run is not None and decision.run.error is not None
        assert "was delivered" in decision.run.error.message
        assert decision.action == Default(implicit=True)


@pytest.mark.parametrize(
    ("phase", "action"),
    [
        ("predelivery", Queue(delay=AFTER_A_FAILURE, increment_retry=False, reason="the script failed", implicit=True)),
        ("postdelivery", Default(implicit=True)),
    ],
)
@pytest.mark.parametrize("flow", ['throw "error";', "forever { } // error", 'SetDSN(["from" => [1]]); // error'])
def test_a_script_that_fails_costs_no_mail(phase, action, flow):
    decision = decide(flow, phase, FAILED)
    assert decision.action == action
    assert decision.run is not None and decision.run.error is not None


def test_what_a_setter_said_shows_in_the_variables():
    flow = 'SetDestination("h.example", 26); SetSender("new@example.org"); SetSourceIP("9"); echo json_encode('
    decision = decide(flow + "[$destination, $destinationport, $sender, $sourceip]);", "predelivery")
    assert decision.run is not None
    assert json.loads(decision.run.output[0]) == ["h.example", 26, "new@example.org", "9"]


def test_metadata_lasts_and_is_only_told_when_it_was_changed():
    assert decide("Try();", "predelivery").metadata is None
    assert decide('SetMetaData(["a" => "b"]);', "postdelivery", FAILED).metadata == {"a": "b"}


def test_the_context_goes_from_before_to_after():
    first = decide('$context = ["n" => 1];', "predelivery")
    assert echoed("$context", "postdelivery", replace(FAILED, context=first.context)) == {"n": 1}
    assert echoed("$context", "postdelivery", FAILED) is None


def test_what_a_report_is_to_look_like():
    flow = """
        SetDSN(["from" => "mailer@example.net", "headers" => ["X-A: b"], "metadata" => ["k" => "v"]]);
        Bounce(["dsn" => ["subject" => "sorry", "from_name" => "Postmaster", "dkim" => ["selector" => "s1"]]]);
    """
    decision = decide(flow, "postdelivery", FAILED)
    assert {**decision.dsn, "dkim": dict(decision.dsn["dkim"])} == {
        "from": "mailer@example.net", "headers": ["X-A: b"], "metadata": {"k": "v"}, "subject": "sorry",
        "from_name": "Postmaster", "dkim": {"selector": "s1"},
    }  # fmt: skip


def test_a_password_is_in_no_document():
    decision = decide('SetSASL("u", "hunter2");', "predelivery")
    assert "hunter2" not in repr(decision) and "hunter2" not in json.dumps(decision.action.document())


def test_places_for_connections_are_the_queues():
    queue = FakeQueue()
    flow = 'echo CurrentConnections("d", $recipientdomain, 1); echo CurrentConnections("d", "other.example", 0);'
    decision = decide(flow, "predelivery", queue=queue)
    assert decision.run is not None and list(decision.run.output) == ["true", "false"]
    assert queue.connections["d", "example.net"] == {"tx1/7"}


def test_without_a_queue_its_words_are_script_errors_that_say_so():
    decision = decide('CurrentConnections("d", "e", 1); // error', "predelivery")
    assert decision.run is not None and decision.run.error is not None
    assert "this server runs without a queue" in decision.run.error.message


def test_every_variable_can_be_read():
    for phase, attempt in (("predelivery", ATTEMPT), ("postdelivery", FAILED), ("postdelivery", GONE)):
        names = vocabulary().phases[phase].variables
        assert decide("".join(f"$x = ${name}; " for name in names), phase, attempt).run is not None
        assert [name for name, one in names.items() if one.writable] == ["context"]
        assert all(one.page for one in names.values())
