"""What we sign verifies in dkimpy, and a seal that could not be verified cannot be made."""

import base64
import hashlib
import re
import time
from dataclasses import replace

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from dkim_world import NOW, WEAK_PEM, dkimpy_verifies, ed25519_key, rsa_key
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowengine.mail.canonical import Canonicalization, body_hash, canonical_body, canonical_fields
from flowengine.mail.dkim import HEADER_PROFILES, RECOMMENDED_HEADERS, Seal, sealed, sign
from flowengine.mail.edits import InsertField, ReplaceBody
from flowengine.mail.errors import MailError
from flowengine.mail.headers import parse
from flowengine.mail.keys import PrivateKey, PublicKey
from flowengine.mail.message import Message

FORMS: list[Canonicalization] = ["simple", "relaxed"]
MAIL = (
    b"Received: from x\r\n\tby y\r\nFrom: Joe <joe@example.org>\r\nTo:  a@example.net,\r\n   b@example.net \r\n"
    b"SUBJECT:  A  test \t\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\nX-Other: 1\r\n\r\n"
    b"Hi.  \r\n\r\n We lost \t the game.\r\n\r\n\r\n"
)
RECORDS = {"s1._domainkey.example.org": rsa_key().record(), "e1._domainkey.example.org": ed25519_key().record()}
RSA = Seal(selector="s1", domain="example.org", key=rsa_key())
ED25519 = Seal(selector="e1", domain="example.org", key=ed25519_key())

# Bodies of what canonicalization cares about.
BODIES = st.lists(
    st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r\n\r\n", b"\v", b"\f", b"word", b"\xff", b"\0", b"  ", b"."]),
    max_size=40,
).map(b"".join)
LOOSE = st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r", b"\n", b"\v"]), max_size=40).map(b"".join)


@pytest.mark.parametrize("seal", [RSA, ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize("header", FORMS)
@pytest.mark.parametrize("body", FORMS)
def test_our_signature_verifies_in_dkimpy(seal: Seal, header: Canonicalization, body: Canonicalization) -> None:
    seal = replace(seal, header_canonicalization=header, body_canonicalization=body, timestamp=True)
    signed = sealed(Message(MAIL), seal, time.time()).render()
    assert dkimpy_verifies(signed, RECORDS)
    assert not dkimpy_verifies(signed.replace(b"lost", b"won!"), RECORDS)


@pytest.mark.parametrize("header", FORMS)
@pytest.mark.parametrize("body", FORMS)
def test_signature_and_body_hash_equal_those_of_dkimpy(header: Canonicalization, body: Canonicalization) -> None:
    """Both sign the same text when the field is the same, so both give the same octets."""
    theirs = dkimpy.sign(
        MAIL, b"s1", b"example.org", rsa_key().pem(), canonicalize=(header.encode(), body.encode()),
        include_headers=[b"from", b"to", b"subject", b"date", b"from"],
    )  # fmt: skip
    field = parse(theirs).fields[0]
    value = field.value
    start = value.rindex(b"b=") + 2
    unsigned = parse(field.raw[: field.raw.index(b":") + 1] + value[:start]).fields[0]
    fields = Message(MAIL).headers
    chosen = [fields.all(name)[0] for name in ("from", "to", "subject", "date")]
    text = b"\r\n".join(canonical_fields([*chosen, unsigned], header))
    signature = rsa_key().sign(hashlib.sha256(text).digest())
    assert base64.b64encode(signature) == re.sub(rb"\s", b"", value[start:])
    digest, _ = body_hash(Message(MAIL).body, body)
    assert base64.b64encode(digest) in re.sub(rb"\s", b"", value)


def test_the_field_is_written_as_documented() -> None:
    seal = replace(RSA, timestamp=1000, expiration_relative=60, identity="joe+é@mail.example.org")
    value = sign(Message(MAIL), seal, NOW)
    lines = value.split("\r\n")
    assert lines[0] == "v=1; a=rsa-sha256; c=relaxed/relaxed; t=1000; x=1060;"
    assert lines[1] == "\td=example.org; s=s1; i=joe+=C3=A9@mail.example.org;"
    assert lines[2] == "\th=date:subject:to:from:from;"
    assert lines[3].startswith("\tbh=")
    assert lines[4].startswith("\tb=")
    assert all(line.startswith("\t ") for line in lines[5:])
    assert max(map(len, lines)) <= 80


def test_long_header_lists_are_folded() -> None:
    message = Message(b"".join(f"{name}: x\r\n".encode() for name in RECOMMENDED_HEADERS) + b"\r\nbody\r\n")
    signed = sealed(message, RSA, NOW)
    value = signed.fields[0].value
    assert max(map(len, value.split(b"\r\n"))) <= 80
    assert re.sub(rb"\s", b"", value.split(b";")[5]) == b"h=" + b":".join(
        n.encode() for n in (*RECOMMENDED_HEADERS[::-1], "from")
    )
    assert dkimpy_verifies(signed.render(), RECORDS)


def test_every_occurrence_is_signed_from_the_bottom_up() -> None:
    message = Message(b"To: 1\r\nFrom: a\r\nTo: 2\r\n\r\n")
    assert "h=to:from:to:from;" in sign(message, RSA, NOW)
    assert "h=from:to;" in sign(message, replace(RSA, headers=("From", "To"), oversign_headers=()), NOW)
    assert "h=to:from:to;" in sign(message, replace(RSA, headers=(), oversign_headers=()), NOW)
    extra = Message(b"X-A: 1\r\nFrom: a\r\n\r\n")
    assert "h=from:x-a:from;" in sign(extra, replace(RSA, additional_headers=("X-A",)), NOW)


def test_the_strict_profile_forbids_another_subject() -> None:
    signed = sealed(Message(MAIL), replace(RSA, profile="strict"), NOW)
    assert dkimpy_verifies(signed.render(), RECORDS)
    assert not dkimpy_verifies(signed.edit(InsertField(0, "Subject", "Evil")).render(), RECORDS)


@pytest.mark.parametrize("name", HEADER_PROFILES)
def test_every_profile_signs_from_twice(name: str) -> None:
    signed = sealed(Message(MAIL), replace(RSA, profile=name), NOW)
    assert dkimpy_verifies(signed.render(), RECORDS)
    assert not dkimpy_verifies(signed.edit(InsertField(1, "From", "evil@example.org")).render(), RECORDS)
    relayed = signed.edit(InsertField(0, "List-Id", "<l.example.net>"), InsertField(0, "Sender", "l@example.net"))
    assert dkimpy_verifies(relayed.render(), RECORDS)


def test_a_seal_is_over_what_leaves() -> None:
    edited = Message(MAIL).edit(InsertField(0, "Cc", "c@example.org"), ReplaceBody(b"new\r\n"))
    signed = sealed(edited, RSA, NOW)
    assert b"cc" in signed.fields[0].value
    assert dkimpy_verifies(signed.render(), RECORDS)


def test_a_header_without_separator_is_signed_as_the_next_server_reads_it() -> None:
    signed = sealed(Message(b"From: a@example.org\r\nno header line\r\n"), RSA, NOW).render()
    assert b"\r\n\r\nno header line\r\n" in signed
    assert dkimpy_verifies(signed, RECORDS)


def test_equal_seals_are_one_seal() -> None:
    again = Seal(selector="S1", domain="Example.org.", key=PrivateKey.parse(rsa_key().pem()))
    assert again == RSA
    assert len({RSA, again, ED25519, replace(RSA, timestamp=True)}) == 3
    listed = replace(RSA, headers=["from"], identity="a=b@example.org")  # type: ignore[arg-type]  # as flows give it
    assert len({listed, replace(listed), replace(listed, headers=("from",))}) == 1
    assert " i=a=3Db@example.org;" in sign(Message(MAIL), replace(listed, timestamp=1), NOW)


def test_two_seals_hash_the_body_once() -> None:
    message = Message(MAIL)
    sign(message, RSA, NOW)
    hashes = dict(message.body.hashes)
    sign(message.edit(InsertField(0, "X-A", "1")), ED25519, NOW)
    assert message.body.hashes == hashes
    assert len(hashes) == 1


def test_arc_message_signatures_have_an_instance_and_no_version() -> None:
    value = sign(Message(MAIL), replace(RSA, arc=2), NOW)
    assert value.startswith("i=2; a=rsa-sha256; c=relaxed/relaxed;")
    assert "v=1" not in value


def test_rsa_sha1_signs_only_when_named() -> None:
    assert "a=rsa-sha256" in sign(Message(MAIL), RSA, NOW)
    assert "a=rsa-sha1" in sign(Message(MAIL), replace(RSA, algorithm="rsa-sha1"), NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"selector": ""}, {"selector": "a b"}, {"domain": "ex ample.org"}, {"domain": "a..b"}, {"domain": "x" * 64},
        {"algorithm": "ed25519-sha256"}, {"algorithm": "rsa-md5"}, {"headers": ("to",), "oversign_headers": ()},
        {"headers": ("a b",)}, {"additional_headers": ("a:b",)}, {"additional_headers": ("a;b",)},
        {"identity": "joe@example.net"}, {"identity": "joe"}, {"identity": "@badexample.org"}, {"body_length": 5},
        {"profile": "other"}, {"domain": "\u2488.example"}, {"body_length": -1, "allow_body_length": True},
        {"arc": 0}, {"arc": 1, "identity": "@example.org"},
        {"arc": 51}, {"domain": "org"},
        {"header_canonicalization": "nofws"}, {"domain": "a\r\nb"}, {"domain": "é" * 5000},
    ],
)  # fmt: skip
def test_a_seal_that_could_not_be_verified_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(MailError):
        replace(RSA, **wrong)  # type: ignore[arg-type]  # wrong values are the point


def test_signing_fails_loudly() -> None:
    with pytest.raises(MailError, match="expire"):
        sign(Message(MAIL), replace(RSA, timestamp=2000, expiration=1000), NOW)
    with pytest.raises(MailError, match="From"):
        sign(Message(b"To: a\r\n\r\n"), replace(RSA, oversign_headers=()), NOW)
    with pytest.raises(MailError, match="fewer"):
        sign(Message(MAIL), replace(RSA, body_length=10_000, allow_body_length=True), NOW)


def test_international_domains_are_signed_as_a_labels() -> None:
    assert "d=xn--mnchen-3ya.example;" in sign(Message(MAIL), replace(RSA, domain="München.example"), NOW)


def as_dkimpy(body: bytes, form: str) -> bytes:
    policy = dkimpy.CanonicalizationPolicy.from_c_value(f"{form}/{form}".encode())
    return bytes(policy.canonicalize_body(body))


def canonical(data: list[bytes], form: Canonicalization) -> bytes:
    return b"".join(canonical_body(Message([b"\r\n", *data]).body, form))


@settings(max_examples=300, deadline=None)
@given(BODIES, st.sampled_from(FORMS))
@example(b"", "simple")
@example(b"", "relaxed")
@example(b" \r\n\t\r\n", "relaxed")
def test_canonical_bodies_equal_those_of_dkimpy(body: bytes, form: Canonicalization) -> None:
    # A last line without CRLF is a line too (RFC 6376 §3.4.3): dkimpy keeps one space at its end, and makes a CRLF of
    # a body of white space alone.
    if body and not body.endswith(b"\r\n") and form == "relaxed":
        body += b"\r\n"
    assert canonical([body], form) == as_dkimpy(body, form)


def exact(body: bytes, form: str) -> bytes:
    """RFC 6376 §3.4 word by word, line by line."""
    lines = body.split(b"\r\n")
    if form == "relaxed":
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines) or (b"\r\n" if form == "simple" else b"")


@settings(max_examples=400, deadline=None)
@given(st.lists(LOOSE, max_size=4), st.sampled_from(FORMS))
def test_canonical_bodies_are_exact_for_bare_line_ends_and_any_chunks(
    parts: list[bytes], form: Canonicalization
) -> None:
    assert canonical(parts, form) == exact(b"".join(parts), form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "body",
    [
        b"a " * 70_000, b"ab\r\n" * 50_000 + b"x", b" \r\n" * 100_000, b" " * 200_000 + b"x \r\n", b"\r\n" * 200_000,
        b"\r" * 200_000,
    ],
    ids=["words", "lines", "blank lines", "one run", "empty lines", "bare"],
)  # fmt: skip
def test_large_bodies_are_canonical_across_blocks(body: bytes, form: Canonicalization) -> None:
    assert canonical([body], form) == exact(body, form)
    assert canonical([body[i : i + 4097] for i in range(0, len(body), 4097)], form) == exact(body, form)


@settings(max_examples=200, deadline=None)
@given(LOOSE, st.sampled_from([b"A", b"A ", b"a-b\t"]))
def test_relaxed_fields_are_exact(value: bytes, name: bytes) -> None:
    fields = parse(name + b":" + value + b"\r\n\r\n").fields
    for field in fields[:1]:
        text = re.sub(rb"[ \t]+", b" ", re.sub(rb"\r\n(?=[ \t])", b"", field.value)).strip(b" ")
        assert canonical_fields([field], "relaxed") == [name.strip().lower() + b":" + text]
        assert canonical_fields([field], "simple") == [field.raw]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["From", "To", "subject", "X-A", "cc"]), st.text(" \tabcé:;=", max_size=20)),
        max_size=6,
    ),
    BODIES,
    st.sampled_from(FORMS),
    st.sampled_from(FORMS),
    st.sampled_from([RSA, ED25519]),
)
def test_any_message_we_sign_verifies_in_dkimpy(
    headers: list[tuple[str, str]], body: bytes, header_form: Canonicalization, body_form: Canonicalization, seal: Seal
) -> None:
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    data = (
        b"".join(f"{name}: {value}\r\n".encode() for name, value in [*headers, ("From", "x@example.org")])
        + b"\r\n"
        + body
    )
    seal = replace(seal, header_canonicalization=header_form, body_canonicalization=body_form)
    assert dkimpy_verifies(sealed(Message(data), seal, NOW).render(), RECORDS)


def rsa_forms() -> list[str | bytes]:
    key = serialization.load_pem_private_key(rsa_key().pem(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    plain = serialization.NoEncryption()
    pkcs1, pkcs8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
    forms: list[str | bytes] = []
    for form in (pkcs1, pkcs8):
        pem = key.private_bytes(serialization.Encoding.PEM, form, plain)
        der = key.private_bytes(serialization.Encoding.DER, form, plain)
        forms += [
            pem,
            pem.decode().replace("\n", "\\n"),
            pem.replace(b"\n", b"\r\n"),
            base64.encodebytes(der),
            base64.b64encode(der).decode(),
        ]
    return forms


@pytest.mark.parametrize("text", rsa_forms())
@pytest.mark.parametrize("validated", [False, True])
def test_rsa_keys_are_read_in_every_form(text: str | bytes, validated: bool) -> None:
    assert PrivateKey.parse(text, validated=validated) == rsa_key()


def test_ed25519_keys_are_read_in_every_form() -> None:
    key = serialization.load_pem_private_key(ed25519_key().pem(), None)
    seed = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    for text in (
        seed,
        base64.b64encode(seed),
        base64.b64encode(seed + ed25519_key().public.published()),
        ed25519_key().pem(),
    ):
        assert PrivateKey.parse(text) == ed25519_key()


def test_a_key_never_shows_itself() -> None:
    for key in (rsa_key(), ed25519_key()):
        shown = repr(key) + str(key) + f"{key}" + repr(replace(RSA if key.kind == "rsa" else ED25519, key=key))
        assert key.kind in shown
        assert key.fingerprint in shown
        secret = base64.b64encode(b"".join(key.pem().splitlines()[1:-1]))
        assert not any(line in shown.encode() for line in key.pem().splitlines()[1:-1])
        assert secret.decode() not in shown


def elliptic() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def encrypted() -> bytes:
    key = serialization.load_pem_private_key(rsa_key().pem(), None)
    lock = serialization.BestAvailableEncryption(b"x")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


PUBLIC = rsa_key().public.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (elliptic(), "neither RSA nor Ed25519"),
        (WEAK_PEM, "512 bits"),
        (encrypted(), "encrypted"),
        (PUBLIC, "no private key"),
        ("", "cannot be read"),
        ("AAAA", "cannot be read"),
        ("-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----", "cannot be read"),
        ("x" * 100_000, "longer"),
        ("\ud800", "cannot be read"),
    ],
)
def test_what_is_no_key_is_refused_with_a_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(MailError, match=reason) as caught:
        PrivateKey.parse(text)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("exponent", "modulus", "reason"),
    [(2**64 + 1, 2**1023 + 1, "exponent"), (65537, 2**8192 + 1, "too long")],
)
def test_keys_that_would_be_slow_are_refused(exponent: int, modulus: int, reason: str) -> None:
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(MailError, match=reason):
        PublicKey.parse("rsa", der)


@pytest.mark.parametrize(
    ("exponent", "modulus"), [(3, 2**1024), (65537, 2**1023 + 2), (2**200 + 1, 2**1024 + 1), (2**17 + 1, 2**8200 + 1)]
)
def test_senseless_public_keys_verify_nothing(exponent: int, modulus: int) -> None:
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        public = PublicKey.parse("rsa", der)
    except MailError:
        return
    assert not public.verifies(bytes(public.bits // 8), hashlib.sha256().digest())
    assert not public.verifies(b"", hashlib.sha256().digest())


def test_a_record_publishes_the_key() -> None:
    assert ed25519_key().record().startswith("v=DKIM1; k=ed25519; p=")
    assert rsa_key().record().startswith("v=DKIM1; k=rsa; p=MIIB")
    with pytest.raises(MailError):
        PrivateKey.generate("rsa", 1024)
