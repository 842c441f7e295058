"""Addresses, domains, DNS."""

import time

import pytest
from standing import Standing, Words

from flowengine.builtins import dns, network
from flowengine.language.problems import FlowError
from flowengine.mail.dns import DNSUnavailable

words = Words(network)


@pytest.mark.parametrize(
    ("ip", "net", "inside"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "0.0.0.0/0", True),
        ("192.0.2.1", " 192.0.2.0 - 192.0.2.1 ", True),
        ("192.0.2.2", "192.0.2.0-192.0.2.1", False),
        ("192.0.2.1", "192.0.2.9-192.0.2.1", False),
        ("2001:db8::1", "2001:DB8::/32", True),
        ("2001:db8::1", "2001:db8::-2001:db8::f", True),
        ("::ffff:192.0.2.1", "192.0.2.0/24", False),
        ("192.0.2.1", "192.0.2.0-2001:db8::", None),
        ("192.0.2.1", "192.0.2.0/33", None),
        ("192.0.2.1", "", None),
        ("192.0.2", "192.0.2.0/24", None),
        ("192.0.2.1", "1" * 5000, None),
    ],
)
def test_an_address_in_a_network(ip, net, inside):
    assert words.inet_includes(ip, net) is inside
    assert words.in_network(ip, net) is inside


@pytest.mark.parametrize(
    ("name", "parent", "below"),
    [
        ("a.example.net", "A.Example.NET.", True),
        ("a.example.net", ".example.net", True),
        (".example.net", ".example.net", False),
        ("example.net", "", False),
        ("example.net", ".", False),
        ("", "", False),
    ],
)
def test_a_domain_in_a_domain(name, parent, below):
    assert words.is_subdomain(name, parent) is below


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (("inet_ntop", b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"), "2001:db8::1"),
        (("inet_ntop", ""), None),
        (("inet_pton", "2001:db8::1"), (b"\x20\x01\x0d\xb8" + bytes(11) + b"\1").decode("latin-1")),
        (("inet_pton", "1.2.3.256"), None),
        (("inet_reverse", "2001:db8::1", "x.example."), "1." + "0." * 23 + "8.b.d.0.1.0.0.2.x.example"),
        (("idna_encode", "EXAMPLE.net."), "example.net"),
        (("idna_encode", b"\xff"), None),
        (("idna_encode", "x" * 300), None),
        (("idna_decode", "xn--mnchen-3ya.example"), "m\xc3\xbcnchen.example"),
        (("domain_publicsuffix", "com"), "com"),
        (("domain_publicsuffix", "b\xc3\xbccher.example.com"), "com"),
        (("domain_publicsuffix", "not a domain"), None),
    ],
)
def test_a_network_word_gives(call, result):
    name, *arguments = call
    assert getattr(words, name)(*arguments) == result


def test_a_hostile_domain_costs_little():
    started = time.perf_counter()
    assert words.idna_encode("\xc3\xbc." * 1_000_000) is None
    assert words.idna_decode("xn--" + "a" * 1_000_000) is None
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


@pytest.fixture
def run():
    return Standing()


@pytest.fixture
def asking(run):
    return Words(dns, run=run)


@pytest.mark.parametrize(
    ("host", "options", "result"),
    [
        ("EXAMPLE.net.", {"type": "TXT"}, {"result": ["v=spf1 -all", "caf\xc3\xa9"], "dnssec": False}),
        ("mail.example.net", {"type": "mx"}, {"result": [], "dnssec": False}),
        ("broken.example.net", {}, {"error": "SERVFAIL", "dnssec": False}),
        ("a..b", {}, {"error": "NXDOMAIN", "dnssec": False}),
        ("", {}, {"error": "NXDOMAIN", "dnssec": False}),
        ("mail.example.net", {"type": "aaaa", "extended_result": True},
         {"result": ["2001:db8::1"], "dnssec": False, "ttl": 300}),
    ],
)  # fmt: skip
def test_dns_says(asking, host, options, result):
    assert asking.dns_query(host, options) == result


def test_a_type_that_dns_does_not_have_is_an_error(asking):
    with pytest.raises(FlowError, match="axfr"):
        asking.dns_query("example.net", {"type": "axfr"})
    with pytest.raises(FlowError, match='did you mean "type"'):
        asking.dns_query("example.net", {"typ": "a"})
    with pytest.raises(FlowError, match="no option"):
        asking.dns("example.net", {"typ": "a"})


def test_half_an_answer_is_an_answer(run, asking):
    run.zone.records["mail.example.net", "aaaa"] = DNSUnavailable("mail.example.net", "aaaa", "time-out")
    assert asking.dns("mail.example.net") == ["192.0.2.1", "192.0.2.2"]
    del run.zone.records["mail.example.net", "a"]
    assert asking.dns("mail.example.net", {"extended_result": True})["error"] == "TRY_AGAIN"


def test_servers_of_dialect_a_are_taken_and_said_to_be_unused(run, asking):
    assert asking.dns4("mail.example.net", ["192.0.2.53"], 2) == ["192.0.2.1", "192.0.2.2"]
    assert asking.dnsbl("127.0.0.2", "zen.example.org", ["192.0.2.53"], 2) == ["127.0.0.4"]
    assert set(run.warnings) == {
        "DNS servers named in a script are not used: [dns] servers decides",
        "a DNS timeout named in a script is not used: [dns] timeout decides",
    }


def test_a_name_is_asked_in_its_one_written_form(run, asking):
    asking.dns4("B\xc3\xbccher.Example.")
    assert run.zone.asked == [("xn--bcher-kva.example", "a")]


def test_nobody_is_asked_about_what_is_no_address(run, asking):
    assert asking.dnsptr("localhost") == []
    assert asking.dnsbl("localhost", "zen.example.org") == []
    assert run.zone.asked == []


def test_answers_are_facts_and_a_repeated_run_asks_nobody(run, asking):
    names = ("mail.example.net", "slow.example.net", "absent.example.net")
    first = [asking.dns_query(name) for name in names]
    again = run.again()
    assert [Words(dns, run=again).dns_query(name) for name in names] == first
    assert again.zone.asked == []
