"""`verify` asks dkimpy too, and says when it sees a signature otherwise."""

import asyncio
from dataclasses import replace

from flowengine.mail import dkim
from flowengine.mail.message import Message
from flowengine.servers.case_keys import case_key
from flowengine.servers.explaining import verify_text
from flowengine.servers.play import Visit
from flowengine.servers.verifying import verify_message
from flowengine.services.fakes import FakeResolver, fake_services

MAIL = Message(b"From: a@example.org\r\nTo: b@example.net\r\nSubject: x\r\n\r\nhello\r\n")


def report(raw):
    zone = {
        "s1._domainkey.example.org": [case_key("one", "rsa").record()],
        "s2._domainkey.example.org": [case_key("two", "ed25519").record()],
    }
    services = fake_services(dns=FakeResolver(zone, strict=False))
    return asyncio.run(verify_message(Message(raw), Visit(), services))


def signed():
    message = MAIL
    for selector, name, kind in (("s1", "one", "rsa"), ("s2", "two", "ed25519"), ("s3", "one", "rsa")):
        seal = dkim.Seal(selector=selector, domain="example.org", key=case_key(name, kind))
        message = Message(dkim.sealed(message, seal, 0.0).render())
    return message.render()


def test_dkimpy_agrees_on_good_and_bad_signatures_and_is_not_asked_without_a_key():
    good, bad = report(signed()), report(signed().replace(b"Subject: x", b"Subject: y"))
    assert [one.result for one in good.dkim] == ["permerror", "pass", "pass"]
    assert good.second_opinion == (None, True, True)
    assert bad.second_opinion == (None, False, False)
    assert verify_text(good).count("dkimpy agrees") == verify_text(bad).count("dkimpy agrees") == 2


def test_a_disagreement_is_said():
    said = verify_text(replace(report(signed()), second_opinion=(None, False, True)))
    assert said.count("dkimpy says otherwise") == said.count("dkimpy agrees") == 1


def test_a_message_cannot_steer_the_terminal_of_who_reads_about_it():
    hostile = b"DKIM-Signature: v=1; s=\x1b[2J\x9b; d=a\r\n\tb; h=" + b"x" * 5000 + b"\r\n" + MAIL.render()
    said = verify_text(report(hostile))
    assert all(line.isprintable() and len(line) <= 1000 for line in said.splitlines())
    assert "DKIM   permerror" in said
