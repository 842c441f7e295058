"""Encryption and signatures for flows. A key of the configuration (`pki:NAME`) signs, verifies, and never shows itself.

What cannot be done with the key, the signature or the data at hand is none; nothing that is secret is in a message.
"""

import hashlib
import re
from typing import ClassVar, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import ciphers, hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.serialization import pkcs7

from flowengine.builtins.run import Run, worked
from flowengine.language.functions import builtin
from flowengine.language.values import Value, to_bytes
from flowengine.mail.errors import MailError
from flowengine.mail.keys import LARGEST_RSA, PrivateKey

Hash = Literal["md5", "sha1", "sha256", "sha512"]
PrivateForm = Literal["RSAPrivateKey", "PrivateKeyInfo"]
PublicForm = Literal["RSAPublicKey", "SubjectPublicKeyInfo"]
MAX_KEY = 65536  # bytes of a key's text
KEPT_KEYS = 256
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "md5": hashes.MD5(),  # noqa: S303  # scripts verify what others signed long ago
    "sha1": hashes.SHA1(),  # noqa: S303  # as above
    "sha256": hashes.SHA256(),
    "sha512": hashes.SHA512(),
}
_PRIVATE_PEM = re.compile(rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]*+-----END [A-Z ]{0,20}PRIVATE KEY-----")
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


class RSAKey:
    """A private RSA key as a flow's value, from `rsa_privatekey`."""

    class_name: ClassVar[str] = "RSAPrivateKey"

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.key = key

    def pem(self) -> str:
        """The key as PEM (PKCS #8), for who signs by text; a secret."""
        return _pem(self.key)


class Ed25519Key:
    """A private Ed25519 key as a flow's value, from `ed25519_privatekey`."""

    class_name: ClassVar[str] = "ED25519PrivateKey"

    def __init__(self, key: ed25519.Ed25519PrivateKey) -> None:
        self.key = key

    def pem(self) -> str:
        """The key as PEM (PKCS #8), for who signs by text; a secret."""
        return _pem(self.key)


class ECKey:
    """A private key on an elliptic curve as a flow's value, from `ec_privatekey`."""

    class_name: ClassVar[str] = "ECPrivateKey"

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.key = key


def _pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode("ascii")


_read: dict[bytes, object] = {}


def _private(data: bytes) -> object:
    """A private key from PEM or DER, kept by its digest: testing RSA primes takes tens of milliseconds."""
    if len(data) > MAX_KEY:
        return None
    mark = hashlib.sha256(data).digest()
    if mark not in _read:
        if len(_read) >= KEPT_KEYS:
            _read.pop(next(iter(_read)))
        load = serialization.load_pem_private_key if b"-----BEGIN" in data else serialization.load_der_private_key
        try:
            key: object = load(data, None)
        except _UNREADABLE:
            key = None
        _read[mark] = key if not isinstance(key, rsa.RSAPrivateKey) or key.key_size <= LARGEST_RSA else None
    return _read[mark]


def _configured(run: Run, key: Value, by_id: bool) -> PrivateKey | None:
    return run.world.key(str(key).removeprefix("pki:")) if by_id or str(key).startswith("pki:") else None


@builtin
def rsa_privatekey(privatekey: bytes) -> RSAKey | None:
    """A private RSA key from PEM, to be used many times.

    Returns none for what is no such key.

        rsa_privatekey("no key");  // none
    """
    key = _private(privatekey)
    return RSAKey(key) if isinstance(key, rsa.RSAPrivateKey) else None


@builtin
def is_rsa_privatekey(privatekey: Value) -> bool:
    """Whether a value is a key that `rsa_privatekey` gave.

    is_rsa_privatekey("no key");  // false
    """
    return isinstance(privatekey, RSAKey)


@builtin
def ec_privatekey(privatekey: bytes) -> ECKey | None:
    """A private key on an elliptic curve from PEM, for `cms_sign` and `pkcs7_sign`.

    Returns none for what is no such key.

        ec_privatekey("no key");  // none
    """
    key = _private(privatekey)
    return ECKey(key) if isinstance(key, ec.EllipticCurvePrivateKey) else None


@builtin
def is_ec_privatekey(privatekey: Value) -> bool:
    """Whether a value is a key that `ec_privatekey` gave.

    is_ec_privatekey("no key");  // false
    """
    return isinstance(privatekey, ECKey)


@builtin
def ed25519_privatekey(privatekey: bytes) -> Ed25519Key | None:
    """A private Ed25519 key from PEM, to be used many times.

    Returns none for what is no such key.

        ed25519_privatekey("no key");  // none
    """
    key = _private(privatekey)
    return Ed25519Key(key) if isinstance(key, ed25519.Ed25519PrivateKey) else None


@builtin
def is_ed25519_privatekey(privatekey: Value) -> bool:
    """Whether a value is a key that `ed25519_privatekey` gave.

    is_ed25519_privatekey("no key");  // false
    """
    return isinstance(privatekey, Ed25519Key)


@builtin(reveals=True)
def rsa_sign(
    run: Run,
    message: bytes,
    privatekey: str | RSAKey,
    *,
    hash_: Hash = "sha256",
    format_: PrivateForm = "RSAPrivateKey",
    pem: bool = False,
    id_: bool = False,
) -> bytes | None:
    """The RSA signature (PKCS #1 v1.5) of a message's digest, as raw bytes.

    privatekey: DER, PEM, a key from `rsa_privatekey`, or pki:NAME for one of the configuration.
    hash: md5, sha1, sha256 or sha512; for a key of the configuration sha1 or sha256.
    format: RSAPrivateKey (PKCS #1) or PrivateKeyInfo (PKCS #8); both are recognized. pem: the key is PEM; so is that.
    id: the key is pki:NAME.

    Returns none when the key cannot sign this.

        rsa_sign("message", "no key");  // none
        length(rsa_sign("message", "pki:example"));  // 256
    """
    worked(run, len(message))
    run.budget.spend(2000)  # about a millisecond
    if isinstance(privatekey, RSAKey):
        return privatekey.key.sign(message, PKCS1v15(), _HASHES[hash_])
    configured = _configured(run, privatekey, id_)
    if configured is not None:
        if configured.kind != "rsa" or hash_ not in ("sha1", "sha256"):
            return None
        digest = hashlib.new(hash_, message, usedforsecurity=False).digest()
        return configured.sign(digest, "sha1" if hash_ == "sha1" else "sha256")
    key = None if id_ else _private(to_bytes(privatekey))
    if not isinstance(key, rsa.RSAPrivateKey):
        return None
    try:
        return key.sign(message, PKCS1v15(), _HASHES[hash_])
    except _UNREADABLE:
        return None


@builtin(reveals=True)
def rsa_verify(
    run: Run,
    message: bytes,
    signature: bytes,
    publickey: str,
    *,
    hash_: Hash = "sha256",
    format_: PublicForm = "RSAPublicKey",
    pem: bool = False,
    id_: bool = False,
) -> bool | None:
    """Whether an RSA signature (PKCS #1 v1.5) is a key's over a message.

    signature: raw bytes. publickey: DER or PEM, or pki:NAME for the public half of a key of the configuration.
    hash: md5, sha1, sha256 or sha512. format: RSAPublicKey or SubjectPublicKeyInfo; both are recognized.
    pem: the key is PEM; that too. id: the key is pki:NAME.

    Returns none when the key cannot be read.

        rsa_verify("message", rsa_sign("message", "pki:example"), "pki:example");  // true
        rsa_verify("other", rsa_sign("message", "pki:example"), "pki:example");  // false
        rsa_verify("message", "", "no key");  // none
    """
    worked(run, len(message))
    run.budget.spend(500)
    configured = _configured(run, publickey, id_)
    key = configured.public.key if configured is not None else None if id_ else _public(to_bytes(publickey))
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size > LARGEST_RSA:
        return None
    try:
        key.verify(signature, message, PKCS1v15(), _HASHES[hash_])
    except InvalidSignature:
        return False
    except _UNREADABLE:
        return None
    return True


def _public(data: bytes) -> object:
    load = serialization.load_pem_public_key if b"-----BEGIN" in data else serialization.load_der_public_key
    try:
        return load(data) if len(data) <= MAX_KEY else None
    except _UNREADABLE:
        return None


@builtin(reveals=True)
def ed25519_sign(run: Run, message: bytes, privatekey: str | Ed25519Key) -> bytes | None:
    """The Ed25519 signature (RFC 8032) of a message, 64 raw bytes.

    privatekey: 32 raw bytes, PEM, a key from `ed25519_privatekey`, or pki:NAME for one of the configuration.

    Returns none when the key is none.

        length(ed25519_sign("message", str_repeat("k", 32)));  // 64
        ed25519_sign("message", "no key");  // none
    """
    worked(run, len(message) * 4)
    if isinstance(privatekey, Ed25519Key):
        return privatekey.key.sign(message)
    key = _configured(run, privatekey, by_id=False)
    if key is None:
        try:
            key = PrivateKey.parse(to_bytes(privatekey))
        except MailError:
            return None
    return key.sign(message) if key.kind == "ed25519" else None


@builtin(reveals=True)
def ed25519_verify(run: Run, message: bytes, signature: bytes, publickey: bytes) -> bool | None:
    """Whether an Ed25519 signature (RFC 8032) is a key's over a message.

    signature: 64 raw bytes. publickey: 32 raw bytes.

    Returns none when the key is none.

        ed25519_verify("message", str_repeat("s", 64), str_repeat("k", 32));  // false
        ed25519_verify("message", "", "no key");  // none
    """
    worked(run, len(message) * 4)
    if len(publickey) != 32:
        return None
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(publickey).verify(signature, message)
    except InvalidSignature:
        return False
    except _UNREADABLE:
        return None
    return True


@builtin(reveals=True)
def pkcs7_sign(
    run: Run, message: bytes, certificate: bytes, *, id_: bool = False, detached: bool = True
) -> bytes | None:
    """A PKCS #7 signature (S/MIME, RFC 5652) of a message, in DER.

    certificate: PEM with the certificate first, then others of its chain, and the private RSA or EC key.
    detached: leave the message itself out (default). id: not supported: keys of the configuration have no certificate.

    Returns none when certificate or key are missing or do not fit.

        pkcs7_sign("message", "no certificate");  // none
    """
    worked(run, len(message))
    run.budget.spend(2000)
    if id_ or len(certificate) > MAX_KEY * 4:
        return None
    key = _private(b"".join(_PRIVATE_PEM.findall(certificate)[:1]))
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        return None
    options = [pkcs7.PKCS7Options.Binary, *([pkcs7.PKCS7Options.DetachedSignature] if detached else [])]
    try:
        own, *chain = x509.load_pem_x509_certificates(certificate)
        signature = pkcs7.PKCS7SignatureBuilder().set_data(message).add_signer(own, key, hashes.SHA256())
        for one in chain:
            signature = signature.add_certificate(one)
        return signature.sign(serialization.Encoding.DER, options)
    except _UNREADABLE:
        return None


@builtin(reveals=True)
def aes_encrypt(
    run: Run, message: bytes, key: bytes, mode: Literal["ecb", "cbc"], *, iv: bytes = b"", padding_: bool = True
) -> bytes | None:
    """A message encrypted with AES.

    key: 16, 24 or 32 raw bytes. mode: ecb or cbc. iv: 16 bytes for cbc. padding: PKCS #7 (default), else none.

    Returns none when a size does not fit.

        base64_encode(aes_encrypt("flow", str_repeat("k", 16), "ecb"));  // "QOTK7vI3H8RwWpqlLXu/2Q=="
        aes_encrypt("flow", "short", "ecb");  // none
    """
    run.budget.grow(len(message) + 16)
    cipher = _aes(key, mode, iv)
    if cipher is None:
        return None
    if padding_:
        padder = padding.PKCS7(128).padder()
        message = padder.update(message) + padder.finalize()
    encryptor = cipher.encryptor()
    try:
        return encryptor.update(message) + encryptor.finalize()
    except ValueError:
        return None


@builtin
def aes_decrypt(
    run: Run, message: bytes, key: bytes, mode: Literal["ecb", "cbc"], *, iv: bytes = b"", padding_: bool = True
) -> bytes | None:
    """What was encrypted with AES. Key, mode, iv and padding are those of `aes_encrypt`.

    Returns none when a size or the padding does not fit.

        aes_decrypt(aes_encrypt("flow", str_repeat("k", 16), "ecb"), str_repeat("k", 16), "ecb");  // "flow"
        aes_decrypt("flow", str_repeat("k", 16), "ecb");  // none
    """
    run.budget.grow(len(message))
    cipher = _aes(key, mode, iv)
    if cipher is None:
        return None
    decryptor = cipher.decryptor()
    try:
        plain = decryptor.update(message) + decryptor.finalize()
        if not padding_:
            return plain
        unpadder = padding.PKCS7(128).unpadder()
        return unpadder.update(plain) + unpadder.finalize()
    except ValueError:
        return None


def _aes(key: bytes, mode: str, iv: bytes) -> "ciphers.Cipher[modes.ECB] | ciphers.Cipher[modes.CBC] | None":
    if len(key) not in (16, 24, 32):
        return None
    if mode == "ecb":
        return ciphers.Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305  # the script says so
    return ciphers.Cipher(algorithms.AES(key), modes.CBC(iv)) if len(iv) == 16 else None
