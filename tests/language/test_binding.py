"""The adapters between flows and typed Python functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytest

from flowengine.language.functions import Builtin, Text
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Function, Secret, Value
from tests.language.host import TestHost


def bound(function: Callable[..., Any], **about: Any) -> Callable[..., Any]:
    call = Builtin(function.__name__, function, **about).call
    return lambda *arguments: call(TestHost(), *arguments)


def test_arguments_become_what_the_annotations_ask_for() -> None:
    def f(a: str, b: bytes, c: Text, d: int, e: float, g: bool, h: Sequence[int], i: Mapping[str, str]) -> Value:
        return repr((a, b, c, d, e, g, list(h), dict(i)))

    given = ("a", "\xff", "\xc3\xa9", 2.9, "1.5", 1, Array.of(["3", 4.5]), Array({"k": 5, 2: "x"}))
    assert bound(f)(*given) == repr(("a", b"\xff", "é", 2, 1.5, True, [3, 4], {"k": "5", "2": "x"}))


@pytest.mark.parametrize(
    ("annotation", "value", "says"),
    [
        (str, Array(), "a string, got an array"),
        (str, None, "a string, got none"),
        (str, True, "a string, got a boolean"),
        (int, "x", "a number, got a string"),
        (int, float("inf"), "a number, got a number"),
        (bool, "true", "a boolean, got a string"),
        (Array, "x", "an array, got a string"),
        (Sequence[str], Array.of([None]), "an array of strings, got an array"),
        (Callable[..., Value], "f", "a function, got a string"),
        (str | Array, True, "a string or an array, got a boolean"),
        (str | None, True, "a string or none, got a boolean"),
    ],
)
def test_a_wrong_type_is_named(annotation: Any, value: Value, says: str) -> None:
    def f(thing: Any) -> None: ...

    f.__annotations__["thing"] = annotation
    with pytest.raises(FlowError, match=r"^f: \$thing is " + says.replace("$", r"\$") + "$"):
        bound(f)(value)


def test_results_become_values() -> None:
    def f(what: Value) -> Any:
        return {"a": [1, 2.0, (True, None)], "b": b"\xff"}

    result = bound(f)(1)
    assert type(result) is Array
    assert result["a"] == Array.of([1, 2, Array.of([True, None])])
    assert result["b"] == "\xff"

    def g() -> Mapping[str, Text]:
        return {"7": "é"}

    assert bound(g)() == Array({7: "\xc3\xa9"})


def test_a_bad_word_gives_none_where_that_can_be_and_an_error_elsewhere() -> None:
    def soft(word: Literal["a", "b"]) -> str | None:
        return word

    def hard(*, word: Literal["a", 1] = "a") -> str:
        return str(word)

    assert bound(soft)("a") == "a"
    assert bound(soft)("z") is None
    with pytest.raises(FlowError, match="soft: \\$word is one of"):
        bound(soft)(Array())
    assert bound(hard)(Array({"word": 1})) == "1"
    with pytest.raises(FlowError, match='hard: option "word" is one of "a", 1, got "z"'):
        bound(hard)(Array({"word": "z"}))


def test_the_last_array_is_the_options_where_no_array_is_meant() -> None:
    def deliver(recipient: str | None = None, transport: str | None = None, *, from_: str = "", n: int = 1) -> str:
        return f"{recipient} {transport} {from_} {n}"

    call = bound(deliver)
    assert call(Array({"from": "x"})) == "None None x 1"
    assert call("r", Array({"n": "7"})) == "r None  7"
    assert call("r", "t", Array({"n": 2})) == "r t  2"
    assert call("r", "t", None) == "r t  1"
    with pytest.raises(FlowError, match='deliver has no option "form", did you mean "from"'):
        call("r", "t", Array({"form": "x"}))
    with pytest.raises(FlowError, match="the options are an array"):
        call("r", "t", "x")
    with pytest.raises(FlowError, match=r"\$recipient is a string or none, got an array"):
        call(Array(), "t")
    with pytest.raises(FlowError, match="deliver takes 0 to 3 arguments, got 4"):
        call("r", "t", None, 1)


def test_options_may_stand_in_the_middle_and_be_open() -> None:
    def http(url: str, get: Array | None = None, *, timeout_: int = 1, **others: Value) -> str:
        return f"{url} {get} {timeout_} {others}"

    call = bound(http, options_at=1, open_options=True)
    assert call("u", Array({"timeout": 5, "other": 1}), Array.of([2])) == "u {0: 2} 5 {'other': 1}"


def test_variadic_builtins_take_any_number() -> None:
    def join(first: str, *rest: str) -> str:
        return first + "".join(rest)

    assert bound(join)("a") == "a"
    assert bound(join)("a", 1, "b") == "a1b"
    with pytest.raises(FlowError, match="join takes at least 1 argument, got too few"):
        bound(join)()


def test_coroutines_are_waited_for() -> None:
    async def slow(run: Any, x: int) -> int:
        return x + 1

    assert Builtin("slow", slow).waits
    assert bound(slow)(2) == 3


def test_what_is_made_of_a_secret_is_a_secret() -> None:
    def upper(text: str) -> str:
        return text.upper()

    def parts(text: str) -> Sequence[str]:
        return text.split("-")

    def size(text: str) -> int:
        return len(text)

    def encode(value: Value) -> str:
        return str(value)

    def whole(values: Array) -> str:
        return str(values)

    hidden = Secret("a-b")
    assert type(bound(whole)(Array.of([hidden]))) is Secret
    assert type(bound(whole)(Array.of(["x"]))) is str
    assert type(bound(upper)(hidden)) is Secret
    assert type(bound(upper)("a-b")) is str
    assert type(bound(upper, reveals=True)(hidden)) is str
    assert [type(one) for one in bound(parts)(hidden).values()] == [Secret, Secret]
    assert bound(size)(hidden) == 3
    assert type(bound(encode)(Array({"x": Array.of([hidden])}))) is Secret


def test_arrays_inside_a_result_are_shared() -> None:
    def first(values: Array) -> Array:
        return Array.of(values.values())

    inner = Array.of([1])
    result = bound(first)(Array.of([inner]))
    assert result[0] is inner
    assert inner.shared


def test_a_callback_checks_its_arguments() -> None:
    def apply(callback: Callable[..., Value]) -> Value:
        return callback(1, 2)

    with pytest.raises(FlowError, match="one takes 1 argument, got 2"):
        bound(apply)(Function("one", lambda x: x, 1, 1))
