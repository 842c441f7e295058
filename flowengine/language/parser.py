"""A flow's text → tree, or everything that is wrong with its syntax.

The grammar is `grammar.lark`; the parser is made once a process. A text that does not parse is read a second time by
`recovery.py`, which goes on after each error.
"""

import os
import stat
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark
from lark.exceptions import UnexpectedInput, VisitError

from flowengine.language import tree
from flowengine.language.building import Builder, TooMany
from flowengine.language.precedence import TooDeep
from flowengine.language.problems import FlowProblems, Problem, Span

LARGEST = 1_000_000  # characters; a flow is a page or two
DEEPEST = 150  # nodes inside one another; compiling recurses
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Parsed:
    """The statements of a file, and what the parser found odd on the way."""

    body: tuple[tree.Statement, ...]
    warnings: tuple[Problem, ...]


@cache
def lark_parser() -> tuple[Lark, Builder]:
    """The parser and what builds its trees. Takes some 0.2 s, or 0.01 s from the cache."""
    builder = Builder()
    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    parser = Lark(
        grammar,
        parser="lalr",
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=builder,
        cache=cache_file(),
    )
    return parser, builder


def cache_file() -> str | bool:
    """Where lark keeps the tables of the grammar; False when there is no place that only this user can write to.

    lark unpickles the file, so a directory that others may write to would let them run code as us.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        directory = base / "flowengine"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except (OSError, RuntimeError):
        return False
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return str(directory / "grammar.cache") if private else False


def decode(data: bytes) -> str:
    """A file's bytes as text: UTF-8, other bytes kept as surrogates so that string literals hold them again."""
    return data.decode("utf-8", "surrogateescape")


def parse(text: str, file: str) -> Parsed:
    """The tree of a flow. file: its name for places. Raises FlowProblems with all syntax errors."""
    from flowengine.language.recovery import problems_of

    if len(text) > LARGEST:
        raise FlowProblems([_whole(file, f"the file is longer than {LARGEST} characters")])
    with _one_at_a_time:
        parser, builder = lark_parser()
        builder.begin(file)
        try:
            body: Any = parser.parse(text)
        except (UnexpectedInput, TooMany, TooDeep, VisitError):
            problems = problems_of(text, file, parser, builder)
        else:
            problems = builder.problems
    errors = [one for one in problems if one.severity == "error"]
    if not errors:
        levels, where = tree.depth(*body)
        if levels > DEEPEST and where is not None:
            errors = [Problem(where.span, "syntax", "error", f"nested more than {DEEPEST} deep")]
    if errors:
        raise FlowProblems(
            sorted(problems if problems else errors, key=lambda one: one.span[1:3]) if problems else errors
        )
    return Parsed(body, tuple(problems))


def _whole(file: str, message: str) -> Problem:
    return Problem(Span(file, 1, 1, 1, 1), "syntax", "error", message)
