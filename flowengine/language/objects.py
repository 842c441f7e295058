"""Classes at run time: those written in HSL, and the door to native ones (HSL reference §1.12).

An `HslClass` is made once by the compiler and holds no state; an `Instance` belongs to one run. Whether a private or
read-only member may be used is decided by the class in whose code the access stands (`inside`).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flowengine.language.conversion import got, value_of
from flowengine.language.natives import native_class, pairs
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Function, Value, share


class MethodEntry(NamedTuple):
    """A compiled method: `call(run, g, this, *arguments)`; a static one gets none for `this`."""

    call: Callable[..., Value]
    least: int
    most: int | None
    private: bool
    static: bool


class FieldEntry(NamedTuple):
    """A declared variable of a class with its first value."""

    name: str
    value: Value
    private: bool
    readonly: bool


class HslClass:
    """A class as the compiler made it."""

    def __init__(
        self, name: str, fields: list[FieldEntry], statics: list[FieldEntry], methods: dict[str, MethodEntry]
    ) -> None:
        self.name, self.methods = name, methods
        self.fields = {one.name: one for one in fields}
        self.statics = {one.name: one for one in statics}

    def first_statics(self) -> dict[str, Value]:
        """The static variables at the start of a run."""
        return {name: share(one.value) for name, one in self.statics.items()}


class Instance:
    """An object of a class written in HSL."""

    __slots__ = ("cls", "fields", "g")

    def __init__(self, cls: HslClass, g: list[Any]) -> None:
        self.cls, self.g = cls, g
        self.fields: dict[str, Value] = {name: share(one.value) for name, one in cls.fields.items()}

    @property
    def class_name(self) -> str:
        """The name of its class."""
        return self.cls.name


def is_object(value: Value) -> bool:
    """Whether a value is an instance of a class, HSL's or native."""
    return hasattr(type(value), "class_name")


def create(run: Any, g: list[Any], cls: HslClass, inside: HslClass | None, *given: Value) -> Instance:
    """`Name(arguments)`."""
    run.budget.spend(8)
    made = Instance(cls, g)
    constructor = cls.methods.get("constructor")
    if constructor is None:
        check_arity(cls.name, 0, 0, len(given))
    else:
        if constructor.private and inside is not cls:
            raise FlowError(f"the constructor of {cls.name} is private")
        check_arity(cls.name, constructor.least, constructor.most, len(given))
        constructor.call(run, g, made, *given)
    return made


def check_arity(name: str, least: int, most: int | None, given: int) -> None:
    """Raises FlowError for a wrong number of arguments."""
    if given < least or (most is not None and given > most):
        takes = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        raise FlowError(
            f"{name or 'the function'} takes {takes} argument{'' if takes in ('1', 'at least 1') else 's'}, got {given}"
        )


def get_member(run: Any, base: Value, name: Value, inside: HslClass | None) -> Value:
    """`base->name`: a member, or a method as a function; none when there is none of that name."""
    if type(base) is Instance:
        if not isinstance(name, str):
            return None
        _check_private(base.cls, name, inside)
        if name in base.fields:
            return base.fields[name]
        entry = base.cls.methods.get(name)
        if entry is None or entry.static:
            return None
        g = base.g
        return Function(
            str(name), lambda *given: entry.call(run, g, base, *given), entry.least, entry.most, (id(base), name)
        )
    native = native_class(type(base))
    if not isinstance(name, str):
        raise FlowError(f"{native.name} has no member {got(name)}")
    if name in native.properties:
        return value_of(native.properties[name].__get__(base))
    if name in native.methods:
        call = native.methods[name].call
        return Function(str(name), lambda *given: call(run, base, *given), origin=(id(base), name))
    raise FlowError(f"{native.name} has no member {name}")


def has_member(base: Value, name: Value, inside: HslClass | None) -> bool:
    """isset of a member: what may not be seen is not there."""
    if not isinstance(name, str):
        return False
    if type(base) is Instance:
        hidden = inside is not base.cls and _is_private(base.cls, name)
        return not hidden and (name in base.fields or name in base.cls.methods)
    native = native_class(type(base))
    return name in native.properties or name in native.methods


def set_member(run: Any, base: Value, name: Value, value: Value, inside: HslClass | None) -> None:
    """`base->name = value`."""
    if type(base) is not Instance:
        native = native_class(type(base))
        setter = native.properties[name].fset if isinstance(name, str) and name in native.properties else None
        if setter is None:
            raise FlowError(f"{native.name}: {name if isinstance(name, str) else got(name)} cannot be assigned")
        setter(base, value)
        return
    if not isinstance(name, str):
        raise FlowError(f"an object has no member {got(name)}")
    _check_private(base.cls, name, inside)
    field = base.cls.fields.get(name)
    if field is not None and field.readonly and inside is not base.cls:
        raise FlowError(f"{base.cls.name}: ${name} is read-only outside the class")
    if name in base.cls.methods:
        raise FlowError(f"{base.cls.name}: {name} is a function of the class")
    if len(base.fields) >= 100_000 and name not in base.fields:
        raise FlowError(f"{base.cls.name}: more than 100000 members")
    base.fields[name] = value


def remove_member(base: Value, name: Value, inside: HslClass | None) -> bool:
    """unset of a member; whether it was there."""
    if type(base) is not Instance:
        raise FlowError(
            f"{native_class(type(base)).name}: {name if isinstance(name, str) else got(name)} cannot be unset"
        )
    if not isinstance(name, str):
        return False
    _check_private(base.cls, name, inside)
    field = base.cls.fields.get(name)
    if field is not None and field.readonly and inside is not base.cls:
        raise FlowError(f"{base.cls.name}: ${name} is read-only outside the class")
    return base.fields.pop(name, base) is not base


def _is_private(cls: HslClass, name: Value) -> bool:
    field, method = cls.fields.get(name), cls.methods.get(name)
    return (field is not None and field.private) or (method is not None and method.private)


def _check_private(cls: HslClass, name: Value, inside: HslClass | None) -> None:
    if inside is not cls and _is_private(cls, name):
        raise FlowError(f"{cls.name}: {name} is private")


def invoke(run: Any, base: Value, name: str, inside: HslClass | None, *given: Value) -> Value:
    """`base->name(arguments)`."""
    if type(base) is Instance:
        entry = base.cls.methods.get(name)
        if entry is not None and not entry.static and name not in base.fields:
            if entry.private:
                _check_private(base.cls, name, inside)
            check_arity(name, entry.least, entry.most, len(given))
            return entry.call(run, base.g, base, *given)
        _check_private(base.cls, name, inside)
        held = base.fields.get(name)
        if isinstance(held, Function):
            return held(*given)
        raise FlowError(f"{base.cls.name} has no function {name}")
    if type(base) is Array:
        held = base.get(name)
        if isinstance(held, Function):
            return held(*given)
        raise FlowError(f"cannot call {got(held)}")
    if is_object(base):
        native = native_class(type(base))
        method = native.methods.get(name)
        if method is not None:
            return method.call(run, base, *given)
        if name in native.properties:
            held = value_of(native.properties[name].__get__(base))
            if isinstance(held, Function):
                return held(*given)
        raise FlowError(f"{native.name} has no function {name}")
    raise FlowError(f"cannot call {name} of {got(base)}")


def invoke_static(
    run: Any, g: list[Any], cls: HslClass, name: str, inside: HslClass | None, this: Value, *given: Value
) -> Value:
    """`Name::name(arguments)`; inside the class `static::name` also reaches the functions of the object."""
    entry = cls.methods.get(name)
    if entry is None:
        raise FlowError(f"{cls.name} has no static function {name}")
    if entry.private:
        _check_private(cls, name, inside)
    check_arity(name, entry.least, entry.most, len(given))
    if not entry.static and (type(this) is not Instance or this.cls is not cls):
        raise FlowError(f"{cls.name}: {name} needs an object")
    return entry.call(run, g, None if entry.static else this, *given)


def static_function(run: Any, g: list[Any], cls: HslClass, name: str, inside: HslClass | None) -> Function:
    """`Name::name` as a value."""
    entry = cls.methods.get(name)
    if entry is None or not entry.static:
        raise FlowError(f"{cls.name} has no static function {name}")
    if entry.private:
        _check_private(cls, name, inside)
    return Function(name, lambda *given: entry.call(run, g, None, *given), entry.least, entry.most, entry.call)


def statics(g: list[Any], slot: int, cls: HslClass) -> dict[str, Value]:
    """The static variables of a class in this run, made at their first use."""
    held: dict[str, Value] | None = g[slot]
    if not isinstance(held, dict):
        held = g[slot] = cls.first_statics()
    return held


def check_static(cls: HslClass, name: str, inside: HslClass | None, *, writing: bool) -> None:
    """Raises FlowError when a static variable may not be used here, or does not exist."""
    entry = cls.statics.get(name)
    if entry is None:
        raise FlowError(f"{cls.name} has no static variable ${name}")
    if inside is not cls and entry.private:
        raise FlowError(f"{cls.name}: ${name} is private")
    if writing and inside is not cls and entry.readonly:
        raise FlowError(f"{cls.name}: ${name} is read-only outside the class")


class Generator:
    """What a function with `yield` returns: foreach takes its values."""

    class_name = "Generator"

    def __init__(self, values: Iterator[Value]) -> None:
        self.values = values

    def __iter__(self) -> Iterator[Value]:
        return self.values


def walk_through(run: Any, value: Value, inside: HslClass | None) -> Iterator[tuple[Value, Value]]:
    """Keys and values of an object for foreach, one step of the budget each."""
    if type(value) is Instance:
        found: Iterator[tuple[Value, Value]] | None = iter(
            [(k, v) for k, v in value.fields.items() if inside is value.cls or not _is_private(value.cls, k)]
        )
    else:
        found = pairs(value) if is_object(value) else None
    if found is None:
        raise FlowError(f"cannot walk through {got(value)}")
    for name, item in found:
        run.budget.spend(1)
        yield value_of(name), share(value_of(item))
