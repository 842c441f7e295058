"""DMARC: records, the tree walk, alignment, and what follows from them."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from fake_dns import FakeDNS, txt
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail import dmarc
from flowengine.mail.dmarc import Discovery, DMARCResult, Identifier, ReportURI
from flowengine.mail.dns import Record

Zone = Mapping[str, str | None]


# Records


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"v=DMARC1x; p=none",
        b"v=dmarc1; p=none",
        b"v=DMARC2; p=none",
        b"p=none; v=DMARC1",
        b" v=DMARC1; p=none",
        b"v=DMARC1 p=none",
        b"v=DMARC1,p=none",
        b"v=spf1 -all",
        b"\xff\xfe",
    ],
)
def test_what_is_no_dmarc_record(text: bytes) -> None:
    assert dmarc.parse(text) is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"v=DMARC1", {"p": None, "adkim": "r", "aspf": "r", "psd": "u", "test": False, "percent": 100, "fo": ("0",)}),
        (b"v=DMARC1;p=reject", {"p": "reject", "sp": None, "np": None, "invalid": frozenset()}),
        (b"V = DMARC1 ; P = Reject ;", {"p": "reject", "problems": ()}),
        (b"v=DMARC1; p=none; sp=quarantine; np=reject", {"p": "none", "sp": "quarantine", "np": "reject"}),
        (b"v=DMARC1; p=bogus; sp=no", {"p": None, "sp": None, "invalid": frozenset({"p", "sp"})}),
        (b"v=DMARC1; p=none; p=reject", {"p": "none"}),
        (b"v=DMARC1; p=none; adkim=s; aspf=S; psd=y; t=y", {"adkim": "s", "aspf": "s", "psd": "y", "test": True}),
        (b"v=DMARC1; p=none; adkim=x; aspf=; psd=z; t=1", {"adkim": "r", "aspf": "r", "psd": "u", "test": False}),
        (b"v=DMARC1; p=none; pct=0", {"percent": 0}),
        (b"v=DMARC1; p=none; pct=101", {"percent": 100}),
        (b"v=DMARC1; p=none; pct=-1", {"percent": 100}),
        (b"v=DMARC1; p=none; ri=3600", {"interval": 3600}),
        (b"v=DMARC1; p=none; fo=1:d:s; ruf=mailto:r@a.example", {"fo": ("1", "d", "s"), "problems": ()}),
        (b"v=DMARC1; p=none; fo=0:1", {"fo": ("0",)}),
        (b"v=DMARC1; p=none; fo=d:d", {"fo": ("0",)}),
        (b"v=DMARC1; p=none; junk; =x; 1=2; p", {"p": "none"}),
        (b"v=DMARC1; p=none; x=\xff; sp=reject", {"p": "none", "sp": "reject"}),
        (
            b"v=DMARC1; p=none; rua=mailto:a@b.example!10m , MAILTO:c%2bd@e.example?x=y,https://f.example/g,h@i",
            {
                "rua": (
                    ReportURI("mailto:a@b.example", "a@b.example", 10 << 20),
                    ReportURI("MAILTO:c%2bd@e.example?x=y", "c+d@e.example", None),
                    ReportURI("https://f.example/g", "", None),
                )
            },
        ),
        (b"v=DMARC1; p=none; rua=mailto:a@b!c.example", {"rua": ()}),
        (b"v=DMARC1; p=none; rua=mailto:a%0d%0a@b.example", {"rua": ()}),
    ],
)
def test_tags_have_types_and_defaults(text: bytes, values: dict[str, object]) -> None:
    record = dmarc.parse(text)
    assert record is not None
    assert {name: getattr(record, name) for name in values} == values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"v=DMARC1; rua=mailto:a@b.example", "no p tag"),
        (b"v=DMARC1; p=rejct", "p: 'rejct' is not a value"),
        (b"v=DMARC1; p=none; p=reject", "p: given again"),
        (b"v=DMARC1; p=none; pct=50", "pct: not part of RFC 9989"),
        (b"v=DMARC1; p=none; foo=bar", "foo: unknown tag"),
        (b"v=DMARC1; p=none; fo=1", "fo: without ruf"),
        (b"v=DMARC1; p=none; rua=a@b.example", "rua: not a report address: 'a@b.example'"),
        (b"v=DMARC1; p=none, rua=mailto:a@b.example", "p: 'none, rua"),
        ("v=DMARC1; p=“none”".encode(), "p: empty, or not printable"),
    ],
)
def test_problems_are_written_down(text: bytes, problem: str) -> None:
    record = dmarc.parse(text)
    assert record is not None
    assert any(problem in found for found in record.problems), record.problems


def test_a_good_record_has_no_problem() -> None:
    record = dmarc.parse(b"v=DMARC1; p=reject; sp=none; np=reject; adkim=s; rua=mailto:a@b.example; psd=n; t=n;")
    assert record is not None
    assert record.problems == ()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=50) | st.text(alphabet="prsntfoau=;:,! mailto@.1y", max_size=60).map(str.encode))
def test_any_bytes_are_a_record_or_none(tail: bytes) -> None:
    dmarc.parse(tail)
    record = dmarc.parse(b"v=DMARC1;" + tail)
    assert record is not None
    assert record.p in ("none", "quarantine", "reject", None)


@pytest.mark.parametrize("part", [b";", b"p=;", b"rua=a!1,", b"rua=!!!!,", b" ", b"=", b"rua=mailto:%%%%,"])
def test_parsing_takes_time_linear_in_the_size(part: bytes) -> None:
    start = time.perf_counter()
    dmarc.parse(b"v=DMARC1; rua=" + part * (60_000 // len(part)))
    assert time.perf_counter() - start < 20  # on a busy machine too: what grows too fast takes minutes


# Tree walk


def org(zone: Zone, name: str) -> str:
    return asyncio.run(Discovery(txt({f"_dmarc.{domain}": text for domain, text in zone.items()})).walk(name))[1]


@pytest.mark.parametrize(
    ("zone", "name", "domain"),
    [  # the examples of RFC 9989 §4.10.2 first
        ({"mail.example.com": "v=DMARC1", "example.com": "v=DMARC1"}, "a.mail.example.com", "example.com"),
        ({"mail.example.com": "v=DMARC1; psd=n", "example.com": "v=DMARC1"}, "a.mail.example.com", "mail.example.com"),
        ({"com": "v=DMARC1; psd=y"}, "a.mail.example.com", "example.com"),
        ({"example.com": "v=DMARC1; psd=y"}, "mail.example.com", "mail.example.com"),
        ({"example.com": "v=DMARC1; psd=y"}, "example.com", "example.com"),
        ({"example.com": "v=DMARC1; psd=y", "com": "v=DMARC1; psd=n"}, "example.com", "example.com"),
        ({}, "a.mail.example.com", "a.mail.example.com"),
        ({"com": "v=DMARC1"}, "a.example.com", "com"),
        ({"example.com": "v=DMARC1; psd=u"}, "a.b.example.com", "example.com"),
        ({"example.com": "not one"}, "a.example.com", "a.example.com"),
    ],
)
def test_the_organizational_domain_of_a_walk(zone: Zone, name: str, domain: str) -> None:
    assert org(zone, name) == domain


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (
            "a.b.c.d.e.f.g.h.i.j.mail.example.com",
            "a.b.c.d.e.f.g.h.i.j.mail g.h.i.j.mail h.i.j.mail i.j.mail j.mail mail",
        ),
        (
            "1.2.3.4.5.6.example.com",
            "1.2.3.4.5.6 2.3.4.5.6 3.4.5.6 4.5.6 5.6 6",
        ),
        ("example.com", ""),
    ],
)
def test_a_walk_asks_eight_questions_at_most(name: str, asked: str) -> None:
    dns = txt({})
    asyncio.run(Discovery(dns).walk(name))
    expected = [*(f"{labels}.example.com" for labels in asked.split()), "example.com", "com"]
    assert [question for question, _ in dns.asked] == [f"_dmarc.{domain}" for domain in expected]


def test_a_walk_ends_at_a_record_that_knows_its_place() -> None:
    dns = txt({"_dmarc.b.example.com": "v=DMARC1; psd=n"})
    asyncio.run(Discovery(dns).walk("a.b.example.com"))
    assert [question for question, _ in dns.asked] == ["_dmarc.a.b.example.com", "_dmarc.b.example.com"]


def test_several_records_are_none() -> None:
    two = [b"v=DMARC1; p=reject", b"v=DMARC1; p=none"]
    dns = FakeDNS({("_dmarc.a.example", "txt"): two, ("_dmarc.example", "txt"): [b"v=DMARC1; psd=y; p=none"]})
    assert evaluate(dns, "a.example").policy_domain == "example"
    assert evaluate(dns, "a.example", standard="rfc7489").result == "none"
    one_of_ours = FakeDNS({("_dmarc.a.example", "txt"): [b"v=spf1 -all", b"v=DMARC1; p=reject"]})
    assert evaluate(one_of_ours, "a.example").policy == "reject"


# Evaluation


def evaluate(
    zone: Zone | FakeDNS,
    author: str,
    spf: tuple[str, str] | None = None,
    dkim: Sequence[tuple[str, Any]] = (),
    **options: Any,
) -> DMARCResult:
    dns = zone if isinstance(zone, FakeDNS) else txt({f"_dmarc.{name}": text for name, text in zone.items()})
    identifiers = [Identifier(*pair) for pair in dkim]
    return asyncio.run(dmarc.evaluate(author, Identifier(*spf) if spf else None, identifiers, dns, **options))


REJECT = {"example.org": "v=DMARC1; p=reject"}


@pytest.mark.parametrize(
    ("zone", "author", "spf", "dkim", "word", "part_of_reason"),
    [
        ({}, "example.org", ("example.org", "pass"), [], "policy_absent", "publishes no DMARC policy"),
        (REJECT, "example.org", ("example.org", "pass"), [], "pass", "SPF of example.org is aligned and passed"),
        (REJECT, "example.org", None, [("example.org", "pass")], "pass", "DKIM signature of example.org"),
        (REJECT, "EXAMPLE.org", None, [("Example.ORG", "pass")], "pass", "example.org"),
        (REJECT, "example.org", None, [("mail.example.org", "pass")], "pass", "mail.example.org"),
        (REJECT, "mail.example.org", None, [("example.org", "pass")], "pass", "example.org"),
        (REJECT, "a.example.org", ("b.example.org", "pass"), [], "pass", "b.example.org"),
        (REJECT, "example.org", ("example.net", "pass"), [], "reject", "SPF of example.net is not aligned"),
        (REJECT, "example.org", ("badexample.org", "pass"), [], "reject", "is not aligned with example.org"),
        (REJECT, "example.org", ("example.org", "fail"), [], "reject", "is aligned and says fail; no DKIM signature"),
        (REJECT, "example.org", None, [("x.example", "pass"), ("example.org", "fail")], "reject", "says fail"),
        (REJECT, "example.org", None, [("example.org", "fail"), ("example.org", "pass")], "pass", "passed"),
        (REJECT, "example.org", None, [], "reject", "SPF has no domain; no DKIM signature; the policy of example.org"),
        (REJECT, "example.org", ("example.org", "temperror"), [], "temperror", "says temperror"),
        (REJECT, "example.org", ("example.net", "temperror"), [], "reject", "not aligned"),
        (REJECT, "example.org", ("example.org", "temperror"), [("example.org", "pass")], "pass", "passed"),
        (REJECT, "example.org", None, [("example.org", "temperror"), ("x.example", "fail")], "temperror", "temperror"),
        (REJECT, "example.org", ("a b", "pass"), [("", "pass")], "reject", "not a domain name"),
        ({"example.org": None}, "example.org", None, [], "temperror", "cannot be had now"),
        ({"org": None}, "example.org", None, [], "temperror", "cannot be had now"),
        (REJECT | {"a.example.org": None}, "example.org", ("a.example.org", "pass"), [], "temperror", "be known now"),
        (
            REJECT | {"a.example.org": None},
            "example.org",
            ("a.example.org", "pass"),
            [("example.org", "pass")],
            "pass",
            "DKIM",
        ),
        ({"example.org": "v=DMARC1; p=none"}, "example.org", None, [], "none", "the policy of example.org is none"),
        ({"example.org": "v=DMARC1; p=quarantine"}, "example.org", None, [], "quarantine", "quarantine"),
        (REJECT, "sub.example.org", None, [], "reject", "the policy of example.org is reject"),
        ({"example.org": "v=DMARC1; p=reject; sp=none"}, "sub.example.org", None, [], "none", "is none"),
        ({"example.org": "v=DMARC1; p=none; sp=reject"}, "example.org", None, [], "none", "is none"),
        (REJECT | {"sub.example.org": "v=DMARC1; p=none"}, "sub.example.org", None, [], "none", "sub.example.org"),
        (REJECT | {"b.example.org": "v=DMARC1; p=none"}, "a.b.example.org", None, [], "reject", "of example.org"),
        ({"org": "v=DMARC1; psd=y; p=none; sp=reject"}, "a.example.org", None, [], "reject", "policy of org is reject"),
        ({"example.org": "v=DMARC1; p=reject; t=y"}, "example.org", None, [], "quarantine", "(t=y)"),
        ({"example.org": "v=DMARC1; p=quarantine; t=y"}, "example.org", None, [], "none", "(t=y)"),
        ({"example.org": "v=DMARC1; p=reject; pct=0"}, "example.org", None, [], "reject", "is reject"),
        ({"example.org": "v=DMARC1; rua=mailto:r@example.org"}, "example.org", None, [], "none", "is none"),
        ({"example.org": "v=DMARC1; p=x; rua=mailto:r@example.org"}, "example.org", None, [], "none", "is none"),
        (
            {"example.org": "v=DMARC1; p=reject; sp=x; rua=mailto:r@example.org"},
            "example.org",
            None,
            [],
            "none",
            "is none",
        ),
        ({"example.org": "v=DMARC1; p=reject; sp=x"}, "example.org", None, [], "policy_absent", "neither"),
        ({"example.org": "v=DMARC1; rua=r@example.org"}, "example.org", None, [], "policy_absent", "neither"),
        (
            {"example.org": "v=DMARC1; p=reject; aspf=s"},
            "example.org",
            ("a.example.org", "pass"),
            [],
            "reject",
            "strict",
        ),
        (
            {"example.org": "v=DMARC1; p=reject; adkim=s"},
            "example.org",
            None,
            [("a.example.org", "pass")],
            "reject",
            "s",
        ),
        ({"example.org": "v=DMARC1; p=reject; adkim=s"}, "example.org", ("a.example.org", "pass"), [], "pass", "SPF"),
        (
            {"example.org": "v=DMARC1; p=reject; adkim=s"},
            "example.org",
            None,
            [("example.org", "pass")],
            "pass",
            "DKIM",
        ),
        ({"org": None, **REJECT}, "example.org", ("example.org", "pass"), [], "pass", "SPF"),  # nothing to ask above
        # two organizational domains below one public suffix domain, and a department that is one by itself
        ({"org": "v=DMARC1; psd=y; p=reject"}, "a.example.org", ("b.example.org", "pass"), [], "pass", "b.example.org"),
        ({"org": "v=DMARC1; psd=y; p=reject"}, "example.org", ("other.org", "pass"), [], "reject", "not aligned"),
        (
            REJECT | {"dept.example.org": "v=DMARC1; p=reject; psd=n"},
            "dept.example.org",
            ("example.org", "pass"),
            [],
            "reject",
            "not aligned",
        ),
        (
            REJECT | {"dept.example.org": "v=DMARC1; p=reject; psd=n"},
            "example.org",
            ("dept.example.org", "pass"),
            [],
            "reject",
            "not aligned",
        ),
        ({"xn--mnchen-3ya.example": "v=DMARC1; p=reject"}, "münchen.example", None, [], "reject", "xn--mnchen-3ya"),
        ({}, "a b", None, [], "permerror", "not a domain name"),
    ],
)
def test_the_word_and_the_reason(
    zone: Zone,
    author: str,
    spf: tuple[str, str] | None,
    dkim: list[tuple[str, str]],
    word: str,
    part_of_reason: str,
) -> None:
    result = evaluate(zone, author, spf, dkim)
    assert dmarc.scan_word(result) == word, result.reason
    assert part_of_reason in result.reason
    assert result.disposition == (word if word in ("reject", "quarantine") else "none")


def test_np_is_for_subdomains_that_do_not_exist() -> None:
    zone: dict[tuple[str, str], Sequence[Record] | None] = {
        ("_dmarc.example.org", "txt"): [b"v=DMARC1; p=none; sp=quarantine; np=reject"],
        ("www.example.org", "a"): ["192.0.2.1"],
    }
    dns = FakeDNS(zone)
    assert evaluate(dns, "gone.example.org").policy == "reject"
    assert evaluate(dns, "www.example.org").policy == "quarantine"
    assert evaluate(dns, "example.org").policy == "none"
    assert evaluate(dns, "gone.example.org", standard="rfc7489").policy == "quarantine"
    unknown = FakeDNS({**zone, ("slow.example.org", "a"): None})
    assert evaluate(unknown, "slow.example.org").result == "temperror"
    assert evaluate(unknown, "slow.example.org", dkim=[("slow.example.org", "pass")]).result == "pass"


@pytest.mark.parametrize(
    ("zone", "author", "spf", "word"),
    [
        ({"example.co.uk": "v=DMARC1; p=reject"}, "a.example.co.uk", None, "reject"),
        ({"example.co.uk": "v=DMARC1; p=reject; sp=none"}, "a.example.co.uk", None, "none"),
        ({"co.uk": "v=DMARC1; p=reject; psd=y"}, "example.co.uk", None, "policy_absent"),
        ({"b.example.co.uk": "v=DMARC1; p=reject"}, "a.b.example.co.uk", None, "policy_absent"),
        ({"example.co.uk": "v=DMARC1; p=reject"}, "a.example.co.uk", ("b.example.co.uk", "pass"), "pass"),
        ({"example.co.uk": "v=DMARC1; p=reject"}, "example.co.uk", ("other.co.uk", "pass"), "reject"),
        ({"example.org": "v=DMARC1; p=reject; t=y"}, "example.org", None, "reject"),
        ({"example.org": "v=DMARC1; p=reject; np=x"}, "example.org", None, "reject"),
        ({"example.org": None}, "a.example.org", None, "temperror"),
    ],
)
def test_rfc_7489_by_parameter(zone: Zone, author: str, spf: tuple[str, str] | None, word: str) -> None:
    assert dmarc.scan_word(evaluate(zone, author, spf, standard="rfc7489")) == word


@pytest.mark.parametrize(
    ("policy", "number", "disposition", "spared"),
    [
        ("reject", 0.29, "reject", False),
        ("reject", 0.30, "quarantine", True),
        ("quarantine", 0.99, "none", True),
        ("none", 0.99, "none", False),
    ],
)
def test_pct_spares_messages_in_rfc_7489(policy: str, number: float, disposition: str, spared: bool) -> None:
    zone = {"example.org": f"v=DMARC1; p={policy}; pct=30"}
    result = evaluate(zone, "example.org", standard="rfc7489", sample=lambda: number)
    assert (result.policy, result.disposition, result.sampled_out) == (policy, disposition, spared)


def test_nobody_is_asked_without_need() -> None:
    calls: list[str] = []

    def lazy(name: str, word: str) -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            calls.append(name)
            return word

        return ask

    async def both(dns: FakeDNS) -> DMARCResult:
        spf = Identifier("example.net", lazy("spf", "pass"))
        names = ["x.example", "a.example.org", "example.org"]
        dkim = [Identifier(name, lazy(name, "pass")) for name in names]
        return await dmarc.evaluate("example.org", spf, dkim, dns)

    assert asyncio.run(both(txt({}))).result == "none"
    assert calls == []  # no policy: nothing else matters
    dns = txt({"_dmarc.example.org": "v=DMARC1; p=reject"})
    assert asyncio.run(both(dns)).result == "pass"
    assert calls == ["a.example.org"]  # only what is aligned, and no further than the first pass
    assert len(dns.asked) == len(set(dns.asked))


def test_no_walk_starts_at_a_name_of_somebody_else() -> None:
    dns = txt({"_dmarc.example.org": "v=DMARC1; p=reject"})
    evaluate(dns, "example.org", ("other.org", "pass"), [("example.net", "pass")])
    assert [name for name, _ in dns.asked] == ["_dmarc.example.org", "_dmarc.org"]


def test_a_name_that_does_not_answer_is_asked_once() -> None:
    dns = txt({"_dmarc.example.org": "v=DMARC1; p=reject", "_dmarc.org": None})
    result = evaluate(dns, "example.org", ("a.example.org", "pass"), [("b.example.org", "pass")])
    assert result.result == "temperror"
    assert dns.asked.count(("_dmarc.org", "txt")) == 1


def test_the_result_holds_what_reports_need() -> None:
    result = evaluate(REJECT, "a.example.org", ("example.org", "softfail"), [("example.net", "pass")])
    assert (result.domain, result.policy_domain, result.organizational_domain) == (
        "a.example.org",
        "example.org",
        "example.org",
    )
    assert (result.spf.aligned, result.spf.passed, result.spf.domain, result.spf.result) == (
        True,
        False,
        "example.org",
        "softfail",
    )
    assert (result.dkim.aligned, result.dkim.word, result.spf.word) == (False, "unaligned", "fail")
    assert result.record is not None
    assert result.record.p == "reject"


def test_the_organizational_domain_below_a_public_suffix_domain() -> None:
    result = evaluate({"org": "v=DMARC1; psd=y; p=reject"}, "a.example.org")
    assert (result.policy_domain, result.organizational_domain) == ("org", "example.org")
    assert evaluate(REJECT, "example.org").organizational_domain == ""  # nobody needed it


LABELS = st.lists(st.sampled_from(["a", "b", "example", "org"]), min_size=1, max_size=10).map(".".join)
TEXTS = st.sampled_from(
    ["v=DMARC1; p=reject", "v=DMARC1; psd=y; p=none", "v=DMARC1; psd=n; p=reject", "v=DMARC1", "v=DMARC1; p=none", None]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(LABELS, TEXTS, max_size=6), LABELS, LABELS, st.sampled_from(["rfc9989", "rfc7489"]))
def test_alignment_is_symmetric_and_never_passes_without_a_policy(
    zone: Zone, author: str, other: str, standard: str
) -> None:
    result = evaluate(zone, author, (other, "pass"), standard=standard)
    back = evaluate(zone, other, (author, "pass"), standard=standard)
    if result.result == "pass":
        assert result.record is not None
        assert author.split(".")[-1] == other.split(".")[-1]
        assert back.result in ("pass", "none", "temperror")
    if None not in zone.values() and author == other and result.record is not None:
        assert result.result == "pass"


# Log line


def log(result: DMARCResult, **options: Any) -> str:
    values: dict[str, Any] = {
        "transaction": "c0ffee",
        "time": 1767225600.9,
        "ip": "192.0.2.1",
        "sender": "example.net",
        "helo": "mx.example.net",
        "spf": "pass",
    }
    return dmarc.log_line(result, **(values | options))


def halonlog(line: str) -> dict[str, str]:
    """What opendmarc-halonlog reads: the first parenthesis after [DMARC] opens the list."""
    match = re.search(r"\[DMARC\][^\(]*\((.*)\)$", line)
    assert match is not None, line
    return dict(pair.split("=", 1) for pair in re.split(r"; *", match[1]))


def test_the_log_line_is_what_the_tool_reads() -> None:
    text = "v=DMARC1; p=reject; sp=none; adkim=s; rua=mailto:a@example.org,mailto:b@example.org"
    result = evaluate({"example.org": text}, "example.org", ("example.net", "pass"))
    line = log(result, dkim=[("s1", "example.net", "pass"), ("s2", "example.org", "temperror"), ("s3", "x", "policy")])
    assert line == (
        "[DMARC] [MAIL].From=example.org SPF=unaligned DKIM=unaligned DMARC=reject ("
        "action=reject; adkim=strict; align_dkim=unaligned; align_spf=unaligned; aspf=relaxed; "
        "dkim:s1._domainkey.example.net=pass; dkim:s2._domainkey.example.org=tempfail; dkim:s3._domainkey.x=permfail; "
        "from=example.org; helo=mx.example.net; id=c0ffee; ipaddr=192.0.2.1; mfrom=example.net; p=reject; pct=100; "
        "pdomain=example.org; policy=reject; rua=mailto:a@example.org,mailto:b@example.org; sp=none; spf=pass; "
        "ts=1767225600)"
    )
    assert halonlog(line)["dkim:s1._domainkey.example.net"] == "pass"


def test_a_pass_and_an_absent_policy_are_logged_too() -> None:
    passed = halonlog(log(evaluate(REJECT, "example.org", ("example.org", "pass"))))
    assert (passed["policy"], passed["action"], passed["align_spf"]) == ("pass", "pass", "pass")
    absent = halonlog(log(evaluate({}, "example.org"), spf="permerror"))
    assert (absent["policy"], absent["action"], absent["spf"]) == ("none", "none", "unknown")
    assert "p" not in absent


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20), st.text(alphabet="a;=() \r\n[DMARC]ö", max_size=20))
def test_no_value_breaks_the_line(text: str, odd: str) -> None:
    for value in (text, odd):
        line = log(evaluate({}, value), transaction=value, sender=value, helo=value, dkim=[(value, value, value)])
        assert line.isascii()
        assert line.isprintable()
        found = halonlog(line)
        assert {"id", "ts", "ipaddr", "from", "mfrom", "helo", "pdomain", "spf", "policy", "action"} <= set(found)
        assert found["ts"] == "1767225600"
