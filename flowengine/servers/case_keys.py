"""Keys for case files: the same name gives the same key on every machine, so that signatures can be expected.

They are made from their names and protect nothing.
"""

import hashlib
import math
import random
from collections.abc import Iterator
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from flowengine.mail.keys import PrivateKey

EXPONENT = 65537
PRIME_BITS = 1024
_SMALL = math.prod(n for n in range(3, 2000, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2)))


@cache
def case_key(name: str, kind: str) -> PrivateKey:
    """The test key of a name. Raises ValueError for a type that is neither rsa nor ed25519."""
    if kind == "ed25519":
        return PrivateKey.parse(hashlib.sha256(f"flowengine case key {name}".encode()).digest())
    if kind != "rsa":
        raise ValueError(f"the test key {name} is of type {kind}; known: rsa, ed25519")
    primes = _primes(random.Random(f"flowengine case key {name}"))  # noqa: S311  # repeating is what it is for
    p, q = next(primes), next(primes)
    d = pow(EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    )
    pem = numbers.private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return PrivateKey.parse(pem, validated=True)


def _primes(chance: random.Random) -> Iterator[int]:
    """Primes of PRIME_BITS bits, whose product has twice as many."""
    while True:
        candidate = chance.getrandbits(PRIME_BITS) | (3 << (PRIME_BITS - 2)) | 1
        if math.gcd(candidate, _SMALL) == 1 and (candidate - 1) % EXPONENT and _is_prime(candidate, chance):
            yield candidate


def _is_prime(number: int, chance: random.Random, rounds: int = 12) -> bool:
    """Miller and Rabin's test."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(rounds):
        power = pow(chance.randrange(2, number - 1), odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True
