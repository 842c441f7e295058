"""CMS: what `cms_sign` makes `cms_verify` and OpenSSL take, and the other way round; what is wrong is refused."""

import datetime
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import NOW, Standing, Words

from flowengine.builtins import certificates, cms, crypto
from flowengine.builtins.cms_reader import Unreadable, read, verify

PEM, PKCS8, PLAIN = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
START = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
DAY = datetime.timedelta(days=1)


@cache
def issued(name: str, by: str | None = None, kind: str = "rsa", ends: int = 30, ca: bool = False) -> tuple[Any, Any]:
    """A certificate and its key, issued by another or by itself."""
    key: Any = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signing = (subject, key) if by is None else (issued(by, ca=True)[0].subject, issued(by, ca=True)[1])
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(START - DAY * 60).not_valid_after(START + DAY * ends)
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(signing, hashes.SHA256()), key


def pem(certificate: Any, key: Any = None) -> bytes:
    text: bytes = certificate.public_bytes(PEM)
    return text + (key.private_bytes(PEM, PKCS8, PLAIN) if key is not None else b"")


def words() -> Words:
    return Words(cms, crypto, certificates, run=Standing())


CA = issued("ca", ca=True)


@pytest.mark.parametrize("kind", ["rsa", "ec"])
@pytest.mark.parametrize("detached", [True, False])
def test_what_is_signed_verifies(kind, detached):
    own = issued(f"alice-{kind}", "ca", kind)
    made = words().cms_sign(b"message\n", pem(*own), {"detached": detached})
    assert made["result"] is True
    outside = b"message\n" if detached else None
    found = words().cms_verify(made["data"], outside, pem(CA[0]), {"detached": detached, "data": True})
    assert (found["result"], found["data"]) == (True, "message\n")
    assert words().cms_type(made["data"]) == "pkcs7-signedData"


@pytest.mark.parametrize(
    "change",
    [
        lambda data, content, trust: (data, b"another\n", trust),
        lambda data, content, trust: (data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], content, trust),
        lambda data, content, trust: (data, content, pem(issued("other", ca=True)[0])),
        lambda data, content, trust: (data[: len(data) // 2], content, trust),
        lambda data, content, trust: (b"", content, trust),
        lambda data, content, trust: (data, content, b"nonsense"),
    ],
)
def test_what_is_wrong_does_not_verify(change: Callable[..., Any]):
    made = words().cms_sign(b"message\n", pem(*issued("alice-rsa", "ca")), {})
    data, content, trust = change(made["data"].encode("latin-1"), b"message\n", pem(CA[0]))
    assert words().cms_verify(data, content, trust, {}) == {"result": False}


def test_a_signer_whose_certificate_is_over_or_who_may_not_issue_is_not_trusted():
    old = words().cms_sign(b"m", pem(*issued("old", "ca", ends=-1)), {})
    assert words().cms_verify(old["data"], b"m", pem(CA[0]), {}) == {"result": False}
    middle = issued("alice-rsa", "ca")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "below")])
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateBuilder(middle[0].subject, subject, key.public_key(), 7)
    builder = builder.not_valid_before(START - DAY).not_valid_after(START + DAY)
    forged = builder.sign(middle[1], hashes.SHA256())
    made = words().cms_sign(b"m", pem(forged, key) + pem(middle[0]), {})
    assert words().cms_verify(made["data"], b"m", pem(CA[0]), {}) == {"result": False}


def test_what_is_encrypted_is_for_its_readers_only():
    alice, bob = issued("alice-rsa", "ca"), issued("bob", "ca")
    made = words().cms_encrypt(b"secret", pem(alice[0]), {})
    assert words().cms_type(made["data"]) == "pkcs7-envelopedData"
    assert words().cms_decrypt(made["data"], pem(*alice), {}) == {"result": True, "data": "secret", "cms": "data"}
    assert words().cms_decrypt(made["data"], pem(*bob), {}) == {"result": False}
    assert words().cms_decrypt("nonsense", pem(*alice), {}) == {"result": False}
    assert words().cms_encrypt(b"secret", pem(issued("alice-ec", "ca", "ec")[0]), {}) == {"result": False}


def test_x509_knows_its_issuer():
    x509_of = certificates.X509.read
    run = Standing()
    alice = x509_of(pem(issued("alice-rsa", "ca")[0]))
    assert alice is not None
    assert alice.verify(run, x509_of(pem(CA[0]))) is True
    assert alice.verify(run, x509_of(pem(issued("other", ca=True)[0]))) is False


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_openssl_takes_ours_and_we_take_openssls(tmp_path: Path):
    own = issued("alice-rsa", "ca")
    for name, data in {"ca.pem": pem(CA[0]), "own.pem": pem(*own), "m.txt": b"message\n"}.items():
        (tmp_path / name).write_bytes(data)

    def openssl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["openssl", "cms", *arguments], cwd=tmp_path, capture_output=True, check=False)  # noqa: S603, S607

    made = words().cms_sign(b"message\n", pem(*own), {})
    (tmp_path / "ours.der").write_bytes(made["data"].encode("latin-1"))
    at = str(int(NOW))
    check = ["-verify", "-binary", "-inform", "DER", "-content", "m.txt", "-CAfile", "ca.pem", "-attime", at]
    assert openssl(*check, "-in", "ours.der", "-purpose", "any").returncode == 0
    for extra in ([], ["-stream"], ["-nodetach"], ["-nodetach", "-stream"], ["-keyid"]):
        sign = ["-sign", "-binary", "-in", "m.txt", "-signer", "own.pem", "-outform", "DER", "-out", "theirs.der"]
        done = openssl(*sign, *extra)
        if done.returncode:
            continue  # -keyid needs a certificate with such an extension
        theirs = (tmp_path / "theirs.der").read_bytes()
        inside = "-nodetach" in extra
        found = words().cms_verify(theirs, None if inside else b"message\n", pem(CA[0]), {"detached": not inside})
        assert found["result"] is True, extra


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 255))
def test_any_octets_are_read_or_refused(data, place, octet):
    for octets in (data, _broken(place, octet)):
        try:
            read(octets)
            verify(octets, b"m", [CA[0]], NOW)
        except Unreadable:
            continue


@cache
def _signed() -> bytes:
    return words().cms_sign(b"m", pem(*issued("alice-rsa", "ca")), {})["data"].encode("latin-1")


def _broken(place: int, octet: int) -> bytes:
    data = bytearray(_signed())
    data[place % len(data)] = octet
    return bytes(data)
