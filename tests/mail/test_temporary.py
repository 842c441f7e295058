"""Trouble of DNS is never a failure: with any questions unanswered each result stays what it is or becomes temperror.

Whole messages, every question that they cost taken away one at a time, then many at once. Only `ptr` is left out: of it
RFC 7208 §5.5 says that an error does not match.
"""

import asyncio
import random
from collections.abc import Collection, Mapping
from typing import Literal

import pytest
from dkim_world import NOW, ed25519_key, rsa_key

from flowengine.mail import arc, dkim
from flowengine.mail.addresses import FromRefused
from flowengine.mail.dns import MX, Answer, DNSUnavailable, Record, RecordType
from flowengine.mail.evaluation import Evaluation
from flowengine.mail.message import Message

MAIL = b"From: Joe <joe@%b>\r\nTo: a@example.net\r\nSubject: x\r\n\r\nHello.\r\n"
ZONE: Mapping[tuple[str, str], list[Record]] = {
    ("_dmarc.example.org", "txt"): [b"v=DMARC1; p=reject; sp=quarantine; np=reject"],
    ("_dmarc.strict.example", "txt"): [b"v=DMARC1; p=quarantine; adkim=s; aspf=s"],
    ("_dmarc.example", "txt"): [b"v=DMARC1; p=none; psd=y"],
    ("_dmarc.two.example", "txt"): [b"v=DMARC1; p=none", b"v=DMARC1; p=reject"],
    ("example.org", "txt"): [b"some text", b"v=spf1 a:a.example.org mx include:i.example exists:%{i}.e.example -all"],
    ("a.example.org", "a"): ["198.51.100.1"],
    ("example.org", "mx"): [MX(10, "m1.example.org"), MX(20, "m2.example.org")],
    ("m1.example.org", "a"): ["198.51.100.2"],
    ("m2.example.org", "a"): ["198.51.100.3"],
    ("i.example", "txt"): [b"v=spf1 redirect=r.example"],
    ("r.example", "txt"): [b"v=spf1 ip4:203.0.113.0/24 ~all"],
    ("192.0.2.7.e.example", "a"): ["127.0.0.2"],
    ("why.example", "txt"): [b"no"],
    ("strict.example", "txt"): [b"v=spf1 exp=why.example -all"],
    ("broken.example", "txt"): [b"v=spf1 include:nothing.example -all"],
    ("s1._domainkey.example.org", "txt"): [rsa_key().record().encode()],
    ("e1._domainkey.mail.example.org", "txt"): [ed25519_key().record().encode()],
    ("s1._domainkey.strict.example", "txt"): [b"v=DKIM1; p="],
    ("l1._domainkey.lists.example", "txt"): [rsa_key().record().encode()],
}


class Resolver:
    """The zone, with some questions that get no answer. Keeps what was asked."""

    def __init__(self, down: Collection[tuple[str, str]] = ()) -> None:
        self.down = down
        self.asked: list[tuple[str, str]] = []

    async def query(self, name: str, kind: RecordType) -> Answer:
        self.asked.append((name, kind))
        if (name, kind) in self.down:
            raise DNSUnavailable(name, kind, "time-out")
        names = {known for known, _ in ZONE}
        exists = any(known == name or known.endswith("." + name) for known in names)
        return Answer(tuple(ZONE.get((name, kind), ())), exists=exists)


def signed(author: str, *places: tuple[str, str], damaged: bool = False) -> bytes:
    message = Message(MAIL % author.encode())
    for selector, domain in places:
        key = ed25519_key() if selector == "e1" else rsa_key()
        message = Message(dkim.sealed(message, dkim.Seal(selector=selector, domain=domain, key=key), NOW).render())
    return message.render().replace(b"Hello", b"Hallo") if damaged else message.render()


def forwarded(author: str) -> bytes:
    seal = dkim.Seal(selector="l1", domain="lists.example", key=rsa_key())
    message = Message(signed(author, ("s1", "example.org"), damaged=True))
    results = "mx.lists.example; dmarc=pass header.from=example.org"
    for status in ("none", "pass"):
        chain = asyncio.run(arc.validate(message, Resolver(), now=NOW))
        assert chain.status == status
        message = Message(arc.seal(message, seal, chain, results, now=NOW).render())
    return message.render()


VISITS = {
    "signed, from its own host": (signed("example.org", ("s1", "example.org")), "192.0.2.7", "joe@example.org"),
    "unsigned, from a strange host": (signed("example.org"), "198.51.100.77", "joe@example.org"),
    "a subdomain that is not there": (signed("gone.example.org"), "192.0.2.7", "joe@elsewhere.example"),
    "signed below": (signed("example.org", ("e1", "mail.example.org")), "203.0.113.9", "joe@strict.example"),
    "two signatures": (
        signed("mail.example.org", ("s1", "example.org"), ("e1", "mail.example.org"), damaged=True),
        "198.51.100.3", "joe@example.org",
    ),
    "a revoked key": (signed("strict.example", ("s1", "strict.example")), "192.0.2.7", "joe@strict.example"),
    "below a public suffix": (signed("a.b.example", ("l1", "lists.example")), "192.0.2.7", "joe@broken.example"),
    "two policies": (signed("two.example"), "192.0.2.7", ""),
    "forwarded": (forwarded("example.org"), "192.0.2.99", "list@lists.example"),
}  # fmt: skip


def words(visit: str, standard: Literal["rfc9989", "rfc7489"], resolver: Resolver) -> list[str]:
    """Every result word of a message."""
    raw, ip, sender = VISITS[visit]
    one = Evaluation(
        Message(raw), resolver, hostname="mx.example.net", standard=standard, now=lambda: NOW, sample=lambda: 0.0
    )

    async def ask() -> list[str]:
        verdict = await one.dmarc(ip, "mail.example.org", sender)
        assert not isinstance(verdict, FromRefused)
        vouched = await one.vouched(verdict, {"lists.example"})
        return [
            verdict.result,
            vouched.status if vouched else verdict.result,
            (await one.spf(ip, "mail.example.org", sender)).result,
            *(signature.result for signature in await one.dkim()),
            (await one.arc()).status,
        ]

    return asyncio.run(ask())


@pytest.mark.parametrize("standard", ["rfc9989", "rfc7489"])
@pytest.mark.parametrize("visit", VISITS)
def test_no_question_without_answer_turns_a_result_into_another(
    visit: str, standard: Literal["rfc9989", "rfc7489"]
) -> None:
    resolver = Resolver()
    whole = words(visit, standard, resolver)
    questions = list(dict.fromkeys(resolver.asked))
    chance = random.Random(5)  # noqa: S311  # the same sets every time
    sets = [{one} for one in questions] + [set(questions)]
    sets += [{one for one in questions if chance.random() < 0.4} for _ in range(20)]
    for down in sets:
        found = words(visit, standard, Resolver(down))
        for was, now in zip(whole, found, strict=True):
            assert now in (was, "temperror"), (whole, found, down)


def test_the_visits_are_what_they_are_called() -> None:
    found = {visit: words(visit, "rfc9989", Resolver()) for visit in VISITS}
    assert found == {
        "signed, from its own host": ["pass", "pass", "pass", "pass", "none"],
        "unsigned, from a strange host": ["fail", "fail", "fail", "none"],
        "a subdomain that is not there": ["fail", "fail", "none", "none"],
        "signed below": ["pass", "pass", "fail", "pass", "none"],
        "two signatures": ["pass", "pass", "pass", "fail", "fail", "none"],
        "a revoked key": ["fail", "fail", "fail", "permerror", "none"],
        "below a public suffix": ["fail", "fail", "permerror", "pass", "none"],
        "two policies": ["fail", "fail", "none", "none"],
        "forwarded": ["fail", "pass", "none", "fail", "pass"],
    }
