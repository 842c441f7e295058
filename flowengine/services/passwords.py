"""Password hashes: scrypt (RFC 7914) in the PHC string form `$scrypt$ln=…,r=…,p=…$salt$hash`. CPU only; blocks.

A stored hash names its own cost, within bounds, so that a file can neither weaken nor stall the server in silence.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from dataclasses import dataclass

from flowengine.services.saslprep import prepared_or

LONGEST = 1024
"""Octets of a password; a longer one is never right."""


@dataclass(frozen=True, slots=True)
class Hash:
    """A stored hash. cost: log2 of N. blocks, lanes: r and p of RFC 7914 §2. Memory is 128 · 2^cost · blocks octets."""

    cost: int
    blocks: int
    lanes: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> "Hash":
        """The hash in this text. Raises ValueError, which does not quote it."""
        found = re.fullmatch(
            r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([A-Za-z0-9+/]{11,128})\$([A-Za-z0-9+/]{22,128})",
            text,
        )
        if found is None:
            raise ValueError("not of the form $scrypt$ln=…,r=…,p=…$salt$hash")
        cost, blocks, lanes = int(found[1]), int(found[2]), int(found[3])
        if not (10 <= cost <= 20 and 1 <= blocks <= 32 and 1 <= lanes <= 16 and blocks << cost <= 8 << 18):
            raise ValueError("a cost outside of ln=10 to 20, r=1 to 32, p=1 to 16 and 256 MiB")
        return cls(cost, blocks, lanes, _unbase64(found[4]), _unbase64(found[5]))

    def __str__(self) -> str:
        numbers = f"ln={self.cost},r={self.blocks},p={self.lanes}"
        return f"$scrypt${numbers}${_base64(self.salt)}${_base64(self.digest)}"

    def verifies(self, password: str) -> bool:
        """Whether this is the password; takes the same time for every answer."""
        octets = prepared(password)
        digest = _scrypt(octets[:LONGEST], self)
        return hmac.compare_digest(digest, self.digest) and 0 < len(octets) <= LONGEST


STRENGTH = Hash(14, 8, 5, b"", bytes(32))
"""What new hashes cost: 16 MiB and some 150 ms, one of OWASP's equal choices for scrypt."""


def hash_password(password: str, like: Hash = STRENGTH) -> str:
    """A new hash with a salt of its own. Raises ValueError for a password that is empty or too long."""
    octets = prepared(password)
    if not 0 < len(octets) <= LONGEST:
        raise ValueError(f"a password has 1 to {LONGEST} octets")
    if b"\0" in octets:
        raise ValueError("a password holds no NUL: AUTH PLAIN could not carry it (RFC 4616 §2)")
    fresh = Hash(like.cost, like.blocks, like.lanes, os.urandom(16), bytes(32))
    return str(Hash(like.cost, like.blocks, like.lanes, fresh.salt, _scrypt(octets, fresh)))


def prepared(password: str) -> bytes:
    """The octets that are hashed: the same for every way to type the same (RFC 4013, as RFC 4616 §2 asks)."""
    return prepared_or(password).encode("utf-8", "surrogatepass")


def _scrypt(octets: bytes, like: Hash) -> bytes:
    room = 128 * (like.blocks << like.cost) + 128 * like.blocks * like.lanes + (1 << 20)
    return hashlib.scrypt(
        octets, salt=like.salt, n=1 << like.cost, r=like.blocks, p=like.lanes, maxmem=room, dklen=len(like.digest)
    )


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii").rstrip("=")


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("salt or hash is not base64") from None
