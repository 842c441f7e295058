"""`flowengine verify` on mail in the formats of large providers: every line it prints, as a mail admin reads it.

The samples have the fields, folds and tags of the originals, domains that nobody has, and signatures set when the test
runs, by code that is not ours (`tests/mail/handmade.py`): `{bh}` and `{b}` stand where they belong, `{bh0}` for the
body up to `{footer}`. FLOWENGINE_UPDATE=1 writes the expected texts anew.
"""

import asyncio
import os
import re
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.servers.case_keys import case_key
from flowengine.servers.explaining import verify_text
from flowengine.servers.play import Visit, unix_to_wire
from flowengine.servers.verifying import VerifyReport, verify_message
from flowengine.services.fakes import FakeClock, FakeResolver, fake_services
from tests.mail.dkim_world import dkimpy_verifies
from tests.mail.handmade import body_hash, fields_of, filled

SAMPLES = Path(__file__).parent / "samples"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.eml"))
SIGNING = (b"dkim-signature:", b"arc-message-signature:", b"arc-seal:")


def zone(name: str) -> tuple[Visit, dict[tuple[str, str], list[str]], dict[str, str]]:
    """The client, the records, and whose key is where."""
    table: dict[tuple[str, str], list[str]] = {}
    owners: dict[str, str] = {}
    first, *lines = (SAMPLES / f"{name}.zone").read_text().splitlines()
    _, ip, helo = first.split()
    for line in lines:
        host, kind, value = line.split(" ", 2)
        if kind == "KEY":
            owners[host], kind, value = value, "TXT", case_key(value, "rsa").record()
        table.setdefault((host, kind), []).append(value)
    return Visit(client_ip=ip, helo=helo), table, owners


def sample(name: str) -> bytes:
    """The message, with its signatures set from the bottom to the top."""
    _, table, owners = zone(name)
    raw = unix_to_wire((SAMPLES / f"{name}.eml").read_bytes())
    head, _, body = raw.partition(b"\r\n\r\n")
    original, _, footer = body.partition(b"{footer}")
    done: list[bytes] = []
    for field in reversed(fields_of(head)):
        if field.lower().startswith(SIGNING) and b"{b}" in field:
            hashes = {"{bh}": body_hash(b"\r\n\r\n" + original + footer), "{bh0}": body_hash(b"\r\n\r\n" + original)}
            text = field.decode()
            for mark, value in hashes.items():
                text = text.replace(mark, value)
            tags = dict(re.findall(r"(?:^|;)\s*(\w+)=\s*([^;]*)", text.partition(":")[2]))
            place = f"{tags['s'].strip()}._domainkey.{tags['d'].strip()}"
            place = table.get((place, "CNAME"), [place])[0]
            own = text.replace("{b}", "").encode()
            scope = _sets(done, field) if field.lower().startswith(b"arc-seal") else _named(done, tags["h"])
            field = filled(text, [*scope, own], case_key(owners[place], "rsa"))
        done.insert(0, field)
    return b"\r\n".join(done) + b"\r\n\r\n" + original + footer


def _named(below: list[bytes], names: str) -> list[bytes]:
    left, chosen = list(below), []
    for name in re.sub(r"\s", "", names).lower().split(":"):
        place = next((at for at in reversed(range(len(left))) if left[at].lower().startswith(name.encode() + b":")), -1)
        if place >= 0:
            chosen.append(left.pop(place))
    return chosen


def _sets(below: list[bytes], seal: bytes) -> list[bytes]:
    """What a seal covers: all sets up to its own, without itself."""
    order = (b"arc-authentication-results:", b"arc-message-signature:", b"arc-seal:")
    scope = []
    for instance in range(1, int(re.search(rb"i=(\d+)", seal)[1]) + 1):  # type: ignore[index]  # every seal has one
        for name in order:
            scope += [f for f in below if f.lower().startswith(name) and re.search(rb"\bi=%d;" % instance, f)]
    return scope


def report(name: str, late: float = 0) -> VerifyReport:
    """What verify finds ten seconds after the date of the message, and `late` seconds."""
    visit, table, _ = zone(name)
    message = Message(sample(name))
    came = parsedate_to_datetime(message.headers.all("date")[0].text).timestamp() + 10 + late
    services = fake_services(dns=FakeResolver(table, strict=False), clock=FakeClock(came))
    return asyncio.run(verify_message(message, visit, services))


@pytest.mark.parametrize("name", NAMES)
def test_every_line_about_a_sample(name: str) -> None:
    expected = SAMPLES / f"{name}.txt"
    said = verify_text(report(name))
    if os.environ.get("FLOWENGINE_UPDATE"):
        expected.write_text(said)
    assert said == expected.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_dkimpy_sees_every_signature_as_we_do(name: str) -> None:
    raw, table = sample(name), zone(name)[1]
    records = {host: values[0] for (host, kind), values in table.items() if kind == "TXT"}
    records |= {host: records[values[0]] for (host, kind), values in table.items() if kind == "CNAME"}
    for place, one in enumerate(report(name).dkim):
        assert dkimpy_verifies(raw, records, place) is (one.result == "pass")


def test_an_old_message_is_told_until_when_its_signature_was_good() -> None:
    said = verify_text(report("fastmail", late=2_400_000_000))
    assert said.count("signature expired\n           it was good until 2099-01-01 00:00 UTC (x=): what counts is") == 2


@pytest.mark.parametrize(
    ("sender", "result"),
    [
        ("lyme.eater@A...example.com", "none"),
        (f"lyme.eater@{'A' * 64}.example.com", "none"),
        ("@example.net", "fail"),
        ("<@example.net>", "fail"),
        ("Macro Error@example.net", "fail"),
        ("jo\\e@example.net", "fail"),
    ],
)
def test_a_sender_that_breaks_the_grammar_is_judged_as_some_server_took_it(sender: str, result: str) -> None:
    services = fake_services(dns=FakeResolver({"example.net": "v=spf1 -all"}, strict=False))
    message = Message(b"From: a@example.org\r\n\r\n")
    found = asyncio.run(verify_message(message, Visit(client_ip="192.0.2.7", mail_from=sender), services))
    assert found.spf.result == result


@pytest.mark.parametrize(
    "visit", [{"mail_from": "a b"}, {"mail_from": "a\n@b"}, {"mail_from": "@b", "recipients": ["x y"]}]
)
def test_what_is_no_envelope_is_said(visit: dict[str, Any]) -> None:
    message = Message(b"From: a@example.org\r\n\r\n")
    with pytest.raises(MailError):
        asyncio.run(verify_message(message, Visit(**visit), fake_services(dns=FakeResolver(strict=False))))
