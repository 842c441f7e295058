"""Errors that scripts see: `throw`, `catch ($e)`, the class Exception (HSL reference §1.9, §1.14).

Final actions, cancellation and a used-up budget pass every catch; all else that goes wrong in a flow can be caught.
"""

import re
from itertools import islice
from types import TracebackType
from typing import Any

from flowengine.language.natives import method
from flowengine.language.problems import BudgetExceeded, FlowError, Span
from flowengine.language.texts import shown
from flowengine.language.values import Secret, Value, from_text

LINES = 1 << 20  # a line number in compiled code is file * LINES + line
STEPS_A_CATCH = 100  # what finding the place of an error costs, in turns of a loop
FILES = "__files__"  # the name under which compiled code keeps the names of its files
_UNSET = re.compile(r"variable 'v\d+_(\w+)'")


class ExceptionObject:
    """`Exception(message)`: what builtins and operators throw."""

    class_name = "Exception"

    @method
    def __init__(self, message: str = "") -> None:
        self.text = message
        self.span: Span | None = None

    @property
    def flow_text(self) -> str:
        """What echo shows."""
        return self.text

    @method(name="message")
    def say(self) -> str:
        """The message."""
        return self.text

    @method
    def toString(self) -> str:  # noqa: N802  # the name that HSL gives it
        """The message with its place."""
        place = f"{from_text(self.span.file)}:{self.span.line}:{self.span.column}: " if self.span else ""
        return Secret(place + self.text) if type(self.text) is Secret else place + self.text

    @method(name="file")
    def where_file(self) -> str | None:
        """The file in which it happened."""
        return from_text(self.span.file) if self.span else None

    @method(name="line")
    def where_line(self) -> int | None:
        """The line in which it happened."""
        return self.span.line if self.span else None

    @method(name="column")
    def where_column(self) -> int | None:
        """The column in which it happened."""
        return self.span.column if self.span else None

    @property
    @method
    def file(self) -> str | None:
        """The file, read as a member."""
        return self.where_file()

    @property
    @method
    def line(self) -> int | None:
        """The line, read as a member."""
        return self.where_line()

    @property
    @method
    def column(self) -> int | None:
        """The column, read as a member."""
        return self.where_column()

    @property
    @method
    def message(self) -> str:
        """The message, read as a member."""
        return self.text


class Thrown(FlowError):  # named by what it says
    """A value on its way from `throw` to `catch`."""

    def __init__(self, value: Value) -> None:
        message = value.text if isinstance(value, ExceptionObject) else shown(value)
        super().__init__(f"uncaught: {shown(message)}")
        self.value = value


def throw(value: Value) -> FlowError:
    """The error for `throw value;`."""
    return Thrown(value)


def caught(run: Any, error: Exception) -> Value:
    """What `catch ($e)` gets. Raises the error again when a flow cannot catch it."""
    if isinstance(error, (BudgetExceeded, RecursionError, MemoryError)):
        raise error
    run.budget.spend(STEPS_A_CATCH)
    span = place_of(error.__traceback__)
    if isinstance(error, Thrown):
        if isinstance(error.value, ExceptionObject) and error.value.span is None:
            error.value.span = span
        return error.value
    made = ExceptionObject(from_text(flow_error(error).message))
    made.span = span
    return made


def flow_error(error: Exception) -> FlowError:
    """Any error of a run as a FlowError with its place."""
    span = place_of(error.__traceback__)
    if isinstance(error, FlowError):
        if error.span is None:
            error.span = span
        return error
    if isinstance(error, RecursionError):
        return BudgetExceeded("calls or arrays are nested too deep", span)
    if isinstance(error, MemoryError):
        return BudgetExceeded("the script needs too much memory", span)
    if isinstance(error, NameError):
        found = _UNSET.search(str(error))
        return FlowError(f"${found[1]} has no value here" if found else "a variable has no value here", span)
    if isinstance(error, ValueError) and "generator already executing" in str(error):
        return FlowError("a generator cannot walk through itself", span)
    kind = type(error).__name__
    return FlowError(f"internal error: {kind}: {error}", span)


def place_of(trace: TracebackType | None) -> Span | None:
    """Where in a flow an error happened: the innermost line of a flow in its traceback."""
    found: TracebackType | None = None
    while trace is not None:
        if FILES in trace.tb_frame.f_globals:
            found = trace
        trace = trace.tb_next
    if found is None:
        return None
    files: tuple[str, ...] = found.tb_frame.f_globals[FILES][found.tb_frame.f_code.co_filename]
    code = found.tb_frame.f_code
    position = next(islice(code.co_positions(), found.tb_lasti // 2, None), None)
    if position is None or position[0] is None:
        line: int = found.tb_lineno or 1
        return Span(files[line // LINES], line % LINES, 1, line % LINES, 1)
    start, end, column, end_column = position[0], position[1] or position[0], position[2], position[3]
    return Span(files[start // LINES], start % LINES, (column or 0) + 1, end % LINES, (end_column or 0) + 1)
