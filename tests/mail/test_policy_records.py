"""MTA-STS, TLS-RPT and BIMI: good records, broken ones, and those of somebody else."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest
from fake_dns import FakeDNS
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail import policy_records as records
from flowengine.mail.dmarc import ReportURI
from flowengine.mail.dns import DNSUnavailable
from flowengine.mail.errors import MailError
from flowengine.mail.policy_records import BIMIRecord, STSPolicy, STSRecord, TLSReportRecord


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (records.parse_sts_record, b"v=STSv1; id=20160831085700Z;", STSRecord("20160831085700Z")),
        (records.parse_sts_record, b"v=STSv1;id=a;x=y;id=b", STSRecord("a")),
        (records.parse_sts_record, b"v=stsv1; id=a", None),
        (records.parse_sts_record, b"v=STSv1x; id=a", None),
        (records.parse_sts_record, b"v=spf1 -all", None),
        (
            records.parse_tls_report_record,
            b"v=TLSRPTv1; rua=mailto:r@a.example,https://a.example/r",
            TLSReportRecord(
                (ReportURI("mailto:r@a.example", "r@a.example", None), ReportURI("https://a.example/r", "", None))
            ),
        ),
        (
            records.parse_tls_report_record,
            b"v=TLSRPTv1;rua=ftp://a.example/, mailto:r@a.example",
            TLSReportRecord((ReportURI("mailto:r@a.example", "r@a.example", None),)),
        ),
        (records.parse_tls_report_record, b"v=TLSRPTv2; rua=mailto:r@a.example", None),
        (
            records.parse_bimi,
            b"v=BIMI1; l=https://a.example/i.svg; a=https://a.example/vmc.pem; avp=personal",
            BIMIRecord("https://a.example/i.svg", "https://a.example/vmc.pem", "personal"),
        ),
        (records.parse_bimi, b"v=BIMI1; l=; a=;", BIMIRecord("", "")),
        (records.parse_bimi, b"v=BIMI2; l=;", None),
    ],
)
def test_a_record_is_read(parse: Callable[[bytes], object], text: bytes, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "problem"),
    [
        (records.parse_sts_record, b"v=STSv1", "valid id"),
        (records.parse_sts_record, b"v=STSv1; id=", "valid id"),
        (records.parse_sts_record, b"v=STSv1; id=" + b"a" * 33, "valid id"),
        (records.parse_sts_record, b"v=STSv1; id=a b", "valid id"),
        (records.parse_sts_record, b"v=STSv1; id", "no field"),
        (records.parse_sts_record, "v=STSv1; id=é".encode(), "no field"),
        (records.parse_tls_report_record, b"v=TLSRPTv1", "usable rua"),
        (records.parse_tls_report_record, b"v=TLSRPTv1; rua=r@a.example", "usable rua"),
        (records.parse_bimi, b"v=BIMI1; a=https://a.example/", "without l"),
        (records.parse_bimi, b"v=BIMI1; l=http://a.example/i.svg", "HTTPS"),
    ],
)
def test_a_broken_record_is_refused(parse: Callable[[bytes], object], text: bytes, problem: str) -> None:
    with pytest.raises(MailError, match=problem):
        parse(text)


def test_a_domain_may_decline_bimi() -> None:
    declined = records.parse_bimi(b"v=BIMI1; l=")
    assert declined is not None
    assert declined.declined
    assert not BIMIRecord("https://a.example/i.svg", "").declined


def test_only_one_record_counts() -> None:
    one, other = b"v=STSv1; id=a", b"v=spf1 -all"
    assert records.only([other, one], records.parse_sts_record) == STSRecord("a")
    assert records.only([one, one], records.parse_sts_record) is None
    assert records.only([other], records.parse_sts_record) is None


POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n"


def test_a_policy_file_is_read() -> None:
    policy = records.parse_sts_policy(POLICY)
    assert policy == STSPolicy("enforce", 604800, ("mail.example.com", "*.example.net"))
    assert records.parse_sts_policy(POLICY.replace(b"\r\n", b"\n") + b"mode: none\nfuture: x\n\n") == policy
    assert records.parse_sts_policy(b"version: STSv1\nmode: none\nmax_age: 9999999999") == STSPolicy(
        "none", 31557600, ()
    )


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True),
        ("MAIL.example.com.", True),
        ("a.mail.example.com", False),
        ("mx1.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        ("", False),
    ],
)
def test_a_wildcard_stands_for_one_label(host: str, allowed: bool) -> None:
    assert records.parse_sts_policy(POLICY).allows(host) is allowed


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "version"),
        (b"version: STSv2\nmode: none\nmax_age: 1", "version"),
        (b"version: STSv1\nmax_age: 1", "mode"),
        (b"version: STSv1\nmode: Enforce\nmax_age: 1\nmx: a.example", "mode"),
        (b"version: STSv1\nmode: enforce\nmx: a.example", "max_age"),
        (b"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1", "max_age"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1", "without mx"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1\nmx: *.*.example", "line 4"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1\nmx a.example", "line 4"),
        (b"version: STSv1\rmode: none\rmax_age: 1", "line 1"),
        (b"version: STSv1\n\xff", "UTF-8"),
        (b"a" * 65537, "64 KiB"),
    ],
)
def test_a_broken_policy_file_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(MailError, match=problem):
        records.parse_sts_policy(body)


OWN, ABOVE = "default._bimi.mail.example.org", "default._bimi.example.org"
LOGO = "v=BIMI1; l=https://a.example/a.svg"


@pytest.mark.parametrize(
    ("zone", "location"),
    [
        ({OWN: [LOGO]}, "https://a.example/a.svg"),
        ({ABOVE: [LOGO]}, "https://a.example/a.svg"),
        ({OWN: ["v=spf1 -all"], ABOVE: [LOGO]}, "https://a.example/a.svg"),
        ({OWN: ["v=BIMI1; l=; a=;"], ABOVE: [LOGO]}, ""),
        ({OWN: [LOGO, LOGO], ABOVE: [LOGO]}, None),
        ({}, None),
    ],
)
def test_the_bimi_record_is_the_domains_own_or_that_above(zone: dict[str, list[str]], location: str | None) -> None:
    dns = FakeDNS({(name, "txt"): [text.encode() for text in texts] for name, texts in zone.items()})
    found = asyncio.run(records.find_bimi(dns, "mail.example.org", "example.org"))
    assert (None if found is None else found.location) == location


@pytest.mark.parametrize(("text", "error"), [("v=BIMI1; l=http://a.example", MailError), (None, DNSUnavailable)])
def test_a_bimi_record_that_cannot_be_had_or_read(text: str | None, error: type[Exception]) -> None:
    dns = FakeDNS({(OWN, "txt"): None if text is None else [text.encode()]})
    with pytest.raises(error):
        asyncio.run(records.find_bimi(dns, "mail.example.org", "example.org"))


PARSERS = [records.parse_sts_record, records.parse_tls_report_record, records.parse_bimi, records.parse_sts_policy]
HEADS = ["", "v=STSv1;", "v=TLSRPTv1;", "v=BIMI1;", "version: STSv1\nmode: none\nmax_age: 1\n"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(HEADS),
    st.binary(max_size=40) | st.text(alphabet="ruaidl=;:, \nmx*.https/@", max_size=60).map(str.encode),
)
def test_any_bytes_are_a_value_or_a_mail_error(head: str, tail: bytes) -> None:
    for parse in PARSERS:
        with contextlib.suppress(MailError):
            parse(head.encode() + tail)


@pytest.mark.parametrize(
    "part", [b";", b"a=b;", b" ", b"\t ", b"rua=a,", b"mx: a.b\n", b"x: " + b" " * 60, b"x: a" + b" " * 59_990 + b"b"]
)
def test_parsing_takes_time_linear_in_the_size(part: bytes) -> None:
    start = time.perf_counter()
    for head in HEADS:
        for parse in PARSERS:
            with contextlib.suppress(MailError):
                parse(head.encode() + part * (60_000 // len(part)))
    assert time.perf_counter() - start < 20  # on a busy machine too: what grows too fast takes minutes
