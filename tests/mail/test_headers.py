"""Header text: decoding is tolerant, encoding is strict, folding loses nothing."""

import email.header

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail.edits import make_field
from flowengine.mail.encoded_words import clean, decode, encode, fold, written
from flowengine.mail.headers import _parse_slowly, parse


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?J=C3=B6rg_M?= x", "Jörg M x"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"a =?ISO-8859-1?Q?b?=", "a b"),
        (b"=?utf-8?b?w7Y=?=", "ö"),
        (b"=?utf-8?B?w7Y?=", "ö"),
        (b"=?utf-8*de?B?w7Y?=", "ö"),
        (b"=?utf-8?B?ww==?= =?utf-8?B?tg==?=", "ö"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=B6?=", "ö"),
        (b"=?bz2?q?x?=", "=?bz2?q?x?="),
        (b"=?punycode?q?x?=", "=?punycode?q?x?="),
        (b"=?utf-8?x?x?=", "=?utf-8?x?x?="),
        (b"=?utf-8?q?open", "=?utf-8?q?open"),
        (b"=?utf-8?q?a=0D=0AX-Evil:_b?=", "a X-Evil: b"),
        (b"=?gb2312?B?xOO6ww==?=", "你好"),
        (b"gr\xc3\xbcn", "grün"),
        (b"gr\xfcn", "grün"),
        (b"=?utf-8?q?=ff?=", "\ufffd"),
    ],
)
def test_text_of_a_value(value: bytes, text: str) -> None:
    assert decode(value) == text


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=100)
    | st.lists(st.sampled_from([b"=?", b"utf-8", b"?", b"q", b"b", b"?=", b" ", b"=C3", b"ww="])).map(b"".join)
)
def test_any_bytes_decode(value: bytes) -> None:
    decode(value)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=120))
def test_what_is_written_is_safe_and_reads_back(text: str) -> None:
    written = fold(encode(text), "Subject")
    assert written.isascii()
    field = make_field("Subject", written)  # raises if it could leave its place
    assert max(map(len, field.raw.split(b"\r\n"))) <= 998
    expected = clean(text).encode("utf-8", "replace").decode("utf-8")
    if not written.isspace() and '"' not in text and "=?" not in text:
        assert decode(field.unfolded).split() == expected.split()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("hello world", "hello world"),
        ("Jörg <j@example.org>", "=?utf-8?B?SsO2cmc=?= <j@example.org>"),
        ('"Müller, Jörg" <j@example.org>', "=?utf-8?B?TcO8bGxlciwgSsO2cmc=?= <j@example.org>"),
        ('"Mueller, Joerg" <j@example.org>', '"Mueller, Joerg" <j@example.org>'),
        ("a\r\nX-Evil: b", "a X-Evil: b"),
    ],
)
def test_text_as_it_is_written(text: str, written: str) -> None:
    assert encode(text) == written


def test_a_signature_keeps_its_folds() -> None:
    value = "v=1; a=rsa-sha256;\r\n\td=example.org;\r\n\tb=abc\r\n\t def"
    assert written("DKIM-Signature", value, columns=None) == value
    assert written("X", "a\r\nX-Evil: b\r\n \r\nc", columns=None) == "a X-Evil: b   c"
    assert written("X", "ä\r\n ö", encoded=False, columns=None) == "ä\r\n ö"
    assert written("X", "ä", encoded=False) == "ä"


@settings(max_examples=200, deadline=None)
@given(st.text("a\r\n\t \0\x07ä", max_size=30) | st.text(max_size=30), st.booleans(), st.sampled_from([None, 78]))
def test_any_text_can_be_a_value(text: str, encoded: bool, columns: int | None) -> None:
    value = written("X-A", text.encode("utf-8", "replace").decode(), encoded=encoded, columns=columns)
    make_field("X-A", value)


def test_encoded_words_read_back_in_the_standard_library() -> None:
    text = "Grüße " * 30 + "x"
    parts = email.header.decode_header(fold(encode(text), "Subject"))
    read = "".join(part.decode(charset or "ascii") if isinstance(part, bytes) else part for part, charset in parts)
    assert read.split() == text.split()


def test_folding_breaks_at_white_space_only() -> None:
    value = " ".join(f"word{number}" for number in range(60))
    folded = fold(value, "Subject")
    assert folded.replace("\r\n", "") == value
    assert all(len(line) <= 78 for line in ("Subject: " + folded).split("\r\n"))
    assert fold("x" * 200, "Subject") == "x" * 200
    assert fold("a" + " " * 200_000, "Subject") == "a"


@pytest.mark.parametrize("text", ['"' * 100_000, '"\\' * 100_000, '"ä ' * 50_000, "=?" * 100_000, "ä" * 100_000])
def test_hostile_text_is_written_in_linear_time(text: str) -> None:
    make_field("X", fold(encode(text), "X"))


PIECES = st.sampled_from(
    [
        b"A",
        b"From",
        b"Subject",
        b":",
        b": ",
        b" ",
        b"\t",
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n ",
        b"\r",
        b"\n",
        b"x",
        b"\0",
        b"\xff",
    ]
)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(PIECES, max_size=40).map(b"".join),
    st.sampled_from([b"", b"A: b\r\n", b"From x Mon\r\nA: b\r\n\r\n", b"A:b\r\n\r\n"]),
)
def test_the_quick_way_through_a_header_and_the_slow_one_see_the_same(data: bytes, before: bytes) -> None:
    assert parse(before + data) == _parse_slowly(before + data)
