"""Key records (RFC 6376 §3.6): what `selector._domainkey.domain` publishes, and whether a signature may use it."""

from dataclasses import dataclass
from functools import lru_cache

from flowengine.mail.dkim.tags import base64_value, parse_tags, words
from flowengine.mail.dns import Resolver
from flowengine.mail.errors import MailError
from flowengine.mail.keys import PublicKey

MOST_RECORDS = 10  # several are a mistake or a rotation; nobody needs more


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key record.

    text: the record as published. key: None when it was revoked (empty p=).
    hashes: names of h=, empty for any. testing: t=y. strict: t=s, no subdomains in i=.
    """

    text: str
    kind: str
    key: PublicKey | None
    hashes: tuple[str, ...] = ()
    testing: bool = False
    strict: bool = False


@lru_cache(maxsize=1024)
def parse_record(text: bytes) -> KeyRecord:
    """The record of a TXT string. Raises MailError for what is no usable key record for mail."""
    tags = parse_tags(text)
    names = list(tags)
    if "v" in tags and (names[0] != "v" or tags["v"] != b"DKIM1"):
        raise MailError("the record is not of version DKIM1")
    if "p" not in tags:
        raise MailError("the record holds no key")
    services = words(tags.get("s", b"*"))
    if b"*" not in services and b"email" not in services:
        raise MailError("the key is not for mail (s=)")
    flags = words(tags.get("t", b""))
    hashes = words(tags["h"]) if "h" in tags else ()
    if b"" in hashes:
        raise MailError("h= is no list of hashes")
    kind = tags.get("k", b"rsa").decode("ascii", "replace")
    data = base64_value(tags, "p")
    return KeyRecord(
        text=text.decode("utf-8", "replace"),
        kind=kind,
        key=PublicKey.parse(kind, data) if data else None,
        hashes=tuple(word.decode("ascii", "replace") for word in hashes),
        testing=b"y" in flags,
        strict=b"s" in flags,
    )


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """What DNS holds for a selector: records that can be used, reasons against the others, and whether the answer
    was validated by DNSSEC."""

    records: tuple[KeyRecord, ...]
    problems: tuple[str, ...] = ()
    secure: bool = False


async def key_records(resolver: Resolver, selector: str, domain: str) -> FoundKeys:
    """All key records of a selector, at most ten. Raises DNSUnavailable."""
    answer = await resolver.query(f"{selector}._domainkey.{domain}", "txt")
    records: list[KeyRecord] = []
    problems: list[str] = []
    for text in answer.txt[:MOST_RECORDS]:
        try:
            records.append(parse_record(text))
        except MailError as error:
            problems.append(str(error))
    return FoundKeys(tuple(records), tuple(problems), answer.secure)
