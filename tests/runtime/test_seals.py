"""Signatures are seals: set at commit, over what leaves, after all edits, once per identical content."""

import asyncio
import re
from collections.abc import Mapping

import dkim as dkimpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail import dkim
from flowengine.mail.errors import MailError
from flowengine.mail.evaluation import IN_A_THREAD
from flowengine.mail.message import Message
from flowengine.runtime import sealing
from flowengine.runtime.actions import Deliver, Reply
from flowengine.runtime.sealing import Sealer
from tests.runtime.stage import MAIL, Stage, key

KEYS = {"rsa": key("a"), "ed": key("b", "ed25519")}
SIGN = 'DKIMSign("s1", "example.org", "pki:rsa");'
BODY = MAIL.partition(b"\r\n\r\n")[2]


def published(names: Mapping[str, str]) -> object:
    records = {f"{place}.".encode(): KEYS[name].record().encode() for place, name in names.items()}
    return lambda name, timeout=5: records.get(name)


DNS = published(
    {"s1._domainkey.example.org": "rsa", "s2._domainkey.example.org": "ed", "s1._domainkey.other.example": "rsa"}
)


def stage(**about: object) -> Stage:
    return Stage(keys=KEYS, **about)  # type: ignore[arg-type]  # fields of Stage


def left(flow: str, **about: object) -> list[bytes]:
    """What left, for each delivery."""
    on = stage()
    on.data(flow, **about)  # type: ignore[arg-type]  # arguments of data
    return [message for _, message in on.outbox.left]


def verifies(message: bytes) -> list[bool]:
    """What dkimpy says of every signature from top to bottom."""
    signatures = len(re.findall(rb"(?im)^dkim-signature:", message))
    return [dkimpy.DKIM(message).verify(idx=index, dnsfunc=DNS) for index in range(signatures)]


@pytest.mark.parametrize(
    "edits",
    [
        'AddHeader("X-Not-Signed", "1");',
        'SetHeader("Subject", "other");',
        'PrependHeader("Subject", "[list] "); AppendHeader("Subject", " (external)");',
        'DelHeader("To"); AddHeader("To", "new@example.net");',
        'SetHeader("From", "b@example.org");',
        'AddHeader("Subject", "caf\u00e9 " + str_repeat("long ", 60));',
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_edits_before_and_after_the_call_are_under_the_seal(edits, before):
    (message,) = left(edits + SIGN if before else SIGN + edits)
    assert message.startswith(b"DKIM-Signature: v=1; a=rsa-sha256;")
    assert verifies(message) == [True]
    assert message.endswith(b"\r\n\r\n" + BODY)


@given(st.permutations(["A", "B", "C", SIGN, 'DKIMSign("s2", "example.org", "pki:ed");']), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_in_whatever_order_a_flow_edits_and_signs_every_signature_verifies(steps, deletes):
    words = [f'AddHeader("Subject", "{one}");' if len(one) == 1 else one for one in steps]
    words.insert(deletes, 'DelHeader("Subject");')
    (message,) = left("".join(words))
    assert verifies(message) == [True, True]


def test_the_same_call_twice_seals_once():
    (message,) = left(SIGN * 3)
    assert verifies(message) == [True]


def test_different_calls_make_a_signature_each_the_last_on_top():
    (message,) = left(SIGN + 'DKIMSign("s2", "example.org", "pki:ed");' + 'DKIMSign("s1", "other.example", "pki:rsa");')
    assert re.findall(rb"d=([a-z.]+); s=(s\d);", message) == [
        (b"other.example", b"s1"), (b"example.org", b"s2"), (b"example.org", b"s1"),
    ]  # fmt: skip
    assert verifies(message) == [True, True, True]


def test_a_copy_leaves_with_the_edits_and_seals_it_had_by_then():
    flow = f'CopyMail("first@example.org"); {SIGN} CopyMail("second@example.org"); AddHeader("Subject", "x");'
    first, second, third = left(flow)
    assert first == MAIL
    assert verifies(second) == [True] and b"Subject: x" not in second
    assert verifies(third) == [True] and b"Subject: x" in third


def test_identical_content_is_signed_once(monkeypatch):
    made = []
    sign = dkim.sealed
    monkeypatch.setattr(
        sealing.dkim, "sealed", lambda message, seal, now: made.append(seal) or sign(message, seal, now)
    )
    messages = left(SIGN, recipients=[f"r{n}@example.net" for n in range(50)])
    assert len(messages) == 50 and len(set(messages)) == 1 and len(made) == 1
    made.clear()
    messages = left('AddHeader("X-To", $recipient);' + SIGN, recipients=[f"r{n}@example.net" for n in range(3)])
    assert len(set(messages)) == 3 and len(made) == 3
    assert all(verifies(message) == [True] for message in messages)


def test_discard_changes_signs_the_message_as_received():
    flow = 'AddHeader("X", "1"); DKIMSign("s1", "example.org", "pki:rsa", ["discard_changes" => true]);'
    (message,) = left(flow)
    assert message.endswith(MAIL) and verifies(message) == [True]


def test_return_header_computes_at_once_and_adds_nothing():
    flow = """
        AddHeader("Subject", "before");
        $value = DKIMSign("s1", "example.org", "pki:rsa", ["return_header" => true]);
        %s
        echo is_string($value);
    """
    (message,) = left(flow % "")
    assert message == b"Subject: before\r\n" + MAIL
    (message,) = left(flow % 'AddHeader("DKIM-Signature", $value, false);')
    assert verifies(message) == [True]
    (message,) = left(flow % 'AddHeader("DKIM-Signature", $value, false); SetHeader("Subject", "after");')
    with pytest.raises(AssertionError):
        assert verifies(message) == [True]


def test_dkim_comes_before_arc_whatever_the_order_of_the_calls():
    arc = 'DKIMSign("s1", "example.org", "pki:rsa", ["arc" => true]);'
    for flow in (arc + SIGN, SIGN + arc):
        (message,) = left(flow)
        names = re.findall(rb"(?m)^([A-Za-z-]+):", message)
        assert names[:2] == [b"ARC-Message-Signature", b"DKIM-Signature"]
        assert b"i=1; a=rsa-sha256" in message.split(b"DKIM-Signature")[0]
        signed = re.search(rb"h=([^;]+);", message)
        assert signed is not None and b"dkim-signature" in signed[1]


def test_the_instance_of_arc_counts_the_sets_that_are_there():
    chain = b"".join(b"ARC-Seal: i=%d; cv=none\r\n" % number for number in (2, 1))
    (message,) = left('DKIMSign("s1", "example.org", "pki:rsa", ["arc" => true]);', message=chain + MAIL)
    assert message.startswith(b"ARC-Message-Signature: i=3;")
    (message,) = left('DKIMSign("s1", "example.org", "pki:rsa", ["arc" => 7]);', message=chain + MAIL)
    assert message.startswith(b"ARC-Message-Signature: i=7;")


def test_a_large_body_is_sealed_in_a_thread_and_verifies():
    big = MAIL + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * (IN_A_THREAD // 72 + 1)
    (message,) = left(SIGN, message=big)
    assert verifies(message) == [True] and message.endswith(big)


def test_a_seal_that_fails_at_the_commit_is_an_error_for_the_outbox():
    seal = dkim.Seal(selector="s", domain="example.org", key=KEYS["ed"], oversign_headers=())
    message = Message(b"Subject: x\r\n\r\nx\r\n")
    deliver = Deliver(reply=Reply(250, "", ""), message=message, recipient="a@example.net", seals=(seal,))
    with pytest.raises(MailError, match="no From field"):
        asyncio.run(Sealer(0.0).seal(deliver))


def test_without_seals_the_bytes_are_the_received_ones():
    message = Message(MAIL)
    deliver = Deliver(reply=Reply(250, "", ""), message=message, recipient="a@example.net")
    assert asyncio.run(Sealer(0.0).seal(deliver)) is message


@pytest.mark.parametrize("arguments", ['"s1", "example.org", "pki:absent"', '"s1", "example.org", "nonsense"'])
def test_dkimsign_tells_the_truth_at_once(arguments):
    assert stage().echoed(f"echo DKIMSign({arguments}); echo {SIGN}") == ["false", "true"]


@pytest.mark.parametrize(
    "options",
    [
        '"algorithm" => "ed25519-sha256"', '"headers" => ["subject"], "oversign_headers" => []',
        '"identity" => "@other.example"',
        '"expiration" => 5', '"expiration_relative" => 0', '"timestamp" => 100, "expiration" => 100', '"arc" => 51',
        '"headers" => ["a b"]', '"body_length" => 0', '"body_length" => 100',
    ],
)  # fmt: skip
def test_options_that_cannot_be_signed_with_are_false_at_once_and_told(options):
    on = stage()
    run = on.one(f'echo DKIMSign("s1", "example.org", "pki:rsa", [{options}]);')
    assert run.error is None and run.output == ("false",)
    assert len(run.unsigned) == 1 and run.unsigned[0].startswith("example.org: ")
    assert on.log.of("unsigned")[0]["domain"] == "example.org"
    assert on.outbox.left[0][1] == MAIL


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ('"timestamp" => true', b"; t=1767225600;"),
        ('"timestamp" => 1700000000, "expiration_relative" => 2400000000', b" t=1700000000; x=4100000000;"),
        ('"expiration" => 4100000000', b" x=4100000000;"),
        ('"identity" => "alice@sub.example.org"', b" i=alice@sub.example.org;"),
        ('"headers" => ["from", "subject"]', b"h=from:subject:from;"),
        ('"additional_headers" => ["x-mine"]', b"x-mine:"),
        ('"oversign_headers" => ["from", "to", "cc"]', b":from:to:cc;"),
        ('"canonicalization_header" => "simple", "canonicalization_body" => "simple"', b"c=simple/simple;"),
        ('"algorithm" => "sha256"', b"a=rsa-sha256;"),
    ],
)
def test_options_of_a_signature(options, part):
    (message,) = left(f'DKIMSign("s1", "example.org", "pki:rsa", [{options}]);', message=b"X-Mine: 1\r\n" + MAIL)
    assert part in message.replace(b"\r\n\t", b" ")
    assert verifies(message) == [True]


def test_a_key_by_id_and_by_prefix_are_the_same():
    (message,) = left('DKIMSign("s1", "example.org", "rsa", ["id" => true]);' + SIGN)
    assert verifies(message) == [True]


def test_rsa_sha1_signs_only_when_named_and_with_a_warning():
    run = stage().one('DKIMSign("s1", "example.org", "pki:rsa", ["algorithm" => "rsa-sha1"]);')
    assert run.warnings == ("rsa-sha1 for example.org: verifiers refuse it (RFC 8301)",)


def test_a_small_key_signs_with_a_warning():
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from flowengine.mail.keys import PrivateKey

    pem = rsa.generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # noqa: S505  # small on purpose
    on = Stage(keys={"small": PrivateKey.parse(pem)})
    run = on.one('echo DKIMSign("s1", "example.org", "pki:small");')
    assert run.output == ("true",)
    assert run.warnings == ("the key for example.org has 1024 bits; RFC 8301 asks for 2048",)
