"""Hostile messages as a whole: what one costs in time, memory and questions is bounded."""

import asyncio
import time
import tracemalloc

import pytest
from dkim_world import NOW, rsa_key

from flowengine.mail import dkim
from flowengine.mail.dns import Answer, RecordType
from flowengine.mail.evaluation import Evaluation
from flowengine.mail.message import Message

SECONDS = 4.0
SIGNATURE = (
    b"DKIM-Signature: v=1; a=rsa-sha256; d=d%d.a.b.c.example.org; s=s; h=%b;\r\n"
    b" bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA\r\n"
)
SET = (
    b"ARC-Seal: i=%d; a=rsa-sha256; cv=%b; d=d%d.example.org; s=s; b=AAAA\r\n"
    b"ARC-Message-Signature: i=%d; a=rsa-sha256; d=d%d.example.org; s=s; h=from;\r\n"
    b" bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
    b"ARC-Authentication-Results: i=%d; mx; dmarc=pass\r\n"
)
FROM = b"From: a@example.org\r\n"


class Resolver:
    """Everybody has a strict policy, a key and an SPF record."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def query(self, name: str, kind: RecordType) -> Answer:
        self.asked.append(name)
        if "_domainkey" in name:
            return Answer((rsa_key().record().encode(),))
        if name == "_dmarc.example.org":
            return Answer((b"v=DMARC1; p=reject",))
        return Answer((b"v=spf1 -all",) if kind == "txt" else ())


@pytest.mark.parametrize(
    ("header", "body", "questions"),
    [
        (b"".join(SIGNATURE % (n, b"from") for n in range(2000)) + FROM, b"", 40),
        (SIGNATURE % (1, b"from:" * 12_000 + b"to") * 5 + FROM + b"To: a\r\n" * 10_000, b"", 20),
        (b"X: y\r\n" * 10_000 + SIGNATURE % (1, b"from:x") + FROM, b"", 20),
        (b"".join(b"X%d: y\r\n" % n for n in range(10_000)) + SIGNATURE % (1, b"from:x9") + FROM, b"", 20),
        (b"From: " + b"(" * 50_000 + b")" * 50_000 + b"a@example.org\r\n", b"", 20),
        (b"From: " + b"(x)" * 30_000 + b"a@example.org\r\n", b"", 20),
        (b"From: " + b"a@example.org, " * 60_000 + b"a@example.org\r\n", b"", 20),
        (FROM * 10_000, b"", 20),
        (b"Authentication-Results: mx; spf=pass\r\n" * 10_000 + FROM, b"", 20),
        (b"".join(SET % (n, b"pass" if n > 1 else b"none", n, n, n, n) for n in range(1, 51)) + FROM, b"", 80),
        (b"".join(SET % (n, b"pass", n, n, n, n) for n in range(1, 2000)) + FROM, b"", 20),
        (b"".join(SIGNATURE.replace(b"s=s;", b"s=s; l=%d;" % n) % (n, b"from") for n in range(9)) + FROM, b"x" * 50_000_000, 20),
        (b"".join(SIGNATURE.replace(b"s=s;", b"s=s; c=relaxed/relaxed; l=%d;" % n) % (n, b"from") for n in range(9)) + FROM, b" \t x\r\n" * 5_000_000, 20),
        (SIGNATURE % (1, b"from") + FROM, b"\r\n" * 10_000_000, 20),
        (SIGNATURE.replace(b"s=s;", b"s=s; c=relaxed/relaxed;") % (1, b"from") + FROM, b" " * 20_000_000, 20),
    ],
    ids=[
        "2000 signatures", "12,000 names in h=", "10,000 fields of a name", "10,000 fields", "nested comments", "comments",
        "60,000 authors", "10,000 From fields", "10,000 results", "50 ARC sets", "2000 ARC sets", "50 MB",
        "relaxed with l=", "20 MB of line ends", "20 MB of blanks",
    ],
)  # fmt: skip
def test_a_hostile_message_is_judged_in_bounded_time(header: bytes, body: bytes, questions: int) -> None:
    message, resolver = Message(header + b"\r\n" + body), Resolver()
    one = Evaluation(
        message, resolver, hostname="mx.example.net", standard="rfc9989", now=lambda: NOW, sample=lambda: 0.0
    )
    start = time.process_time()
    found = asyncio.run(one.results("192.0.2.7", "mx.example.org", "a@example.org"))
    assert time.process_time() - start < SECONDS
    assert len(found) < 60
    assert len(resolver.asked) <= questions
    assert "pass" not in [result.result for result in found]


def test_a_large_body_is_not_kept_a_second_time() -> None:
    body = b"A line of fifty octets, which is much like others.\r\n" * 400_000
    raw = dkim.sealed(Message(FROM + b"\r\n" + body), dkim.Seal(selector="s", domain="example.org", key=rsa_key()), NOW)
    data = raw.render()
    del raw
    tracemalloc.start()
    try:
        found = asyncio.run(dkim.verify(Message(data), Resolver(), now=NOW))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [one.result for one in found] == ["pass"]
    assert peak < len(data) // 4
