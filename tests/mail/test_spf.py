"""SPF: the public suites of both RFCs, and what they do not ask."""

import asyncio
import ipaddress
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_dns import FakeDNS, txt
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowengine.mail import spf
from flowengine.mail.dns import MX, Record
from flowengine.mail.errors import MailError
from flowengine.mail.spf.macros import parse_domain_spec

SUITES = Path(os.environ.get("FLOWENGINE_SUITES", Path(__file__).parents[2] / "../shared/suites")) / "spf"

Case = Mapping[str, Any]  # a case of the suites, as YAML gives it


def zone(data: Mapping[str, list[Any]]) -> FakeDNS:
    """The suites' zone data. "TIMEOUT" answers every question about the name that has no record there; a record of
    type SPF stands for TXT too, unless the name has TXT of its own."""
    records: dict[tuple[str, str], list[Record] | None] = {}
    kinds = ("a", "aaaa", "mx", "txt", "ptr")
    aliases: dict[str, str] = {}
    for name, items in data.items():
        entries = [next(iter(item.items())) for item in items if isinstance(item, dict)]
        own_txt = any(kind == "TXT" for kind, _ in entries)
        for kind, value in entries:
            if kind == "CNAME":
                aliases[name.lower()] = value.lower().rstrip(".")
                continue
            if value == "NONE" or (kind == "SPF" and own_txt):
                continue
            key = (name.lower(), "txt" if kind == "SPF" else kind.lower())
            found = records.setdefault(key, [])
            assert found is not None
            found.append(record(kind, value))
        if "TIMEOUT" in items:
            for kind in kinds:
                records.setdefault((name.lower(), kind), None)
    for alias, target in aliases.items():
        for kind in kinds:
            if (target, kind) in records:
                records[alias, kind] = records[target, kind]
    return FakeDNS(dict(records))


def record(kind: str, value: Any) -> Record:
    if kind in ("TXT", "SPF"):
        return "".join([value] if isinstance(value, str) else value).encode("latin-1")
    if kind == "MX":
        return MX(value[0], value[1].lower().rstrip("."))
    return str(value).lower().rstrip(".")


def cases(file: str) -> list[Any]:
    path = SUITES / file
    if not path.exists():
        return [pytest.param({}, {}, marks=pytest.mark.skip(f"no suite at {path}; set FLOWENGINE_SUITES"))]
    documents = yaml.safe_load_all(path.read_text())
    return [
        pytest.param(test, document["zonedata"], id=name)
        for document in documents
        for name, test in document["tests"].items()
    ]


def run(dns: FakeDNS, ip: str, helo: str, sender: str, **options: Any) -> spf.SPFResult:
    return asyncio.run(spf.check(ip, helo, sender, dns, **options))


@pytest.mark.parametrize(("case", "data"), cases("rfc7208-tests.yml"))
def test_the_suite_of_rfc_7208(case: Case, data: Mapping[str, list[Any]]) -> None:
    check_case(case, data)


@pytest.mark.parametrize(("case", "data"), cases("rfc4408-tests.yml"))
def test_the_suite_of_rfc_4408(case: Case, data: Mapping[str, list[Any]]) -> None:
    check_case(case, data)


def check_case(case: Case, data: Mapping[str, list[Any]]) -> None:
    result = run(zone(data), str(case["host"]), case["helo"], case["mailfrom"] or "", receiver="receiver.example")
    allowed = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert result.result in allowed, result.reason
    if "explanation" in case:
        assert (result.explanation or "DEFAULT") == case["explanation"]


def test_a_null_sender_is_checked_as_postmaster_of_the_helo() -> None:
    dns = txt({"mx.example.org": "v=spf1 exists:%{l}.%{o} -all"})
    result = run(dns, "192.0.2.1", "mx.example.org", "")
    assert (result.identity, result.domain, result.result) == ("helo", "mx.example.org", "fail")
    assert ("postmaster.mx.example.org", "a") in dns.asked
    assert run(dns, "192.0.2.1", "mx.example.org", "<>").identity == "helo"


def test_a_bare_domain_is_a_sender() -> None:
    result = run(txt({"example.org": "v=spf1 ip4:192.0.2.0/24 -all"}), "192.0.2.9", "h", "example.org")
    assert (result.result, result.domain, result.mechanism) == ("pass", "example.org", "ip4:192.0.2.0/24")


def test_the_trace_tells_every_term() -> None:
    dns = txt(
        {
            "a.example": "v=spf1 ip4:198.51.100.0/24 include:b.example redirect=c.example",
            "b.example": "v=spf1 ip6:2001:db8::/32 ~all",
            "c.example": "v=spf1 ?all",
        }
    )
    result = run(dns, "192.0.2.1", "h", "x@a.example")
    assert result.trace == (
        ("a.example", "ip4:198.51.100.0/24", "no match"),
        ("b.example", "ip6:2001:db8::/32", "no match"),
        ("b.example", "~all", "softfail"),
        ("a.example", "include:b.example", "no match"),
        ("a.example", "redirect=c.example", "to c.example"),
        ("c.example", "?all", "neutral"),
    )
    assert (result.result, result.mechanism, result.lookups) == ("neutral", "?all", 2)


@pytest.mark.parametrize(
    ("zone_of_txt", "result", "reason"),
    [
        ({"a.example": None}, "temperror", "time-out"),
        ({"a.example": "v=spf1 include:b.example -all", "b.example": None}, "temperror", "time-out"),
        ({"a.example": "v=spf1 include:b.example -all"}, "permerror", "include of b.example"),
        ({"a.example": "v=spf1 redirect=b.example"}, "permerror", "redirects to b.example"),
        ({"a.example": "v=spf1 include:a.example -all"}, "permerror", "more than 10 terms"),
        ({"a.example": "v=spf1 a:b.example a:c.example a:d.example -all"}, "permerror", "without an answer"),
        ({"a.example": "v=spf1 a:b.example a:c.example -all"}, "fail", "-all matches"),
        ({"a.example": "v=spf1 all ip4:x"}, "permerror", "ip4:x"),  # §4.6: all of it is checked first
        ({"a.example": "v=spf1 foo"}, "permerror", "unknown mechanism"),
        ({"a.example": "v=spf2"}, "none", "no SPF record"),
        ({}, "none", "no SPF record"),
    ],
)
def test_the_reason_says_what_happened(zone_of_txt: dict[str, str | None], result: str, reason: str) -> None:
    outcome = run(txt(zone_of_txt), "192.0.2.1", "h", "x@a.example")
    assert outcome.result == result
    assert reason in outcome.reason


def test_no_question_is_asked_after_the_time() -> None:
    dns = txt({"a.example": "v=spf1 include:b.example -all", "b.example": "v=spf1 -all"})
    ticks = iter([0.0, 1.0, 21.0])
    result = run(dns, "192.0.2.1", "h", "x@a.example", clock=lambda: next(ticks))
    assert result.result == "temperror"
    assert dns.asked == [("a.example", "txt")]


def test_too_long_a_target_loses_labels_on_the_left() -> None:
    label = "a" * 50
    dns = txt({"a.example": f"v=spf1 exists:x.%{{l}}.{'.'.join([label] * 5)}.%{{l}}.example. -all"})
    run(dns, "192.0.2.1", "h", "b.cd@a.example")
    assert dns.asked[-1] == (f"{'.'.join([label] * 4)}.b.cd.example", "a")


def test_a_target_of_many_macros_is_no_longer_than_matters() -> None:
    spec = parse_domain_spec("%{h}" * 10_000)
    helo = "h" * 250
    assert len(spec.expand({"h": helo}, longest=255)) == 500
    assert spec.expand({"h": ""}, longest=255) == ""


def test_more_than_ten_exchangers_are_an_error() -> None:
    def result(count: int) -> str:
        hosts = [MX(n, f"m{n}.example") for n in range(count)]
        zone: dict[tuple[str, str], list[Record]] = {(f"m{n}.example", "a"): [f"192.0.2.{n}"] for n in range(count)}
        zone["a.example", "mx"] = list(hosts)
        zone["a.example", "txt"] = [b"v=spf1 mx -all"]
        return run(FakeDNS(zone), "192.0.2.9", "h", "x@a.example").result

    assert result(10) == "pass"
    assert result(11) == "permerror"


def test_ptr_takes_ten_names_and_passes_over_errors() -> None:
    def result(count: int, broken: bool) -> str:
        names = [f"n{n}.a.example" for n in range(count)]
        zone: dict[tuple[str, str], list[Record] | None] = {(name, "a"): ["192.0.2.200"] for name in names}
        zone[names[0], "a"] = None if broken else ["192.0.2.200"]
        zone[names[-1], "a"] = ["192.0.2.1"]
        zone["1.2.0.192.in-addr.arpa", "ptr"] = list(names)
        zone["a.example", "txt"] = [b"v=spf1 ptr -all"]
        return run(FakeDNS(zone), "192.0.2.1", "h", "x@a.example").result

    assert result(10, broken=False) == "pass"
    assert result(11, broken=False) == "fail"
    assert result(10, broken=True) == "pass"
    assert run(FakeDNS({("a.example", "txt"): [b"v=spf1 ptr -all"]}), "192.0.2.1", "h", "x@a.example").result == "fail"


def test_a_sender_of_another_script_is_never_asked_for() -> None:
    dns = txt({"xn--mnchen-3ya.example": "v=spf1 exists:%{l}.e.example -all"})
    result = run(dns, "192.0.2.1", "h", "jörg@münchen.example")
    assert (result.result, result.domain) == ("fail", "xn--mnchen-3ya.example")
    assert dns.asked == [("xn--mnchen-3ya.example", "txt")]


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("%{i} is not ours", "192.0.2.1 is not ours"),
        ("%{s} at %{t} by %{r}", "x@a.example at 12 by mx.example.net"),
        ("see http://e.example/%{S}", "see http://e.example/x%40a.example"),
        ("%{z}", None),
        ("a\r\nb", None),
        ("ü", None),
        ("", None),
    ],
)
def test_the_explanation_is_the_domains_own(text: str, explanation: str | None) -> None:
    dns = txt({"a.example": "v=spf1 -all exp=e.example", "e.example": text})
    assert run(dns, "192.0.2.1", "h", "x@a.example", now=12.9, receiver="mx.example.net").explanation == explanation


def test_an_explanation_holds_no_control_character_of_the_client() -> None:
    dns = txt({"a.example": "v=spf1 -all exp=e.example", "e.example": "%{h}"})
    assert run(dns, "192.0.2.1", "h\r\n250 ok\udc80", "x@a.example").explanation == "h??250 ok?"


WORDS = """
all -all ~all ?all +all ip4:192.0.2.0/24 ip4:192.0.2.1 -ip4:192.0.2.1 ip4:192.0.2.0/33 ip4:192.0.2 ip6:2001:db8::/32
ip6:::1 ip6:2001:db8::1/129 a a/24 a//64 a:b.example a:b.example/16//32 mx mx:b.example -mx:c.example ptr
ptr:b.example include:b.example ?include:c.example include:d.example redirect=b.example redirect=d.example
exp=e.example foo=bar foo exists:%{ir}.b.example exists:%{d2}.b.example a:%{h} a:%{x}.b.example a:%{o} a:b include:
ip4: -
"""
TERMS = st.sampled_from(WORDS.split())
ORACLE_ZONE: dict[tuple[str, str], list[Record]] = {
    ("a.example", "a"): ["192.0.2.1", "198.51.100.7"],
    ("a.example", "aaaa"): ["2001:db8::1"],
    ("a.example", "mx"): [MX(10, "b.example")],
    ("b.example", "a"): ["192.0.2.77"],
    ("b.example", "txt"): [b"v=spf1 ip4:192.0.2.77 ip6:2001:db8::/64 -all"],
    ("c.example", "txt"): [b"v=spf1 a:b.example ?all"],
    ("c.example", "mx"): [MX(5, "b.example"), MX(10, "a.example")],
    ("e.example", "txt"): [b"go away"],
    ("1.2.0.192.in-addr.arpa", "ptr"): ["a.example"],
    ("1.2.0.192.b.example", "a"): ["127.0.0.2"],
}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(TERMS, max_size=5),
    st.sampled_from(["192.0.2.1", "192.0.2.77", "198.51.100.7", "203.0.113.9", "2001:db8::1", "2001:db8:1::1"]),
)
def test_pyspf_says_the_same(terms: list[str], ip: str) -> None:
    pyspf = pytest.importorskip("spf")
    assume(terms.count("foo=bar") < 2)  # RFC 7208 §6: unknown modifiers are ignored, no matter how often
    assume(sum(term.startswith("ptr") for term in terms) < 2)  # we ask for the client's names once, they each time
    text = " ".join(["v=spf1", *terms])
    dns = FakeDNS({**ORACLE_ZONE, ("a.example", "txt"): [text.encode()]})

    def look_up(name: str, kind: str, *_: Any, **__: Any) -> list[Any]:
        found = dns.zone.get((str(name).lower().rstrip("."), kind.lower())) or []
        return [((name, kind), as_pyspf(item)) for item in found]

    query = pyspf.query(i=ip, s="x@a.example", h="b.example", strict=True, timeout=20)
    pyspf.DNSLookup = look_up
    theirs = query.check()[0]
    ours = run(dns, ip, "b.example", "x@a.example")
    assert ours.result == theirs, (text, ours.reason)


def as_pyspf(item: Record) -> Any:
    if isinstance(item, MX):
        return (item.preference, item.host)
    if isinstance(item, bytes):
        return (item,)
    return ipaddress.ip_address(item).packed if ":" in item else item


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=40).map(lambda text: b"v=spf1 " + text)
    | st.text(alphabet="amx:/%{}dlri12=.- ip4", max_size=40).map(lambda text: b"v=spf1 " + text.encode())
)
def test_any_bytes_are_a_record_or_a_mail_error(text: bytes) -> None:
    try:
        spf.parse(text)
    except MailError as error:
        assert str(error)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.text(alphabet="ab@.[]%\ud800\\é ", max_size=30))
def test_any_client_gets_a_result(helo: str, local: str, sender: str) -> None:
    dns = txt({"a.example": "v=spf1 exists:%{l}.%{h}.b.example exists:%{S} a:%{L1r-}.example exp=%{h}.e.example -all"})
    for text in (sender, f"{local}@a.example", ""):
        assert run(dns, "192.0.2.1", helo, text).result in ("none", "fail", "permerror")


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 " + "ip4:192.0.2.1 " * 4500,
        "v=spf1 " + "a" * 60_000,
        "v=spf1 a:" + "%{d}" * 15_000,
        "v=spf1 a" + "/" * 60_000,
        "v=spf1 a:" + "1" * 60_000,
        "v=spf1 a:a." + "-" * 60_000,
        "v=spf1 a:%{d" + "1" * 60_000 + "}",
        "v=spf1 exists:%{l" + "-" * 60_000 + "}",
        "v=spf1 " + "x=%% " * 12_000,
        "v=spf1 " + " " * 60_000 + "include:a.example",
    ],
)
def test_a_hostile_record_costs_its_size(record: str) -> None:
    start = time.perf_counter()
    run(txt({"a.example": record}), "192.0.2.9", "h", "-".join("x" * 30) + "@a.example")
    assert time.perf_counter() - start < 20  # on a busy machine too: what grows too fast takes minutes
