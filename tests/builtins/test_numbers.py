"""Numbers and chance."""

import pytest
from standing import Standing, Words

from flowengine.builtins import numbers
from flowengine.language.problems import FlowError

words = Words(numbers)


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (("abs", -3), 3),
        (("ceil", 1e300), 1e300),
        (("floor", float("inf")), float("inf")),
        (("round", 0.5), 1),
        (("round", -0.5), -1),
        (("round", 1e300, 400), 1e300),
        (("round", 123, -400), 0),
        (("round", 1.45, 1), 1.5),
        (("round", float("inf"), 2), float("inf")),
        (("sqrt", 2**52), 2**26),
        (("log", 1000, 10), 3),
        (("log", -1), None),
        (("log", 8, 1), None),
        (("pow", -8, 1 / 3), None),
        (("pow", 10, 400), None),
        (("pow", 2, -1), 0.5),
        (("random_number", 1, 2**60), None),
        (("random_bytes", 2**20 + 1), None),
    ],
)
def test_a_number_word_gives(call, result):
    name, *arguments = call
    found = getattr(words, name)(*arguments)
    assert found == result
    assert type(found) is type(result)


def test_one_argument_of_random_number_is_no_range():
    with pytest.raises(FlowError):
        words.random_number(1)


def test_random_numbers_stay_in_their_range_and_reach_its_ends():
    assert {words.random_number(-1, 1) for _ in range(100)} == {-1, 0, 1}
    assert all(0 <= words.rand() < 1 for _ in range(100))


def test_chance_is_a_fact_and_the_same_when_repeated():
    run = Standing()
    first = [Words(numbers, run=run).random_number(0, 10**9) for _ in range(3)]
    again = run.again()
    assert [Words(numbers, run=again).random_number(0, 10**9) for _ in range(3)] == first
