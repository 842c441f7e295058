"""Strings: what each word gives beyond its documented example, and how it ends on hostile input."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import Standing, Words

from flowengine.builtins import strings
from flowengine.language.problems import BudgetExceeded, FlowError

words = Words(strings)
flow_strings = st.binary(max_size=60).map(lambda octets: octets.decode("latin-1"))


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (("str_find", "abc", "", 9), -1),
        (("str_find", "abcabc", "c", -2), 5),
        (("str_rfind", "abcabc", "abc", 1), 0),
        (("str_rfind", "abc", "abc", 99), -1),
        (("str_rfind", "x" * 100 + "y" * 40, "x" + "y" * 40), 99),
        (("str_lower", "\xc9T\xc9"), "\xc9t\xc9"),
        (("str_upper", "\xe9t\xe9"), "\xe9T\xe9"),
        (("substr", "abc", -9, 2), "ab"),
        (("substr", "abc", 9), ""),
        (("substr", "abc", 2, -9), ""),
        (("trim", "\t a\x0b\n"), "a\x0b"),
        (("str_strip", "[x]", "[]"), "x"),
        (("str_split", "", ","), [""]),
        (("str_split", "a,b,c", ",", 1), ["a,b,c"]),
        (("str_split", "a,b,c", ",", -1), ["a,b,c"]),
        (("str_split", "a,b,c", ",", 99), ["a", "b", "c"]),
        (("explode", ",", "a,b,c", -2), ["a,b", "c"]),
        (("str_split", "1" + "-" * 40 + "2" + "-" * 40 + "3", "-" * 40, -2), ["1" + "-" * 40 + "2", "3"]),
        (("str_replace", "ab", "", "abab"), ""),
        (("str_replace", "a", "aa", "aaa"), "aaaaaa"),
        (("str_repeat", "x", -1), ""),
        (("str_chunk", "", 3), []),
        (("str_chunk", "abc", 3, 0), None),
        (("chr", -1), None),
        (("ord", "\xff."), 255),
    ],
)
def test_a_string_word_gives(call, result):
    name, *arguments = call
    assert getattr(words, name)(*arguments) == result


@pytest.mark.parametrize(
    "call",
    [
        ("str_lower", ["a"]),
        ("str_lower",),
        ("str_lower", "a", "b"),
        ("strpos", "abc", None),
        ("explode", ",", ["a"]),
        ("str_repeat", "a", "many"),
        ("trim", None),
    ],
)
def test_an_argument_of_the_wrong_type_or_number_is_an_error(call):
    name, *arguments = call
    with pytest.raises(FlowError):
        getattr(words, name)(*arguments)


@pytest.mark.parametrize(
    "call",
    [
        ("str_repeat", "x", 1e12),
        ("str_replace", "x", "y" * 100_000, "x" * 100_000),
        ("str_split", "," * 5_000_000, ","),
        ("str_chunk", "x" * 5_000_000, 1),
    ],
)
def test_a_result_that_is_too_large_is_never_made(call):
    name, *arguments = call
    started = time.perf_counter()
    with pytest.raises(BudgetExceeded):
        getattr(Words(strings), name)(*arguments)
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def test_searching_backwards_is_linear():
    text, needle = "a" * 2_000_000, "ab" + "a" * 500_000
    started = time.perf_counter()
    assert Words(strings).str_rfind(text, needle) == -1
    assert Words(strings).str_split(text, needle, -2) == [text]
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def test_going_through_large_strings_is_paid_for():
    run = Standing()
    with pytest.raises(BudgetExceeded):
        for _ in range(1000):
            Words(strings, run=run).str_lower("A" * 4_000_000)


@given(flow_strings, flow_strings.filter(bool), st.integers(-4, 4))
@settings(max_examples=100, deadline=None)
def test_splitting_and_joining_gives_the_string_back(string, delimiter, limit):
    parts = words.str_split(string, delimiter, limit)
    assert delimiter.join(parts) == string
    assert limit == 0 or len(parts) <= abs(limit)


@given(flow_strings, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_chunks_together_are_the_string(string, length, first):
    pieces = words.str_chunk(string, length, first)
    assert "".join(pieces) == string
    assert all(len(piece) == length for piece in pieces[1:-1])
