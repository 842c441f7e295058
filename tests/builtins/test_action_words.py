"""The actions and the routing words: what each accepts, decides and leaves alone."""

import pytest

from tests.runtime.stage import MAIL, Stage

TRANSPORTS = {"local": object(), "lists": object()}


def stage() -> Stage:
    return Stage(settings={"transports": TRANSPORTS}, policy={"transport": "local"})


def kept(flow: str) -> dict[str, object]:
    """The document of the only thing that is carried out."""
    (one,) = stage().data(flow).kept
    return one.document()


DELIVER = {"action": "Deliver", "recipient": "bob@example.net", "transportid": "local", "reason": "", "implicit": False}


@pytest.mark.parametrize(
    ("call", "changes"),
    [
        ("Deliver()", {}),
        ('Deliver("x@example.org")', {"recipient": "x@example.org"}),
        ('Deliver("x@example.org", "lists")', {"recipient": "x@example.org", "transportid": "lists"}),
        ('Deliver(["transportid" => "lists"])', {"transportid": "lists"}),
        ('Deliver(["recipient" => ["localpart" => "a b", "domain" => "example.org"]])',
         {"recipient": '"a b"@example.org'}),
        ('Deliver(["metadata" => ["a" => "1"]])', {"metadata": {"a": "1"}}),
        ('SetMetaData(["b" => "2"]); Deliver(["metadata" => ["a" => "1"]])', {"metadata": {"b": "2", "a": "1"}}),
        ('Deliver(["delay" => 60, "jobid" => "bulk", "queue" => false])',
         {"delay": 60, "jobid": "bulk", "queue": False}),
        ("SetDelayedDeliver(30); Deliver()", {"delay": 30}),
        ('SetDelayedDeliver(30); Deliver(["delay" => 0])', {}),
        ('Deliver(["delay" => -5])', {"delay": 0.0}),
        ('Deliver(["reason" => "taken", "reply_codes" => ["code" => 252]])',
         {"reason": "taken", "reply_codes": {"code": 252}}),
        ("DirectDeliver()", {"queue": False}),
        ('SetMailTransport("lists"); Deliver()', {"transportid": "lists"}),
        ('SetRecipient("x@example.org"); Deliver()', {"recipient": "x@example.org"}),
    ],
)  # fmt: skip
def test_a_delivery_is_as_the_flow_says(call, changes):
    found = kept(f"{call};")
    expected = {**DELIVER, **changes}
    if expected.get("delay") == 0:
        del expected["delay"]
        found.pop("delay", None)
    assert found == expected


def test_a_quarantine_has_its_own_reply_and_may_keep_silent():
    outcome = Stage().data('Quarantine("spam", ["reason" => "looks bad"]);')
    assert (str(outcome.reply), outcome.kept[0].name) == ("550 5.7.1 looks bad", "Quarantine")
    outcome = Stage().data('Quarantine("spam", ["reject" => false, "reason" => "thanks"]);')
    assert str(outcome.reply) == "250 2.0.0 thanks"
    assert outcome.kept[0].document()["reject"] is False


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        ('Deliver(["transportid" => "nosuch"]);', 'there is no transport "nosuch"; known: lists, local'),
        ('SetMailTransport("nosuch");', "there is no transport"),
        ('Quarantine("nosuch");', 'there is no quarantine "nosuch"; known: spam'),
        ('Deliver(["recipient" => "nobody at all"]);', '"nobody at all" is no envelope address'),
        ('Deliver(["recipient" => ["localpart" => "a"]]);', "an address is text or an array with localpart and domain"),
        ('SetSender("a b");', "is no envelope address"),
        ('SetSender("a@example.org>\\r\\nRCPT TO:<b@example.org");', "is no envelope address"),
        ('SetRecipient("@");', "is no envelope address"),
        ('SetSenderIP("nowhere");', '"nowhere" is no IP address'),
        ('SetMetaData(["n" => 1]);', 'metadata "n" is a string, got a number; json_encode others'),
        ('SetMetaData(["n" => [1]]);', "got an array"),
        ('Reject("x", ["reply_codes" => ["code" => 999]]);', "reply_codes: reply code 999 is no"),
        ('Reject("x", ["reply_codes" => ["enhanced" => [5]]]);', "reply_codes: enhanced is a list of three"),
    ],
)
def test_what_cannot_be_done_is_a_script_error_and_defers(flow, says):
    run = stage().one(flow)
    assert run.error is not None and says in run.error.message
    assert run.verdict.reply.code == 451 and run.actions == ()


@pytest.mark.parametrize(
    ("call", "value", "then"),
    [
        ('SetSender("New@Example.ORG")', "New@Example.ORG", ("$sender", "new@example.org")),
        ('SetSender("")', "", ("$sender", "")),
        ('SetSender("new@example.org")', "new@example.org", ("$senderdomain", "example.org")),
        ('SetRecipient("a@b.example")', "a@b.example", ("$recipientdomain", "b.example")),
        ('SetSenderIP("2001:DB8::1")', "2001:db8::1", ("$senderip", "2001:db8::1")),
        ('SetSenderHELO("h.example")', "h.example", ("$senderhelo", "h.example")),
        ('SetMailTransport("lists")', "", ("$transportid", "lists")),
        ('SetMetaData(["a" => "b"])', "", ('GetMetaData()["a"]', "b")),
    ],
)
def test_a_setter_returns_and_updates(call, value, then):
    expression, after = then
    assert stage().echoed(f"echo {call}; echo {expression};") == [value, after]


def test_the_address_of_the_client_that_a_flow_sets_is_the_one_of_spf():
    from flowengine.services.fakes import FakeResolver

    policy = {("_dmarc.example.org", "txt"): ["v=DMARC1; p=reject"]}
    dns = FakeResolver({("example.org", "txt"): ["v=spf1 ip4:203.0.113.9 -all"], **policy})
    assert Stage(dns=dns).echoed('echo ScanDMARC()["example.org"];') == ["reject"]
    dns.asked.clear()
    assert Stage(dns=dns).echoed('SetSenderIP("203.0.113.9"); echo ScanDMARC()["example.org"];') == ["pass"]


def test_a_disconnect_travels_with_the_reply():
    assert Stage().data('Reject("go", ["disconnect" => true]);').reply.disconnect
    assert Stage().data('Deliver(["disconnect" => true]);').reply.disconnect
    assert not Stage().data('Reject("go");').reply.disconnect


def test_a_copy_keeps_the_message_as_it_stood():
    on = stage()
    on.data('CopyMail("a@example.org"); AddHeader("X-A", "1"); CopyMail("b@example.org", "lists");')
    assert [(to, text[:6] == b"X-A: 1") for to, text in on.outbox.left] == [
        ("a@example.org", False), ("b@example.org", True), ("bob@example.net", True),
    ]  # fmt: skip
    assert on.outbox.left[0][1] == MAIL
