"""The names that compiled flows may use, beside their own: nothing of Python is reachable but these.

Each takes `run` first when it needs the run. They are small: what they do is written in the modules of the language.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from flowengine.language import arrays, objects, operators
from flowengine.language.caching import cached
from flowengine.language.conversion import got, value_of
from flowengine.language.mutex import barrier_enter, barrier_leave, barrier_value
from flowengine.language.problems import FlowError, Span
from flowengine.language.regex import matches
from flowengine.language.texts import shown
from flowengine.language.thrown import caught, throw
from flowengine.language.values import Array, Function, Value, share


def no_value(name: str) -> Value:
    """A variable was read that has no value."""
    raise FlowError(f"${name} has no value here")


def set_slot(g: list[Any], slot: int, value: Value) -> Value:
    """Store a shared variable."""
    g[slot] = value
    return value


def set_predefined(variables: object, name: str, value: Value) -> Value:
    """Store a writable variable of the phase."""
    setattr(variables, name, value)
    return value


def function_value(
    name: str, call: Callable[..., Value], run: Any, g: list[Any], least: int, most: int | None
) -> Function:
    """A function of the flow as a value."""
    return Function(name, lambda *given: call(run, g, *given), least, most, call)


def builtin_value(run: Any, name: str, call: Callable[..., Value]) -> Function:
    """A builtin as a value."""
    return Function(name, lambda *given: call(run, *given), origin=call)


def closure(run: Any, call: Callable[..., Value], least: int, most: int | None) -> Function:
    """An anonymous function as a value."""
    run.budget.spend(8)
    return Function("", call, least, most)


def call_value(function: Value, *given: Value) -> Value:
    """`$f(arguments)`."""
    if isinstance(function, Function):
        return function(*given)
    raise FlowError(f"cannot call {got(function)}")


def call_checked(
    name: str, least: int, most: int | None, call: Callable[..., Value], run: Any, g: list[Any], *given: Value
) -> Value:
    """A call whose number of arguments is known only now."""
    objects.check_arity(name, least, most, len(given))
    return call(run, g, *given)


def traced(run: Any, span: Span, name: str, call: Callable[..., Value], *given: Value) -> Value:
    """A builtin call that is reported to the run."""
    start = time.perf_counter()
    result = None
    try:
        result = call(run, *given)
    finally:
        run.traced(span, name, given, result, (time.perf_counter() - start) * 1000)
    return result


def traced_value(run: Any, span: Span, name: str, call: Callable[..., Value]) -> Function:
    """A builtin as a value, whose calls are reported to the run."""
    return Function(name, lambda *given: traced(run, span, name, call, *given), origin=call)


def invoke_traced(run: Any, span: Span, base: Value, name: str, inside: Any, *given: Value) -> Value:
    """A method call; those of native objects are reported to the run."""
    if type(base) is objects.Instance or not objects.is_object(base):
        return objects.invoke(run, base, name, inside, *given)

    def call(run: Any, *given: Value) -> Value:
        return objects.invoke(run, base, name, inside, *given)

    return traced(run, span, f"{base.class_name}->{name}", call, *given)


def echo(run: Any, value: Value) -> None:
    """`echo value;`"""
    line = shown(value)
    run.budget.spend(1)
    run.budget.grow(len(line))
    run.echo(line)


def grown(run: Any, text: str) -> str:
    """Pay for a long string."""
    run.budget.grow(len(text))
    return text


def values(run: Any, subject: Value, inside: Any) -> Iterable[Value]:
    """What `foreach ($a as $v)` takes."""
    if type(subject) is Array:
        subject.shared = True  # whoever writes to it meanwhile writes to a copy
        run.budget.spend(len(subject))
        return subject.values()
    return (value for _, value in objects.walk_through(run, subject, inside))


def pairs(run: Any, subject: Value, inside: Any) -> Iterable[tuple[Value, Value]]:
    """What `foreach ($a as $k => $v)` takes."""
    if type(subject) is Array:
        subject.shared = True
        run.budget.spend(len(subject))
        return subject.items()
    return objects.walk_through(run, subject, inside)


def rest_of(run: Any, value: Value, start: int) -> Array:
    """`...$rest` in a pattern: what comes after the first ones."""
    if value is None:
        return Array()
    if type(value) is not Array:
        raise FlowError(f"cannot take {got(value)} apart")
    run.budget.spend(len(value) // 16)
    return Array.of(share(one) for one in list(value.values())[start:])


def fill(array: Array, *items: tuple[Any, Value]) -> Array:
    """More items for an array literal."""
    for name, value in items:
        if name is arrays.APPEND:
            array.append(share(value))
        else:
            array.put(name, share(value))
    return array


def count(run: Any, value: Value, by: int) -> Value:
    """`++` and `--`."""
    if type(value) is int and -(2**52) < value < 2**52:
        return value + by
    if type(value) not in (int, float, bool):
        raise FlowError(f"cannot count {got(value)} up or down")
    return operators.add(run, value, by)


def greater(left: Value, right: Value) -> bool:
    """`>`."""
    return operators.comparable(left) > operators.comparable(right)


def at_least(left: Value, right: Value) -> bool:
    """`>=`."""
    return operators.comparable(left) >= operators.comparable(right)


def no_arm(run: Any, value: Value) -> Value:
    """`match` without a fitting arm."""
    raise FlowError(f"match has no arm for {got(value)}")


def get_static(g: list[Any], slot: int, cls: objects.HslClass, name: str, inside: Any) -> Value:
    """`Name::$name`."""
    objects.check_static(cls, name, inside, writing=False)
    return objects.statics(g, slot, cls)[name]


def set_static(g: list[Any], slot: int, cls: objects.HslClass, name: str, inside: Any, value: Value) -> Value:
    """`Name::$name = value`."""
    objects.check_static(cls, name, inside, writing=True)
    objects.statics(g, slot, cls)[name] = share(value)
    return value


def all_of(*done: bool) -> bool:
    """Whether everything was there that unset took away."""
    return all(done)


def namespace() -> dict[str, Any]:
    """The globals of a compiled flow, without its own names."""
    own = (
        no_value, set_slot, set_predefined, function_value, builtin_value, closure, call_value, call_checked, traced,
        traced_value, invoke_traced,
        echo, grown, values, pairs, rest_of, fill, count, greater, at_least, no_arm, get_static, set_static, all_of,
        cached, barrier_enter, barrier_leave, barrier_value, matches, caught, throw, share, value_of,
        arrays.cast, arrays.read, arrays.read_path, arrays.steps, arrays.present, arrays.soft, arrays.write, arrays.put,
        arrays.remove, arrays.cut, arrays.replace_slice, arrays.remove_slice, arrays.make, arrays.spread_into,
        arrays.arguments, operators.add, operators.subtract, operators.multiply, operators.divide, operators.modulo,
        operators.power, operators.negate, operators.bits, operators.complement, operators.concat, operators.equal,
        operators.identical, operators.less, operators.at_most, objects.create, objects.invoke, objects.invoke_static,
        objects.static_function,
    )  # fmt: skip
    return {
        "__builtins__": {},
        "UNSET": arrays.UNSET,
        "APPEND": arrays.APPEND,
        "Array": Array,
        "list_of": Array.of,
        "Generator": objects.Generator,
        "Exception": Exception,
        "type": type,
        "len": len,
        "str": str,
        "int": int,
        **{one.__name__: one for one in own},
    }
