"""OpenSSL's command line: keys in both directions, and our signatures over bytes that we say were signed."""

import base64
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flowengine.mail.canonical import Canonicalization, body_hash, canonical_fields, select
from flowengine.mail.dkim import parse_record, parse_signature
from flowengine.mail.headers import Field
from flowengine.mail.keys import PrivateKey
from flowengine.mail.message import Message
from tests.interop.checks import Peer, expect, succeeds
from tests.interop.dkim_keys import PAIRS, RSA, ed25519_key, rsa_key, signed_by_us
from tests.interop.messages import MESSAGES
from tests.interop.world import World

PEER = Peer("OpenSSL", programs=("openssl",), packages=("openssl",))

_DIGEST = b"0123456789abcdef0123456789abcdef"
_MADE = {
    "RSA-2048 as PKCS#1": ("genrsa", "-traditional", "-out", "{file}", "2048"),
    "RSA-2048 as PKCS#8": ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "{file}"),
    "RSA-4096 as PKCS#8": ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096", "-out", "{file}"),
    "Ed25519 as PKCS#8": ("genpkey", "-algorithm", "ED25519", "-out", "{file}"),
}


@PEER.check("its key file, {0}, signs here and verifies there", [(name,) for name in _MADE])
def its_keys(world: World, name: str) -> None:
    file = world.file("made.pem")
    succeeds("openssl", *(word.format(file=file) for word in _MADE[name]))
    key = PrivateKey.parse(file.read_bytes())
    public = succeeds("openssl", "pkey", "-in", file, "-pubout", "-outform", "DER").output
    published = parse_record(key.record().encode()).key
    expect(published is not None and published == key.public, "the record that we write holds another key")
    expect(_spki(key) == public, "OpenSSL and we derive different public keys")
    _verifies_there(world, key, key.sign(_DIGEST), _DIGEST)


@PEER.check("our {0} key file is read by it", [("RSA",), ("Ed25519",)])
def our_keys(world: World, name: str) -> None:
    key = rsa_key() if name == "RSA" else ed25519_key()
    file = world.file("ours.pem", key.pem())
    expect(succeeds("openssl", "pkey", "-in", file, "-check", "-noout").text, "no answer")
    public = succeeds("openssl", "pkey", "-in", file, "-pubout", "-outform", "DER").output
    expect(public == _spki(key), "OpenSSL reads another key")


@PEER.check("rsa-sha256 {0}/{1}: it verifies the octets of b= over our canonical header", PAIRS)
def signature_bytes(world: World, head: Canonicalization, body: Canonicalization) -> None:
    for name, plain in MESSAGES.items():
        message = Message(signed_by_us(plain, RSA, head, body))
        own = message.fields.fields[0]
        signature = parse_signature(own)
        unsigned = Field(own.key, own.raw[: own.raw.index(b"b=", own.raw.index(b"bh=") + 3) + 2])
        signed = [*select(message.fields.fields[1:], signature.headers), unsigned]
        text = world.file("header.bin", b"\r\n".join(canonical_fields(signed, head)))
        public = _public_file(world, rsa_key())
        b = world.file("signature.bin", signature.signature)
        said = succeeds("openssl", "dgst", "-sha256", "-verify", public, "-signature", b, text)
        expect(b"Verified OK" in said.output, f"{name}: {said.text}")
        digest, _ = body_hash(Message(plain).body, body)
        expect(digest == signature.body_hash, f"{name}: bh= is not the digest of the canonical body")


@PEER.check("its digest of a canonical body is our bh=")
def body_digest(world: World) -> None:
    """A body that is its own canonical form, so that nothing of ours prepares it."""
    body = b"one line\r\nand another\r\n"
    theirs = succeeds("openssl", "dgst", "-sha256", "-binary", world.file("body.bin", body)).output
    for form in ("simple", "relaxed"):
        signed = signed_by_us(b"From: a@example.net\r\n\r\n" + body + b"\r\n\r\n", RSA, form, form)
        expect(base64.b64encode(theirs) in signed, f"{form}: bh= is another digest")
    expect(theirs == hashlib.sha256(body).digest(), "Python's SHA-256 is another")


def _verifies_there(world: World, key: PrivateKey, signature: bytes, digest: bytes) -> None:
    public = _public_file(world, key)
    files = ("-sigfile", world.file("signature.bin", signature), "-in", world.file("digest.bin", digest))
    kind = ("-rawin",) if key.kind == "ed25519" else ("-pkeyopt", "digest:sha256")
    succeeds("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, *files, *kind)


def _public_file(world: World, key: PrivateKey) -> Path:
    return world.file("public.pem", key.public.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _spki(key: PrivateKey) -> bytes:
    return key.public.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
