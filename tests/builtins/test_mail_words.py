"""Addresses and tag lists as flows see them, patterns, CSV, YAML."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import Standing, Words

from flowengine.builtins import addresses, csv_, regular_expressions, yaml_
from flowengine.language.problems import BudgetExceeded, FlowError
from flowengine.language.values import Function, Secret

words = Words(addresses, csv_, regular_expressions, yaml_)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("", {"localpart": "", "domain": ""}),
        ("<>", {"localpart": "", "domain": ""}),
        ("<Postmaster>", {"localpart": "Postmaster", "domain": ""}),
        ('"a@b"@example.net', {"localpart": "a@b", "domain": "example.net"}),
        ("j\xc3\xb6rg@example.net", {"localpart": "j\xc3\xb6rg", "domain": "example.net"}),
        ("a@[192.0.2.1]", {"localpart": "a", "domain": "[192.0.2.1]"}),
        ("a@b@example.net", None),
        ("a\xff@example.net", None),
        ("x" * 100_000, None),
    ],
)
def test_the_parts_of_an_envelope_address(address, parts):
    assert words.envelope_address_parse(address) == parts


@pytest.mark.parametrize(
    ("value", "listed"),
    [
        ("a@example.net, b@example.net", ["a@example.net", "b@example.net"]),
        ("friends: a@example.net, b@example.net;", ["a@example.net", "b@example.net"]),
        ("undisclosed-recipients:;", []),
        ("a@example.net <b@example.net>", ["b@example.net"]),
        ("a@", None),
        ("", None),
    ],
)
def test_the_addresses_of_a_field(value, listed):
    assert words.header_addresslist_extract(value) == listed
    assert words.GetAddressList(value) == (listed or [])


def test_names_of_a_field():
    value = "=?utf-8?Q?J=C3=B6rg?= <j@example.net>, b@example.net"
    assert words.header_addresslist_extract(value, {"name": True}) == [
        {"name": "J\xc3\xb6rg", "address": "j@example.net"},
        {"name": "", "address": "b@example.net"},
    ]


@given(st.text(max_size=20), st.sampled_from(["a@example.net", '"a b"@example.net', "ö@example.net"]))
@settings(max_examples=80, deadline=None)
def test_a_compiled_list_reads_as_what_went_in(name, address):
    octets = name.encode("utf-8", "ignore").decode("latin-1")
    address = address.encode().decode("latin-1")
    compiled = words.header_addresslist_compile([{"name": octets, "address": address}, {"address": "z@example.net"}])
    assert "\n" not in compiled
    assert words.header_addresslist_extract(compiled) == [address, "z@example.net"]


def test_an_address_that_is_none_cannot_be_compiled():
    with pytest.raises(FlowError, match="not an address"):
        words.header_addresslist_compile([{"name": "x", "address": "a@b, c@d"}])


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("DKIM-Signature: v=1; b=a\r\n b;", {"v": "1", "b": "a\r\n b"}),
        ("X: v=1; v=2", None),
        ("X: ", {}),
    ],
)
def test_the_tags_of_a_field(value, tags):
    assert words.header_dkim_decode(value, {"field": True}) == (tags or (None if tags is None else []))


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (("pcre_match", "(a)|(b)", "b"), ["b", "", "b"]),
        (("pcre_match", "/^b$/m", "a\nb"), ["b"]),
        (("pcre_match", "/\xc3\xa9/u", "caf\xc3\xa9"), ["\xc3\xa9"]),
        (("pcre_match", "\\d(?=x)", "1x"), ["1"]),
        (("pcre_match", "\x00", "a\x00"), ["\x00"]),
        (("pcre_match_all", "(?<n>\\d)", "1 2"), {0: ["1", "2"], "n": ["1", "2"], 1: ["1", "2"]}),
        (("pcre_replace", "x*", "-", "ab"), "-a-b-"),
        (("pcre_replace", "(a)", "$1$1$2$", "a"), "aa$"),
        (("pcre_replace", "a", "b", "aaa", -1), "bbb"),
        (("pcre_quote", "[a](b)"), "\\[a\\]\\(b\\)"),
    ],
)
def test_a_pattern_gives(call, result):
    name, *arguments = call
    assert getattr(words, name)(*arguments) == result


def test_a_pattern_can_be_an_object_or_wrong():
    compiled = words.pcre_compile("/A/i")
    assert words.pcre_replace(compiled, Function("wrap", lambda match: f"<{match[0]}>"), "banana") == "b<a>n<a>n<a>"
    with pytest.raises(FlowError, match="pattern"):
        words.pcre_match("(", "x")
    with pytest.raises(FlowError, match="pattern"):
        words.pcre_compile("[")
    with pytest.raises(FlowError):
        words.pcre_match(["a"], "x")


def test_a_pattern_that_explodes_is_stopped():
    started = time.perf_counter()
    with pytest.raises(FlowError, match=r"limit|too long"):
        Words(regular_expressions).pcre_match("^(a+)+$", "a" * 40 + "b")
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


@given(st.binary(max_size=20).map(lambda octets: octets.decode("latin-1")))
@settings(max_examples=60, deadline=None)
def test_a_quoted_string_matches_itself(string):
    assert words.pcre_match("^" + words.pcre_quote(string) + "\\z", string) == [string]


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (('a,b\n"x\n""y""",2\n\n3',), [{"a": 'x\n"y"', "b": "2"}, {"a": "3"}]),
        (("a\r\n1,2\r\n",), [{"a": "1"}]),
        (("1,2", {"header": False}), [["1", "2"]]),
        (("",), []),
        (('a\n"b"c',), None),
        (("n\n1.5\n0\n", {"schema": {"n": {"type": "number"}}}), [{"n": 1.5}, {"n": 0}]),
        (("n\nx\n", {"schema": {"n": {"type": "number"}}}), None),
        (("n\n\n,\n", {"schema": {"n": {"type": "number", "nullable": True}}}), [{"n": None}]),
        (("n\nNULL\n", {"schema": {"n": {"type": "number", "nullable": ["NULL"]}}}), [{"n": None}]),
        (("b\ntrue\nfalse\n", {"schema": {"b": {"type": "boolean"}}}), [{"b": True}, {"b": False}]),
        (("b\nyes\n", {"schema": {"b": {"type": "boolean"}}}), None),
    ],
)
def test_csv_is_read(call, result):
    assert words.csv_decode(*call) == result


def test_wrong_use_of_csv_is_an_error():
    for options in ({"delimiter": "ab"}, {"delimiter": '"'}, {"schema": {"a": {"type": "date"}}}, {"schema": {"a": 1}}):
        with pytest.raises(FlowError):
            words.csv_decode("a\n1", options)
    with pytest.raises(FlowError):
        words.csv_encode([["a"], "b"])


@given(st.lists(st.lists(st.text(max_size=6), min_size=1, max_size=3), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_csv_reads_back(rows):
    rows = [[cell.encode("utf-8", "ignore").decode("latin-1").replace("\x00", "") for cell in row] for row in rows]
    written = words.csv_encode(rows, {"header": False})
    width = max(map(len, rows))
    assert words.csv_decode(written, {"header": False}) == [row + [""] * (width - len(row)) for row in rows]


def test_csv_of_a_secret_is_one():
    assert type(words.csv_encode([["a", Secret("x")]])) is Secret


def test_csv_is_bounded():
    with pytest.raises(BudgetExceeded):
        Words(csv_, run=Standing()).csv_decode("\n" + "a\n" * 3_000_000)
    assert words.csv_decode("x" * 200_000) is None  # no field is that long


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("- 1\n- 1.5\n- ~\n- on\n- 2026-01-01", [1, 1.5, None, True, "2026-01-01"]),
        ("caf\xc3\xa9: \xc3\xa9", {"caf\xc3\xa9": "\xc3\xa9"}),
        ("!!python/object/apply:os.system ['true']", None),
        ("!!binary aGk=", None),
        ("? [a]\n: b", None),
        ("a: .nan", None),
        ("[" * 5000, None),
        ("x" * 200_000, None),
        ("a: 1\n---\nb: 2", None),
        ("&a [*a]", None),
    ],
)
def test_yaml_means(text, value):
    started = time.perf_counter()
    assert Words(yaml_).yaml_decode(text) == value
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def test_a_yaml_bomb_ends_at_the_limit():
    started = time.perf_counter()
    with pytest.raises(BudgetExceeded):
        Words(yaml_).yaml_decode(BOMB)
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def test_secret_fields_of_yaml_are_secrets():
    assert type(words.yaml_decode("rsakey: x")["rsakey"]) is Secret
