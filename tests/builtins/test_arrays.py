"""Arrays: keys, order, callbacks, limits."""

import time

import pytest
from hypothesis import given as given_
from hypothesis import settings
from hypothesis import strategies as st
from standing import Words

from flowengine.builtins import arrays
from flowengine.language.problems import BudgetExceeded, FlowError
from flowengine.language.values import Array, Function, Secret

words = Words(arrays)
less = Function("less", lambda a, b: a < b)
odd = Function("odd", lambda x: x % 2)


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (("array_keys", {}), []),
        (("array_reverse", {"a": 1, 7: 2, 9: 3}), {0: 3, 1: 2, "a": 1}),
        (("in_array", "abc", [0]), True),
        (("array_includes", False, [0, None, ""]), False),
        (("array_includes", [1], [[1]]), True),
        (("array_includes", odd, [2, 4]), False),
        (("array_find", odd, [2, 3, 5]), 3),
        (("array_every", odd, []), True),
        (("array_filter", odd, {"a": 1, "b": 2, 5: 3}), {"a": 1, 5: 3}),
        (("array_map", odd, {"a": 1, 5: 2}), {"a": 1, 5: 0}),
        (("array_reduce", less, [1]), 1),
        (("array_reduce", less, [], None), None),
        (("array_join", {"a": 1, "b": True, "c": None}, "-"), "1-true-"),
        (("implode", ",", []), ""),
        (("range", 3, 1), []),
        (("range", 1, 1), [1]),
        (("range", 3, 1, -1), [3, 2, 1]),
        (("array_range", 0, 1, 0.25), [0, 0.25, 0.5, 0.75]),
        (("array_range", 5, 0), []),
        (("array_range", 0, float("nan")), None),
        (("array_combine", ["a", "a"], [1, 2]), {"a": 2}),
        (("array_combine", [], [1]), []),
        (("array_unique", [1, "1", True, None, [1], [1], 1]), [1, "1", True, None, [1]]),
        (("array_unique", [{"a": 1, "b": 2}, {"b": 2, "a": 1}]), [{"a": 1, "b": 2}]),
    ],
)
def test_an_array_word_gives(call, result):
    name, *arguments = call
    assert getattr(words, name)(*arguments) == result


def test_none_as_initial_value_is_an_initial_value():
    first = Function("first", lambda carry, value: value if carry is None else carry)
    assert words.array_reduce(first, ["a", "b"], None) == "a"
    with pytest.raises(FlowError, match="initial"):
        words.array_reduce(first, [])


def test_sorting_keeps_keys_and_leaves_the_array_alone():
    array = Array({"x": 3, "y": 1, "z": 2})
    assert list(words.array_sort(less, array).items()) == [("y", 1), ("z", 2), ("x", 3)]
    assert list(array.items()) == [("x", 3), ("y", 1), ("z", 2)]
    assert list(words.array_sort(less, array, {"keys": True})) == ["x", "y", "z"]


def test_sorting_with_a_function_that_contradicts_itself_ends():
    always = Function("always", lambda a, b: True)
    found = words.array_sort(always, list(range(50)))
    assert sorted(found if isinstance(found, list) else found.values()) == list(range(50))


def test_a_callback_that_changes_the_array_changes_nothing_for_the_word():
    array = Array.of([1, 2, 3])

    def grow(value):
        array.append(value)
        return True

    assert words.array_filter(Function("grow", grow), array) == [1, 2, 3]


def test_a_joined_secret_is_a_secret():
    assert type(words.array_join(["a", Secret("key")], ",")) is Secret
    assert type(words.array_join(["a", [Secret("key")]], ",")) is Secret
    assert type(words.array_join(["a", "key"], ",")) is str


def test_shuffling_keeps_every_value():
    assert sorted(words.array_shuffle(list(range(20)))) == list(range(20))
    assert words.array_shuffle(list(range(20))) != list(range(20))


@pytest.mark.parametrize(
    "call",
    [
        ("array_range", 0, 1e12),
        ("range", 0, 1e308, 1e-300),
        ("array_range", -(2**53), 2**53),
        ("array_join", ["x" * 1_000_000] * 100),
    ],
)
def test_a_result_that_is_too_large_is_never_made(call):
    name, *arguments = call
    started = time.perf_counter()
    with pytest.raises(BudgetExceeded):
        getattr(Words(arrays), name)(*arguments)
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def test_arrays_nested_without_end_are_refused():
    deep = Array()
    for _ in range(100_000):
        deep = Array.of([deep])
    with pytest.raises(FlowError, match="deeper"):
        arrays.array_unique.__dict__["builtins"][0].call(Words(arrays).run, Array.of([deep]))


@given_(st.lists(st.integers(-100, 100), max_size=30))
@settings(max_examples=50, deadline=None)
def test_sorting_sorts(values):
    found = words.array_sort(less, Array.of(values))
    assert list(found if isinstance(found, list) else found.values()) == sorted(values)
