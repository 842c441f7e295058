"""Arrays: search, select, order, join (HSL reference §1.6, §2.7).

Callbacks come first in the arguments and may wait; what they are called with is never the array that others see.
"""

import math
import random
from collections.abc import Callable
from typing import Any

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.operators import equal, identical
from flowengine.language.problems import FlowError
from flowengine.language.texts import text
from flowengine.language.values import Array, Function, Secret, Value, key, truth

Callback = Callable[..., Value]
NOT_GIVEN = object()
MAX_DEPTH = 100  # of arrays inside one another, where one function looks at them as a whole


@builtin
def array_keys(run: Run, array: Array) -> Array:
    """The keys of an array, in its order.

    array_keys(["a" => 1, 5 => 2]);  // ["a", 5]
    """
    run.budget.grow_items(len(array))
    return Array.of(array)


@builtin
def array_reverse(run: Run, array: Array) -> Array:
    """An array in reverse order. Integer keys are given anew, others stay.

    array_reverse(["a", "b"]);  // ["b", "a"]
    array_reverse(["x" => 1, 2]);  // [2, "x" => 1]
    """
    run.budget.grow_items(len(array))
    return _renumbered(reversed(array.items()))


def _renumbered(items: Any) -> Array:
    found = Array()
    for name, value in items:
        if type(name) is int:
            found.append(value)
        else:
            found.put(name, value)
    return found


@builtin
def in_array(run: Run, needle: Value, array: Array) -> bool:
    """Whether a value is in an array, compared with ==. A function as needle is asked of each value.

    in_array("b", ["a", "b"]);  // true
    in_array("1", [1]);  // true
    in_array(function ($x) { return $x > 2; }, [1, 2]);  // false
    """
    return _includes(run, needle, array, equal)


@builtin
def array_includes(run: Run, needle: Value, array: Array) -> bool:
    """Whether a value is in an array, compared with ===. A function as needle is asked of each value.

    array_includes("b", ["a", "b"]);  // true
    array_includes("1", [1]);  // false
    array_includes(function ($x) { return $x === 2; }, [1, 2]);  // true
    """
    return _includes(run, needle, array, identical)


def _includes(run: Run, needle: Value, array: Array, same: Callable[[Value, Value], bool]) -> bool:
    run.budget.spend(len(array))
    if isinstance(needle, Function):
        return any(truth(needle(value)) for value in list(array.values()))
    return any(same(needle, value) for value in array.values())


@builtin
def array_find(run: Run, callback: Callback, array: Array) -> Value:
    """The first value of which a function says true.

    Returns none when there is none.

        array_find(function ($x) { return $x["id"] == 2; }, [["id" => 1], ["id" => 2]]);  // ["id" => 2]
        array_find(is_string, [1, 2]);  // none
    """
    run.budget.spend(len(array))
    return next((value for value in list(array.values()) if truth(callback(value))), None)


@builtin
def array_every(run: Run, callback: Callback, array: Array) -> bool:
    """Whether a function says true of every value; true for an empty array.

    array_every(is_number, [1, 2]);  // true
    array_every(is_number, [1, "b"]);  // false
    """
    run.budget.spend(len(array))
    return all(truth(callback(value)) for value in list(array.values()))


@builtin
def array_filter(run: Run, callback: Callback, array: Array) -> Array:
    """The entries of whose value a function says true. Keys are kept.

    array_filter(is_number, [0, "Hello", 2]);  // [0 => 0, 2 => 2]
    """
    run.budget.grow_items(len(array))
    run.budget.spend(len(array))
    return Array([(name, value) for name, value in list(array.items()) if truth(callback(value))])


@builtin
def array_map(run: Run, callback: Callback, array: Array) -> Array:
    """What a function makes of each value. Keys are kept.

    array_map(str_upper, ["a", "k" => "b"]);  // ["A", "k" => "B"]
    array_map(function ($x) { return $x * 2; }, [1, 2]);  // [2, 4]
    """
    run.budget.grow_items(len(array))
    run.budget.spend(len(array))
    return Array([(name, callback(value)) for name, value in list(array.items())])


@builtin
def array_reduce(run: Run, callback: Callback, array: Array, initial: Value = NOT_GIVEN) -> Value:
    """One value made of all: the function gets what it returned before and the next value.

    initial: what it gets first; without it the first value of the array, which then must not be empty.

        array_reduce(function ($carry, $x) { return $carry + $x; }, [1, 2, 3]);  // 6
        array_reduce(function ($carry, $x) { return $carry + $x; }, [], 0);  // 0
    """
    run.budget.spend(len(array))
    values = iter(list(array.values()))
    if initial is NOT_GIVEN and not array:
        raise FlowError("array_reduce: an empty array needs an initial value")
    carry = next(values) if initial is NOT_GIVEN else initial
    for value in values:
        carry = callback(carry, value)
    return carry


@builtin
def array_sort(run: Run, callback: Callback, array: Array, *, keys: bool = False) -> Array:
    """An array in order. Each value keeps its key.

    callback: gets two values and says whether the first comes before the second.
    keys: compare the keys instead of the values.

        array_sort(function ($a, $b) { return $a < $b; }, [2, 3, 1]);  // [2 => 1, 0 => 2, 1 => 3]
        array_sort(function ($a, $b) { return $a > $b; }, [2, 3, 1]);  // [1 => 3, 0 => 2, 2 => 1]
        array_sort(function ($a, $b) { return $a < $b; }, ["b" => 1, "a" => 2], ["keys" => true])["a"];  // 2
    """
    run.budget.grow_items(len(array))
    run.budget.spend(len(array) * max(1, len(array).bit_length()))

    class Place:
        """A value as the sort sees it: it asks only whether one comes before another."""

        __slots__ = ("value",)

        def __init__(self, entry: tuple[Value, Value]) -> None:
            self.value = entry[0 if keys else 1]

        def __lt__(self, other: "Place") -> bool:
            return truth(callback(self.value, other.value))

    return Array(sorted(array.items(), key=Place))


@builtin
def array_join(run: Run, array: Array, separator: str = "") -> str:
    """The values of an array as one string. `implode` is the same with the separator first.

    array_join(["a", "b", 3], ", ");  // "a, b, 3"
    array_join(["a", "b"]);  // "ab"
    """
    return _join(run, separator, array)


@builtin
def implode(run: Run, glue: str, array: Array) -> str:
    """The values of an array as one string: the classic `array_join`, with the separator first.

    implode(",", ["a", "b"]);  // "a,b"
    """
    return _join(run, glue, array)


def _join(run: Run, separator: str, array: Array) -> str:
    run.budget.grow_items(len(array))
    parts = [value if isinstance(value, str) else text(value) for value in array.values()]
    run.budget.grow(sum(map(len, parts)) + len(separator) * max(0, len(parts) - 1))
    joined = separator.join(parts)
    return Secret(joined) if any(type(part) is Secret for part in parts) else joined


@builtin(name="range")
def inclusive_range(run: Run, start: float, stop: float, step: float = 1) -> Array | None:
    """The numbers from start to stop, stop included: the classic `array_range`.

    Returns none for a step of 0.

        range(0, 3);  // [0, 1, 2, 3]
        range(1, 0, -0.5);  // [1, 0.5, 0]
    """
    return _range(run, start, stop, step, lambda steps: math.floor(steps) + 1)


@builtin
def array_range(run: Run, start: float, stop: float, step: float = 1) -> Array | None:
    """The numbers from start up to stop, stop not included.

    Returns none for a step of 0.

        array_range(0, 3);  // [0, 1, 2]
        array_range(3, 0, -1);  // [3, 2, 1]
        array_range(0, 3, 0);  // none
    """
    return _range(run, start, stop, step, math.ceil)


def _range(run: Run, start: float, stop: float, step: float, count: Callable[[float], int]) -> Array | None:
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        return None
    steps = (stop - start) / step
    if math.isinf(steps):
        run.budget.grow_items(1 << 60)
    many = max(0, count(steps))
    run.budget.grow_items(many)
    if all(type(one) is int for one in (start, stop, step)):
        return Array.of(range(int(start), int(start) + many * int(step), int(step)))
    return Array.of(_whole(start + index * step) for index in range(many))


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value


@builtin
def array_combine(run: Run, keys: Array, values: Array, default: Value = NOT_GIVEN) -> Array | None:
    """An array with the values of one array as keys and those of another as values.

    default: the value for keys that have none.

    Returns none when there are fewer values than keys and no default. A key that occurs twice keeps its last value.

        array_combine(["a", "b"], [1, 2]);  // ["a" => 1, "b" => 2]
        array_combine(["a", "b"], [1], 0);  // ["a" => 1, "b" => 0]
        array_combine(["a", "b"], [1]);  // none
    """
    if len(values) < len(keys) and default is NOT_GIVEN:
        return None
    run.budget.grow_items(len(keys))
    found, given = Array(), iter(values.values())
    for name in keys.values():
        if type(name) is Array:
            raise FlowError("array_combine: an array cannot be a key")
        found.put(key(name), next(given, default))
    return found


@builtin
def array_unique(run: Run, array: Array) -> Array:
    """The entries of an array without those whose value came before, compared with ===. Keys are kept.

    array_unique(["a", "b", "a"]);  // ["a", "b"]
    array_unique(["k" => 1, 1, "1"]);  // ["k" => 1, 1 => "1"]
    """
    run.budget.grow_items(len(array))
    found, marks = Array(), _Marks(run)
    seen: set[object] = set()
    for name, value in array.items():
        mark = marks.of(value, MAX_DEPTH)
        if mark not in seen:
            seen.add(mark)
            found.put(name, value)
    return found


class _Marks:
    """For values something hashable that is equal for those that are ===. An array is numbered by its content, each
    object once, so one that holds another many times costs no more than its own entries."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._numbers: dict[frozenset[object], int] = {}
        self._known: dict[int, object] = {}

    def of(self, value: Value, depth: int) -> object:
        """The mark of a value. Raises FlowError for arrays nested too deep."""
        if type(value) is Array:
            if depth == 0:
                raise FlowError(f"an array nested deeper than {MAX_DEPTH}")
            if id(value) not in self._known:
                self._run.budget.spend(1 + len(value))
                content = frozenset((name, self.of(item, depth - 1)) for name, item in value.items())
                self._known[id(value)] = (Array, self._numbers.setdefault(content, len(self._numbers)))
            return self._known[id(value)]
        if value is None or isinstance(value, bool):
            return (type(value), value)
        return (str, str(value)) if isinstance(value, str) else value


@builtin
def array_random(run: Run, array: Array) -> Array | None:
    """A random entry of an array, as its key and its value.

    Returns none for an empty array.

        array_random(["k" => "v"]);  // ["k", "v"]
        array_random([]);  // none
    """
    if not array:
        return None
    run.budget.spend(len(array) >> 4)
    entries = list(array.items())
    return Array.of(entries[int(run.world.random_number() * len(entries))])


@builtin
def array_shuffle(run: Run, array: Array) -> Array:
    """An array in random order. Integer keys are given anew, others stay.

    length(array_shuffle([1, 2, 3]));  // 3
    """
    run.budget.grow_items(len(array))
    entries = list(array.items())
    chance = random.Random(run.world.random_octets(16))  # noqa: S311  # an order, not a secret; one fact a call
    chance.shuffle(entries)
    return _renumbered(entries)
