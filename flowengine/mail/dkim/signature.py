"""A signature field read into its parts (RFC 6376 §3.5, RFC 8617 §4.1.2), and what it signs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flowengine.mail.canonical import Canonicalization, Hash, canonical_fields, new_hash, select
from flowengine.mail.dkim.names import domain_name
from flowengine.mail.dkim.tags import base64_value, emptied, number_value, parse_tags, require, without_space, words
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field

_CODED = re.compile(rb"=([0-9A-F]{2})")
_NAMES = re.compile(rb"[!-9;-~]++(?:[ \t\r\n]*+:[ \t\r\n]*+[!-9;-~]++)*+")
# The public ARC suite lets blank names pass.
_NAMES_OR_BLANKS = re.compile(rb"[!-9;-~]*+(?:[ \t\r\n]*+:[ \t\r\n]*+[!-9;-~]*+)*+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_FIELD = 65536
ALGORITHMS = (b"rsa-sha256", b"rsa-sha1", b"ed25519-sha256")
ARC_ALGORITHMS = (b"rsa-sha256", b"ed25519-sha256")  # RFC 8617 is younger than the end of SHA-1


@dataclass(frozen=True, slots=True)
class Signature:
    """A DKIM-Signature or ARC-Message-Signature that can be verified.

    domain, selector: d= and s= in lower case, A-labels. identity: i=, by default "@" and the domain; "" for ARC.
    headers: h= in lower case. length: l= in octets or None. timestamp, expiration: seconds since 1970 or None.
    """

    field: Field
    tags: dict[str, bytes]
    domain: str
    selector: str
    identity: str
    algorithm: str
    header_canonicalization: Canonicalization
    body_canonicalization: Canonicalization
    headers: tuple[bytes, ...]
    body_hash: bytes
    signature: bytes
    length: int | None
    timestamp: int | None
    expiration: int | None

    @property
    def hash(self) -> Hash:
        """The name of the hash that the algorithm uses."""
        return "sha1" if self.algorithm == "rsa-sha1" else "sha256"

    @property
    def key_kind(self) -> str:
        """The type of key that the algorithm needs."""
        return self.algorithm.partition("-")[0]

    @property
    def unsigned(self) -> Field:
        """The field with its b= emptied, as it was when it was signed."""
        name, colon, value = self.field.raw.partition(b":")
        return Field(self.field.key, name + colon + emptied(value))

    def header_digest(self, fields: Sequence[Field]) -> bytes:
        """The hash over the signed fields and this one with its b= emptied (RFC 6376 §3.7)."""
        lines = canonical_fields([*select(fields, self.headers), self.unsigned], self.header_canonicalization)
        return new_hash(self.hash, b"\r\n".join(lines)).digest()


def parse_signature(field: Field, *, arc: bool = False) -> Signature:
    """The parts of a signature field; `arc` for an ARC-Message-Signature, which has no v= and whose i= is an
    instance. Raises MailError, whose text says what is wrong: nothing that breaks the syntax is let pass
    (RFC 6376 §6.1.1)."""
    if len(field.raw) > _LONGEST_FIELD:
        raise MailError("the signature field is too long")
    tags = parse_tags(field.value)
    require(tags, "a", "b", "bh", "d", "s", *(() if arc else ("v", "h")))
    if not arc and tags["v"] != b"1":
        raise MailError("v= is not 1")
    if tags["a"] not in (ARC_ALGORITHMS if arc else ALGORITHMS):
        raise MailError("the algorithm is not known")
    domain = domain_name(_text(tags["d"]), "d=")
    if "." not in domain:  # §3.5: domain-name has two labels at least; nobody signs for all of a top-level domain
        raise MailError(f"d= {domain[:80]!r} is a single label")
    # Without c= ARC is relaxed: implementations and the public test suite agree on it, RFC 8617 says nothing.
    header, slash, body = tags.get("c", b"relaxed/relaxed" if arc else b"simple/simple").partition(b"/")
    if "h" not in tags:  # may be empty for ARC, which leaves to the sealer what to sign
        raise MailError("h= is missing")
    if (_NAMES_OR_BLANKS if arc else _NAMES).fullmatch(tags["h"]) is None:
        raise MailError("h= is no list of header names")
    headers = tuple(without_space(tags["h"]).lower().split(b":"))
    if not arc and b"from" not in headers:
        raise MailError("the From field is not signed")
    if arc and b"arc-seal" in headers:
        raise MailError("an ARC-Message-Signature does not sign ARC-Seal fields (RFC 8617 §4.1.2)")
    if not arc and "q" in tags and b"dns/txt" not in words(tags["q"]):
        raise MailError("q= names no way to the key that is known")
    timestamp, expiration = number_value(tags, "t"), number_value(tags, "x")
    if timestamp is not None and expiration is not None and expiration <= timestamp:
        raise MailError("the signature expires before it was made")
    return Signature(
        field=field,
        tags=tags,
        domain=domain,
        selector=domain_name(_text(tags["s"]), "s="),
        identity="" if arc else _identity(tags, domain),
        algorithm=tags["a"].decode("ascii"),
        header_canonicalization=_canonicalization(header),
        body_canonicalization=_canonicalization(body if slash else b"simple"),
        headers=headers,
        body_hash=base64_value(tags, "bh"),
        signature=base64_value(tags, "b"),
        length=number_value(tags, "l", 76),
        timestamp=timestamp,
        expiration=expiration,
    )


def parse_arc_seal(field: Field) -> Signature:
    """The parts of an ARC-Seal (RFC 8617 §4.1.3): always relaxed, signs whole ARC sets instead of h= and a body.
    Raises MailError."""
    if len(field.raw) > _LONGEST_FIELD:
        raise MailError("the ARC-Seal is too long")
    tags = parse_tags(field.value)
    require(tags, "i", "a", "b", "cv", "d", "s")
    if "h" in tags:
        raise MailError("an ARC-Seal has no h=")
    if tags["cv"] not in (b"none", b"pass", b"fail"):
        raise MailError("cv= is not known")
    if tags["a"] not in ARC_ALGORITHMS:
        raise MailError("the algorithm is not known")
    return Signature(
        field=field,
        tags=tags,
        domain=domain_name(_text(tags["d"]), "d="),
        selector=domain_name(_text(tags["s"]), "s="),
        identity="",
        algorithm=tags["a"].decode("ascii"),
        header_canonicalization="relaxed",
        body_canonicalization="relaxed",
        headers=(),
        body_hash=b"",
        signature=base64_value(tags, "b"),
        length=None,
        timestamp=number_value(tags, "t"),
        expiration=None,
    )


def _canonicalization(name: bytes) -> Canonicalization:
    if name == b"simple":
        return "simple"
    if name == b"relaxed":
        return "relaxed"
    raise MailError("the canonicalization is not known")


def _identity(tags: dict[str, bytes], domain: str) -> str:
    """i= decoded (RFC 6376 §2.11). Raises MailError when it is outside the domain."""
    value = tags.get("i")
    if value is None:
        return "@" + domain
    part, at, name = value.rpartition(b"@")
    local = _text(_CODED.sub(lambda code: bytes([int(code[1], 16)]), without_space(part)))
    host = domain_name(_text(name), "i=") if at else ""
    if host != domain and not host.endswith("." + domain):
        raise MailError("i= is outside the domain of d=")
    if _CONTROL.search(local):
        raise MailError("i= holds control characters")
    return f"{local}@{host}"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
