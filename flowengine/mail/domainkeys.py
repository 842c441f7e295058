"""DomainKeys (RFC 4870), historic since 2007: verification of the signature that came before DKIM.

Kept for those who migrate. It knows rsa-sha1 alone, so what it says stands for itself: no DMARC and no
Authentication-Results builds on it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from flowengine.mail.addresses import extract, split
from flowengine.mail.dkim.names import domain_name
from flowengine.mail.dkim.tags import base64_value, parse_tags, require, without_space
from flowengine.mail.dns import DNSUnavailable, Resolver
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field
from flowengine.mail.keys import SMALLEST_RSA, PublicKey
from flowengine.mail.message import Message

Result = Literal["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"]
_FOLDING = b"\t\n\x0b\x0c\r "  # §3.4.2.2
_MOST_RECORDS = 10


@dataclass(frozen=True, slots=True)
class DomainKeysResult:
    """What became of the topmost DomainKey-Signature.

    result: none (there is no signature), pass, fail, policy (it verifies, with a key below 1024 bits), temperror,
        permerror (it cannot be verified). reason: one part of a sentence. testing: the key says t=y.
    """

    result: Result
    domain: str = ""
    selector: str = ""
    reason: str = ""
    testing: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is known before DNS is asked. local_part: of the sending address, for g= of the key."""

    result: DomainKeysResult
    signature: bytes = b""
    digest: bytes = b""
    local_part: str = ""


def prepare(message: Message) -> Prepared:
    """All that needs no DNS, linear in the size of the message as received; call it in a thread for a large body."""
    message = message.original
    places = message.headers.places("domainkey-signature")
    if not places:
        return Prepared(DomainKeysResult("none"))
    fields = message.headers.fields
    field, below = fields[places[0]], fields[places[0] + 1 :]  # §3.3: only what follows the field is signed
    known = DomainKeysResult("permerror")
    try:
        tags = parse_tags(field.value)
        require(tags, "a", "b", "c", "d", "s", "q")
        known = replace(known, domain=_name(tags["d"], "d="), selector=_name(tags["s"], "s="))
        if (tags["a"], tags["q"]) != (b"rsa-sha1", b"dns") or tags["c"] not in (b"simple", b"nofws"):
            raise MailError("the algorithm, canonicalization or query is not known")
        names = frozenset(without_space(tags["h"]).lower().split(b":")) if "h" in tags else None
        local_part = _sending_address(below, known.domain, names)
        signature = base64_value(tags, "b")
    except MailError as error:
        return Prepared(replace(known, reason=str(error)))
    signed = [one for one in below if names is None or one.key in names]
    return Prepared(known, signature, _digest(signed, message, tags["c"] == b"nofws"), local_part)


async def verify(message: Message, resolver: Resolver, prepared: Prepared | None = None) -> DomainKeysResult:
    """The result of the topmost DomainKey-Signature of the message as received. Never raises."""
    prepared = prepare(message) if prepared is None else prepared
    known = prepared.result
    if not prepared.digest:
        return known
    try:
        answer = await resolver.query(f"{known.selector}._domainkey.{known.domain}", "txt")
    except DNSUnavailable as error:
        return replace(known, result="temperror", reason=f"the key is not available now: {error.reason}")
    judged = replace(known, reason="there is no key where the signature says")
    for record in answer.txt[:_MOST_RECORDS]:
        judged = _judge(record, prepared)
        if judged.result == "pass":
            break
    return judged


def _judge(record: bytes, prepared: Prepared) -> DomainKeysResult:
    """The result by one key record (§3.2.3)."""
    known = prepared.result
    try:
        tags = parse_tags(record)
        require(tags, "p")
        if tags.get("k", b"rsa") != b"rsa":
            raise MailError("the key is not of type rsa")
        if tags.get("g") and tags["g"].decode("utf-8", "replace") != prepared.local_part:
            raise MailError("the key is not for this sender (g=)")
        key = PublicKey.parse("rsa", base64_value(tags, "p"))
    except MailError as error:
        return replace(known, reason=str(error))
    known = replace(known, testing=tags.get("t") == b"y")
    if not key.verifies(prepared.signature, prepared.digest, "sha1"):
        return replace(known, result="fail", reason="signature did not verify")
    if key.bits < SMALLEST_RSA:
        return replace(known, result="policy", reason=f"the key has only {key.bits} bits")
    return replace(known, result="pass")


def _name(value: bytes, what: str) -> str:
    return domain_name(value.decode("utf-8", "replace"), what)


def _sending_address(below: tuple[Field, ...], domain: str, names: frozenset[bytes] | None) -> str:
    """The local part of the Sender or else the From, which must be signed and lie within the domain (§3.3)."""
    for key in (b"sender", b"from"):
        field = next((one for one in below if one.key == key), None)
        if field is None:
            continue
        if names is not None and key not in names:
            raise MailError(f"the {field.name} field is not signed")
        addresses = extract(field.value)
        if not addresses:
            raise MailError(f"the {field.name} field holds no address")
        local_part, host = split(addresses[0])
        host = domain_name(host, field.name)
        if host != domain and not host.endswith("." + domain):
            raise MailError(f"d= is not the domain of the {field.name} field")
        return local_part
    raise MailError("no Sender or From field is signed")


def _digest(fields: list[Field], message: Message, nofws: bool) -> bytes:
    """The SHA-1 of what was signed (§3.4.2)."""
    digest = hashlib.sha1(usedforsecurity=False)
    for field in fields:
        digest.update((field.raw.translate(None, _FOLDING) if nofws else field.raw) + b"\r\n")
    pending = bytearray(b"\r\n")  # the line between header and body is ignored as well if nothing follows it
    anything = False
    for block in _blocks(message):
        text = block.translate(None, b"\t\x0b\x0c\r ").replace(b"\n", b"\r\n") if nofws else block
        kept = text.rstrip(b"\r\n")
        if kept:
            digest.update(pending)
            digest.update(kept)
            pending, anything = bytearray(text[len(kept) :]), True
        else:
            pending += text
    end = len(pending)
    while pending.endswith(b"\r\n", 0, end):
        end -= 2
    if anything:
        digest.update(bytes(pending[:end]) + b"\r\n")
    return digest.digest()


def _blocks(message: Message) -> Iterator[bytes]:
    """The body in pieces that end with a line."""
    rest: list[bytes] = []
    for whole, start, end in message.body.spans():
        data = whole[start:end]
        cut = data.rfind(b"\n") + 1
        if cut:
            yield b"".join((*rest, data[:cut]))
            rest = []
        rest.append(data[cut:])
    yield b"".join(rest)
