"""CMS (RFC 5652), the envelope of S/MIME: sign, verify, encrypt, decrypt.

Results are arrays: ["result" => true, "data" => octets, …], or ["result" => false]; what is secret is in no message.
"""

import re
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.serialization import pkcs7

from flowengine.builtins.certificates import X509, certificates
from flowengine.builtins.cms_reader import SIGNED, TYPES, Unreadable, content_type, verify
from flowengine.builtins.crypto import ECKey, RSAKey
from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.values import Array, Value, from_bytes, to_bytes

LARGEST = 1 << 20  # octets of PEM
Digest = Literal["sha1", "sha256", "sha384", "sha512"]
_DIGESTS: dict[str, pkcs7.PKCS7HashTypes] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
_KEY = re.compile(rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]*+-----END [A-Z ]{0,20}PRIVATE KEY-----")
SignKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def _failed() -> Array:
    return Array({"result": False})


def identity(given: Value) -> tuple[x509.Certificate, SignKey, list[x509.Certificate]] | None:
    """Certificate, key and chain of who signs or reads, from PEM with all, or an array of x509, privatekey, chain."""
    if isinstance(given, Array):
        chain = certificates(given.get("x509")) + certificates(given.get("chain"))
        key = _private(given.get("privatekey"))
    else:
        chain, key = certificates(given), _private(given)
    return None if key is None or not chain else (chain[0], key, chain[1:])


def _private(given: Value) -> SignKey | None:
    if isinstance(given, (RSAKey, ECKey)):
        return given.key
    if not isinstance(given, str) or len(given) > LARGEST:
        return None
    data = to_bytes(str(given))
    inside = _KEY.search(data)
    try:
        key = (
            serialization.load_pem_private_key(inside[0], None)
            if inside
            else serialization.load_der_private_key(data, None)
        )
    except _UNREADABLE:
        return None
    return key if isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)) else None


@builtin(reveals=True)
def cms_sign(
    run: Run, message: bytes, certificate: Value, *, id_: bool = False, detached: bool = True, digest: Digest = "sha256"
) -> Array:
    """Sign a message (CMS signed data).

    certificate: PEM with a certificate, its chain and the private key, or an array: x509, privatekey, chain.
    id: the certificate is the name of a key of the configuration. Those have no certificate, so it fails.
    detached: the message is not inside (default). digest: sha256, sha384 or sha512; nobody takes sha1 any more.

    Returns ["result" => true, "data" => octets in DER], or ["result" => false].

        cms_sign("message", "no certificate");  // ["result" => false]
    """
    run.budget.spend(2000 + (len(message) >> 8))
    who, made = None if id_ else identity(certificate), _DIGESTS.get(digest)
    if who is None or made is None:
        return _failed()
    options = [pkcs7.PKCS7Options.Binary, *([pkcs7.PKCS7Options.DetachedSignature] if detached else [])]
    try:
        builder = pkcs7.PKCS7SignatureBuilder().set_data(message).add_signer(who[0], who[1], made)
        for one in who[2]:
            builder = builder.add_certificate(one)
        data = builder.sign(serialization.Encoding.DER, options)
    except _UNREADABLE:
        return _failed()
    return Array({"result": True, "data": from_bytes(data)})


@builtin
def cms_verify(
    run: Run,
    message: bytes,
    content: bytes | None,
    certificate: Value,
    *,
    detached: bool = True,
    data: bool = False,
) -> Array:
    """Verify a signed message (CMS signed data): its signatures, and that the signers are trusted now.

    message: what `cms_sign` makes, in DER. content: the message that was signed, when it is not inside; else none.
    certificate: authorities to trust, or the signers themselves: PEM, X509, or an array of these.
    detached: take `content` (default). data: give the content back.

    Returns ["result" => true, "signers" => [["x509" => an X509], …]], with data also ["data" => octets]; or
    ["result" => false].

        cms_verify("no message", "content", "no certificate");  // ["result" => false]
    """
    run.budget.spend(2000 + (len(message) + len(content or b"") >> 7))
    try:
        found = verify(message, (content or b"") if detached else None, certificates(certificate), run.world.now())
    except Unreadable:
        found = None
    if found is None:
        return _failed()
    run.budget.grow(len(found.content))
    about = Array({"result": True, "signers": Array.of(Array({"x509": X509(one)}) for one in found.signers)})
    if data:
        about["data"] = from_bytes(found.content)
    return about


@builtin
def cms_encrypt(
    run: Run, message: bytes, certificate: Value, *, cipher: Literal["aes-128-cbc", "aes-256-cbc"] = "aes-256-cbc"
) -> Array:
    """Encrypt a message (CMS enveloped data) for everybody whose RSA certificate is given.

    certificate: PEM, X509, or an array of these. cipher: aes-256-cbc (default) or aes-128-cbc.

    Returns ["result" => true, "data" => octets in DER], or ["result" => false].

        cms_encrypt("message", "no certificate");  // ["result" => false]
    """
    run.budget.spend(2000 + (len(message) >> 6))
    readers = certificates(certificate)
    if not readers:
        return _failed()
    try:
        builder = pkcs7.PKCS7EnvelopeBuilder().set_data(message)
        builder = builder.set_content_encryption_algorithm(
            algorithms.AES128 if cipher == "aes-128-cbc" else algorithms.AES256
        )
        for one in readers:
            builder = builder.add_recipient(one)
        data = builder.encrypt(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
    except _UNREADABLE:
        return _failed()
    return Array({"result": True, "data": from_bytes(data)})


@builtin
def cms_decrypt(run: Run, message: bytes, certificate: Value, *, id_: bool = False) -> Array:
    """Decrypt a message (CMS enveloped data).

    certificate: PEM with a certificate and its private key, or an array: x509, privatekey.
    id: the certificate is the name of a key of the configuration. Those have no certificate, so it fails.

    Returns ["result" => true, "data" => octets, "cms" => "signed" when that is signed data, else "data"], or
    ["result" => false].

        cms_decrypt("no message", "no certificate");  // ["result" => false]
    """
    run.budget.spend(4000 + (len(message) >> 6))
    who = None if id_ else identity(certificate)
    if who is None or not isinstance(who[1], rsa.RSAPrivateKey):
        return _failed()
    try:
        data = pkcs7.pkcs7_decrypt_der(message, who[0], who[1], [])
    except _UNREADABLE:
        return _failed()
    run.budget.grow(len(data))
    kind = "signed" if content_type(data) == SIGNED else "data"
    return Array({"result": True, "data": from_bytes(data), "cms": kind})


@builtin
def cms_type(message: bytes) -> str | None:
    """What kind of CMS some octets are: pkcs7-signedData, pkcs7-envelopedData or pkcs7-data; none for others.

    cms_type("no message");  // none
    """
    kind = content_type(message)
    return TYPES.get(kind or "")
