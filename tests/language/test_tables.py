"""The tables of HSL reference §1.4 to §1.7, row by row, against an oracle written from the tables alone."""

import itertools

import pytest

from flowengine.language.compiler import compile_flow
from flowengine.language.loader import Loader, Source
from tests.language.host import TestHost
from tests.language.vocabulary import predefined, vocabulary

VOCABULARY = vocabulary()

# source text → kind, boolean(x), number(x), and what it is
SAMPLES = {
    "none": ("none", False, None, None),
    "true": ("boolean", True, 1, True),
    "false": ("boolean", False, 0, False),
    "0": ("number", False, 0, 0),
    "1": ("number", True, 1, 1),
    "5": ("number", True, 5, 5),
    "2.5": ("number", True, 2.5, 2.5),
    '""': ("string", False, 0, ""),
    '"0"': ("string", True, 0, "0"),
    '"1"': ("string", True, 1, "1"),
    '"5"': ("string", True, 5, "5"),
    '"2.5"': ("string", True, 2.5, "2.5"),
    '"abc"': ("string", True, 0, "abc"),
    "[]": ("array", False, None, ()),
    "[1]": ("array", True, None, (1,)),
    "[5]": ("array", True, None, (5,)),
    '["k" => 1]': ("array", True, None, ("k", 1)),
    "length": ("function", True, None, "length"),
    "explode": ("function", True, None, "explode"),
    "$object": ("object", True, None, "object"),
}


def loosely(left: str, right: str) -> bool:
    """The table of `==`."""
    kind, truth, number, value = SAMPLES[left]
    other, other_truth, other_number, other_value = SAMPLES[right]
    if "none" in (kind, other):
        return kind == other
    if kind == other:
        return value == other_value
    if "number" in (kind, other):
        (mine, _), (rest, their_truth, their_number) = (
            ((number, kind), (other, other_truth, other_number))
            if kind == "number"
            else ((other_number, other), (kind, truth, number))
        )
        return mine == (their_number if rest in ("boolean", "string") else int(their_truth))
    if "boolean" in (kind, other):
        return truth == other_truth
    return False


def said(text: str) -> list[str]:
    host = TestHost(**predefined())
    compile_flow(Source("flow.hsl", "class Thing { } $object = Thing(); " + text), VOCABULARY, "data", Loader()).run(
        host
    )
    return host.output


@pytest.mark.parametrize(("left", "right"), list(itertools.product(SAMPLES, SAMPLES)))
def test_comparisons(left: str, right: str) -> None:
    same = SAMPLES[left][0] == SAMPLES[right][0] and SAMPLES[left][3] == SAMPLES[right][3]
    loose = loosely(left, right)
    words = {True: "true", False: "false"}
    expected = [words[loose], words[not loose], words[same], words[not same]]
    operators = ("==", "!=", "===", "!==")
    assert said(" ".join(f"echo {left} {one} {right};" for one in operators)) == expected
    assert said(f"$l = {left}; $r = {right};" + " ".join(f"echo $l {one} $r;" for one in operators)) == expected
    assert said(f'switch ({left}) {{ case {right}: echo "case"; break; default: echo "none"; }}') == [
        "case" if loose else "none"
    ]
    assert said(f'echo match ({left}) {{ {right} => "arm", default => "none" }};') == ["arm" if same else "none"]


@pytest.mark.parametrize("one", SAMPLES)
def test_truth(one: str) -> None:
    truth = SAMPLES[one][1]
    text = f'echo {one} ? "t" : "f"; echo !{one} ? "t" : "f"; echo ({one} and true) ? "t" : "f"; if ({one}) echo "t"; else echo "f";'
    assert said(text) == [*(("t", "f", "t") if truth else ("f", "t", "f")), "t" if truth else "f"]
    assert said(f"echo isset($n); $n = {one}; echo isset($n);") == ["false", "true"]


@pytest.mark.parametrize(
    ("loose", "tight"),
    [
        ("??", "or"), ("?:", "??"), ("or", "and"), ("and", "=="), ("==", "|"), ("|", "^"), ("^", "&"), ("&", "<<"),
        ("<<", "."), (".", "+"), ("+", "*"), ("*", "**"),
    ],
)  # fmt: skip
def test_precedence(loose: str, tight: str) -> None:
    """Without brackets it is as with brackets around the tighter operator, on both sides."""
    values = (2, 3, 4, 1, 0, 7)
    for a, b, c in itertools.product(values, values, values):
        for first, second, bracketed in (
            (loose, tight, f"{a} {loose} ({b} {tight} {c})"),
            (tight, loose, f"({a} {tight} {b}) {loose} {c}"),
        ):
            assert said(f"echo {a} {first} {b} {second} {c};") == said(f"echo {bracketed};")


KEYS = {
    "true": "1", "false": "0", '"7"': "7", '"-7"': "-7", "1.9": "1", "-1.9": "-1", '"1.9"': '"1.9"', '"07"': '"07"',
    '"abc"': '"abc"', '""': '""', '"+1"': '"+1"', '" 1"': '" 1"',
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_keys(key: str) -> None:
    assert said(f"echo [{key} => 9];") == [f"[{KEYS[key]}=>9]"]
    assert said(f"$a = []; $a[{key}] = 9; echo $a; echo $a[{key}]; echo isset($a[{key}]);") == [
        f"[{KEYS[key]}=>9]", "9", "true",
    ]  # fmt: skip
