"""Addresses of header fields and of the envelope, against the grammar and the public suite."""

import contextlib
import os
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path as File

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowengine.mail.addresses import (
    Address,
    Group,
    Path,
    extract,
    mailboxes,
    parse_list,
    parse_mailbox,
    parse_path,
    split,
)
from flowengine.mail.errors import MailError

SUITES = File(os.environ.get("FLOWENGINE_SUITES", File(__file__).parents[2] / "../shared/suites"))
ISEMAIL = SUITES / "addresses" / "tests.xml"

# Where we differ from the suite, and the text that says so.
DIFFERENT = {
    "58": "invalid",  # NUL in a local part: RFC 5322 §4.1 obs-qp; would end up in replies, logs and other fields
    "134": "invalid",  # line feed in a local part: the same
    "115": "invalid",  # control character in a domain literal: obs-NO-WS-CTL of RFC 5322 §4.1; the same
    "160": "5322",  # non-ASCII after a backslash: RFC 6532 §3.2 adds UTF8-non-ascii to VCHAR, thus to quoted-pair
}


def suite() -> list[tuple[str, str, str]]:
    if not ISEMAIL.exists():
        return []
    cases = []
    for test in ElementTree.parse(ISEMAIL).getroot().iter("test"):  # noqa: S314 - our own file of test data
        number, category = test.get("id", ""), test.findtext("category") or ""
        address = test.findtext("address") or ""
        address = "".join(chr(ord(c) - 0x2400) if 0x2400 <= ord(c) <= 0x2420 else c for c in address)
        kind = {"ISEMAIL_ERR": "invalid", "ISEMAIL_CFWS": "5322", "ISEMAIL_DEPREC": "5322", "ISEMAIL_RFC5322": "5322"}
        cases.append((number, address, DIFFERENT.get(number, kind.get(category, "5321"))))
    return cases


def reading(address: str) -> str:
    try:
        parse_mailbox(address)
    except MailError:
        pass
    else:
        parse_list(address)
        return "5321"
    try:
        (entry,) = parse_list(address)
        assert isinstance(entry, Address)
    except MailError:
        return "invalid"
    return "5322"


@pytest.mark.skipif(not ISEMAIL.exists(), reason=f"no suite at {ISEMAIL}; set FLOWENGINE_SUITES")
def test_the_public_suite() -> None:
    cases = suite()
    wrong = [(number, address, kind, reading(address)) for number, address, kind in cases if reading(address) != kind]
    assert len(cases) == 164
    assert wrong == []


A = Address


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        (b"a@b.example", [A("", "a", "b.example")]),
        (b" Alice <a@B.example>", [A("Alice", "a", "B.example")]),
        (b'"Doe, J." <a@b.example>, c@d.example', [A("Doe, J.", "a", "b.example"), A("", "c", "d.example")]),
        (b"J. Q. Public <a@b.example>", [A("J. Q. Public", "a", "b.example")]),
        (b"Alice\r\n <a@b.example>", [A("Alice", "a", "b.example")]),
        (b"Alice\n\t<a@b.example>", [A("Alice", "a", "b.example")]),
        (b"a@b.example (Alice (from) work)", [A("", "a", "b.example")]),
        (b"undisclosed-recipients:;", [Group("undisclosed-recipients", ())]),
        (
            b"The Team: a@b.example, Bob <c@d.example>;, e@f.example",
            [Group("The Team", (A("", "a", "b.example"), A("Bob", "c", "d.example"))), A("", "e", "f.example")],
        ),
        (b"<@r.example,@s.example:a@b.example>", [A("", "a", "b.example")]),
        (b",, a@b.example ,,", [A("", "a", "b.example")]),
        (b'"a b"@c.example', [A("", "a b", "c.example")]),
        (b'"\\a\\"b"@c.example', [A("", 'a"b', "c.example")]),
        (b'"a"."b"@c.example', [A("", "a.b", "c.example")]),
        (b" a . b @ c . example ", [A("", "a.b", "c.example")]),
        (b"a@[192.0.2. 1]", [A("", "a", "[192.0.2.1]")]),
        (b"=?utf-8?Q?J=C3=B6rg?= <a@b.example>", [A("Jörg", "a", "b.example")]),
        (b"=?utf-8?B?SsO?= =?utf-8?B?tnJn?= X <a@b.example>", [A("Jörg X", "a", "b.example")]),
        (b"=?utf-8?B?SsM=?= =?utf-8?B?tnJn?= X <a@b.example>", [A("Jörg X", "a", "b.example")]),  # ö cut in two
        (b"=?iso-8859-1*en?q?a_b?= =?us-ascii?q?c?= <a@b.example>", [A("a bc", "a", "b.example")]),
        (b"=?punycode?q?a?= <a@b.example>", [A("=?punycode?q?a?=", "a", "b.example")]),
        (b"=?hex?q?61?= <a@b.example>", [A("=?hex?q?61?=", "a", "b.example")]),
        (b"=?utf-8?q?a=0D=0Ab?= <a@b.example>", [A("a b", "a", "b.example")]),
        (b"=?utf-8?b?!!!?= <a@b.example>", [A("", "a", "b.example")]),
        ("Jörg <jörg@münchen.example>".encode(), [A("Jörg", "jörg", "münchen.example")]),
        ("Jörg <a@b.example>".encode("latin-1"), [A("J\ufffdrg", "a", "b.example")]),
        ("J\ud800 <a@b.example>", [A("J\ufffd", "a", "b.example")]),
    ],
)
def test_a_list_is_read_as_its_values(value: bytes | str, entries: list[Address | Group]) -> None:
    assert parse_list(value) == entries


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (b"", "no address"),
        (b" ,, ", "no address"),
        (b"Alice", "at 5"),
        (b"a@b.example c@d.example", "at 12"),
        (b"a@bank.example <x@evil.example>", "at 15"),
        (b"Alice <a@b.example", "at 18"),
        (b"Alice <a@b.example>>", "at 19"),
        (b"Team: a@b.example", "at 17"),
        (b"Team: Sub: a@b.example;;", "at 9"),
        (b"<>", "at 1"),
        (b"a@b.example)", "at 11"),
        (b"a\x00b@c.example", "at 1"),
        (b"a@b.example\r\nBcc: c@d.example", "at 11"),
        ("jörg@b.example".encode("latin-1"), "not UTF-8"),
        ('"jörg"@b.example'.encode("latin-1"), "not UTF-8"),
        (b"<@:a@b.example>", "a domain expected"),
        (b"(((a@b.example", "at 0"),
    ],
)
def test_a_broken_list_says_where(value: bytes, place: str) -> None:
    with pytest.raises(MailError, match=place):
        parse_list(value)


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ("Alice <a@b.example>, c@d.example", ["a@b.example", "c@d.example"]),
        ("Team: a@b.example;", ["a@b.example"]),
        ("a@bank.example <x@evil.example>", ["x@evil.example"]),
        ("Foo [Bar]: baz @ x <a@b.example>", ["a@b.example"]),
        ("Foo [Bar] <a@b.example>", ["a@b.example"]),
        ('"a b"@c.example', ['"a b"@c.example']),
        ('"ab"@c.example', ["ab@c.example"]),
        ('"a\\\\\\"b"@c.example', ['"a\\\\\\"b"@c.example']),
        ("undisclosed-recipients:;", []),
        ("Alice", []),
        ("a@b.example, Alice", []),
        ("Alice, a@b.example", []),
        ("Foo, Inc. <a@b.example>, c@d.example", ["a@b.example", "c@d.example"]),
        ("c@d.example, Foo, Inc. <a@b.example>", ["c@d.example", "a@b.example"]),
        ("", []),
    ],
)
def test_extract_gives_addresses_or_nothing(value: str, addresses: list[str]) -> None:
    assert extract(value) == addresses


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (b"<a@b.example>", Path("a", "b.example")),
        (b"<>", Path("", "")),
        (b"<Postmaster>", Path("Postmaster", "")),
        (b"<a.b+c=d@E.example>", Path("a.b+c=d", "E.example")),
        (b"<a@host_1.example>", Path("a", "host_1.example")),
        (b'<"a b"@c.example>', Path("a b", "c.example")),
        (b'<"a\\ b\\""@c.example>', Path('a b"', "c.example")),
        (b'<"a@b"@c.example>', Path("a@b", "c.example")),
        (b"<a@[192.0.2.1]>", Path("a", "[192.0.2.1]")),
        (b"<a@[IPv6:2001:db8::1]>", Path("a", "[IPv6:2001:db8::1]")),
        (b"<@r.example,@s.example:a@b.example>", Path("a", "b.example")),
        ("<jörg@münchen.example>".encode(), Path("jörg", "münchen.example")),
    ],
)
def test_a_path_is_read_as_its_parts(value: bytes, path: Path) -> None:
    assert parse_path(value) == path
    assert path.null or not path.domain or parse_mailbox(path.address) == path


@pytest.mark.parametrize(
    "value",
    [
        b"a@b.example",
        b"<a@b.example",
        b"<",
        b"<a>",
        b"<@b.example>",
        b"<a@>",
        b"<a@b@c.example>",
        b"<a b@c.example>",
        b"<a@b.example> ",
        b"<a@-b.example>",
        b"<a@b-.example>",
        b"<a@b..example>",
        b"<a@b.example.>",
        b"<.a@b.example>",
        b"<a.@b.example>",
        b"<a@b.example\r\n>",
        b"<a@b.exam\x00ple>",
        b'<"a\r\nb"@c.example>',
        b"<a@[x-tag:anything]>",
        b"<a@[192.0.2.256]>",
        b"<a@[192.0.2.01]>",
        b"<a@[IPv6:::1%eth0]>",
        b"<a@[IPv6:1:2:3:4:5:6::7]>",
        b"<@r.example,a@b.example>",
        b"<\xff@b.example>",
        "<\ufffd@b.example>".encode(),
        b"<" + b"a" * 65 + b"@b.example>",
        b"<a@" + b"b." * 126 + b"bcd>",
        b"<a@" + b"b" * 64 + b".example>",
        "<{}@b.example>".format("ö" * 33).encode(),
        b"<" + b"a" * 100_000 + b">",
    ],
)
def test_a_broken_path_is_refused(value: bytes) -> None:
    with pytest.raises(MailError):
        parse_path(value)


def test_other_scripts_need_smtputf8() -> None:
    assert not parse_path("<ö@b.example>".encode()).ascii
    with pytest.raises(MailError, match="SMTPUTF8"):
        parse_path("<ö@b.example>".encode(), utf8=False)
    assert parse_path(b"<o@b.example>", utf8=False).ascii


def test_split_cuts_at_the_last_at() -> None:
    assert split("a@b.example") == ("a", "b.example")
    assert split('"a@x"@b.example') == ('"a@x"', "b.example")
    assert split("a@[x-tag:b@c]") == ("a", "[x-tag:b@c]")
    assert split("postmaster") == ("postmaster", "")
    assert split("") == ("", "")
    assert split("]") == ("]", "")


ODD = st.text(alphabet='ab@.,:;<>()[]"\\ \t\r\n=?\x00\x7fö\ufffd', max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | ODD.map(str.encode))
@example(b"=?a?b?c?=@d")
@example(b'""@a')
def test_any_bytes_are_addresses_or_a_mail_error(value: bytes) -> None:
    try:
        entries = parse_list(value)
    except MailError:
        entries = []
    for address in mailboxes(entries):
        assert not set(address.address) & set("\r\n\x00")
        (again,) = parse_list(address.address)  # what we write, we read
        assert isinstance(again, Address)
        assert (again.local_part, again.domain) == (address.local_part, address.domain)
    for text in extract(value):
        assert parse_list(text)
    for parse in (parse_path, parse_mailbox):
        try:
            path = parse(value)
        except MailError:
            continue
        assert len(path.address.encode()) <= 256
        assert path.null or not path.domain or parse_mailbox(path.address) == path


@pytest.mark.parametrize(
    "value",
    [
        "(" * 100_000,
        "(" * 50_000 + ")" * 50_000 + "a@b.example",
        "(\\" * 50_000,
        '"' * 100_000,
        "a," * 50_000,
        "a@b.example," * 10_000,
        "<" * 100_000,
        "@" * 100_000,
        "=?a?q?," * 15_000,
        "=?a?q?b?= " * 10_000 + "<a@b.example>",
        " \r\n" * 33_000,
        "[" * 100_000,
        "a." * 50_000 + "@b.example",
        "x: " * 30_000,
        "a b " * 20_000 + ",",
        "a, " * 30_000 + "<a@b.example>",
        "a, " * 30_000 + "a@b.example",
        "a@b.example c, " * 7_000,
    ],
)
def test_time_is_linear_in_the_size(value: str) -> None:
    start = time.perf_counter()
    extract(value)
    with contextlib.suppress(MailError):
        parse_list(value)
    assert time.perf_counter() - start < 20  # on a busy machine too: what grows too fast takes minutes


def test_a_field_of_a_megabyte_is_not_read() -> None:
    value = b"a.b [x] <c@d.e>," * 65_536
    start = time.process_time()
    assert extract(value) == []
    with pytest.raises(MailError, match="longer than 131072"):
        parse_list(value)
    assert time.process_time() - start < 0.5
    assert len(extract(b"alice.with.a.long.name@mail.example.net, " * 2000)) == 2000
