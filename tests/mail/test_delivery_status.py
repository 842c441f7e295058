"""Reports of delivery, read by Python's own parser as a mail program would read them."""

import email
import email.policy
from email.message import EmailMessage
from typing import Any, cast

from flowengine.mail.delivery_status import RecipientStatus, Report

ORIGINAL = b"From: a@example.org\r\nSubject: hello\r\n\r\nhow are you\r\n"


def report(**changes: Any) -> Report:
    fields: dict[str, Any] = {
        "action": "failed",
        "hostname": "mx.example.net",
        "author": "mailer-daemon@example.net",
        "sender": "a@example.org",
        "recipients": [
            RecipientStatus(
                "b@x.example", "5.1.1", "550 5.1.1 no such user", True, "mx.x.example", "rfc822;b+2B1@x.example"
            )
        ],
        "arrived": 1_700_000_000.0,
        "now": 1_700_000_100.0,
        "message_id": "1@mx.example.net",
        "boundary": "b1",
        "returned": ORIGINAL,
        "whole": True,
        "envid": "QQ+2B1",
    }
    return Report(**{**fields, **changes})


def read(content: bytes) -> EmailMessage:
    assert b"\n" not in content.replace(b"\r\n", b"") and content.endswith(b"\r\n")
    return cast(EmailMessage, email.message_from_bytes(content, policy=email.policy.default))


def test_a_failure() -> None:
    content = report().render()
    assert content.isascii()
    message = read(content)
    assert message.get_content_type() == "multipart/report" and message.get_param("report-type") == "delivery-status"
    assert (message["To"], message["Auto-Submitted"]) == ("a@example.org", "auto-replied")
    text, status, original = message.iter_parts()
    assert "550 5.1.1 no such user" in text.get_content()
    about, recipient = cast(Any, status).get_payload()
    assert about["Reporting-MTA"] == "dns; mx.example.net" and about["Original-Envelope-Id"] == "QQ+1"
    assert about["Arrival-Date"].endswith("+0000")
    assert dict(recipient.items()) == {
        "Original-Recipient": "rfc822; b+1@x.example",
        "Final-Recipient": "rfc822; b@x.example",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.x.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": recipient["Last-Attempt-Date"],
    }
    assert original.get_content_type() == "message/rfc822" and cast(Any, original).get_payload(0)["Subject"] == "hello"


def test_several_recipients_each_have_their_own_block() -> None:
    both = [
        RecipientStatus("b@x", "5.1.1", "550 no"),
        RecipientStatus("c@x", "4.4.1", "451 later", until=1_700_009_999.0),
    ]
    _, status, _ = read(report(recipients=both, action="delayed").render()).iter_parts()
    blocks = cast(Any, status).get_payload()
    assert [one["Final-Recipient"] for one in blocks[1:]] == ["rfc822; b@x", "rfc822; c@x"]
    assert blocks[2]["Will-Retry-Until"] and blocks[1]["Will-Retry-Until"] is None
    assert blocks[1]["Diagnostic-Code"] == "x-flowengine; 550 no", "nobody else said it"


def test_only_the_header_comes_back() -> None:
    *_, original = read(report(returned=b"From: a@example.org\r\n\r\n", whole=False).render()).iter_parts()
    assert original.get_content_type() == "text/rfc822-headers"


def test_what_others_say_cannot_break_out() -> None:
    evil = "550 no\r\nFinal-Recipient: rfc822; other@x\r\n\r\n--b1\r\n" + "x" * 5000
    one = RecipientStatus("b@x", "5.0.0", evil, True, "host\r\nX: y", "rfc822;a+0D+0Ab: c")
    content = report(recipients=[one], envid="a+0D+0AAction: delivered").render()
    message = read(content)
    assert len(list(message.iter_parts())) == 3
    about, recipient = cast(Any, list(message.iter_parts())[1]).get_payload()
    assert len(recipient.get_all("Final-Recipient")) == 1 and about["Action"] is None and recipient["b"] is None
    assert max(map(len, content.split(b"\r\n"))) < 998


def test_addresses_beyond_ascii_make_it_international() -> None:
    one = report(recipients=[RecipientStatus("bób@x.example", "5.1.1", "550 no")])
    assert one.utf8 and not report().utf8
    _, status, _ = read(one.render()).iter_parts()
    assert status.get_content_type() == "message/global-delivery-status"
    assert "utf-8; bób@x.example".encode() in one.render()
    header = report(returned="Subject: é\r\n\r\n".encode(), whole=False)
    *_, original = read(header.render()).iter_parts()
    assert header.utf8 and original.get_content_type() == "message/global-headers"
    body = report(returned=b"Subject: x\r\n\r\n\xff\r\n")
    assert not body.utf8 and b"Content-Transfer-Encoding: 8bit" in body.render()
