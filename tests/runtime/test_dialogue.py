"""Words of the visit: command lines before they are carried out, challenges of AUTH, letters that a flow writes."""

import asyncio
import base64
import json

import pytest

from flowengine.runtime.actions import Action, Answer, Defer, Pass
from flowengine.services.fakes import FakeQueue, FakeResolver
from tests.runtime.stage import Stage, now


def proxied(flow: str | None, command: str) -> Action:
    """What a proxy flow says of a command line."""

    async def visit() -> Action:
        session = Stage(dns=FakeResolver(strict=False)).session({} if flow is None else {"proxy": flow})
        said = session.proxy(command)
        return said if isinstance(said, Action) else await said

    return asyncio.run(visit())


@pytest.mark.parametrize(
    ("flow", "kind", "reply"),
    [
        (None, Pass, "250 2.0.0 Ok"),
        ("", Pass, "250 2.0.0 Ok"),
        ("Pass();", Pass, "250 2.0.0 Ok"),
        ("Reply();", Answer, "250 2.0.0 Ok"),
        ('Reply("no", ["reply_codes" => ["code" => 502, "enhanced" => [5, 5, 1]]]);', Answer, "502 5.5.1 no"),
        ('Reply(["a", "b"]);', Answer, "250 2.0.0 a\nb"),
        ('if ($arguments["command"] =~ #/^VRFY /i) Reply("who knows", ["reply_codes" => ["code" => 252]]);', Answer,
         "252 2.0.0 who knows"),
        ("throw 1;", Defer, "421 4.3.0 Try again later"),
        ('dnstxt("x"); throw 1;', Defer, "421 4.3.0 Try again later"),
    ],
)  # fmt: skip
def test_a_proxy_flow_passes_or_answers(flow, kind, reply):
    said = proxied(flow, "VRFY alice")
    assert (type(said), str(said.reply)) == (kind, reply)


def test_a_proxy_flow_may_write_another_line_and_ask_for_the_next():
    said = proxied('Pass(["command" => "NOOP", "next" => true]);', "XWHAT")
    assert isinstance(said, Pass) and (said.command, said.next) == ("NOOP", True)
    said = proxied('Reply("go on", ["next" => true]);', "XWHAT")
    assert isinstance(said, Answer) and said.next


@pytest.mark.parametrize("line", ['"A\\r\\nB"', '"A\\nB"', '"\\x00"', 'str_repeat("x", 3000)'])
def test_a_proxy_flow_writes_one_line(line):
    assert isinstance(proxied(f'Pass(["command" => {line}]);', "NOOP"), Defer)


def test_a_letter_leaves_with_the_verdict():
    on = Stage()
    on.data(
        'mail("me@example.net", "boss@example.org", "Déjà vu", "He said:\\nno", '
        '["sender_name" => "Mé", "headers" => ["X-A" => "1"], "metadata" => ["k" => "v"]]);'
    )
    (to, text), own = on.outbox.left[0], on.outbox.left[1]
    assert (to, own[0]) == ("boss@example.org", "bob@example.net")
    assert b"From: =?utf-8?" in text and b"<me@example.net>" in text and b"\r\nX-A: 1\r\n" in text
    assert b"Subject: =?utf-8?" in text and b"Message-ID: <" in text and b"\r\nDate: " in text
    assert base64.b64encode(b"He said:\nno") in text
    assert on.outbox.outcomes[0].kept[0].sender == "me@example.net"


def test_a_letter_does_not_leave_with_a_refusal():
    on = Stage()
    on.data('mail("me@example.net", "boss@example.org", "s", "b"); Reject("no");')
    assert on.outbox.left == []


def test_elsewhere_a_letter_is_the_queues():
    queue = FakeQueue()
    flow = 'echo mail("me@example.net", "boss@example.org", "s", "b", "out"); Accept();'

    async def visit(on: Stage) -> tuple[list[str], str]:
        from flowengine.mail.addresses import parse_path

        session = on.session({"mailfrom": flow})
        reply = await now(session.mail_from(parse_path("<a@example.org>"), {}))
        return list(session.results[-1].output), str(reply)

    assert asyncio.run(visit(Stage(parts={"queue": queue}))) == (["letter1"], "250 2.0.0 Sender ok")
    assert (queue.letters[0].recipient.address, queue.letters[0].transport) == ("boss@example.org", "out")
    assert asyncio.run(visit(Stage()))[1].startswith("450")


@pytest.mark.parametrize(
    "call",
    ['mail("a@example.org", "", "s", "b")', 'mail("no address", "b@example.org", "s", "b")',
     'mail("a@example.org", "b@example.org", "s", "b", ["headers" => ["no colon"]])',
     'mail("a@example.org", "b@example.org", "s\\r\\nBcc: x@example.org", "b", ["headers" => ["X\\r\\nY" => "z"]])'],
)  # fmt: skip
def test_what_is_no_letter_is_a_script_error(call):
    assert Stage().one(f"{call};").error is not None


def test_a_subject_cannot_bring_a_field_of_its_own():
    on = Stage()
    on.data('mail("a@example.org", "b@example.org", "s\\r\\nBcc: x@example.org", "b");')
    for _, text in on.outbox.left:
        assert b"\r\nBcc:" not in text.partition(b"\r\n\r\n")[0]


def test_scanners_without_an_engine_say_clean_and_say_so_once():
    on = Stage()
    said = on.echoed('echo ScanSA(); echo ScanCLAM(); echo ScanSA(["rules" => true]); echo globalview("192.0.2.1");')
    assert said == ["0", "[]", "[]", "accept"]
    on.echoed("echo ScanSA();")
    assert [line["text"].split()[0] for line in on.log.of("scanner")] == ["ScanSA", "ScanCLAM", "globalview"]


PARTS = (
    b"From: a@example.org\r\nReceived: from mx (mx.example.org [192.0.2.9]) by us with ESMTP id 7; Thu, 1 Jan 2026\r\n"
    b"Received: from pc by mx.example.org; Wed\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
    b"--b\r\n\r\nsorry\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n"
    b"Final-Recipient: rfc822; x@example.net\r\nStatus: 5.1.1\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: =?utf-8?q?caf=C3=A9?=\r\n\r\nbody\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('GetAttachmentsByType("^message/")', ["0.2", "0.3"]),
        ('GetAttachmentSize("/")', [len(PARTS)]),
        ('GetAttachmentType(["0.1", "0.2"])', ["text/plain", "message/delivery-status"]),
        ("GetRoute()", ["192.0.2.9", ""]),
        ('GetRoute(true)[0]["by"]', "us"),
        ("GetDSN()", {"message": {"reporting-mta": "dns; mx"},
                      "recipients": [{"final-recipient": "rfc822; x@example.net", "status": "5.1.1"}]}),
        ('GetDSNHeader("subject")', "café"),
        ('GetDSNHeader("subject", true)', "=?utf-8?q?caf=C3=A9?="),
        ('GetDSNHeader("absent")', ""),
        ('RemoveAttachments(["0.3"])', 1),
    ],
)  # fmt: skip
def test_the_words_of_old_for_parts_and_reports(expression, value):
    (said,) = Stage().echoed(f"echo json_encode({expression});", message=PARTS)
    assert json.loads(said) == value


def test_deliver_with_dkim_signs_or_refuses():
    from tests.runtime.stage import key

    on = Stage(keys={"example": key("example")})
    outcome = on.data('DeliverWithDKIM("s1", "example.org", "pki:example");')
    assert outcome.reply.code == 250 and on.outbox.left[0][1].startswith(b"DKIM-Signature:")
    assert Stage().data('DeliverWithDKIM("s1", "example.org", "pki:absent");').reply.code == 550
