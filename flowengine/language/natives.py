"""Classes written in Python that flows use: `$o->m()`, `Name(args)`, `Name::static()`, `$o->property`, foreach.

A native class has a `class_name`. Its methods are marked `@method` and follow the rules of builtins: `self` first, then
optionally `run`, then typed parameters, keyword-only options; a coroutine waits. What is not marked does not exist for
a flow. `__init__` marked `@method` makes the class callable (or a static method called `constructor`, when making one
needs to wait or to choose the class). A marked `@property` is a member to read, and to write when it has a setter.
`pairs()` gives keys and values to foreach; without it `__iter__` gives values.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from flowengine.language.functions import Builtin

F = TypeVar("F", bound=Callable[..., Any])


@overload
def method(function: F, /) -> F: ...
@overload
def method(**about: Any) -> Callable[[F], F]: ...


def method(function: F | None = None, /, **about: Any) -> Any:
    """Mark a method of a native class for flows: `@method` or `@method(name=, final=, reveals=, …)`."""

    def mark(one: F) -> F:
        one.__dict__["flow_method"] = about
        return one

    return mark if function is None else mark(function)


@dataclass(frozen=True)
class NativeClass:
    """The members of a native class that flows may use, each as a builtin."""

    name: str
    methods: dict[str, Builtin]
    statics: dict[str, Builtin]
    properties: dict[str, property]
    constructor: Builtin | None

    @property
    def waits(self) -> bool:
        """Whether any of its functions waits."""
        own = [*self.methods.values(), *self.statics.values()]
        return any(one.waits for one in own) or (self.constructor is not None and self.constructor.waits)


_known: dict[type, NativeClass] = {}


def native_class(one: type) -> NativeClass:
    """What flows may use of a class with a `class_name`; found out once. Raises TypeError when it cannot be used."""
    found = _known.get(one)
    if found is None:
        found = _known[one] = _look_at(one)
    return found


def _look_at(one: type) -> NativeClass:
    name: str = one.class_name  # type: ignore[attr-defined]  # the vocabulary holds only classes that have one
    if hasattr(one, "__len__") and not hasattr(one, "__bool__"):
        raise TypeError(f"native class {name} has a length, so an empty one would count as false: define __bool__")
    methods: dict[str, Builtin] = {}
    statics: dict[str, Builtin] = {}
    properties: dict[str, property] = {}
    constructor = None
    for owner in reversed(one.__mro__):
        for python_name, member in vars(owner).items():
            static = isinstance(member, staticmethod)
            function: Any = member
            if isinstance(member, staticmethod):
                function = member.__func__
            elif isinstance(member, property):
                function = member.fget
            about = getattr(function, "__dict__", {}).get("flow_method")
            if about is None:
                continue
            own = about.get("name", python_name.rstrip("_"))
            rest = {word: value for word, value in about.items() if word != "name"}
            if isinstance(member, property):
                properties[own] = member
            elif python_name == "__init__":
                if constructor is None or not constructor.receiver:
                    constructor = _constructor(one, name, function, rest)
            elif static and own == "constructor":
                constructor = Builtin(name, function, **rest)
            elif static:
                statics[own] = Builtin(f"{name}::{own}", function, **rest)
            else:
                methods[own] = Builtin(f"{name}->{own}", function, receiver=True, **rest)
    return NativeClass(name, methods, statics, properties, constructor)


def _constructor(one: type, name: str, init: Callable[..., Any], about: dict[str, Any]) -> Builtin:
    """The class as a builtin: the parameters are those of `__init__`."""

    @functools.wraps(init)
    def make(this: None, *arguments: Any, **options: Any) -> Any:
        return one(*arguments, **options)

    made = Builtin(name, make, receiver=True, **about)
    object.__setattr__(made, "returns", one)
    call = made.call
    made.__dict__["call"] = lambda run, *arguments: call(run, None, *arguments)
    return made


def pairs(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """Keys and values of a native object for foreach; None when it cannot be walked through."""
    if hasattr(value, "pairs"):
        found: Iterator[tuple[Any, Any]] = iter(value.pairs())
        return found
    if hasattr(value, "__iter__"):
        return enumerate(value)
    return None
