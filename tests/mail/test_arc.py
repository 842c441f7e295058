"""Chains are judged as the public suite and dkimpy judge them, and what we seal holds for both."""

import asyncio
import hashlib
import re
from dataclasses import replace
from functools import cache
from typing import Any

import dkim as dkimpy
import pytest
import yaml
from dkim_world import NOW, FakeResolver, ed25519_key, rsa_key, suite
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail import arc
from flowengine.mail.arc import ChainResult
from flowengine.mail.canonical import body_hash, canonical_fields
from flowengine.mail.dkim import Seal, sealed, verify_field
from flowengine.mail.dkim.signature import parse_arc_seal, parse_signature
from flowengine.mail.edits import DeleteField, InsertField
from flowengine.mail.errors import MailError
from flowengine.mail.keys import PrivateKey
from flowengine.mail.message import Message

MAIL = (
    b"From: Joe <joe@example.org>\r\nTo: a@example.net\r\nSubject: A  test\r\n\r\nHi.\r\n\r\nWe lost the game.\r\n\r\n"
)
RSA = Seal(selector="s1", domain="example.org", key=rsa_key())
ED25519 = Seal(selector="e1", domain="example.org", key=ed25519_key())
RECORDS: dict[str, str | bytes | list[bytes] | None] = {
    "s1._domainkey.example.org": rsa_key().record(),
    "e1._domainkey.example.org": ed25519_key().record(),
}
RESULTS = "mx.example.net;\r\n\tspf=pass smtp.mailfrom=joe@example.org;\r\n\tdkim=none"


def judged(message: Message | bytes, records: dict[str, str | bytes | list[bytes] | None] = RECORDS) -> ChainResult:
    message = Message(message) if isinstance(message, bytes) else message
    return asyncio.run(arc.validate(message, FakeResolver(records), now=NOW))


def chained(count: int, seal: Seal = RSA) -> bytes:
    """A message with that many sets, each sealed after the chain was judged."""
    data = MAIL
    for _ in range(count):
        data = arc.seal(Message(data), seal, judged(data), RESULTS, now=NOW).render()
    return data


def dkimpy_judges(data: bytes) -> bytes | None:
    def lookup(name: bytes, timeout: int = 5) -> str | None:
        return str(RECORDS.get(name.decode().rstrip(".")))

    status, _, _ = dkimpy.ARC(data).verify(dnsfunc=lookup)
    return bytes(status) if status is not None else None


def test_a_message_signature_can_be_verified_by_itself() -> None:
    """As flows do that validate a chain themselves."""
    message = Message(chained(2))
    for field in message.headers.all("arc-message-signature"):
        one = asyncio.run(verify_field(message, field.raw, FakeResolver(RECORDS), now=NOW))
        assert (one.result, one.domain, one.tags["i"] in "12") == ("pass", "example.org", True)
    changed = Message(chained(1).replace(b"lost", b"won"))
    (field,) = changed.headers.all("arc-message-signature")
    assert asyncio.run(verify_field(changed, field.raw, FakeResolver(RECORDS), now=NOW)).result == "fail"


def test_a_message_without_sets_has_no_chain() -> None:
    assert judged(MAIL) == ChainResult("none")


@pytest.mark.parametrize("seal", [RSA, ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_we_seal_passes(count: int, seal: Seal) -> None:
    chain = judged(chained(count, seal))
    assert (chain.status, chain.instance, chain.reason, chain.oldest_pass) == ("pass", count, "", 0)
    assert chain.domains == ("example.org",) * count
    assert chain.sets[0].authentication_results == RESULTS.replace("\r\n", "")
    assert str(chain.result()) == f"arc=pass (i={count}) header.oldest-pass=0"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_we_seal_passes_in_dkimpy(count: int) -> None:
    assert dkimpy_judges(chained(count)) == b"pass"
    assert dkimpy_judges(chained(count).replace(b"lost", b"won!")) == b"fail"


def test_what_dkimpy_seals_passes() -> None:
    data = MAIL
    for status in (b"none", b"pass"):
        data = b"Authentication-Results: mx.example.net; arc=" + status + b"; spf=pass\r\n" + data
        lines = dkimpy.ARC(data).sign(b"s1", b"example.org", rsa_key().pem(), b"mx.example.net", timestamp=int(NOW))
        data = b"".join(lines) + data
        data = data.replace(b"Authentication-Results: mx.example.net; arc=" + status + b"; spf=pass\r\n", b"")
    assert judged(data).status == "pass"


def test_the_fields_are_in_the_fixed_order_above_dkim() -> None:
    signed = sealed(Message(MAIL), RSA, NOW)
    message = arc.seal(signed, RSA, ChainResult("none"), RESULTS, now=NOW)
    assert [field.name for field in message.fields[:4]] == [
        "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "DKIM-Signature",
    ]  # fmt: skip
    assert b"dkim-signature" in message.fields[1].value
    assert max(len(line) for field in message.fields[:4] for line in field.raw.split(b"\r\n")) <= 80


def test_a_message_signature_leaves_arc_fields_and_results_out() -> None:
    data = b"Authentication-Results: mx.example.net; spf=pass\r\n" + chained(1)
    message = arc.seal(Message(data), replace(RSA, headers=()), judged(data), RESULTS, now=NOW)
    assert b"h=subject:to:from:from;" in message.fields[1].value
    assert judged(message.render()).status == "pass"


def test_a_seal_has_a_size() -> None:
    data = chained(1).replace(b"ARC-Seal: i=1;", b"ARC-Seal: i=1; n=" + b"x" * 65_536 + b";")
    assert (judged(data).status, judged(data).reason) == ("fail", "seal 1: the ARC-Seal is too long")


def test_an_identity_is_for_dkim_alone() -> None:
    message = arc.seal(Message(MAIL), replace(RSA, identity="@example.org"), ChainResult("none"), RESULTS, now=NOW)
    assert judged(message.render()).status == "pass"


def test_edits_are_below_the_seal() -> None:
    message = Message(MAIL).edit(InsertField(0, "Subject", "new"))
    assert judged(arc.seal(message, RSA, ChainResult("none"), RESULTS, now=NOW).render()).status == "pass"


def test_a_changed_message_fails_and_the_oldest_pass_tells_since_when() -> None:
    first = chained(1)
    changed = first.replace(b"lost", b"won!")
    assert judged(changed).status == "fail"
    assert "body hash" in judged(changed).reason
    trusting = judged(first)  # a list that changes the body after it has judged the chain
    second = arc.seal(Message(changed), RSA, trusting, RESULTS, now=NOW).render()
    assert (judged(second).status, judged(second).oldest_pass) == ("pass", 2)


def test_a_failed_chain_is_sealed_alone_and_then_terminated() -> None:
    changed = chained(2).replace(b"lost", b"won!")
    chain = judged(changed)
    message = arc.seal(Message(changed), RSA, chain, RESULTS, now=NOW)
    assert b"cv=fail" in message.fields[0].value
    assert b"i=3;" in message.fields[0].value
    last = judged(message.render())
    assert (last.status, last.terminated) == ("fail", True)
    with pytest.raises(MailError, match="failed before"):
        arc.seal(Message(message.render()), RSA, last, RESULTS, now=NOW)


def test_a_malformed_chain_is_sealed_as_failed() -> None:
    data = b"ARC-Seal: i=1; nonsense\r\nARC-Authentication-Results: i=4; x; spf=pass\r\n" + MAIL
    chain = judged(data)
    assert (chain.status, chain.instance) == ("fail", 4)
    assert b"i=5; a=rsa-sha256; t=1700000000; cv=fail" in arc.seal(Message(data), RSA, chain, RESULTS, now=NOW).render()


def test_dns_trouble_is_temporary() -> None:
    data = chained(2)
    chain = judged(data, {"s1._domainkey.example.org": None})
    assert chain.status == "temperror"
    assert "not available now" in chain.reason
    with pytest.raises(MailError, match="now"):
        arc.seal(Message(data), RSA, chain, RESULTS, now=NOW)
    assert judged(data, {}).status == "fail"


def test_a_sure_failure_comes_before_a_temporary_error() -> None:
    data = arc.seal(Message(chained(1)), ED25519, judged(chained(1)), RESULTS, now=NOW).render()
    broken = re.sub(rb"(ARC-Seal: i=1;[^b]*b=)....", rb"\1AAAA", data)
    assert broken != data
    assert judged(broken, {**RECORDS, "e1._domainkey.example.org": None}).status == "fail"
    assert judged(data, {**RECORDS, "e1._domainkey.example.org": None}).status == "temperror"


def test_a_chain_that_an_edit_touched_is_not_sealed() -> None:
    data = chained(1)
    chain = judged(data)
    with pytest.raises(MailError):
        arc.seal(Message(data).edit(DeleteField(0)), RSA, chain, RESULTS, now=NOW)
    with pytest.raises(MailError):
        arc.seal(Message(data).edit(*[DeleteField(0)] * 3), RSA, chain, RESULTS, now=NOW)


def test_fifty_sets_are_the_most() -> None:
    data = chained(1)
    with pytest.raises(MailError, match="50"):
        arc.seal(Message(data), RSA, replace(judged(data), instance=50), RESULTS, now=NOW)
    many = b"".join(b"ARC-Authentication-Results: i=%d; x\r\n" % number for number in range(1, 52)) + MAIL
    assert judged(many).status == "fail"


def test_results_that_could_leave_their_place_are_refused() -> None:
    with pytest.raises(MailError):
        arc.seal(Message(MAIL), RSA, ChainResult("none"), "mx; spf=pass\r\nX-Evil: 1", now=NOW)


def test_one_question_for_one_key() -> None:
    resolver = FakeResolver(RECORDS)
    asyncio.run(arc.validate(Message(chained(3)), resolver, now=NOW))
    assert set(resolver.asked) == {"s1._domainkey.example.org"}
    assert len(resolver.asked) <= 3


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"Seal", b"Message-Signature", b"Authentication-Results"]))
def test_any_arc_field_gets_a_verdict(value: bytes, name: bytes) -> None:
    value = value.replace(b"\r\n", b"")
    assert judged(b"ARC-" + name + b": " + value + b"\r\n" + MAIL).status == "fail"
    assert judged(b"ARC-" + name + b": i=1; " + value + b"\r\n" + chained_once()).status == "fail"


@cache
def chained_once() -> bytes:
    return chained(1)


# --- the public suite -----------------------------------------------------------------------------------------------


def documents(name: str) -> list[dict[str, Any]]:
    text = (suite("arc") / name).read_text()
    return list(yaml.safe_load_all(text))


def resolver_of(document: dict[str, Any]) -> FakeResolver:
    return FakeResolver({name: re.sub(r"\s+", " ", text).encode() for name, text in document["txt-records"].items()})


def test_the_validation_suite() -> None:
    wrong: list[tuple[str, ...]] = []
    count = 0
    for document in documents("arc-draft-validation-tests.yml"):
        for name, case in document["tests"].items():
            data = case["message"].encode().replace(b"\n", b"\r\n")
            chain = asyncio.run(arc.validate(Message(data), resolver_of(document), now=NOW))
            # An empty expectation: the last seal says cv=fail and the chain has ended.
            expected = str(case["cv"] or "fail").lower()
            count += 1
            if chain.status != expected or (not case["cv"] and not chain.reason):
                wrong.append((document["description"].strip(), name, chain.status, chain.reason))
    assert wrong == []
    assert count > 150


SIGNING = ["Canonicalization", "Existant Seal Headers"]


@pytest.mark.parametrize("document", [0, 1], ids=SIGNING)
def test_the_signing_suite_octet_by_octet(document: int) -> None:
    """The RFC leaves order of tags and folds open, so theirs are taken, and our results field, body hash, header hash
    and scope of the seal must give their signatures. Their b= was folded only after it was signed."""
    case_file = documents("arc-draft-sign-tests.yml")[document]
    assert case_file["description"].strip() == SIGNING[document]
    key = PrivateKey.parse(case_file["privatekey"])
    for name, case in case_file["tests"].items():
        message = Message(case["message"].encode().replace(b"\n", b"\r\n"))
        chain = asyncio.run(arc.validate(message, resolver_of(case_file), now=NOW))
        if not case["AS"]:
            assert chain.status == "fail", name
            with pytest.raises(MailError):
                arc.seal(message, RSA, chain, RESULTS, now=NOW)
            continue
        merged = arc.merged_results(message.headers, case["srv-id"])
        own = Seal(
            selector=case_file["sel"], domain=case_file["domain"], key=key,
            headers=tuple(case["sig-headers"].split(":")), oversign_headers=(),
        )  # fmt: skip
        ours = arc.seal(message, own, chain, merged, now=case["t"])
        seal, signature, results = ours.fields[:3]
        written = {tag: " ".join(case[tag].split()) for tag in ("AS", "AMS", "AAR")}
        written["AMS"] = re.sub("b=[^;]*", lambda value: value[0].replace(" ", ""), written["AMS"], count=1)
        theirs = Message(
            f"ARC-Seal: {written['AS']}\r\nARC-Message-Signature: {written['AMS']}\r\n"
            f"ARC-Authentication-Results: {written['AAR']}\r\n".encode()
        ).headers
        assert canonical_fields([results], "relaxed") == canonical_fields([theirs[2]], "relaxed"), name
        expected = parse_signature(theirs[1], arc=True)
        mine = parse_signature(signature, arc=True)
        assert (mine.body_hash, mine.headers, mine.timestamp) == (
            expected.body_hash,
            expected.headers,
            expected.timestamp,
        )
        assert expected.body_hash == body_hash(message.body, "relaxed")[0]
        assert key.sign(expected.header_digest(message.headers.fields)) == expected.signature, name
        sets = [part for one in chain.sets for part in (one.results, one.signature, one.seal.field)]
        scope = [*(sets if chain.status == "pass" else []), theirs[2], theirs[1], parse_arc_seal(theirs[0]).unsigned]
        digest = hashlib.sha256(b"\r\n".join(canonical_fields(scope, "relaxed"))).digest()
        assert key.sign(digest) == parse_arc_seal(theirs[0]).signature, name
        assert parse_arc_seal(seal).tags["cv"] == parse_arc_seal(theirs[0]).tags["cv"], name
        again = asyncio.run(arc.validate(Message(ours.render()), resolver_of(case_file), now=NOW))
        assert again.status == ("fail" if chain.status == "fail" else "pass"), name
