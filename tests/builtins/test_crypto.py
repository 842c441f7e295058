"""Keys, signatures, ciphers, passwords, certificates."""

import datetime
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import Standing, Words

from flowengine.builtins import crypto, passwords
from flowengine.builtins import hashes as hash_words
from flowengine.builtins.certificates import X509
from flowengine.language.natives import native_class
from flowengine.language.values import Secret
from flowengine.mail.keys import PrivateKey

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED = ed25519.Ed25519PrivateKey.generate()
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
PUBLIC = RSA.public_key()
ED_PUBLIC = ED.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def words():
    run = Standing(keys={"rsa": PrivateKey.generate(), "ed": PrivateKey.generate("ed25519")})
    return Words(crypto, passwords, hash_words, run=run)


WORDS = words()


@pytest.mark.parametrize("hash_", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("form", [(PEM, PKCS1), (PEM, PKCS8), (DER, PKCS1), (DER, PKCS8)], ids=str)
def test_rsa_signs_with_a_key_in_any_form(form, hash_):
    key = RSA.private_bytes(*form, PLAIN)
    signature = WORDS.rsa_sign("message", key, {"hash": hash_, "pem": form[0] is PEM})
    for public_form in serialization.PublicFormat.PKCS1, serialization.PublicFormat.SubjectPublicKeyInfo:
        for encoding in PEM, DER:
            public = PUBLIC.public_bytes(encoding, public_form)
            assert WORDS.rsa_verify("message", signature, public, {"hash": hash_}) is True
            assert WORDS.rsa_verify("messag", signature, public, {"hash": hash_}) is False


def test_a_key_object_signs_as_its_text_does():
    text = RSA.private_bytes(PEM, PKCS8, PLAIN)
    key = WORDS.rsa_privatekey(text)
    assert WORDS.is_rsa_privatekey(key) is True
    assert WORDS.is_ed25519_privatekey(key) is False
    assert WORDS.rsa_sign("m", key) == WORDS.rsa_sign("m", text)
    ed_text = ED.private_bytes(PEM, PKCS8, PLAIN)
    ed_key = WORDS.ed25519_privatekey(ed_text)
    assert WORDS.is_ed25519_privatekey(ed_key) is True
    assert WORDS.ed25519_sign("m", ed_key) == WORDS.ed25519_sign("m", ed_text)
    assert WORDS.rsa_privatekey(ed_text) is None
    assert WORDS.ed25519_privatekey(text) is None


def test_keys_of_the_configuration_sign_and_verify():
    for key, options in (
        ("pki:rsa", {}),
        ("pki:rsa", {"id": True}),
        ("rsa", {"id": True}),
        ("pki:rsa", {"hash": "sha1"}),
    ):
        signature = WORDS.rsa_sign("m", key, options)
        assert WORDS.rsa_verify("m", signature, key, options) is True
    assert len(WORDS.ed25519_sign("m", "pki:ed")) == 64


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("pki:none", {}),
        ("none", {"id": True}),
        ("pki:ed", {}),
        ("pki:rsa", {"hash": "sha512"}),
        ("", {}),
        ("x" * 99999, {}),
    ],
)
def test_what_is_no_key_for_this_is_none(key, options):
    assert WORDS.rsa_sign("m", key, options) is None
    assert WORDS.rsa_verify("m", "s", "pki:none") is None
    assert WORDS.ed25519_sign("m", "pki:rsa") is None


def test_a_word_that_is_no_hash_is_none():
    assert WORDS.rsa_sign("m", "pki:rsa", {"hash": "sha3"}) is None


def test_ed25519_verifies():
    signature = WORDS.ed25519_sign(
        "m", ED.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, PLAIN)
    )
    assert WORDS.ed25519_verify("m", signature, ED_PUBLIC) is True
    assert WORDS.ed25519_verify("n", signature, ED_PUBLIC) is False
    assert WORDS.ed25519_verify("m", "short", ED_PUBLIC) is False
    assert WORDS.ed25519_verify("m", signature, ED_PUBLIC[:31]) is None


def test_a_key_is_read_once():
    text = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(PEM, PKCS8, PLAIN)
    WORDS.rsa_sign("m", text)
    started = time.process_time()
    for _ in range(5):
        WORDS.rsa_sign("m", text)
    assert time.process_time() - started < 0.1  # CPU: reading the key takes 0.04 s each time


def test_signatures_with_a_secret_key_may_be_shown():
    secret = Secret(RSA.private_bytes(PEM, PKCS8, PLAIN).decode())
    assert type(WORDS.rsa_sign("m", secret)) is str
    assert type(WORDS.hmac_sha1(secret, "m")) is str
    assert type(WORDS.aes_decrypt(WORDS.aes_encrypt("m", "k" * 16, "ecb"), Secret("k" * 16), "ecb")) is Secret


@pytest.mark.parametrize("mode", ["ecb", "cbc"])
@pytest.mark.parametrize("size", [16, 24, 32])
@given(message=st.binary(max_size=40))
@settings(max_examples=10, deadline=None)
def test_decrypting_undoes_encrypting(mode, size, message):
    options = {"iv": "i" * 16} if mode == "cbc" else {}
    encrypted = WORDS.aes_encrypt(message, "k" * size, mode, options)
    assert WORDS.aes_decrypt(encrypted, "k" * size, mode, options) == message.decode("latin-1")


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (("m", "k" * 15, "ecb"), None),
        (("m", "k" * 16, "gcm"), None),
        (("m", "k" * 16, "cbc"), None),
        (("m" * 15, "k" * 16, "ecb", {"padding": False}), None),
        (("", "k" * 16, "ecb", {"padding": False}), ""),
    ],
)
def test_what_does_not_fit_is_not_encrypted(arguments, result):
    assert WORDS.aes_encrypt(*arguments) == result


def test_aes_is_that_of_fips_197():
    key, plain = bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")
    encrypted = WORDS.aes_encrypt(plain, key, "ecb", {"padding": False})
    assert encrypted.encode("latin-1").hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


@pytest.mark.parametrize(
    ("password", "hashed"),
    [
        (
            "Hello world!",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        ("secret", "$1$salt$ez2vlPGdaLYkJam5pWs/Y1"),
    ],
)
def test_a_password_is_checked_against_its_hash(password, hashed):  # the hashes are those of `openssl passwd`
    if WORDS.crypt("x", "$1$salt$") is None:
        pytest.skip("this system has no libcrypt.so")
    assert WORDS.crypt(password, hashed) == hashed
    assert WORDS.crypt(password + "!", hashed) != hashed


@pytest.mark.parametrize(
    "salt",
    [
        "$6$rounds=999999999$x$",
        "$2b$31$" + "a" * 22,
        "$y$jFT$salt",
        "$7$CU..../....",
        "",
        "*0",
        "\xff\xff",
        "a\0b",
        "$9$x$",
    ],
)
def test_a_hash_that_costs_too_much_or_is_none_is_refused_at_once(salt):
    started = time.process_time()
    assert WORDS.crypt("secret", salt) is None
    assert time.process_time() - started < 0.5  # CPU


def certificate():
    name = x509.Name([
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.exämple.net"),
        x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "a"),
        x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "b"),
    ])  # fmt: skip
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("mx.example.net"), x509.DNSName("mail.example.net")])
    return (
        x509.CertificateBuilder(name, name, PUBLIC, 0x5D8BCA, start, start + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(RSA, hashes.SHA256())
    )


def test_what_a_certificate_says():
    made = certificate()
    members, run = native_class(X509), Standing()
    for encoding in PEM, DER:
        one = members.statics["String"].call(run, made.public_bytes(encoding).decode("latin-1"))
        said = {name: member.call(run, one) for name, member in members.methods.items() if name != "verify"}
        assert said["subject"] == {"CN": "mx.ex\xc3\xa4mple.net", "OU": {0: "a", 1: "b"}} == said["issuer"]
        assert said["subject_alt_name"] == {"DNS": {0: "mx.example.net", 1: "mail.example.net"}}
        assert (said["version"], said["serial_number"]) == (2, "5d8bca")
        assert (said["not_valid_before"], said["not_valid_after"]) == (1767225600, 1767312000)
        assert said["public_key"].encode("latin-1") == PUBLIC.public_bytes(
            DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert said["export"] == made.public_bytes(PEM).decode()


@pytest.mark.parametrize("detached", [True, False])
def test_an_s_mime_signature_is_one_to_openssl(tmp_path, detached):
    made = certificate().public_bytes(PEM) + RSA.private_bytes(PEM, PKCS8, PLAIN)
    signature = WORDS.pkcs7_sign("message\n", made, {"detached": detached})
    (tmp_path / "signature").write_bytes(signature.encode("latin-1"))
    (tmp_path / "message").write_bytes(b"message\n")
    content = ["-content", tmp_path / "message"] if detached else []
    command = [
        "openssl",
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        tmp_path / "signature",
        "-noverify",
        *content,
    ]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=20)  # noqa: S603  # our own words
    except FileNotFoundError:
        pytest.skip("this system has no openssl command")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"message\n"


def test_what_cannot_sign_is_none():
    assert WORDS.pkcs7_sign("m", certificate().public_bytes(PEM)) is None
    assert WORDS.pkcs7_sign("m", RSA.private_bytes(PEM, PKCS8, PLAIN)) is None
    assert WORDS.pkcs7_sign("m", ED.private_bytes(PEM, PKCS8, PLAIN) + certificate().public_bytes(PEM)) is None
    assert WORDS.pkcs7_sign("m", "pki:rsa", {"id": True}) is None
