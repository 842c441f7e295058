"""ARC (RFC 8617): what earlier hands found out about a message, in sealed sets.

`validate` judges the chain of the message as received; `seal` adds the next set to the message as it leaves, in the
order that is always right: edits, DKIM, ARC. Beside none, pass and fail a chain can be `temperror`: then nothing is
known, nothing must be held against the message, and no set can be added.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from flowengine.mail.authentication_results import MethodResult, Property
from flowengine.mail.canonical import body_hash, canonical_fields
from flowengine.mail.dkim.names import domain_name
from flowengine.mail.dkim.seal import Seal, sign
from flowengine.mail.dkim.signature import Signature, parse_arc_seal, parse_signature
from flowengine.mail.dkim.tags import parse_tags
from flowengine.mail.dkim.verify import Keys, SignatureResult, check_content, find_keys, judge, others
from flowengine.mail.dns import Resolver
from flowengine.mail.edits import InsertField, make_field
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field
from flowengine.mail.message import Message
from flowengine.mail.results_reader import read

MOST_SETS = 50  # RFC 8617 §4.2.1

_RESULTS, _SIGNATURE, _SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
_INSTANCE_FIRST = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([0-9]{1,2})[ \t\r\n]*;")

Status = Literal["none", "pass", "fail", "temperror"]


@dataclass(frozen=True, slots=True)
class ArcSet:
    """The three fields that one hand added (RFC 8617 §4.2)."""

    instance: int
    results: Field
    signature: Field
    seal: Signature

    @property
    def domain(self) -> str:
        """The domain that sealed."""
        return self.seal.domain

    @property
    def chain_status(self) -> str:
        """cv=, what this hand thought of the chain below: none, pass or fail."""
        return self.seal.tags["cv"].decode("ascii")

    @property
    def authentication_results(self) -> str:
        """The results that this hand reported, without the instance."""
        return self.results.unfolded.partition(b";")[2].decode("utf-8", "replace").strip()


@dataclass(frozen=True, slots=True)
class ChainResult:
    """What became of the chain (RFC 8617 §5.2).

    instance: the highest one, 0 without a chain. reason: one part of a sentence, "" for none and a plain pass.
    oldest_pass: the oldest instance from which on all message signatures still verify, 0 when all do.
    sets: from the first to the last; empty when the chain is malformed. terminated: the last set says cv=fail, and
        no further set may be added.
    """

    status: Status
    instance: int = 0
    reason: str = ""
    oldest_pass: int = 0
    sets: tuple[ArcSet, ...] = ()
    terminated: bool = False

    @property
    def domains(self) -> tuple[str, ...]:
        """Who sealed, from the first to the last."""
        return tuple(one.domain for one in self.sets)

    def result(self) -> MethodResult:
        """The chain as a result of Authentication-Results (RFC 8617 §10.1)."""
        told = (Property("header", "oldest-pass", str(self.oldest_pass)),) if self.status == "pass" else ()
        return MethodResult("arc", self.status, self.reason, told, f"i={self.instance}" if self.instance else "")


def hash_body(message: Message) -> None:
    """Hash the body of the message as received the ways its message signatures want it; the body keeps the hashes.
    Pure: call it in a thread before `validate` when the body is large."""
    message = message.original
    try:
        sets = collect(message.headers)
    except MailError:
        return
    for one in sets:
        try:
            signature = parse_signature(one.signature, arc=True)
        except MailError:
            continue
        if signature.length is None or one is sets[-1]:  # of older ones with l= nobody wants to know
            body_hash(message.body, signature.body_canonicalization, signature.hash, signature.length)


async def validate(message: Message, resolver: Resolver, *, now: float, minimum_bits: int = 1024) -> ChainResult:
    """The state of the chain of the message as received. now: seconds since 1970. Never raises."""
    message = message.original
    try:
        sets = collect(message.headers)
    except MailError as error:
        return ChainResult("fail", _highest(message.headers), str(error))
    if not sets:
        return ChainResult("none")
    last = sets[-1]
    failed = ChainResult("fail", len(sets), sets=sets, terminated=last.chain_status == "fail")
    if failed.terminated:
        return replace(failed, reason="the last seal reports a failed chain")
    for one in sets:
        expected = "none" if one.instance == 1 else "pass"
        if one.chain_status != expected:
            return replace(failed, reason=f"seal {one.instance} reports {one.chain_status} where {expected} belongs")
    try:
        newest = _content(last, message, now)
    except MailError as error:
        return replace(failed, reason=f"message signature {last.instance}: {error}")
    keys = await find_keys([newest, *(one.seal for one in sets)], resolver)
    verdicts = [(f"message signature {last.instance}", _verdict(newest, _digest(newest, message), keys, minimum_bits))]
    for one, digest in zip(sets, _seal_digests(sets), strict=True):
        verdicts.append((f"seal {one.instance}", _verdict(one.seal, digest, keys, minimum_bits)))
    for status in ("fail", "temperror"):  # what is certain comes before what is not known
        for what, verdict in verdicts:
            if verdict.result != "pass" and (verdict.result == "temperror") == (status == "temperror"):
                return replace(failed, status=status, reason=f"{what}: {verdict.reason}")
    oldest = await _oldest_pass(sets, message, resolver, now, minimum_bits)
    return replace(failed, status="pass", oldest_pass=oldest)


def collect(headers: Iterable[Field]) -> tuple[ArcSet, ...]:
    """The sets from the first to the last. Raises MailError for a malformed chain (RFC 8617 §5.2, step 3): a field
    without instance or twice, a gap, a set that is not whole, more than 50 sets, a seal that cannot be read."""
    found: dict[tuple[bytes, int], Field] = {}
    for field in headers:
        if field.key not in (_RESULTS, _SIGNATURE, _SEAL):
            continue
        place = field.key, _instance(field)
        if place in found:
            raise MailError(f"{field.name} {place[1]} occurs twice")
        found[place] = field
    count = max((instance for _, instance in found), default=0)
    sets: list[ArcSet] = []
    for instance in range(1, count + 1):
        for key in (_RESULTS, _SIGNATURE, _SEAL):
            if (key, instance) not in found:
                raise MailError(f"set {instance} has no {key.decode('ascii')}")
        try:
            seal = parse_arc_seal(found[_SEAL, instance])
        except MailError as error:
            raise MailError(f"seal {instance}: {error}") from error
        sets.append(ArcSet(instance, found[_RESULTS, instance], found[_SIGNATURE, instance], seal))
    return tuple(sets)


def _instance(field: Field) -> int:
    if field.key == _RESULTS:
        match = _INSTANCE_FIRST.match(field.value)
        value = match[1] if match else b""
    else:
        value = parse_tags(field.value).get("i", b"")
    if not value.isdigit() or len(value) > 2 or not 1 <= int(value) <= MOST_SETS:
        raise MailError(f"{field.name} has no instance from 1 to {MOST_SETS}")
    return int(value)


def _highest(headers: Iterable[Field]) -> int:
    """The highest instance that can be told in a malformed chain."""
    highest = 0
    for field in headers:
        if field.key in (_RESULTS, _SIGNATURE, _SEAL):
            try:
                highest = max(highest, _instance(field))
            except MailError:
                continue
    return highest


def _content(one: ArcSet, message: Message, now: float) -> Signature:
    """The set's message signature, when time and body hash are right. Raises MailError."""
    signature = parse_signature(one.signature, arc=True)
    problem, _ = check_content(signature, message, now)
    if problem is not None:
        raise MailError(problem)
    return signature


def _digest(signature: Signature, message: Message) -> bytes:
    return signature.header_digest(others(message.headers, signature.field))


def _seal_digests(sets: Sequence[ArcSet]) -> list[bytes]:
    """What each seal signs: all sets up to its own, each as results, signature, seal, its own b= empty
    (RFC 8617 §5.1.1)."""
    digests: list[bytes] = []
    below = hashlib.sha256()
    for one in sets:
        lines = canonical_fields([one.results, one.signature, one.seal.unsigned, one.seal.field], "relaxed")
        below.update(lines[0] + b"\r\n" + lines[1] + b"\r\n")
        own = below.copy()
        own.update(lines[2])
        digests.append(own.digest())
        below.update(lines[3] + b"\r\n")
    return digests


def _verdict(signature: Signature, digest: bytes, keys: Keys, minimum_bits: int) -> SignatureResult:
    blank = SignatureResult(signature.domain, signature.selector, "", signature.algorithm, "neutral", "")
    return judge(signature, digest, keys, blank, minimum_bits)


async def _oldest_pass(
    sets: Sequence[ArcSet], message: Message, resolver: Resolver, now: float, minimum_bits: int
) -> int:
    """RFC 8617 §5.2, step 5. An l= ends the search: each would cost a pass over the body."""
    for one in reversed(sets[:-1]):
        try:
            signature = _content(one, message, now) if b"l=" not in one.signature.raw else None
        except MailError:
            signature = None
        if signature is None:
            return one.instance + 1
        keys = await find_keys([signature], resolver)
        if _verdict(signature, _digest(signature, message), keys, minimum_bits).result != "pass":
            return one.instance + 1
    return 0


def next_instance(chain: ChainResult) -> int:
    """The instance of the next set. Raises MailError when there can be none."""
    if chain.terminated:
        raise MailError("the chain has failed before; no set may be added (RFC 8617 §5.1.2)")
    if chain.status == "temperror":
        raise MailError(f"the chain cannot be judged now: {chain.reason}")
    if chain.instance >= MOST_SETS:
        raise MailError(f"the chain has {chain.instance} sets; more are not allowed")
    return chain.instance + 1


def merged_results(fields: Iterable[Field], authserv_id: str) -> str:
    """The results of all Authentication-Results fields of ours as one value for `seal` (RFC 8617 §4.1.1), text and
    comments as they stand; only the authserv-id when there are none."""
    kept = [authserv_id]
    ours = domain_name(authserv_id, "authserv-id")
    for field in fields:
        if field.key == b"authentication-results":
            text = field.unfolded.decode("utf-8", "replace")
            name, _, results = text.partition(";")
            claimed = read(name).authserv_id
            if claimed.lower().rstrip(".") == ours and results.strip():
                kept.append(results.strip())
    return "; ".join(kept)


def seal(message: Message, seal: Seal, chain: ChainResult, authentication_results: str, *, now: float) -> Message:
    """The message with the next set on top: ARC-Seal, ARC-Message-Signature, ARC-Authentication-Results.

    seal: key, names and headers; its instance is set here. chain: what `validate` said when the message came.
    authentication_results: value of an Authentication-Results field, beginning with our authserv-id.
    now: seconds since 1970, for t=. Raises MailError when no set can be added: the chain was terminated, is full, is
    not known now, or an edit has touched its fields.
    """
    instance = next_instance(chain)
    below: tuple[ArcSet, ...] = ()
    if chain.status != "fail":  # after a failure the seal covers its own set alone (RFC 8617 §5.1.2)
        below = collect(message.fields)
        if [one.seal.field.raw for one in below] != [one.seal.field.raw for one in chain.sets]:
            raise MailError("the ARC fields are not those that were validated")
    results = f"i={instance}; {authentication_results}"
    signature = sign(message, replace(seal, arc=instance, identity=None, timestamp=True), now)
    value = (
        f"i={instance}; a={seal.algorithm}; t={int(now)}; cv={chain.status};\r\n"
        f"\td={seal.domain}; s={seal.selector};\r\n\tb="
    )
    scope = [part for one in below for part in (one.results, one.signature, one.seal.field)]
    scope.append(make_field("ARC-Authentication-Results", results))
    scope.append(make_field("ARC-Message-Signature", signature))
    scope.append(Field(_SEAL, b"ARC-Seal: " + value.encode("ascii")))
    digest = hashlib.sha256(b"\r\n".join(canonical_fields(scope, "relaxed"))).digest()
    text = base64.b64encode(seal.key.sign(digest)).decode("ascii")
    value += "\r\n\t ".join(text[place : place + 76] for place in range(0, len(text), 76))
    return message.edit(
        InsertField(0, "ARC-Authentication-Results", results),
        InsertField(0, "ARC-Message-Signature", signature),
        InsertField(0, "ARC-Seal", value),
    )
