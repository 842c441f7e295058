"""Keys that sign and verify: RSA and Ed25519, in every form in which people keep them.

A private key shows its type, size and fingerprint and never itself; errors about keys quote nothing of their text.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Literal, cast

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils

from flowengine.mail.canonical import Hash
from flowengine.mail.errors import MailError

KeyKind = Literal["rsa", "ed25519"]

SMALLEST_RSA = 1024  # RFC 8301 §3.2: signers use at least 1024 bits, and should use 2048
LARGEST_RSA = 8192  # beyond this one operation takes so long that a record in DNS becomes a weapon
LARGEST_EXPONENT = 64  # bits; everybody uses 17 bits
_LONGEST_TEXT = 65536

_PADDING = padding.PKCS1v15()
_PREHASHED: dict[Hash, utils.Prehashed] = {
    "sha256": utils.Prehashed(hashes.SHA256()),
    "sha1": utils.Prehashed(hashes.SHA1()),  # noqa: S303 — rsa-sha1 is verified in order to be reported (RFC 8301)
}


@dataclass(frozen=True, slots=True, eq=False)
class PublicKey:
    """A key that verifies. bits is the size of the modulus, 256 for Ed25519. Equal by what is published."""

    kind: KeyKind
    bits: int
    key: rsa.RSAPublicKey | ed25519.Ed25519PublicKey = field(repr=False)
    _hash: int = field(default=0, init=False, repr=False)

    @classmethod
    def parse(cls, kind: str, data: bytes) -> "PublicKey":
        """The key of a DKIM record: for "rsa" SubjectPublicKeyInfo or RSAPublicKey in DER (RFC 6376 §3.6.1 and its
        erratum 3017), for "ed25519" 32 octets (RFC 8463 §4.2). Raises MailError."""
        if kind == "ed25519":
            if len(data) != 32:
                raise MailError(f"an Ed25519 public key has 32 octets, not {len(data)}")
            return cls("ed25519", 256, ed25519.Ed25519PublicKey.from_public_bytes(data))
        if kind != "rsa":
            raise MailError(f"key type {kind[:20]!r} is not known")
        try:
            key = serialization.load_der_public_key(data)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise MailError("the public key cannot be read") from error
        if not isinstance(key, rsa.RSAPublicKey):
            raise MailError("the record says rsa and holds another type of key")
        if key.key_size > LARGEST_RSA:
            raise MailError(f"an RSA key of {key.key_size} bits is too long")
        if key.public_numbers().e.bit_length() > LARGEST_EXPONENT:
            raise MailError("the RSA key has an unusual exponent, which would make verification slow")
        return cls("rsa", key.key_size, key)

    def verifies(self, signature: bytes, digest: bytes, algorithm: Hash = "sha256") -> bool:
        """Whether the signature is this key's over the digest (Ed25519 signs the digest itself, RFC 8463 §3)."""
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, digest, _PADDING, _PREHASHED[algorithm])
            else:
                self.key.verify(signature, digest)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm, InternalError):  # OpenSSL on a senseless key
            return False
        return True

    def published(self) -> bytes:
        """The octets that a DKIM record holds in base64."""
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_bytes(*(raw if self.kind == "ed25519" else der))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PublicKey):
            return NotImplemented
        return self.key is other.key or self.published() == other.published()

    def __hash__(self) -> int:
        if not self._hash:
            object.__setattr__(self, "_hash", hash(self.published()))
        return self._hash

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the published octets, in base64 as OpenSSH shows it."""
        digest = hashlib.sha256(self.published()).digest()
        return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A key that signs. Two are equal when they have the same public key."""

    public: PublicKey
    _key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = field(compare=False)

    @classmethod
    def parse(cls, text: str | bytes, *, validated: bool = False) -> "PrivateKey":
        """A key from PEM (PKCS#1 or PKCS#8), base64 of DER, or an Ed25519 seed of 32 octets, raw or in base64.

        validated: the caller has had this very text accepted before; skips the test of an RSA key's primes,
        which takes tens of milliseconds. Raises MailError, which never quotes the text.
        """
        data = text.encode("utf-8", "replace") if isinstance(text, str) else bytes(text)
        if len(data) > _LONGEST_TEXT:
            raise MailError("the private key is longer than any private key")
        return cls._of(_loaded(data, validated))

    @classmethod
    def generate(cls, kind: KeyKind = "rsa", bits: int = 2048) -> "PrivateKey":
        """A new key. Raises MailError for a size that is not 2048, 3072 or 4096."""
        if kind == "ed25519":
            return cls._of(ed25519.Ed25519PrivateKey.generate())
        if kind != "rsa" or bits not in (2048, 3072, 4096):
            raise MailError("a new key is ed25519, or rsa with 2048, 3072 or 4096 bits")
        return cls._of(rsa.generate_private_key(public_exponent=65537, key_size=bits))

    @classmethod
    def _of(cls, key: object) -> "PrivateKey":
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(PublicKey("ed25519", 256, key.public_key()), key)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise MailError("the private key is neither RSA nor Ed25519")
        if not SMALLEST_RSA <= key.key_size <= LARGEST_RSA:
            raise MailError(
                f"the RSA key has {key.key_size} bits; RFC 8301 asks for at least {SMALLEST_RSA} (better 2048), "
                f"and more than {LARGEST_RSA} are not supported"
            )
        return cls(PublicKey("rsa", key.key_size, key.public_key()), key)

    @property
    def kind(self) -> KeyKind:
        """The type of the key."""
        return self.public.kind

    @property
    def bits(self) -> int:
        """The size of the modulus; 256 for Ed25519."""
        return self.public.bits

    @property
    def fingerprint(self) -> str:
        """The public key's."""
        return self.public.fingerprint

    def sign(self, digest: bytes, algorithm: Hash = "sha256") -> bytes:
        """The signature over a digest: RSASSA-PKCS1-v1_5, or Ed25519 of the digest itself (RFC 8463 §3)."""
        if self.public.kind == "rsa":  # isinstance takes as long as a twentieth of the signature
            return cast("rsa.RSAPrivateKey", self._key).sign(digest, _PADDING, _PREHASHED[algorithm])
        return cast("ed25519.Ed25519PrivateKey", self._key).sign(digest)

    def record(self) -> str:
        """The text of the DNS record that publishes the key (RFC 6376 §3.6.1). A TXT string holds 255 octets, so
        whoever writes a zone file cuts it."""
        return f"v=DKIM1; k={self.kind}; p={base64.b64encode(self.public.published()).decode('ascii')}"

    def pem(self) -> bytes:
        """The key as unencrypted PKCS#8, for the place where keys are kept and for no other."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return f"PrivateKey({self.kind} {self.bits} {self.fingerprint})"


def _loaded(data: bytes, validated: bool) -> object:
    """The key as `cryptography` has it. Raises MailError."""
    try:
        if b"-----BEGIN" in data:
            if b"PRIVATE KEY" not in data:
                raise MailError("the PEM text holds no private key")
            text = data.replace(b"\\n", b"\n").strip()  # "\n" is what environment variables make of line ends
            return serialization.load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=validated)
        octets = data if len(data) == 32 else base64.b64decode(b"".join(data.split()), validate=True)
        if len(octets) in (32, 64):  # 64: the seed, then the public key, as libsodium keeps it
            return ed25519.Ed25519PrivateKey.from_private_bytes(octets[:32])
        return serialization.load_der_private_key(octets, None, unsafe_skip_rsa_key_validation=validated)
    except TypeError:
        raise MailError("the private key is encrypted") from None
    except MailError:
        raise
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise MailError("the private key cannot be read: neither PEM, nor base64 of DER, nor an Ed25519 seed") from None
