"""Whether a key can do its work: is its record published, and would another implementation accept what it signs?"""

import asyncio
from dataclasses import dataclass
from typing import Literal

from flowengine.mail import dkim
from flowengine.mail.dns import Resolver
from flowengine.mail.errors import MailError
from flowengine.mail.keys import PrivateKey
from flowengine.mail.message import Message

_UDP = 1232  # octets of an answer that come without TCP (DNS flag day 2020)
_TEST = b"From: Self Test <self-test@%s>\r\nTo: nobody@%s\r\nSubject: self test\r\n\r\nNothing to see.\r\n"


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """What DNS holds for a selector, against the key that signs with it.

    name: the name that was asked for. published: the TXT records there. problems: why signatures would not verify.
    notes: what is unwise or worth knowing. secure: DNSSEC vouches for the answer.
    """

    name: str
    published: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    secure: bool

    @property
    def good(self) -> bool:
        """Whether signatures of this key will verify."""
        return not self.problems


async def check_record(key: PrivateKey, selector: str, domain: str, resolver: Resolver) -> RecordCheck:
    """Look at the record of a selector as a verifier would. Raises DNSUnavailable."""
    name = f"{selector}._domainkey.{domain}"
    answer = await resolver.query(name, "txt")
    problems: list[str] = []
    notes: list[str] = []
    texts = answer.txt
    if not texts:
        problems.append("nothing is published there" if answer.exists else "the name does not exist")
    if len(texts) > 1:
        problems.append(f"{len(texts)} records are published; verifiers may take any of them (RFC 6376 §3.6.2.2)")
    held = [_holds(text, key, problems, notes) for text in texts]
    if texts and not any(held):
        problems.append("the published key is not this one")
    size = sum(len(text) + len(text) // 255 + 1 + 12 for text in texts) + len(name) + 18
    if size > _UDP:
        notes.append(
            f"the answer has about {size} octets and needs TCP, which some verifiers' networks do not let through"
        )
    if key.kind == "rsa" and key.bits < 2048:
        notes.append(f"the key has {key.bits} bits; RFC 8301 asks for 2048")
    shown = tuple(text.decode("utf-8", "replace") for text in texts)
    return RecordCheck(name, shown, tuple(problems), tuple(notes), answer.secure)


def _holds(text: bytes, key: PrivateKey, problems: list[str], notes: list[str]) -> bool:
    """Whether a record holds the key; what else is to be said of it goes to problems and notes."""
    try:
        record = dkim.parse_record(text)
    except MailError as error:
        problems.append(f"a record cannot be used: {error}")
        return False
    if record.key is None:
        problems.append("the key was revoked there (empty p=)")
        return False
    if record.hashes and "sha256" not in record.hashes:
        problems.append(f"the record allows only {', '.join(record.hashes)} (h=), and signatures use sha256")
    if record.testing:
        notes.append("the record says t=y: verifiers may treat signatures as absent")
    if record.strict:
        notes.append("the record says t=s: i= must name the domain itself, no subdomain")
    return record.key.published() == key.public.published()


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What dkimpy made of a signature of ours: accepted, refused, or it could not be asked."""

    result: Literal["accepted", "refused", "unknown"]
    reason: str = ""


def self_test(key: PrivateKey, selector: str = "s1", domain: str = "example.net") -> SelfTest:
    """Sign a message with ours and verify it with dkimpy, on the record that we would publish. CPU only; blocks."""
    octets = domain.encode("ascii", "replace")
    try:
        seal = dkim.Seal(selector=selector, domain=domain, key=key)
        signed = dkim.sealed(Message(_TEST % (octets, octets)), seal, 0.0).render()
    except MailError as error:
        return SelfTest("refused", str(error))
    try:
        import dkim as dkimpy

        if key.kind == "ed25519":
            import nacl.signing  # noqa: F401  # dkimpy takes its Ed25519 from there, and there is no other way to ask
    except ImportError as error:
        return SelfTest("unknown", f"{error.name} is not installed")
    record = key.record().encode("ascii")
    try:
        accepted = dkimpy.verify(signed, dnsfunc=lambda *_, **__: record)
    except Exception as error:  # noqa: BLE001  # dkimpy raises what its parts raise
        return SelfTest("refused", f"dkimpy: {type(error).__name__}")
    return SelfTest("accepted") if accepted else SelfTest("refused", "dkimpy does not verify the signature")


async def self_tests(keys: list[PrivateKey]) -> list[SelfTest]:
    """The self-test of several keys, in a thread."""
    return await asyncio.to_thread(lambda: [self_test(key) for key in keys])


def zone_lines(key: PrivateKey, selector: str, domain: str) -> str:
    """The record as a zone file has it: strings of at most 255 octets (RFC 6376 §3.6.2.2)."""
    text = key.record()
    parts = [f'"{text[at : at + 250]}"' for at in range(0, len(text), 250)]
    joined = " ".join(parts) if len(parts) == 1 else "(\n    " + "\n    ".join(parts) + "\n)"
    return f"{selector}._domainkey.{domain}. 3600 IN TXT {joined}"
