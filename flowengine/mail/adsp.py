"""ADSP (RFC 5617), historic since 2013: what an author domain says of mail without its own signature.

Kept for flows that still ask; DMARC has taken its place. Nothing else here builds on it.
"""

from collections.abc import Iterable
from typing import Literal

from flowengine.mail.dkim.tags import parse_tags
from flowengine.mail.dkim.verify import SignatureResult
from flowengine.mail.dns import DNSUnavailable, Resolver
from flowengine.mail.errors import MailError

Word = Literal["none", "pass", "unknown", "fail", "discard", "nxdomain", "temperror", "permerror"]
"""The words of RFC 8601 §2.7.2 (dkim-adsp)."""

_PRACTICES: dict[bytes, Word] = {b"unknown": "unknown", b"all": "fail", b"discardable": "discard"}


async def evaluate(author: str, signatures: Iterable[SignatureResult], resolver: Resolver) -> Word:
    """The word for an author domain (A-labels) and the results of the message's signatures.

    pass: a signature of exactly this domain verifies. Otherwise nxdomain, none (no record, or none that can be read),
    unknown, fail (it signs all its mail), discard; temperror when that cannot be known now. Never raises.
    """
    own = [one.result for one in signatures if one.domain == author]
    if "pass" in own:
        return "pass"
    if "temperror" in own:
        return "temperror"
    try:
        if not (await resolver.query(author, "mx")).exists:  # §4.3: the scope is checked before the record
            return "nxdomain"
        answer = await resolver.query(f"_adsp._domainkey.{author}", "txt")
    except DNSUnavailable:
        return "temperror"
    return _practice(answer.txt[0]) if len(answer.txt) == 1 else "none"


def _practice(record: bytes) -> Word:
    """§4.2.1: `dkim=` comes first; an unknown practice is `unknown`, what is no record is none."""
    try:
        tags = parse_tags(record)
    except MailError:
        return "none"
    if not tags or next(iter(tags)) != "dkim":
        return "none"
    return _PRACTICES.get(tags["dkim"], "unknown")
