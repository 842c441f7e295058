"""JSON: strict, bounded, and quiet about secrets."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import Standing, Words

from flowengine.builtins import json_
from flowengine.language.problems import BudgetExceeded, FlowError
from flowengine.language.values import Array, Function, Secret

words = Words(json_)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0.0", 0),
        ("1e2", 100),
        ("12345678901234567890", 12345678901234567890.0),
        ("[]", []),
        ("{}", []),
        ('{"a":1,"a":2}', {"a": 2}),
        ('{"1":"x","01":"y"}', {1: "x", "01": "y"}),
        ('"\\ud83d\\ude00"', "\xf0\x9f\x98\x80"),
        ('"\\ud800"', "\xef\xbf\xbd"),
        ('"\\udc80"', "\xef\xbf\xbd"),
        ('"\xc3\xa9"', "\xc3\xa9"),
        ('"\xe9"', "\xef\xbf\xbd"),
        (" null ", None),
        ("NaN", None),
        ("-Infinity", None),
        ("1e999", None),
        ("9" * 400, None),
        ("[1,]", None),
        ("[1] x", None),
        ('"a\nb"', None),
        ("", None),
        ("// no\n1", None),
    ],
)
def test_json_means(text, value):
    found = words.json_decode(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('/* a */ {"u": "http://x" // end\n, "c": "/* no */"}', {"u": "http://x", "c": "/* no */"}),
        ('"\\"// kept"', '"// kept'),
        ("1 /* open", 1),
        ("1 / 2", None),
    ],
)
def test_comments_are_skipped_when_allowed(text, value):
    assert words.json_decode(text, {"allow_comments": True}) == value


@pytest.mark.parametrize("text", ["/*" * 200_000, '"' * 200_001, "/" * 400_000, '"\\' * 200_000])
def test_looking_for_comments_is_linear(text):
    started = time.perf_counter()
    Words(json_, run=Standing()).json_decode(text, {"allow_comments": True})
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({0: "a", 1: "b"}, '["a","b"]'),
        ({1: "a"}, '{"1":"a"}'),
        ({"k": [[], {}]}, '{"k":[[],[]]}'),
        (1.5, "1.5"),
        (float("inf"), None),
        (float("nan"), None),
        ("\xff", '"\\ufffd"'),
        ('"\n\x00', '"\\"\\n\\u0000"'),
        (Function("f", lambda: None), None),
        ([Function("f", lambda: None)], None),
        (Standing, None),
    ],
)
def test_a_value_is_written(value, text):
    assert words.json_encode(value) == text


def test_other_forms_of_writing():
    assert words.json_encode("\xc3\xa9", {"ensure_ascii": False}) == '"\xc3\xa9"'
    assert words.json_encode({"a": [1]}, {"pretty_print": True}) == '{\n    "a": [\n        1\n    ]\n}'
    with pytest.raises(FlowError, match="pretty_print"):
        words.json_encode(1, {"prety_print": True})


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 101 + "]" * 101, '{"a":' * 500 + "1" + "}" * 500])
def test_json_nested_too_deep_is_none(text):
    started = time.perf_counter()
    assert Words(json_).json_decode(text) is None
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def test_a_hundred_levels_are_read_and_written():
    text = "[" * 100 + "]" * 100
    assert words.json_encode(words.json_decode(text)) == text
    assert words.json_encode([words.json_decode(text)]) is None


def test_large_json_is_refused_before_it_is_large():
    with pytest.raises(BudgetExceeded):
        Words(json_).json_decode("[" + "1," * 2_000_000 + "1]")
    with pytest.raises(BudgetExceeded):
        Words(json_).json_encode(["x" * 9_000_000])


def test_secret_fields_are_secrets_from_the_moment_they_are_read():
    found = words.json_decode('{"selector": "s1", "rsakey": "-----", "RSAKey": ["a", {"b": "c"}]}')
    assert type(found["rsakey"]) is Secret
    assert type(found["RSAKey"][0]) is Secret
    assert type(found["RSAKey"][1]["b"]) is Secret
    assert type(found["selector"]) is str


def test_what_is_made_of_a_secret_is_one():
    assert type(words.json_encode(Array({"a": Array.of([Secret("x")])}))) is Secret
    assert type(words.json_decode(Secret('{"a":"b"}'))["a"]) is Secret


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, min_size=1, max_size=4),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=100, deadline=None)
def test_reading_undoes_writing(document):
    text = json.dumps(document)
    found = words.json_decode(text)
    assert words.json_decode(words.json_encode(found)) == found


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn\\u/* ', max_size=40))
@settings(max_examples=200, deadline=None)
def test_our_reading_is_that_of_python_where_both_read(text):
    try:
        expected = json.loads(text, parse_constant=float)
    except ValueError:
        assert words.json_decode(text) is None
    else:
        assert (words.json_decode(text) is None) == (expected is None or "1e999" in text) or "e" in text.lower()


def test_an_array_that_holds_itself_many_times_is_not_written_out():
    array = Array.of(["x"])
    for _ in range(40):
        array.shared = True
        array = Array.of([array, array])
    encode = json_.json_encode.__dict__["builtins"][0].function
    started = time.perf_counter()
    with pytest.raises(BudgetExceeded):
        encode(Standing(), array)
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes
