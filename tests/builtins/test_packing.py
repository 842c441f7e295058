"""pack and unpack."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import Words

from flowengine.builtins import packing
from flowengine.language.problems import BudgetExceeded

words = Words(packing)


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (("nvNV", 1, 1, 1, 1), "\0\1\1\0\0\0\0\1\1\0\0\0"),
        (("c2", -1, 200), "\xff\xc8"),
        (("C", 257), "\1"),
        (("C", "7"), "\7"),
        (("N", 0xFFFFFFFF), "\xff\xff\xff\xff"),
        (("eE", 1.5, 1.5), "\0\0\0\0\0\0\xf8?" + "?\xf8\0\0\0\0\0\0"),
        (("a", "xyz"), "x"),
        (("a5", "xyz"), "xyz\0\0"),
        (("a*", "xyz"), "xyz"),
        (("Z", "xyz"), "\0"),
        (("Z4", "xyzxyz"), "xyz\0"),
        (("Z*", "xyz"), "xyz\0"),
        (("H4", "abcdef"), "\xab\xcd"),
        (("x3C", 1), "\0\0\0\1"),
        (("C*",), ""),
        (("C2", 1), None),
        (("C", 1, 2), None),
        (("C", "seven"), None),
        (("C", [1]), None),
        (("C", float("nan")), None),
        (("a", 1), None),
        (("H*", "abc"), None),
        (("H*", "xy"), None),
        (("x*",), None),
        (("Q", 1), None),
        (("C-1", 1), None),
    ],
)
def test_packed(call, result):
    assert words.pack(*call) == result


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (("cC", "\xff\xff"), [-1, 255]),
        (("N*", "\0\0\0\1\0\0\0\2x"), [1, 2]),
        (("x2C", "abc"), [99]),
        (("Z4C", "a\0bcA"), ["a", 65]),
        (("Z*", "abc"), ["abc"]),
        (("a2Z*a*", "abcd\0ef"), ["ab", "cd", "ef"]),
        (("H3", "\xab\xcd"), ["abc"]),
        (("E", "?\xf8\0\0\0\0\0\0"), [1.5]),
        (("C", "abc", 2), [99]),
        (("C", "abc", 3), None),
        (("C", "abc", -1), None),
        (("C", "abc", 9), None),
        (("a9", "abc"), None),
        (("x9", "abc"), None),
        (("?", "abc"), None),
    ],
)
def test_unpacked(call, result):
    assert words.unpack(*call) == result


@given(st.lists(st.integers(0, 2**32 - 1), max_size=9), st.binary(max_size=20))
@settings(max_examples=50, deadline=None)
def test_unpacking_undoes_packing(numbers, tail):
    packed = words.pack(f"N{len(numbers)}V*" if numbers else "V*", *numbers)
    assert words.unpack("N*", packed) == numbers
    assert words.unpack(f"N{len(numbers)}a*", packed + tail.decode("latin-1")) == [*numbers, tail.decode("latin-1")]


@given(st.text(alphabet="aCceEHnNvVxZ*0123456789 ", max_size=12), st.binary(max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_format_unpacks_or_is_none(format_, data):
    with contextlib.suppress(BudgetExceeded):
        assert isinstance(words.unpack(format_, data), (list, type(None)))


@pytest.mark.parametrize("call", [("x999999999",), ("a999999999", "x"), ("x9000000" * 9,)])
def test_a_result_that_is_too_large_is_never_made(call):
    with pytest.raises(BudgetExceeded):
        Words(packing).pack(*call)
