"""A seal says how to sign; `sign` makes the signature of one message from it.

Whatever is wrong with a seal is found when it is made, so that a flow learns it at the call and not at the commit.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from flowengine.mail.canonical import Canonicalization, Hash, body_hash, canonical_fields, new_hash, select
from flowengine.mail.dkim.names import domain_name
from flowengine.mail.edits import InsertField
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field, is_name
from flowengine.mail.keys import PrivateKey
from flowengine.mail.message import Message

Algorithm = Literal["rsa-sha256", "rsa-sha1", "ed25519-sha256"]

RECOMMENDED_HEADERS: tuple[str, ...] = (
    *("from", "sender", "reply-to", "subject", "date", "message-id", "to", "cc"),
    *("mime-version", "content-type", "content-transfer-encoding", "content-id", "content-description"),
    *("resent-date", "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-message-id"),
    *("in-reply-to", "references", "list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post"),
    *("list-subscribe", "list-post", "list-owner", "list-archive", "cfbl-address", "cfbl-feedback-id"),
)
"""What is signed when a seal names no headers: what RFC 6376 §5.4.1 suggests and what came since."""


class HeaderProfile(NamedTuple):
    """Which headers to sign: every occurrence of `headers`, and `oversigned` once more, so that no further field of
    the name can be added without breaking the signature."""

    headers: tuple[str, ...]
    oversigned: tuple[str, ...]
    reason: str


_SEEN = ("from", "to", "cc", "subject", "date", "message-id", "reply-to")
_FORM = ("mime-version", "content-type", "content-transfer-encoding")

HEADER_PROFILES: Mapping[str, HeaderProfile] = {
    "recommended": HeaderProfile(RECOMMENDED_HEADERS, ("from",), "signs what is there; nobody can add a second From"),
    "strict": HeaderProfile(
        RECOMMENDED_HEADERS, (*_SEEN, *_FORM), "nothing that a reader sees or a program obeys can be added later"
    ),
    "lists": HeaderProfile(
        tuple(n for n in RECOMMENDED_HEADERS if n not in ("sender", "reply-to") and not n.startswith("list-")),
        ("from",),
        "survives lists that set Sender, Reply-To and List-* and leave subject and body alone",
    ),
    "minimal": HeaderProfile(("from", "date", "message-id"), ("from",), "author, time and identity, nothing else"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """How to sign (RFC 6376 §3.5). Raises MailError when made with anything that could not be verified.

    selector, domain: where the public key is, `selector._domainkey.domain`; U-labels become A-labels.
    algorithm: None follows the key; rsa-sha1 only when named, because verifiers refuse it (RFC 8301).
    headers: the exact list to sign, an empty one meaning every field; None what the profile names and is there.
    profile: one of HEADER_PROFILES. additional_headers: names beside those.
    oversign_headers: names repeated once more at the end; None those of the profile.
    identity: i=, an address or `@domain` within the domain, not for ARC.
    timestamp: t=; true is now, a number that second. expiration: x= in seconds since 1970; expiration_relative in
        seconds from the timestamp or now.
    body_length: l=, refused unless allow_body_length, because anybody can then append to the message.
    arc: the instance if this is to be an ARC-Message-Signature (RFC 8617 §4.1.2).
    """

    selector: str
    domain: str
    key: PrivateKey
    algorithm: Algorithm | None = None
    header_canonicalization: Canonicalization = "relaxed"
    body_canonicalization: Canonicalization = "relaxed"
    headers: tuple[str, ...] | None = None
    profile: str = "recommended"
    additional_headers: tuple[str, ...] = ()
    oversign_headers: tuple[str, ...] | None = None
    identity: str | None = None
    timestamp: bool | int = False
    expiration: int | None = None
    expiration_relative: int | None = None
    body_length: int | None = None
    allow_body_length: bool = False
    arc: int | None = None
    _wanted: frozenset[bytes] = field(init=False, repr=False, compare=False)
    _oversigned: tuple[bytes, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        setting = object.__setattr__  # frozen for everybody else
        setting(self, "selector", domain_name(self.selector, "selector"))
        setting(self, "domain", domain_name(self.domain, "domain"))
        if "." not in self.domain:  # RFC 6376 §3.5: no verifier takes it
            raise MailError(f"the domain {self.domain[:80]!r} is a single label")
        setting(self, "algorithm", _algorithm(self.key, self.algorithm))
        for canonicalization in (self.header_canonicalization, self.body_canonicalization):
            if canonicalization not in ("simple", "relaxed"):
                raise MailError(f"canonicalization {canonicalization!r} is neither simple nor relaxed")
        for name in ("headers", "additional_headers", "oversign_headers"):
            if (value := getattr(self, name)) is not None:
                setting(self, name, tuple(value))  # lists come too, and a seal must be hashable
        self._choose_headers()
        if self.identity is not None:
            _identity(self.identity, self.domain)
            if self.arc is not None:
                raise MailError("an ARC-Message-Signature has an instance and no identity")
        if self.body_length is not None and not self.allow_body_length:
            raise MailError("l= is refused: whoever appends to the message would keep the signature (RFC 6376 §8.2)")
        if self.body_length is not None and self.body_length < 0:
            raise MailError("a body length is not negative")
        if self.arc is not None and not 1 <= self.arc <= 50:
            raise MailError(f"ARC instance {self.arc} is not between 1 and 50 (RFC 8617 §4.2.1)")

    def _choose_headers(self) -> None:
        if self.profile not in HEADER_PROFILES:
            raise MailError(f"there is no header profile {self.profile!r}; known: {', '.join(HEADER_PROFILES)}")
        profile = HEADER_PROFILES[self.profile]
        wanted = (*(profile.headers if self.headers is None else self.headers), *self.additional_headers)
        if self.arc is not None:
            wanted = (*wanted, "dkim-signature")  # what the next verifier would miss when it breaks
        oversigned = profile.oversigned if self.oversign_headers is None else self.oversign_headers
        for name in (*wanted, *oversigned):
            if not is_name(name.encode("utf-8", "replace")) or ";" in name:
                raise MailError(f"{name!r} is no header name that can be signed")
        if self.arc is None and self.headers and b"from" not in _lower((*wanted, *oversigned)):
            raise MailError("the From field must be signed (RFC 6376 §5.4)")
        object.__setattr__(self, "_wanted", frozenset(_lower(wanted)))
        object.__setattr__(self, "_oversigned", tuple(_lower(oversigned)))

    @property
    def header_name(self) -> str:
        """The name of the field that holds the signature."""
        return "DKIM-Signature" if self.arc is None else "ARC-Message-Signature"

    def choose(self, fields: Sequence[Field]) -> tuple[list[bytes], list[Field]]:
        """The names of h= for these fields, and the fields that these names select."""
        if self.headers is None and self.arc is None and self._wanted.issuperset(self._oversigned):
            wanted = self._wanted
            chosen = [part for part in reversed(fields) if part.key in wanted]
            # each occurrence is named once, from the bottom upwards, so nothing is left for the oversigned names
            return [*[part.key for part in chosen], *self._oversigned], chosen
        names = self.signed_names(fields)
        return names, select(fields, names)

    def signed_names(self, fields: Sequence[Field]) -> list[bytes]:
        """The names of h= for these fields: the exact list, or each occurrence of what is wanted from the bottom of
        the header upwards; then the oversigned ones."""
        if self.headers:
            names = [*_lower(self.headers), *_lower(self.additional_headers)]
        elif self.headers is not None:
            names = [part.key for part in reversed(fields) if b";" not in part.key]
        else:
            wanted = self._wanted
            names = [part.key for part in reversed(fields) if part.key in wanted]
        if self.arc is not None:  # RFC 8617 §4.1.2: seals cover the ARC fields, and results change on the way
            names = [n for n in names if not n.startswith(b"arc-") and n != b"authentication-results"]
        return [*names, *self._oversigned]


@lru_cache(maxsize=1024, typed=True)
def seal_of(**options: Any) -> Seal:
    """A seal with these arguments, the same one for the same arguments: a domain signs one message after the other.

    Typed: a timestamp of 1 is not the timestamp true. Raises MailError, and TypeError for what cannot be hashed.
    """
    return Seal(**options)


def sign(message: Message, seal: Seal, now: float) -> str:
    """The value of the signature field for the message as it leaves, edits applied; put it on top with folding off.

    now: seconds since 1970, for t= and x=. Raises MailError when From is neither there nor signed, or the
    expiration is not after the timestamp.
    """
    fields = message.fields
    names, chosen = seal.choose(fields.fields)
    if seal.arc is None and b"from" not in names:
        raise MailError("the message has no From field to sign (RFC 6376 §5.4)")
    hash_name: Hash = "sha1" if seal.algorithm == "rsa-sha1" else "sha256"
    digest, size = body_hash(message.body, seal.body_canonicalization, hash_name, seal.body_length)
    if seal.body_length is not None and seal.body_length > size:
        raise MailError(f"the canonical body has {size} octets, fewer than the length to sign")
    value = _unsigned(seal, names, digest, now)
    own = Field(seal.header_name.lower().encode(), f"{seal.header_name}: {value}".encode("ascii"))
    chosen.append(own)
    lines = canonical_fields(chosen, seal.header_canonicalization)
    header_digest = new_hash(hash_name, b"\r\n".join(lines)).digest()
    signature = base64.b64encode(seal.key.sign(header_digest, hash_name)).decode("ascii")
    return value + _wrapped(signature)


def sealed(message: Message, seal: Seal, now: float) -> Message:
    """The message with the seal's signature on top."""
    return message.edit(InsertField(0, seal.header_name, sign(message, seal, now)))


def _unsigned(seal: Seal, names: Sequence[bytes], digest: bytes, now: float) -> str:
    """The field value up to and including `b=`."""
    first = "v=1" if seal.arc is None else f"i={seal.arc}"
    first += f"; a={seal.algorithm}; c={seal.header_canonicalization}/{seal.body_canonicalization};"
    stamp = int(now) if seal.timestamp is True else None if seal.timestamp is False else int(seal.timestamp)
    if stamp is not None:
        first += f" t={stamp};"
    start = int(now) if stamp is None else stamp
    expires = seal.expiration
    if seal.expiration_relative is not None:
        expires = start + seal.expiration_relative
    if expires is not None:
        if expires <= start:
            raise MailError("the signature would expire before it is made (RFC 6376 §3.5)")
        first += f" x={expires};"
    second = f"d={seal.domain}; s={seal.selector};"
    if seal.identity is not None:
        second += f" i={_identity(seal.identity, seal.domain)};"
    if seal.body_length is not None:
        second += f" l={seal.body_length};"
    body = base64.b64encode(digest).decode("ascii")
    return f"{first}\r\n\t{second}\r\n\th={_listed(tuple(names))};\r\n\tbh={body};\r\n\tb="


@lru_cache(maxsize=256)
def _listed(names: tuple[bytes, ...], columns: int = 76) -> str:
    """The names of h= with colons between, folded after colons."""
    text = b":".join(names).decode("ascii")
    if len(text) <= columns:
        return text
    lines: list[str] = []
    line = ""
    for name in text.split(":"):
        if line and len(line) + len(name) + 1 > columns:
            lines.append(line)
            line = ""
        line += name + ":"
    lines.append(line[:-1])
    return "\r\n\t ".join(lines)


def _wrapped(signature: str, columns: int = 76) -> str:
    """Base64 folded so that the lines, `\\tb=` in front of the first, keep to 80 columns."""
    return "\r\n\t ".join(signature[place : place + columns] for place in range(0, len(signature), columns))


def _algorithm(key: PrivateKey, algorithm: str | None) -> str:
    fitting = ("ed25519-sha256",) if key.kind == "ed25519" else ("rsa-sha256", "rsa-sha1")
    if algorithm is None:
        return fitting[0]
    if algorithm not in fitting:
        raise MailError(f"{algorithm!r} does not fit the key, whose type is {key.kind}")
    return algorithm


def _identity(identity: str, domain: str) -> str:
    """The value of i= (RFC 6376 §3.5), its local part in DKIM-quoted-printable (§2.11)."""
    local, at, host = identity.rpartition("@")
    host = domain_name(host, "identity")
    if not at or (host != domain and not host.endswith("." + domain)):
        raise MailError(f"the identity {identity[:80]!r} is not within {domain}")
    octets = local.encode("utf-8", "replace")
    plain = (chr(o) if 0x21 <= o <= 0x7E and o not in b"=;" else f"={o:02X}" for o in octets)
    return f"{''.join(plain)}@{host}"


def _lower(names: Iterable[str]) -> list[bytes]:
    return [name.lower().encode("ascii") for name in names]
