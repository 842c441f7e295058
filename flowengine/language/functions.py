"""A builtin is one typed function; everything else about it is read from that function.

Positional parameters are the call, keyword-only parameters the options array, annotations the types, the docstring the
page of the reference. `@builtin` only attaches a `Builtin`; a `Vocabulary` is made from modules, so importing one
changes nothing. Compiled flows call `Builtin.call(run, *arguments)`, which checks and converts (`binding.py`).

Annotations mean: `str` the flow's own string (one character a byte), `bytes` the same as bytes, `Text` Unicode text,
`int` a number cut to its whole part, `float` a number, `bool` a boolean or number, `Value` anything, `Array` an array
as it is, `Sequence[T]` the values of an array, `Mapping[str, T]` an array with text keys, `Callable[..., Value]` a
function, `Literal[...]` one of these words, `X | Y` either, `X | None` also none.
"""

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, TypeVar, overload

from flowengine.language.binding import bind
from flowengine.language.values import Text as Text

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter or option of a builtin."""

    name: str
    annotation: Any
    required: bool
    default: Any = None
    variadic: bool = False


@dataclass(frozen=True)
class Builtin:
    """What checker, compiler and reference know of one function.

    phases: names of the phases in which it exists; None means anywhere.
    waits: its body is a coroutine, so a flow that may call it runs in a greenlet.
    final: it ends the script (unless an option says otherwise).
    reveals: its result may be shown even when an argument is secret (hashes, lengths, signatures).
    options_at: the place of the options array among the positional parameters, when that is not the end.
    open_options: unknown options are passed on as further keywords rather than refused (maps with free keys).
    receiver: it is a method; the object comes before everything else.
    """

    name: str
    function: Callable[..., Any]
    phases: frozenset[str] | None = None
    aliases: tuple[str, ...] = ()
    final: bool = False
    reveals: bool = False
    options_at: int | None = None
    deprecated: str = ""
    open_options: bool = False
    receiver: bool = False
    takes_run: bool = field(init=False)
    waits: bool = field(init=False)
    parameters: tuple[Parameter, ...] = field(init=False)
    options: Mapping[str, Parameter] = field(init=False)
    returns: Any = field(init=False)

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(self.function, include_extras=True)
        positional: list[Parameter] = []
        options: dict[str, Parameter] = {}
        names = list(inspect.signature(self.function).parameters.values())[1 if self.receiver else 0 :]
        takes_run = bool(names) and names[0].name == "run"
        for parameter in names[1:] if takes_run else names:
            if parameter.kind is parameter.VAR_KEYWORD:
                continue  # where open options go
            required = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
            default = None if parameter.default is parameter.empty else parameter.default
            variadic = parameter.kind is parameter.VAR_POSITIONAL
            entry = Parameter(parameter.name.rstrip("_"), hints.get(parameter.name, Any), required, default, variadic)
            if parameter.kind is parameter.KEYWORD_ONLY:
                options[entry.name] = entry
            else:
                positional.append(entry)
        set_ = object.__setattr__
        set_(self, "takes_run", takes_run)
        set_(self, "waits", inspect.iscoroutinefunction(self.function))
        set_(self, "parameters", tuple(positional))
        set_(self, "options", options)
        set_(self, "returns", hints.get("return", Any))

    @cached_property
    def call(self) -> Callable[..., Any]:
        """What compiled code calls: `call(run, *arguments)` with a flow's values, giving a flow's value."""
        return bind(self)

    @property
    def least(self) -> int:
        """The fewest arguments a call may have."""
        return sum(p.required for p in self.parameters)

    @property
    def most(self) -> int | None:
        """The most arguments a call may have, options array included; None when variadic."""
        if any(p.variadic for p in self.parameters):
            return None
        trailing = 1 if self.options or self.open_options else 0
        return len(self.parameters) + trailing

    @property
    def page(self) -> str:
        """The docstring: summary, parameters, result, examples."""
        return inspect.getdoc(self.function) or ""


@overload
def builtin(function: F, /) -> F: ...
@overload
def builtin(*phases: str, **about: Any) -> Callable[[F], F]: ...


def builtin(*arguments: Any, **about: Any) -> Any:
    """Make a typed function a builtin: `@builtin`, or `@builtin(*phases, name=, aliases=, final=, reveals=, …)`."""

    def mark(function: F, phases: tuple[str, ...] = ()) -> F:
        name = about.get("name", function.__name__.rstrip("_"))
        rest = {key: value for key, value in about.items() if key != "name"}
        one = Builtin(name, function, frozenset(phases) or None, **rest)
        # one Python function may serve several names with rules of their own
        function.__dict__.setdefault("builtins", []).append(one)
        return function

    if len(arguments) == 1 and callable(arguments[0]):
        return mark(arguments[0])
    return lambda function: mark(function, arguments)


def options_of(source: Callable[..., Any]) -> Callable[[F], F]:
    """Give a function that takes `**options` the keyword-only parameters of another one, which it hands them on to: so
    two builtins have one list of options. Goes below `@builtin` or `@method`."""

    def extend(function: F) -> F:
        own = inspect.signature(function)
        named = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        shared = [one for one in inspect.signature(source).parameters.values() if one.kind is one.KEYWORD_ONLY]
        function.__annotations__.update({one.name: one.annotation for one in shared})
        function.__signature__ = own.replace(parameters=[*named, *shared])  # type: ignore[attr-defined]  # what inspect reads
        return function

    return extend


@dataclass(frozen=True, slots=True)
class Variable:
    """A predefined variable of a phase."""

    name: str
    annotation: Any
    page: str
    writable: bool = False


@dataclass(frozen=True)
class PhaseSpec:
    """A phase as checker and compiler see it.

    implicit_end: the function whose override is called when a script ends without an action (`Deliver` in `data`).
    """

    name: str
    variables: Mapping[str, Variable]
    implicit_end: str | None = None


class Vocabulary:
    """Every word a flow may use: builtins by name and phase, native classes, the phases and their variables."""

    def __init__(
        self, modules: Iterable[ModuleType], phases: Iterable[PhaseSpec], classes: Iterable[type] = ()
    ) -> None:
        self.phases = {phase.name: phase for phase in phases}
        self.classes = {getattr(one, "class_name", one.__name__): one for one in classes}
        self.builtins: dict[str, list[Builtin]] = {}
        for module in modules:
            for thing in vars(module).values():
                for one in getattr(thing, "builtins", ()) if callable(thing) else ():
                    for name in (one.name, *one.aliases):
                        known = self.builtins.setdefault(name, [])
                        if one not in known:
                            known.append(one)

    def find(self, name: str, phase: str) -> Builtin | None:
        """The builtin of this name in this phase: the phase's own before one that works anywhere."""
        anywhere = None
        for one in self.builtins.get(name, ()):
            if one.phases is None:
                anywhere = one
            elif phase in one.phases:
                return one
        return anywhere

    def phases_of(self, name: str) -> frozenset[str]:
        """The phases in which a name exists; empty when nothing is called that."""
        found: set[str] = set()
        for one in self.builtins.get(name, ()):
            found |= one.phases if one.phases is not None else set(self.phases)
        return frozenset(found)
