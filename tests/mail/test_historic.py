"""What came before: DomainKeys (RFC 4870) verifies what Mail::DKIM signed, ADSP (RFC 5617) says its words."""

import asyncio
import base64
import time

import pytest
from dkim_world import FakeResolver, rsa_key
from fake_dns import FakeDNS
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail import adsp, domainkeys
from flowengine.mail.dkim import SignatureResult
from flowengine.mail.message import Message

RECORD = "k=rsa; t=y; p=" + base64.b64encode(rsa_key().public.published()).decode()
KEY = "s1._domainkey.example.org"
TEXT = (
    b"Received: by x\r\nFrom: Joe <joe@mail.example.org>\r\nTo: a@example.net\r\nSubject: A  folded\r\n\tsubject\r\n"
    b"X-Empty:\r\n\r\n Hello  there.\t\r\n\r\n  \r\nBye.\r\n\r\n\r\n"
)
EMPTY = b"Received: by x\r\nFrom: Joe <joe@mail.example.org>\r\nTo: a@example.net\r\n\r\n\r\n\r\n"
SOME = "from:to:subject"


def signed(message: bytes, method: str, digest: str, headers: str = "", **other: str) -> bytes:
    """The message with a signature over this digest."""
    signature = base64.b64encode(rsa_key().sign(bytes.fromhex(digest), "sha1")).decode()
    tags = {"a": "rsa-sha1", "c": method, "d": "example.org", "q": "dns", "s": "s1", "b": signature}
    tags |= {"h": headers} if headers else {}
    tags |= other
    value = "; ".join(f"{name}={text}" for name, text in tags.items())
    return b"X-Above: y\r\nDomainKey-Signature: " + value.encode() + b"\r\n" + message


def verified(message: bytes, record: str | None = RECORD) -> domainkeys.DomainKeysResult:
    return asyncio.run(domainkeys.verify(Message(message), FakeResolver({KEY: record})))


# The digests are those that Mail::DKIM 1.20230212 signed.
@pytest.mark.parametrize(
    ("message", "method", "headers", "digest"),
    [
        (TEXT, "simple", "", "8ae05e5ad7f1937df3839b1fd1c8bb864bf16301"),
        (TEXT, "simple", SOME, "ab1b327b239d56921a42ab40b4657f2cf221da07"),
        (TEXT, "nofws", "", "f30420f38c0e82b05302f92e8dce34dbd978180e"),
        (TEXT, "nofws", SOME, "5069b0683ee2983cc456a35b76871ff1280531a5"),
        (EMPTY, "simple", "", "4b42dd4f3393a77540e3fc7ce6f76dab26303840"),
        (EMPTY, "simple", SOME, "82e080bbc91ce5950f60df560b4673ec47c03ad1"),
        (EMPTY, "nofws", "", "89826dbf2cf3fabd1c21467bdad5c4a7e5a92080"),
        (EMPTY, "nofws", SOME, "991bffb76df1de2c2a7e7f5115f0552944f0ff47"),
    ],
)
def test_what_mail_dkim_signed_verifies(message: bytes, method: str, headers: str, digest: str) -> None:
    data = signed(message, method, digest, headers)
    assert verified(data) == domainkeys.DomainKeysResult("pass", "example.org", "s1", testing=True)
    assert verified(data.replace(b"joe@", b"jim@")).result == "fail"


NOFWS = "f30420f38c0e82b05302f92e8dce34dbd978180e"


def test_white_space_may_change_under_nofws_and_words_may_not() -> None:
    data = signed(TEXT, "nofws", NOFWS)
    assert verified(data.replace(b"Hello  there.\t", b"Hello there.")).result == "pass"
    assert verified(data + b"\r\n\r\n").result == "pass"
    assert verified(data.replace(b"Bye", b"Buy")).result == "fail"


@pytest.mark.parametrize(
    ("record", "result", "reason"),
    [
        (None, "temperror", "not available now"),
        ("k=rsa; p=", "permerror", "p= is missing"),
        (RECORD + "; g=jim", "permerror", "(g=)"),
        (RECORD + "; g=joe", "pass", ""),
        (RECORD.replace("k=rsa", "k=dsa"), "permerror", "type rsa"),
        ("nonsense", "permerror", "no tag"),
    ],
)
def test_the_key_decides(record: str | None, result: str, reason: str) -> None:
    found = verified(signed(TEXT, "nofws", NOFWS), record)
    assert found.result == result
    assert reason in found.reason


@pytest.mark.parametrize(
    ("other", "headers", "reason"),
    [
        ({"d": "elsewhere.example"}, "", "not the domain of the From field"),
        ({"a": "rsa-sha256"}, "", "not known"),
        ({"c": "relaxed"}, "", "not known"),
        ({"b": "!"}, "", "base64"),
        ({}, "to:subject", "the From field is not signed"),
        ({"s": "a b"}, "", "s="),
    ],
)
def test_what_cannot_be_verified_costs_no_question(other: dict[str, str], headers: str, reason: str) -> None:
    dns = FakeResolver({})
    found = asyncio.run(domainkeys.verify(Message(signed(TEXT, "nofws", NOFWS, headers, **other)), dns))
    assert (found.result, dns.asked) == ("permerror", [])
    assert reason in found.reason


def test_a_message_without_the_field_has_no_result() -> None:
    assert verified(TEXT).result == "none"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.sampled_from(["simple", "nofws"]))
def test_any_bytes_have_a_result_whole_or_in_chunks(field: bytes, body: bytes, method: str) -> None:
    assert verified(b"DomainKey-Signature: " + field + b"\r\n" + TEXT).result in ("none", "permerror", "fail")
    data = signed(TEXT, method, NOFWS) + body
    whole = domainkeys.prepare(Message(data))
    pieces = domainkeys.prepare(Message([data[place : place + 7] for place in range(0, len(data), 7)]))
    assert whole == pieces


def test_hostile_messages_cost_linear_time() -> None:
    names = ":".join(f"x{n}" for n in range(5000)) + ":from"
    fields = b"".join(b"X%d: y\r\n" % n for n in range(10_000))
    for body in (b"\r\n" * 1_000_000, b"\r\r\n" * 600_000, b"x" * 2_000_000, b" \r\n" * 600_000):
        data = signed(fields + b"From: a@example.org\r\n\r\n" + body, "simple", NOFWS, names)
        started = time.perf_counter()
        assert verified(data).result == "fail"
        assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def of(domain: str, result: str) -> SignatureResult:
    return SignatureResult(domain, "s1", "", "rsa-sha256", result, "")  # type: ignore[arg-type]  # words from a table


ADSP = "_adsp._domainkey.example.org"


@pytest.mark.parametrize(
    ("signatures", "record", "word"),
    [
        ([("example.org", "pass")], "dkim=all", "pass"),
        ([("other.example", "pass")], "dkim=all", "fail"),
        ([("mail.example.org", "pass")], "dkim=all", "fail"),
        ([("example.org", "fail")], "dkim=discardable", "discard"),
        ([("example.org", "temperror")], "dkim=all", "temperror"),
        ([], "dkim=unknown", "unknown"),
        ([], "dkim = all ; t=x", "fail"),
        ([], "dkim=something", "unknown"),
        ([], "t=x; dkim=all", "none"),
        ([], "v=spf1 -all", "none"),
        ([], "", "none"),
        ([], None, "temperror"),
    ],
)
def test_the_practice_of_a_domain(signatures: list[tuple[str, str]], record: str | None, word: str) -> None:
    dns = FakeDNS({("example.org", "mx"): [], (ADSP, "txt"): None if record is None else [record.encode()]})
    assert asyncio.run(adsp.evaluate("example.org", [of(*one) for one in signatures], dns)) == word


def test_a_domain_that_is_not_there_practices_nothing() -> None:
    assert asyncio.run(adsp.evaluate("example.org", [], FakeDNS({}))) == "nxdomain"
    assert asyncio.run(adsp.evaluate("example.org", [], FakeDNS({("example.org", "mx"): None}))) == "temperror"


def test_two_records_are_none() -> None:
    dns = FakeDNS({("example.org", "mx"): [], (ADSP, "txt"): [b"dkim=all", b"dkim=all"]})
    assert asyncio.run(adsp.evaluate("example.org", [], dns)) == "none"
