"""The author domain: one, or a reason why there is none."""

import base64
import re
import time
from email.utils import getaddresses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail import names
from flowengine.mail.addresses import FromRefused, Refusal, from_domain


def b64(text: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?="


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("a@bank.example", "bank.example"),
        (" Bank <a@BANK.example>\r\n", "bank.example"),
        ('"Bank, Inc." <a@bank.example>', "bank.example"),
        ("Bank <a@bank.example>, Boss <b@Bank.Example>", "bank.example"),
        ("a@bank.example (Bank)", "bank.example"),
        ("a@bank.example (a@bank.example)", "bank.example"),
        ('"other@elsewhere.example" <a@bank.example>', "bank.example"),  # lists write so; no reader errs here
        ('"Al <a@bank.example>" <a@bank.example>', "bank.example"),  # two readings, one domain
        ("=?utf-8?q?Foo,_Inc.?= <a@bank.example>", "bank.example"),
        (f"{b64('a@elsewhere.example')} <a@bank.example>", "bank.example"),
        ("Jörg <a@münchen.example>", "xn--mnchen-3ya.example"),
        ("a@localhost", "localhost"),
        ('"a b"@bank.example', "bank.example"),
        ("(I am) a@bank.example", "bank.example"),
        ("Jane (@jane) <a@bank.example>", "bank.example"),
        ("J. (Joe) Doe\r\n <a@bank.example>", "bank.example"),
        ("a@bank.example <a@bank.example>", "bank.example"),  # broken, but nobody reads another domain in it
        ("Bank, Inc. [new] <a@bank.example>", "bank.example"),
    ],
)
def test_one_author(value: str, domain: str) -> None:
    assert from_domain([value.encode()]) == domain


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], Refusal.NO_FROM),
        (["a@bank.example", "a@bank.example"], Refusal.SEVERAL_FROM),
        (["a@bank.example, x@evil.example"], Refusal.SEVERAL_DOMAINS),
        (["Team: a@bank.example;"], Refusal.GROUP),
        (["undisclosed:;"], Refusal.GROUP),
        ([""], Refusal.UNPARSABLE),
        (["Bank"], Refusal.UNPARSABLE),
        (["a@bank.example <x@evil.example>"], Refusal.UNPARSABLE),
        (["<a@bank.example> <x@evil.example>"], Refusal.UNPARSABLE),
        (["Bank [a@bank.example] <x@evil.example>"], Refusal.UNPARSABLE),
        (["a@bank.example, Bank <x@evil.example>, [] <x@evil.example>"], Refusal.SEVERAL_DOMAINS),
        (["Bank <a@-bank.example>"], Refusal.UNPARSABLE),
        (["Bank <a@bank.example.>"], Refusal.UNPARSABLE),
        (["Bank <a@" + "b" * 64 + ".example>"], Refusal.BAD_DOMAIN),
        (["a@bank.example\r\nX: y"], Refusal.AMBIGUOUS),
        (["a@"], Refusal.UNPARSABLE),
        (["a"], Refusal.UNPARSABLE),
        (["a@[192.0.2.1]"], Refusal.DOMAIN_LITERAL),
        (["a@bank/evil.example"], Refusal.BAD_DOMAIN),
        (["a@ü\uff20evil.example"], Refusal.BAD_DOMAIN),
        (['"x@evil.example"@bank.example'], Refusal.AMBIGUOUS),
        (['"x\uff20evil.example"@bank.example'], Refusal.AMBIGUOUS),
        (['"<x>"@bank.example'], Refusal.AMBIGUOUS),
        (['"<a@bank.example>".x@evil.example'], Refusal.AMBIGUOUS),
        (["x@evil.example (a@bank.example)"], Refusal.AMBIGUOUS),
        (["x@evil.example (a@ bank.example)"], Refusal.AMBIGUOUS),
        (["x@(a)bank.example"], Refusal.AMBIGUOUS),
        (["x(a)@bank.example"], Refusal.AMBIGUOUS),
        (["a@bank(.evil).example"], Refusal.AMBIGUOUS),
        (["x(a).y@bank.example"], Refusal.AMBIGUOUS),
        (["Bank <a@bank.example(evil)>"], Refusal.AMBIGUOUS),
        (["<@evil.example:a@bank.example>"], Refusal.AMBIGUOUS),
        (["<@bank.example,@evil.example:a@bank.example>"], Refusal.AMBIGUOUS),
        (['"<a@bank.example>" <x@evil.example>'], Refusal.AMBIGUOUS),
        (['"a@bank.example>" <x@evil.example>'], Refusal.AMBIGUOUS),
        (['"a\uff20bank.example\uff1e" <x@evil.example>'], Refusal.AMBIGUOUS),
        (["=?utf-8?q?<a@bank.example>?= <x@evil.example>"], Refusal.AMBIGUOUS),
        (["=?utf-8?q?a@bank.example?= <x@evil.example>"], Refusal.AMBIGUOUS),
        ([f"{b64('Bank <a@bank.example>')} <x@evil.example>"], Refusal.AMBIGUOUS),
        ([f"{b64('Bank <a@ba')} {b64('nk.example>')} <x@evil.example>"], Refusal.AMBIGUOUS),
        ([f"{b64('a@bank.example')}@evil.example"], Refusal.AMBIGUOUS),
        ([f"<{b64('a@bank.example')}@evil.example>"], Refusal.AMBIGUOUS),
        ([f"{b64('a@bank.example' + chr(0))} <x@evil.example>"], Refusal.AMBIGUOUS),
        ([f"{b64('a@bank.example' + chr(10))} <x@evil.example>"], Refusal.AMBIGUOUS),
        (["a@bank.example\x00.evil.example"], Refusal.AMBIGUOUS),
        (['"\x07" <a@bank.example>'], Refusal.AMBIGUOUS),
        (["a@bank.example\r.evil.example"], Refusal.AMBIGUOUS),
    ],
)
def test_no_author(values: list[str], reason: Refusal) -> None:
    refused = from_domain([value.encode() for value in values])
    assert isinstance(refused, FromRefused)
    assert refused.reason is reason
    assert str(refused).startswith(str(reason))


@settings(max_examples=200, deadline=None)
@given(st.from_regex(r"(\"[a ,.!]{0,4}\"|[a &!]{0,5}) ?<[a.%]{1,4}@[a.-]{1,5}> ?", fullmatch=True))
def test_the_fast_way_is_the_grammars_way(value: str) -> None:
    fast = from_domain([value.encode()])
    slow = from_domain([f"{value}()".encode()])  # a comment at the end changes nothing but the way
    assert fast == slow if isinstance(fast, str) else isinstance(slow, FromRefused) and slow.reason is fast.reason


NAMES = [
    *("Bank", '"Bank"', '"a@bank.example"', '"<a@bank.example>"', "(c)", "(a@bank.example)", "[x]", '"x', "é", "\r\n "),
    *("=?utf-8?q?a?=", "=?utf-8?q?a@bank.example?=", "a@bank.example", "<a@bank.example>", '"\\""', "\\", '"'),
    *(".", ",", ";", ":", "(", ")"),
]
ADDRESSES = [
    *("x@evil.example", "x @ evil.example", "x@evil .example", "x@evil.example(c)", "x@(bank.example)evil.example"),
    *('"a@bank.example"@evil.example', '"<a@bank.example>".x@evil.example', '"a@bank.example>"@evil.example'),
    *("@bank.example:x@evil.example", "x@evil.example>,<y@evil.example"),
]
FORMS = ["<{}>", "{}", "<{}> (c)", "<{}> (a@bank.example)", "<{}>,"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(NAMES), max_size=3), st.sampled_from(ADDRESSES), st.sampled_from(FORMS))
def test_no_other_reader_finds_another_author(words: list[str], address: str, form: str) -> None:
    value = " ".join([*words, form.format(address)])
    author = from_domain([value.encode()])
    if isinstance(author, FromRefused):
        return
    library = {parsed.rpartition("@")[2] for _, parsed in getaddresses([value]) if "@" in parsed}
    angles = re.findall(r"<([^<>]*)>", value) or [value]
    by_angle = {re.sub(r"\([^)]*\)|\s|,", "", angle.rpartition("@")[2]) for angle in (angles[0], angles[-1])}
    assert library | by_angle <= {author}, value


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(max_size=60) | st.text(alphabet='ab@.,:;<>()"\\ =?\nö', max_size=50).map(str.encode), max_size=2)
)
def test_any_from_has_an_author_or_a_reason(values: list[bytes]) -> None:
    author = from_domain(values)
    assert isinstance(author, FromRefused) or names.to_ascii(author) == author


@pytest.mark.parametrize(
    "value", [b"(" * 200_000, b"(@a)" * 20_000 + b"a@b", b'"<@",' * 20_000, b"a@b.example," * 10_000]
)
def test_time_is_linear_in_the_size(value: bytes) -> None:
    start = time.perf_counter()
    from_domain([value])
    assert time.perf_counter() - start < 20  # on a busy machine too: what grows too fast takes minutes
