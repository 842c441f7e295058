"""Digests and keyed digests. They say nothing of what was hashed, so those of a secret may be shown."""

import hashlib
import hmac
import zlib
from typing import Literal

from flowengine.builtins.run import Run, worked
from flowengine.language.functions import builtin
from flowengine.language.values import from_bytes

Digest = Literal["md5", "sha1", "sha256", "sha512"]


def _digest(run: Run, message: bytes, algorithm: Digest, as_hex: bool) -> str:
    worked(run, len(message))
    made = hashlib.new(algorithm, message, usedforsecurity=False)
    return made.hexdigest() if as_hex else from_bytes(made.digest())


def _keyed(run: Run, key: bytes, message: bytes, algorithm: Digest, as_hex: bool) -> str:
    worked(run, len(message))
    made = hmac.new(key, message, algorithm)
    return made.hexdigest() if as_hex else from_bytes(made.digest())


def _sha2(size: int) -> Digest:
    return "sha256" if size == 256 else "sha512"


@builtin(reveals=True)
def md5(run: Run, message: bytes, *, hex_: bool = True, binary: bool = False) -> str:
    """The MD5 digest in lower-case hex. For look-ups and checksums only: MD5 protects nothing.

    hex: false gives the 16 raw bytes; so does binary.

        md5("abc");  // "900150983cd24fb0d6963f7d28e17f72"
        length(md5("abc", ["hex" => false]));  // 16
    """
    return _digest(run, message, "md5", hex_ and not binary)


@builtin(reveals=True)
def sha1(run: Run, message: bytes, *, hex_: bool = True, binary: bool = False) -> str:
    """The SHA-1 digest in lower-case hex.

    hex: false gives the 20 raw bytes; so does binary.

        sha1("abc");  // "a9993e364706816aba3e25717850c26c9cd0d89d"
    """
    return _digest(run, message, "sha1", hex_ and not binary)


@builtin(reveals=True)
def sha2(
    run: Run, message: bytes, hashsize: Literal[256, 512], *, hex_: bool = True, binary: bool = False
) -> str | None:
    """The SHA-2 digest in lower-case hex.

    hashsize: 256 or 512.
    hex: false gives the raw bytes; so does binary.

    Returns none for another size.

        sha2("abc", 256);  // "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        sha2("abc", 100);  // none
    """
    return _digest(run, message, _sha2(hashsize), hex_ and not binary)


@builtin(reveals=True)
def hmac_md5(run: Run, key: bytes, message: bytes, *, hex_: bool = True, binary: bool = False) -> str:
    """The HMAC-MD5 (RFC 2104) in lower-case hex; the key comes first.

    hex: false gives the raw bytes; so does binary.

        hmac_md5("Jefe", "what do ya want for nothing?");  // "750c783e6ab0b503eaa86e310a5db738"
    """
    return _keyed(run, key, message, "md5", hex_ and not binary)


@builtin(reveals=True)
def hmac_sha1(run: Run, key: bytes, message: bytes, *, hex_: bool = True, binary: bool = False) -> str:
    """The HMAC-SHA1 (RFC 2104) in lower-case hex; the key comes first.

    hex: false gives the raw bytes; so does binary.

        hmac_sha1("Jefe", "what do ya want for nothing?");  // "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    """
    return _keyed(run, key, message, "sha1", hex_ and not binary)


@builtin(reveals=True)
def hmac_sha2(
    run: Run, key: bytes, message: bytes, hashsize: Literal[256, 512], *, hex_: bool = True, binary: bool = False
) -> str | None:
    """The HMAC-SHA2 (RFC 2104) in lower-case hex; the key comes first.

    hashsize: 256 or 512.
    hex: false gives the raw bytes; so does binary.

    Returns none for another size.

        hmac_sha2("Jefe", "what do ya want for nothing?", 256)[0:16];  // "5bdcc146bf60754e"
        hmac_sha2("k", "m", 1);  // none
    """
    return _keyed(run, key, message, _sha2(hashsize), hex_ and not binary)


@builtin
def hash_(run: Run, message: bytes) -> int:
    """A whole number from 0 to 4294967295, the same for equal strings, to spread keys over buckets.

    hash("alice") == hash("alice");  // true
    hash("abc");  // 891568578
    """
    worked(run, len(message))
    return zlib.crc32(message)
