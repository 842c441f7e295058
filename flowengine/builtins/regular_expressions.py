"""Regular expressions for flows: PCRE over bytes, with limits on time (HSL reference §1.8).

A pattern is a string, bare or as /…/flags, or what `pcre_compile` gave. A wrong pattern, or one that takes too long, is
an error of the script.
"""

from typing import ClassVar

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.regex import compiled, quote
from flowengine.language.values import Array, Function


class Regex:
    """A pattern that has been compiled: what `pcre_compile` gives."""

    class_name: ClassVar[str] = "Regex"

    def __init__(self, pattern_text: str) -> None:
        self.pattern_text = pattern_text
        compiled(pattern_text)


Pattern = str | Regex


def _text(pattern: Pattern) -> str:
    return pattern.pattern_text if isinstance(pattern, Regex) else str(pattern)


@builtin
def pcre_match(run: Run, pattern: Pattern, subject: str) -> Array:
    """The first match of a pattern: [0] the whole, [1] … the groups, named groups also by name.

    A group that took no part is "". Returns [] when nothing matches.

        pcre_match("(\\\\d+)-(?<last>\\\\d+)", "tel 12-34");  // ["12-34", "12", "last" => "34", 2 => "34"]
        pcre_match("/ABC/i", "xabc")[0];  // "abc"
        pcre_match("x", "abc");  // []
    """
    return compiled(_text(pattern)).match(run, subject)


@builtin
def pcre_match_all(run: Run, pattern: Pattern, subject: str) -> Array:
    """All matches of a pattern, by group: [0] the whole ones, [1] the first group, …; named groups also by name.

    pcre_match_all("a(\\\\d)", "a1 a2");  // [["a1", "a2"], ["1", "2"]]
    pcre_match_all("x(\\\\d)", "a1 a2");  // [[], []]
    """
    return compiled(_text(pattern)).match_all(run, subject)


@builtin
def pcre_replace(run: Run, pattern: Pattern, replace: str | Function, subject: str, limit: int = 0) -> str:
    """A string with what matches a pattern replaced.

    replace: text in which $0 is the match and $1 … its groups; or a function that gets the match as an array and
        returns the text.
    limit: how many are replaced, from the left; 0 for all.

        pcre_replace("\\\\d", "($0)", "foo1bar2");  // "foo(1)bar(2)"
        pcre_replace("\\\\b[a-z]", function ($i) { return str_upper($i[0]); }, "hello world");  // "Hello World"
        pcre_replace("a", "b", "aaa", 2);  // "bba"
    """
    return compiled(_text(pattern)).replace(run, subject, replace, max(0, limit))


@builtin
def pcre_quote(run: Run, string: str) -> str:
    """A string in which no character means anything to a pattern.

    pcre_quote("a.b*c");  // "a\\\\.b\\\\*c"
    """
    run.budget.grow(len(string) * 2)
    return quote(string)


@builtin
def pcre_compile(string: str) -> Regex:
    """A pattern compiled in advance; it can stand wherever a pattern stands. An error when it is wrong.

    pcre_match(pcre_compile("/B/i"), "abc");  // ["b"]
    """
    return Regex(str(string))
