"""The keys of the domains that sign, the DNS in which they are, and the verdict of ours on what somebody signed."""

import asyncio
import time
from collections.abc import Mapping
from functools import cache

from flowengine.mail.canonical import Canonicalization
from flowengine.mail.dkim import Seal, SignatureResult, sealed, verify
from flowengine.mail.dns import Answer, RecordType
from flowengine.mail.keys import PrivateKey
from flowengine.mail.message import Message
from tests.interop.checks import expect

FORMS: tuple[Canonicalization, ...] = ("simple", "relaxed")
PAIRS: list[tuple[Canonicalization, Canonicalization]] = [(head, body) for head in FORMS for body in FORMS]
DOMAIN = "example.net"
RSA, ED25519 = "s1", "e1"  # selectors


@cache
def rsa_key() -> PrivateKey:
    """The key of s1._domainkey.example.net."""
    return PrivateKey.generate("rsa", 2048)


@cache
def ed25519_key() -> PrivateKey:
    """The key of e1._domainkey.example.net."""
    return PrivateKey.generate("ed25519")


@cache
def records() -> dict[str, str]:
    """The TXT records of both."""
    return {
        f"{RSA}._domainkey.{DOMAIN}": rsa_key().record(),
        f"{ED25519}._domainkey.{DOMAIN}": ed25519_key().record(),
    }


def signed_by_us(message: bytes, selector: str, head: Canonicalization, body: Canonicalization) -> bytes:
    """The message with our signature on top."""
    key = rsa_key() if selector == RSA else ed25519_key()
    seal = Seal(
        selector=selector,
        domain=DOMAIN,
        key=key,
        header_canonicalization=head,
        body_canonicalization=body,
        timestamp=True,
    )
    return sealed(Message(message), seal, time.time()).render()


class _Table:
    """A resolver of TXT records in a table."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts

    async def query(self, name: str, kind: RecordType) -> Answer:
        text = self.texts.get(name)
        return Answer(exists=False) if text is None else Answer((text.encode(),) if kind == "txt" else ())


def our_verdicts(message: bytes, texts: Mapping[str, str]) -> tuple[SignatureResult, ...]:
    """What we say of the signatures of a message."""
    return asyncio.run(verify(Message(message), _Table(texts), now=time.time()))


def passes_ours(message: bytes, texts: Mapping[str, str], what: str) -> None:
    """Raise Disagreement unless the one signature of the message verifies here, and no longer after a change."""
    verdicts = our_verdicts(message, texts)
    expect(len(verdicts) == 1, f"{what}: {len(verdicts)} signatures instead of one")
    expect(verdicts[0].result == "pass", f"{what}: we say {verdicts[0].result}, {verdicts[0].reason}")
    changed = our_verdicts(message + b"More.\r\n", texts)
    expect(changed[0].result == "fail", f"{what}: with a line more we say {changed[0].result}, not fail")
