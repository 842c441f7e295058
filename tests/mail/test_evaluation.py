"""One evaluation a message, whatever the message."""

import asyncio

from flowengine.mail.evaluation import Evaluation
from flowengine.mail.message import Message
from flowengine.services.fakes import FakeResolver

SIGNATURE = (
    "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s%d; h=from; "
    "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
)


def test_more_signatures_than_are_looked_at_are_no_way_round_dmarc():
    head = "".join(SIGNATURE % number for number in range(80))
    message = Message(f"{head}From: a@example.org\r\n\r\nhello\r\n".encode())
    resolver = FakeResolver(
        {
            ("_dmarc.example.org", "txt"): ["v=DMARC1; p=reject"],
            ("example.org", "txt"): ["v=spf1 -all"],
            **{(f"s{number}._domainkey.example.org", "txt"): ["v=DKIM1; p="] for number in range(80)},
        }
    )
    one = Evaluation(
        message, resolver, hostname="mx.example.net", standard="rfc9989", now=lambda: 0.0, sample=lambda: 0.0
    )
    verdict = asyncio.run(one.dmarc("192.0.2.7", "mx.example.org", "a@example.org"))
    assert (verdict.result, verdict.policy) == ("fail", "reject")
    assert len(asyncio.run(one.results("192.0.2.7", "mx.example.org", "a@example.org"))) < 80
