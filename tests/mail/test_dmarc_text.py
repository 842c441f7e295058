"""The text of RFC 9989 §4.10 written down once more, step by step and without regard to cost, beside ours."""

import asyncio
import itertools
from collections.abc import Mapping

from fake_dns import FakeDNS
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail import dmarc
from flowengine.mail.dmarc import Identifier

Zone = Mapping[str, list[str]]
Tags = dict[str, str]


def records_at(zone: Zone, name: str) -> Tags | None:
    """Steps 2 and 6: the only record at a name; several are all discarded."""
    found = [text for text in zone.get(name, []) if text.startswith("v=DMARC1")]
    if len(found) != 1:
        return None
    return dict(part.strip().split("=", 1) for part in found[0].split(";") if part.strip())


def walk(zone: Zone, start: str) -> list[tuple[str, Tags]]:
    """Steps 1 to 7."""
    found = []
    target = start.split(".")
    for step in itertools.count():
        record = records_at(zone, ".".join(target))
        if record is not None:
            found.append((".".join(target), record))
            if record.get("psd") in ("n", "y"):
                break
        target = target[-7:] if step == 0 and len(target) >= 8 else target[1:]
        if not target:
            break
    return found


def organizational(zone: Zone, name: str) -> str:
    """§4.10.2, the selection."""
    found = walk(zone, name)
    for domain, record in found:
        if record.get("psd") == "n":
            return domain
        if record.get("psd") == "y" and domain != name:
            below = name.split(".")[-len(domain.split(".")) - 1 :]
            return ".".join(below)
    return min(found, key=lambda pair: len(pair[0].split(".")))[0] if found else name


def policy_of(zone: Zone, author: str, exists: bool) -> tuple[str, str] | None:
    """§4.10.1: where the record is and which policy applies, None without DMARC."""
    own = records_at(zone, author)
    place, record = author, own
    if own is None:
        top = organizational(zone, author)
        suffix = next((name for name, tags in walk(zone, author) if tags.get("psd") == "y"), "")
        for place in (top, suffix):
            if (record := records_at(zone, place) if place else None) is not None:
                break
    if record is None:
        return None
    good = ("none", "quarantine", "reject")
    if record.get("p") not in good or any(record[tag] not in good for tag in ("sp", "np") if tag in record):
        return (place, "none") if "rua" in record else None
    if own is not None:
        return place, record["p"]
    below = record.get("sp", record["p"])
    return place, below if exists else record.get("np", below)


LABELS = st.lists(st.sampled_from(["a", "b", "example", "org"]), min_size=1, max_size=10).map(".".join)
TAG = st.sampled_from(
    ["p=reject", "p=none", "p=quarantine", "sp=none", "sp=reject", "np=reject", "psd=y", "psd=n", "psd=u", "aspf=s",
     "sp=x", "p=x", "rua=mailto:a@b.example", "t=y"]
)  # fmt: skip
TEXT = st.lists(TAG, max_size=4, unique_by=lambda tag: tag[:2]).map(lambda tags: "; ".join(["v=DMARC1", *tags]))
RECORDS = st.lists(TEXT | st.just("v=spf1 -all"), min_size=1, max_size=2)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(LABELS, RECORDS, max_size=6), LABELS, LABELS, st.booleans())
def test_policy_and_alignment_are_those_of_the_text(zone: Zone, author: str, other: str, exists: bool) -> None:
    table = {(f"_dmarc.{name}", "txt"): [text.encode() for text in texts] for name, texts in zone.items()}
    dns = FakeDNS(table)
    dns.names = {author} if exists else set()
    found = asyncio.run(dmarc.evaluate(author, Identifier(other, "pass"), [], dns))
    expected = policy_of(zone, author, exists)
    if expected is None:
        assert found.result == "none"
        return
    assert (found.policy_domain, found.policy) == expected
    record = records_at(zone, found.policy_domain)
    assert record is not None
    strict = record.get("aspf") == "s"
    aligned = author == other or (not strict and organizational(zone, author) == organizational(zone, other))
    assert found.result == ("pass" if aligned else "fail")
