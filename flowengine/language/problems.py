"""What is wrong with a flow, and where.

A `Problem` is found before a flow is loaded, a `FlowError` while it runs. Both name the place, the cause and the next
step, and both are the flow author's to mend.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "hint"]


class Span(NamedTuple):
    """A stretch of a source file. Lines and columns count from 1, columns in characters; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of the checker.

    id: `syntax` or a word such as `unknown-variable`; each has a paragraph in docs/problems.md.
    hint: what to do about it, "" when the message says it all.
    """

    span: Span
    id: str
    severity: Severity
    message: str
    hint: str = ""

    @property
    def brief(self) -> str:
        """Place and problem on one line."""
        return f"{self.span.file}:{self.span.line}:{self.span.column}: {self.message}"

    def document(self) -> dict[str, object]:
        """The finding as `check --json` prints it."""
        return {
            **self.span._asdict(),
            "id": self.id,
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
        }


class FlowProblems(Exception):  # named by what it says
    """A flow that cannot be loaded, with everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.brief for problem in problems))
        self.problems = tuple(problems)


class FlowError(Exception):
    """A flow failed while it ran. The span is known once the error has left the flow's code."""

    def __init__(self, message: str, span: Span | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span

    def __str__(self) -> str:
        if self.span is None:
            return self.message
        return f"{self.span.file}:{self.span.line}:{self.span.column}: {self.message}"


class BudgetExceeded(FlowError):  # named by what it says
    """The run used up its steps, depth, time or memory. A flow cannot catch it."""


def render(problem: Problem, source: Sequence[str] | None) -> str:
    """A problem as it is shown to its author: place, message, source line, caret and hint.

    source: the lines of the file, or None when they are not at hand.
    """
    span = problem.span
    head = problem.brief
    if problem.severity != "error":
        head = f"{span.file}:{span.line}:{span.column}: {problem.severity}: {problem.message}"
    if source is None or not 1 <= span.line <= len(source):
        return head + (f"\n    {problem.hint}" if problem.hint else "")
    line = source[span.line - 1].rstrip("\r\n")
    end = span.end_column if span.end_line == span.line else len(line) + 1
    width = max(1, min(end, len(line) + 1) - span.column)
    pad = "".join("\t" if character == "\t" else " " for character in line[: span.column - 1])
    number = f"{span.line:>5} | "
    caret = " " * (len(number) - 2) + "| " + pad + "^" * width
    return f"{head}\n{number}{line}\n{caret}" + (f" {problem.hint}" if problem.hint else "")


def worst(problems: Iterable[Problem]) -> Severity | None:
    """The gravest severity among the problems; None when there is none."""
    found = {problem.severity for problem in problems}
    ordered: tuple[Severity, ...] = ("error", "warning", "hint")
    return next((severity for severity in ordered if severity in found), None)
