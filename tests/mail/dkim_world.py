"""What the DKIM and ARC tests share: an honest fake of DNS, keys, and dkimpy as the oracle."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import dkim as dkimpy
import pytest

from flowengine.mail.dns import Answer, DNSUnavailable, RecordType
from flowengine.mail.keys import PrivateKey

# Far too short to protect anything, which is what the tests need it for.
WEAK_PEM = """-----BEGIN RSA PRIVATE KEY-----
MIIBPAIBAAJBAOIGCLzRb9sYCRcLaB3ftNE3r5Ofr2uDBgVG9o8zPTx66uQhH9G3
KHFIWo6B0sNN9Y4XllCedDzIX1OHO1xvjL8CAwEAAQJBAN/FgZkO8WNEpJtAG9CX
znjkXNwW2KHkkm1fGHQmEpZwbwdoV5nuZlbdjzVPMMzOucxmfjF/yC/v3DUzn8SR
lAECIQD0fcKHMY3DbQpu4hD+w8BdMjpT04J5/381CLojRdMoPwIhAOypushnk0Zp
BrT6RKVcx4E93I4ZsMuStrEZEpwqznuBAiEA6c2ZyU9KEiikYYUuW3M28eimfqM1
kxURwNWnqzOKymECIQDC3TZIkM/5J704AuHG7s/uoMsbzhd+Z3058RUbtTtzAQIg
Dddj3t+tdG2lmUF8dkWlyPLWkWmu3IwPYD3oavruiuw=
-----END RSA PRIVATE KEY-----
"""
NOW = 1_700_000_000.0


class FakeResolver:
    """TXT records from a table; a value that is an exception is raised. Counts its questions."""

    def __init__(self, records: Mapping[str, "str | bytes | list[bytes] | None"]) -> None:
        self.records = records
        self.asked: list[str] = []

    async def query(self, name: str, kind: RecordType) -> Answer:
        assert kind == "txt"
        self.asked.append(name)
        if name not in self.records:
            return Answer(exists=False)
        found = self.records[name]
        if found is None:
            raise DNSUnavailable(name, kind, "timed out")
        texts = found if isinstance(found, list) else [found.encode() if isinstance(found, str) else found]
        return Answer(tuple(texts), secure=name.startswith("secure."))


@cache
def rsa_key() -> PrivateKey:
    return PrivateKey.generate("rsa", 2048)


@cache
def ed25519_key() -> PrivateKey:
    return PrivateKey.generate("ed25519")


def suite(name: str) -> Path:
    """A directory of the third-party suites; skips the test when it is absent."""
    root = Path(os.environ.get("FLOWENGINE_SUITES", Path(__file__).parents[2] / ".." / "shared" / "suites"))
    if not (root / name).is_dir():
        pytest.skip(f"no {name} in FLOWENGINE_SUITES ({root})")
    return root / name


def dkimpy_verifies(data: bytes, records: Mapping[str, str], index: int = 0) -> bool:
    """dkimpy's verdict on one signature; its exceptions are a no."""

    def lookup(name: bytes, timeout: int = 5) -> str | None:
        return records.get(name.decode().rstrip("."))

    try:
        return bool(dkimpy.DKIM(data).verify(idx=index, dnsfunc=lookup))
    except (dkimpy.DKIMException, ValueError, IndexError):  # ValueError: UnicodeError as well
        return False
