"""Regular expressions: PCRE2 on bytes, with limits (HSL reference §1.8).

One start position may take so many steps (`LIMIT_MATCH`); on long subjects a callout before each start looks at the
clock, because the library counts anew for every start. The interpreter of PCRE2 is used, not its JIT: only there do the
limits count every step. Meeting a limit is an error of the flow.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Protocol

import pcre2  # type: ignore[import-untyped]  # the package has no types

from flowengine.language.budget import BYTES_A_STEP, Budget
from flowengine.language.conversion import got
from flowengine.language.problems import FlowError
from flowengine.language.texts import text
from flowengine.language.values import Array, Secret, Value, from_bytes, to_bytes

LONGEST_PATTERN = 64 * 1024  # bytes
SHORT = 1024  # bytes of a subject that needs no look at the clock
SECONDS = 0.5  # for one operation on a long subject
_LIMITS = b"(*LIMIT_MATCH=100000)(*LIMIT_DEPTH=10000)(*LIMIT_HEAP=20000)"
_WRAPPED = re.compile(r"/([\s\S]*)/([imsuxUX]*)\Z")
_VERBS = re.compile(rb"(?:\(\*[A-Z_0-9=]+\))*")
_FLAGS = {"i": pcre2.I, "m": pcre2.M, "s": pcre2.S, "x": pcre2.X, "u": pcre2.U, "U": pcre2.RegexFlag(0x00040000)}
_PLACEHOLDER = re.compile(r"\$(?:([0-9]{1,3})|\{([0-9]{1,3})\})")
_SPECIAL = re.compile(r"([.\\+*?\[^\]$(){}=!<>|:\-#/])")


class Running(Protocol):
    """What regular expressions need of a run."""

    budget: Budget


class Regex:
    """A compiled pattern."""

    def __init__(self, source: str) -> None:
        if len(source) > LONGEST_PATTERN:
            raise FlowError(f"a pattern of {len(source)} bytes is longer than {LONGEST_PATTERN}")
        wrapped = _WRAPPED.match(source)
        body, flags = (wrapped[1], wrapped[2]) if wrapped else (source, "")
        self.flags = pcre2.NOFLAG
        for one in flags:
            self.flags |= _FLAGS.get(one, pcre2.NOFLAG)
        self.pattern = to_bytes(body)
        try:
            self.short = pcre2.compile(_LIMITS + self.pattern, flags=self.flags, jit=False)
        except pcre2.PatternError as error:
            raise FlowError(f"the pattern is wrong: {_reason(error)}") from None
        except pcre2.LibraryError as error:
            raise FlowError(f"the pattern cannot be used: {error}") from None
        self.names: dict[int, str] = {number: name for name, number in self.short.groupindex.items()}
        self.groups: int = self.short.groups
        self.long: Any = None
        self.until = 0.0
        self.stopped = False

    def _for_long(self) -> Any:
        """The pattern that looks at the clock before each start."""
        if self.long is None:
            verbs = _VERBS.match(self.pattern)
            at = verbs.end() if verbs else 0
            guarded = _LIMITS + self.pattern[:at] + b"(?C1)(?:" + self.pattern[at:] + b"\n)"
            if not self.flags & pcre2.X:
                guarded = guarded[:-2] + b")"
            try:
                self.long = pcre2.compile(guarded, flags=self.flags, jit=False, callout=self._look_at_clock)
            except pcre2.LibraryError:  # a pattern that cannot stand in a group, such as one that ends in a comment
                self.long = self.short
        return self.long

    def _look_at_clock(self, block: object) -> pcre2.CalloutReturn:
        if time.monotonic() > self.until:
            self.stopped = True
            return pcre2.CalloutReturn.ABORT
        return pcre2.CalloutReturn.PASS

    def _found(self, run: Running, subject: str) -> Iterator[Any]:
        """Every match, from left to right."""
        data = to_bytes(subject)
        run.budget.spend(1 + len(data) // 64)
        pattern = self.short if len(data) <= SHORT else self._for_long()
        until = time.monotonic() + SECONDS
        try:
            walk = self._walk(pattern, data)
            while True:
                # another run may use the pattern between two matches: the clock is set before each
                self.until, self.stopped = until, False
                match = next(walk, None)
                if self.stopped:
                    raise FlowError("the pattern took too long")
                if match is None:
                    return
                run.budget.spend(1)
                yield match
        except pcre2.LibraryError as error:
            raise FlowError(f"the pattern met a limit: {error}") from None

    def _walk(self, pattern: Any, data: bytes) -> Iterator[Any]:
        if self.flags & pcre2.U:
            try:
                data.decode()
            except UnicodeDecodeError:
                data = data.decode("utf-8", "replace").encode()  # with /u only UTF-8 can be matched
        return iter(pattern.finditer(data))

    def test(self, run: Running, subject: str) -> bool:
        """Whether the pattern matches anywhere (`=~`). Raises FlowError when a limit is met."""
        return next(self._found(run, subject), None) is not None

    def match(self, run: Running, subject: str) -> Array:
        """The first match: [0] the whole, then the groups, named ones also by name; [] without a match."""
        match = next(self._found(run, subject), None)
        return Array() if match is None else self._array(run, match, type(subject) is Secret)

    def match_all(self, run: Running, subject: str) -> Array:
        """All matches, grouped by group: [0] the whole ones, [1] the first group …; named groups also by name."""
        found = [self._array(run, match, type(subject) is Secret) for match in self._found(run, subject)]
        columns: list[Any] = []
        for number in range(self.groups + 1):
            if number in self.names:
                columns.append(self.names[number])
            columns.append(number)
        run.budget.grow_items(len(found) * len(columns))
        return Array((column, Array.of(one[column] for one in found)) for column in columns)

    def _array(self, run: Running, match: Any, secret: bool) -> Array:
        result = Array()
        for number in range(self.groups + 1):
            part = match[number]
            piece = "" if part is None else from_bytes(part)
            run.budget.grow(len(piece))
            if secret:
                piece = Secret(piece)
            if number in self.names:
                result[self.names[number]] = piece
            result[number] = piece
        return result

    def replace(self, run: Running, subject: str, replacement: str | Callable[[Array], Value], limit: int = 0) -> str:
        """The subject with its matches replaced, at most `limit` of them; 0: all.

        replacement: text with `$0` … `$n`, or a function that takes the match array and gives a string.
        """
        secret = type(subject) is Secret or type(replacement) is Secret
        pieces: list[str] = []
        plain = str(subject)
        at = done = size = 0
        for match in self._found(run, subject):
            start, end = match.span()
            new = self._replacement(run, match, replacement, type(subject) is Secret)
            secret = secret or type(new) is Secret
            pieces += [plain[at:start], new]
            more = start - at + len(new)
            size += more
            run.budget.spend(1 + more // BYTES_A_STEP)
            if size > run.budget.size:
                run.budget.grow(size)
            at, done = end, done + 1
            if done == limit:
                break
        pieces.append(plain[at:])
        whole = "".join(pieces)
        return Secret(whole) if secret else whole

    def _replacement(self, run: Running, match: Any, replacement: str | Callable[[Array], Value], secret: bool) -> str:
        if not isinstance(replacement, str):
            new = replacement(self._array(run, match, secret))
            if isinstance(new, (Array, type(None))):
                raise FlowError(f"a replacement is a string, got {got(new)}")
            return text(new)
        if "$" not in replacement:
            return replacement

        def group(one: re.Match[str]) -> str:
            number = int(one[1] or one[2])
            part = match[number] if number <= self.groups else None
            return "" if part is None else from_bytes(part)

        return _PLACEHOLDER.sub(group, replacement)


def _reason(error: Exception) -> str:
    """The library's words with the position counted in the author's pattern."""
    found = re.search(r"position ([0-9]+); (.*)", str(error))
    if found is None:
        return str(error)
    return f"{found[2]} at {max(0, int(found[1]) - len(_LIMITS))}"


@lru_cache(maxsize=1000)
def compiled(pattern: str) -> Regex:
    """The regular expression of a pattern: bare, or wrapped as `/…/flags`. Raises FlowError for a wrong one."""
    return Regex(pattern)


def quote(value: str) -> str:
    """A string in which no character means anything to a pattern."""
    return _SPECIAL.sub(r"\\\1", value).replace("\0", "\\000")


def matches(run: Running, subject: Value, pattern: Value) -> bool:
    """`subject =~ pattern`. Raises FlowError for a wrong pattern, or when a limit is met."""
    if not isinstance(pattern, str):
        held = getattr(pattern, "pattern_text", None)  # the value of pcre_compile()
        if not isinstance(held, str):
            raise FlowError(f"a pattern is a string, got {got(pattern)}")
        pattern = held
    if type(subject) is Array or not (subject is None or isinstance(subject, (str, int, float))):
        raise FlowError(f"cannot match {got(subject)} with a pattern")
    return compiled(str(pattern)).test(run, text(subject))
