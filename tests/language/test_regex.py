"""Regular expressions: matching, replacing, limits."""

import time

import pytest

from flowengine.language.problems import FlowError
from flowengine.language.regex import compiled, quote
from flowengine.language.values import Array, Secret
from tests.language.host import TestHost

RUN = TestHost()


@pytest.mark.parametrize(
    ("pattern", "subject", "groups"),
    [
        ("a(b)(c)?", "xabx", {0: "ab", 1: "b", 2: ""}),
        ("(?<first>a)(b)", "ab", {0: "ab", "first": "a", 1: "a", 2: "b"}),
        ("(?P<n>x)|y", "y", {0: "y", "n": "", 1: ""}),
        ("/A/i", "a", {0: "a"}),
        ("/a b/x", "ab", {0: "ab"}),
        ("/a.*?b/U", "aXbYb", {0: "aXbYb"}),
        ("z", "a", {}),
        (r"\xff+", "a\xff\xff", {0: "\xff\xff"}),
        ("", "a", {0: ""}),
    ],
)
def test_a_match_is_an_array(pattern: str, subject: str, groups: dict[object, str]) -> None:
    assert compiled(pattern).match(RUN, subject) == Array(groups)
    assert compiled(pattern).test(RUN, subject) is bool(groups)


def test_all_matches_are_grouped_by_group() -> None:
    found = compiled("(?<l>[a-z])([0-9])").match_all(RUN, "a1 b2")
    assert found == Array(
        {0: Array.of(["a1", "b2"]), "l": Array.of(["a", "b"]), 1: Array.of(["a", "b"]), 2: Array.of(["1", "2"])}
    )
    assert compiled("x").match_all(RUN, "a") == Array({0: Array()})


@pytest.mark.parametrize(
    ("pattern", "subject", "replacement", "limit", "result"),
    [
        ("b", "abcb", "X", 0, "aXcX"),
        ("b", "abcb", "X", 1, "aXcb"),
        ("(a)(b)?", "ab a", "<$2$1$0${1}>$x$9", 0, "<baaba>$x <aaa>$x"),
        ("", "ab", "-", 0, "-a-b-"),
        (".", "\xe9", "x", 0, "x"),
    ],
)
def test_matches_are_replaced(pattern: str, subject: str, replacement: str, limit: int, result: str) -> None:
    assert compiled(pattern).replace(RUN, subject, replacement, limit) == result


def test_a_function_may_replace() -> None:
    assert compiled("[0-9]+").replace(RUN, "a1b22", lambda match: len(match[0])) == "a1b2"
    with pytest.raises(FlowError, match="a replacement is a string, got an array"):
        compiled("a").replace(RUN, "a", lambda match: match)


def test_what_is_found_in_a_secret_is_secret() -> None:
    assert type(compiled("p").match(RUN, Secret("pw"))[0]) is Secret
    assert type(compiled("p").replace(RUN, Secret("pw"), "x")) is Secret


@pytest.mark.parametrize("subject", ["a" * 50 + "!", ("ac" * 200_000)], ids=["many ways", "many starts"])
def test_a_pattern_that_takes_too_long_is_an_error(subject: str) -> None:
    start = time.monotonic()
    with pytest.raises(FlowError, match=r"limit|too long"):
        compiled("^(a+)+$" if "!" in subject else "/[ac].*[bx]/s").test(TestHost(), subject)
    assert time.monotonic() - start < 20  # on a busy machine too: what grows too fast takes minutes


def test_a_long_subject_is_searched() -> None:
    subject = "x" * 300_000 + "needle"
    assert compiled("needle$").match(TestHost(), subject) == Array({0: "needle"})
    assert compiled("(*UTF)\xc3\xa9$").test(TestHost(), "x" * 2000 + "\xc3\xa9")
    assert compiled("/a # comment/x").test(TestHost(), "b" * 2000 + "a")
    assert compiled("x|y").replace(TestHost(), "xy" * 1000, "") == ""


@pytest.mark.parametrize("pattern", ["(", "[a", "a{2,1}", "(?<n>a)(?<n>b)", "*", "\\", "x" * 70_000])
def test_a_wrong_pattern_is_explained(pattern: str) -> None:
    with pytest.raises(FlowError, match=r"the pattern is wrong|longer than"):
        compiled(pattern).test(RUN, "x")


@pytest.mark.parametrize("text", ["a.b*c", "[x]{1}", "\\", "a/b#c d", "\x00\xff", "^$|()?+-!=<>:"])
def test_quoted_text_matches_itself_only(text: str) -> None:
    assert compiled(f"^{quote(text)}$").test(RUN, text)
    assert compiled(f"/^{quote(text)}$/x").test(RUN, text) or " " in text
