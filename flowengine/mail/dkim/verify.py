"""Verification of the signatures of a message as received (RFC 6376 §6), one typed result each.

Three steps that are kept apart: reading and hashing (`prepare`, pure, may run in a thread), asking DNS for keys (the
only part that waits), judging (pure). A temporary error of DNS is `temperror` and never a failure. A signature whose
body hash is wrong costs no question.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from flowengine.mail.canonical import body_hash
from flowengine.mail.dkim.record import FoundKeys, KeyRecord, key_records
from flowengine.mail.dkim.signature import Signature, parse_signature
from flowengine.mail.dns import DNSUnavailable, Resolver
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field, Headers, parse
from flowengine.mail.message import Message

Result = Literal["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"]
"""The words of RFC 8601 §2.7.1."""

SKEW = 300  # seconds by which clocks may differ
MOST_CHECKED = 5  # signatures of a message that are verified, unless the caller says otherwise
MOST_UNCHECKED = 50  # signatures beyond the limit that are still named


ARC_SIGNATURE = b"arc-message-signature"
_NO_TAGS: Mapping[str, str] = MappingProxyType({})


class SignatureResult(NamedTuple):
    """What became of one signature.

    result: pass; fail (body, header or time is wrong); policy (it verifies, and a rule of ours is against it: weak
        key, rsa-sha1, too many signatures); temperror (DNS has no answer now); permerror (it cannot be verified).
    reason: one part of a sentence, "" for a plain pass.
    key_bits: size of the key, 0 when there was none. testing: the domain says t=y. secure: DNSSEC vouches for the key.
    signed_headers: h= in lower case. unsigned_octets: size of the canonical body beyond l=.
    timestamp, expiration: t= and x= in seconds since 1970. tags: the tags as text. record: the key record's text.
    """

    domain: str
    selector: str
    identity: str
    algorithm: str
    result: Result
    reason: str
    key_bits: int = 0
    testing: bool = False
    secure: bool = False
    signed_headers: tuple[str, ...] = ()
    unsigned_octets: int = 0
    timestamp: int | None = None
    expiration: int | None = None
    tags: Mapping[str, str] = _NO_TAGS
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A signature field before DNS was asked: a digest to verify, or the result that is already certain."""

    result: SignatureResult
    signature: Signature | None = None
    digest: bytes = b""


def prepare(message: Message, *, now: float, limit: int = MOST_CHECKED) -> tuple[Candidate, ...]:
    """All that needs no DNS: reads the first `limit` signatures of the message as received, hashes its body and the
    signed headers. Pure; for a large body call it in a thread, and `verify` with what it gives. Never raises."""
    original = message.original
    return tuple(
        _candidate(original, part, now) if place < limit else _beyond(part, limit)
        for place, part in enumerate(original.headers.all(b"dkim-signature")[: limit + MOST_UNCHECKED])
    )


async def verify(
    message: Message,
    resolver: Resolver,
    *,
    now: float,
    limit: int = MOST_CHECKED,
    minimum_bits: int = 1024,
    prepared: tuple[Candidate, ...] | None = None,
) -> tuple[SignatureResult, ...]:
    """The results of all signatures of the message as received, top to bottom; () for an unsigned message.

    now: seconds since 1970. limit: signatures to verify, up to 50 more are reported as policy. minimum_bits: RSA keys
    below it give policy (RFC 8301 §3.2). prepared: what `prepare` gave for this message.
    """
    candidates = prepare(message, now=now, limit=limit) if prepared is None else prepared
    keys = await find_keys((c.signature for c in candidates if c.signature), resolver)
    return tuple(_judge(candidate, keys, minimum_bits) for candidate in candidates)


def prepare_field(message: Message, raw: bytes, *, now: float) -> Candidate:
    """As `prepare`, for one signature given as raw header field with its name; it need not be in the message.

    An ARC-Message-Signature is one too (RFC 8617 §4.1.2): flows that validate chains themselves ask about it.
    """
    fields = parse(raw).fields
    if len(fields) != 1 or fields[0].key not in (b"dkim-signature", ARC_SIGNATURE):
        return Candidate(SignatureResult("", "", "", "", "permerror", "that is no DKIM-Signature field"))
    own = next((part for part in message.original.headers.all(fields[0].key) if part.raw == fields[0].raw), None)
    return _candidate(message.original, own or fields[0], now)


async def verify_field(
    message: Message,
    raw: bytes,
    resolver: Resolver,
    *,
    now: float,
    minimum_bits: int = 1024,
    prepared: Candidate | None = None,
) -> SignatureResult:
    """The result of one signature. prepared: what `prepare_field` gave for it."""
    candidate = prepare_field(message, raw, now=now) if prepared is None else prepared
    keys = await find_keys([candidate.signature] if candidate.signature else [], resolver)
    return _judge(candidate, keys, minimum_bits)


Found = FoundKeys | DNSUnavailable
Keys = Mapping[tuple[str, str], Found]
"""What DNS said of (selector, domain)."""


async def find_keys(signatures: Iterable[Signature], resolver: Resolver) -> dict[tuple[str, str], Found]:
    """The keys of all these signatures, each place asked once; an answer that could not be had is kept as such."""
    places = list(dict.fromkeys((signature.selector, signature.domain) for signature in signatures))

    async def find(place: tuple[str, str]) -> Found:
        try:
            return await key_records(resolver, *place)
        except DNSUnavailable as error:
            return error

    if len(places) < 2 or not _in_loop():  # no task for the usual message, nor when answers are played back
        return {place: await find(place) for place in places}
    return dict(zip(places, await asyncio.gather(*map(find, places)), strict=True))


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _candidate(message: Message, part: Field, now: float) -> Candidate:
    try:
        signature = parse_signature(part, arc=part.key == ARC_SIGNATURE)
    except MailError as error:
        return Candidate(_unreadable(part, str(error)))
    tags = {name: value.replace(b"\r\n", b"").decode("utf-8", "replace") for name, value in signature.tags.items()}
    result = SignatureResult(
        signature.domain, signature.selector, signature.identity, signature.algorithm, "neutral", "", tags=tags,
        signed_headers=tuple(name.decode("utf-8", "replace") for name in signature.headers),
        timestamp=signature.timestamp, expiration=signature.expiration,
    )  # fmt: skip
    problem, unsigned = check_content(signature, message, now)
    result = result._replace(unsigned_octets=unsigned)
    if problem is not None:
        return Candidate(result._replace(result="fail", reason=problem))
    return Candidate(result, signature, signature.header_digest(others(message.headers, part)))


def check_content(signature: Signature, message: Message, now: float) -> tuple[str | None, int]:
    """What is wrong with time or body of a signature, and the octets of the body beyond its l=."""
    if signature.expiration is not None and now > signature.expiration + SKEW:
        return "signature expired", 0
    if signature.timestamp is not None and signature.timestamp > now + SKEW:
        return "signature is from the future", 0
    digest, size = body_hash(message.body, signature.body_canonicalization, signature.hash, signature.length)
    if signature.length is not None and signature.length > size:
        return "the body is shorter than the signature says", 0
    if digest != signature.body_hash:
        return "body hash did not verify", 0
    return None, 0 if signature.length is None else size - signature.length


def others(headers: Headers, own: Field) -> tuple[Field, ...]:
    """The fields without the signature itself, which h= never means (RFC 6376 §3.7)."""
    return tuple(part for part in headers if part is not own)


def _judge(candidate: Candidate, keys: Keys, minimum_bits: int) -> SignatureResult:
    if candidate.signature is None:
        return candidate.result
    return judge(candidate.signature, candidate.digest, keys, candidate.result, minimum_bits)


def judge(
    signature: Signature, digest: bytes, keys: Keys, result: SignatureResult, minimum_bits: int
) -> SignatureResult:
    """The result with what the keys of the signature's place say about it."""
    found = keys[signature.selector, signature.domain]
    if isinstance(found, DNSUnavailable):
        return result._replace(result="temperror", reason=f"the key is not available now: {found.reason}")
    result = result._replace(secure=found.secure)
    if not found.records:
        reason = f"no key for signature {signature.selector}._domainkey.{signature.domain}"
        if found.problems:
            reason += f": {found.problems[0]}"
        return result._replace(result="permerror", reason=reason)
    return _by_keys(signature, digest, found.records, result, minimum_bits)


def _by_keys(
    signature: Signature, digest: bytes, records: tuple[KeyRecord, ...], result: SignatureResult, minimum_bits: int
) -> SignatureResult:
    """The result by the first record that verifies, else by the first that comes nearest."""
    failed: SignatureResult | None = None
    unusable = ""
    for record in records:
        problem = _unfit(record, signature)
        if problem is not None:
            unusable = unusable or problem
            continue
        key = record.key
        if key is None:
            unusable = "the key was revoked"
            continue
        judged = result._replace(key_bits=key.bits, testing=record.testing, record=record.text)
        if not key.verifies(signature.signature, digest, signature.hash):
            failed = failed or judged._replace(result="fail", reason="signature did not verify")
        elif key.kind == "rsa" and key.bits < minimum_bits:
            return judged._replace(result="policy", reason=f"the key has only {key.bits} bits")
        elif signature.hash == "sha1":
            return judged._replace(result="policy", reason="rsa-sha1 is no longer trusted (RFC 8301)")
        else:
            extra = f"{judged.unsigned_octets} octets of the body are not signed" if judged.unsigned_octets else ""
            return judged._replace(result="pass", reason=extra)
    return failed or result._replace(result="permerror", reason=unusable)


def _unfit(record: KeyRecord, signature: Signature) -> str | None:
    """Why a signature may not use a record (RFC 6376 §6.1.2)."""
    if record.kind != signature.key_kind:
        return f"the key is of type {record.kind}, the signature of type {signature.key_kind}"
    if record.hashes and signature.hash not in record.hashes:
        return f"the key is not for {signature.hash}"
    if record.strict and signature.identity and signature.identity.rpartition("@")[2] != signature.domain:
        return "the key is not for subdomains"
    return None


def _unreadable(part: Field, reason: str) -> SignatureResult:
    """permerror, with as much of the signature as can be told."""
    elements = dict(reversed([piece.strip().partition(b"=")[::2] for piece in part.value[:2000].split(b";")]))
    told = {name: elements.get(name, b"")[:255].decode("utf-8", "replace").strip() for name in (b"d", b"s", b"i", b"a")}
    return SignatureResult(told[b"d"].lower(), told[b"s"], told[b"i"], told[b"a"], "permerror", reason)


def _beyond(part: Field, limit: int) -> Candidate:
    reason = f"not checked: more than {limit} signatures"
    return Candidate(_unreadable(part, reason)._replace(result="policy"))
