"""The operators of HSL on values (reference §1.4, §1.5; decisions in docs/language.md).

Compiled flows take the short way themselves where both types are known or quickly tested; everything else comes here.
Where a value can grow, the run pays for it first. Numbers never leave the doubles: what is not finite is an error.
"""

import math
from collections.abc import Callable

from flowengine.language.budget import Running
from flowengine.language.conversion import got
from flowengine.language.problems import FlowError
from flowengine.language.texts import text
from flowengine.language.values import (
    MAX_EXACT,
    NUMERIC,
    Array,
    Function,
    Secret,
    Value,
    normal,
    share,
    to_number,
    truth,
)


def number(value: Value, verb: str, other: Value, *, first: bool) -> int | float:
    """An operand of arithmetic; booleans are 1 and 0, numeric strings numbers. Raises FlowError for the rest."""
    kind = type(value)
    if kind is int or kind is float:
        return value  # type: ignore[no-any-return]  # the kind was just looked at
    if kind is bool:
        return 1 if value else 0
    if isinstance(value, str) and NUMERIC.match(value):
        return to_number(value)
    left, right = (value, other) if first else (other, value)
    raise FlowError(_cannot(verb, left, right))


def _cannot(verb: str, left: Value, right: Value) -> str:
    if verb == "subtract":
        return f"cannot subtract {got(right)} from {got(left)}"
    joint = {"add": "and", "multiply": "by", "divide": "by"}.get(verb, "and")
    return f"cannot {verb} {got(left)} {joint} {got(right)}"


def finite(result: int | float) -> int | float:
    """A result in its one form. Raises FlowError when it is beyond the doubles."""
    result = normal(result)
    if type(result) is float and not math.isfinite(result):
        raise FlowError("the result is no finite number")
    return result


def add(run: Running, left: Value, right: Value) -> Value:
    """`+`: an array decides first, then a string, then numbers."""
    if type(left) is int and type(right) is int:
        result = left + right
        return result if -MAX_EXACT <= result <= MAX_EXACT else normal(result)
    if type(left) is Array or type(right) is Array:
        return merge(run, left, right)
    if isinstance(left, str) or isinstance(right, str):
        return concat(run, left, right)
    return finite(number(left, "add", right, first=True) + number(right, "add", left, first=False))


def merge(run: Running, left: Value, right: Value) -> Array:
    """`+` of arrays: new text keys win, numbered values are appended; what is no array is one value."""
    if type(left) is not Array:
        run.budget.grow_items(len(right) + 1)
        result = Array()
        result.append(left)
    else:
        run.budget.grow_items(len(left) + (len(right) if type(right) is Array else 1))
        for value in left.values():
            share(value)
        result = Array(left)
    if type(right) is not Array:
        result.append(share(right))
        return result
    for name, value in right.items():
        if type(name) is int:
            result.append(share(value))
        else:
            result[name] = share(value)
    return result


def subtract(run: Running, left: Value, right: Value) -> Value:
    """`-`: numbers; from an array it removes equal values and keeps the keys."""
    if type(left) is int and type(right) is int:
        result = left - right
        return result if -MAX_EXACT <= result <= MAX_EXACT else normal(result)
    if type(left) is Array:
        unwanted = list(right.values()) if type(right) is Array else [right]
        run.budget.spend(len(left) * len(unwanted))
        return Array((k, share(v)) for k, v in left.items() if not any(equal(v, one) for one in unwanted))
    if type(right) is Array:
        raise FlowError(_cannot("subtract", left, right))
    return finite(number(left, "subtract", right, first=True) - number(right, "subtract", left, first=False))


def multiply(run: Running, left: Value, right: Value) -> Value:
    """`*`: numbers; a string or an array times a number repeats."""
    if type(left) is int and type(right) is int:
        return finite(left * right)
    for value, times in ((left, right), (right, left)):
        if (isinstance(value, str) or type(value) is Array) and type(times) in (int, float):
            return repeat(run, value, int(times) if math.isfinite(times) else -1)
    return finite(number(left, "multiply", right, first=True) * number(right, "multiply", left, first=False))


def repeat(run: Running, value: Value, times: int) -> Value:
    """A string or an array several times over. Raises FlowError for a negative number."""
    if times < 0:
        raise FlowError("cannot repeat less than 0 times")
    if type(value) is Array:
        run.budget.grow_items(len(value) * times)
        result = Array()
        for _ in range(times if value else 0):
            result = _append_all(result, value)
        return result
    run.budget.grow(len(value) * times)
    repeated = str(value) * times if value else ""
    return Secret(repeated) if type(value) is Secret else repeated


def _append_all(result: Array, more: Array) -> Array:
    for name, value in more.items():
        if type(name) is int:
            result.append(share(value))
        else:
            result[name] = share(value)
    return result


def divide(run: Running, left: Value, right: Value) -> Value:
    """`/`: always a division of doubles. Raises FlowError for a division by zero."""
    dividend, divisor = number(left, "divide", right, first=True), number(right, "divide", left, first=False)
    if divisor == 0:
        raise FlowError("division by zero")
    return finite(dividend / divisor)


def modulo(run: Running, left: Value, right: Value) -> Value:
    """`%`: the remainder, with the sign of the dividend; of a string it formats."""
    if isinstance(left, str) and type(right) is Array:
        from flowengine.language.formatting import format_text

        return format_text(run, left, right)
    dividend, divisor = number(left, "divide", right, first=True), number(right, "divide", left, first=False)
    if divisor == 0:
        raise FlowError("division by zero")
    if type(dividend) is int and type(divisor) is int:
        rest = abs(dividend) % abs(divisor)
        return -rest if dividend < 0 else rest
    return finite(math.fmod(dividend, divisor))


def power(run: Running, left: Value, right: Value) -> Value:
    """`**`. Raises FlowError when there is no real, finite result."""
    base, exponent = number(left, "raise", right, first=True), number(right, "raise", left, first=False)
    if type(base) is int and type(exponent) is int and exponent >= 0 and base.bit_length() * exponent <= 64:
        return normal(base**exponent)
    try:
        return finite(math.pow(base, exponent))
    except (OverflowError, ValueError, ZeroDivisionError):
        raise FlowError("the result is no finite number") from None


def negate(run: Running, value: Value) -> Value:
    """Unary `-`."""
    if type(value) is Array or isinstance(value, (Function, type(None))) or not isinstance(value, (int, float, str)):
        raise FlowError(f"cannot negate {got(value)}")
    if isinstance(value, str) and not NUMERIC.match(value):
        raise FlowError(f"cannot negate {got(value)}")
    result = -to_number(value)
    return result if result else 0


def int32(value: Value) -> int:
    """An operand of the bit operators: 32-bit two's complement."""
    if (isinstance(value, str) and not NUMERIC.match(value)) or not isinstance(value, (bool, int, float, str)):
        raise FlowError(f"cannot take the bits of {got(value)}")
    one = to_number(value)
    if type(one) is float:
        one = int(one) if math.isfinite(one) else 0
    return (int(one) + 2**31) % 2**32 - 2**31


def bits(run: Running, operator: str, left: Value, right: Value) -> int:
    """`& | ^ << >> >>>` on 32-bit numbers; a shift takes the five low bits of its right side."""
    one, other = int32(left), int32(right)
    if operator == "&":
        return one & other
    if operator == "|":
        return one | other
    if operator == "^":
        return one ^ other
    if operator == "<<":
        return int32(one << (other & 31))
    if operator == ">>":
        return one >> (other & 31)
    return int32((one & 0xFFFFFFFF) >> (other & 31))


def complement(run: Running, value: Value) -> int:
    """Unary `~`."""
    return ~int32(value)


def concat(run: Running, *parts: Value) -> str:
    """`.` and interpolation: every part as text. none is empty, with a warning."""
    pieces: list[str] = []
    secret = False
    for part in parts:
        if part is None:
            run.warn("none is joined to a string as an empty one")
            continue
        piece = part if type(part) is str else text(part)
        secret = secret or type(piece) is Secret
        pieces.append(piece)
    run.budget.grow(sum(map(len, pieces)))
    whole = "".join(pieces)
    return Secret(whole) if secret else whole


def equal(left: Value, right: Value) -> bool:
    """`==` (§1.5)."""
    one, other = type(left), type(right)
    if one is other and (one is str or one is int):
        return bool(left == right)
    if left is None or right is None:
        return left is right
    if one is bool or other is bool:
        return truth(left) == truth(right) if not _numeric(left, right) else to_number(left) == to_number(right)
    left_text, right_text = isinstance(left, str), isinstance(right, str)
    if left_text and right_text:
        return bool(left == right)
    if one in (int, float):
        if other is Array:
            return bool(left == (1 if right else 0))
        if right_text or other in (int, float):
            return to_number(left) == to_number(right)
        return bool(left == 1)  # functions and objects count as true
    if other in (int, float):
        return equal(right, left)
    if one is Array and other is Array:
        return _same_arrays(left, right, equal)
    if isinstance(left, Function) and isinstance(right, Function):
        return left is right or (left.origin is not None and left.origin == right.origin)
    return left is right


def _numeric(left: Value, right: Value) -> bool:
    return type(left) in (int, float) or type(right) in (int, float)


def identical(left: Value, right: Value) -> bool:
    """`===`: same type and equal."""
    if isinstance(left, str):
        return isinstance(right, str) and left == right
    if type(left) in (int, float):
        return type(right) in (int, float) and left == right
    if type(left) is not type(right):
        return False
    if type(left) is Array:
        return _same_arrays(left, right, identical)
    return equal(left, right)


def _same_arrays(left: Array, right: Array, same: Callable[[Value, Value], bool]) -> bool:
    """Equal keys with equal values, whatever the order; each pair of arrays is looked at once."""
    missing = object()
    pending, seen = [(left, right)], {(id(left), id(right))}
    while pending:
        one, other = pending.pop()
        if one is other:
            continue
        if len(one) != len(other):
            return False
        for name, value in one.items():
            opposite = other.get(name, missing)
            if type(value) is Array and type(opposite) is Array:
                pair = (id(value), id(opposite))
                if pair not in seen:
                    seen.add(pair)
                    pending.append((value, opposite))
            elif opposite is missing or not same(value, opposite):
                return False
    return True


def comparable(value: Value) -> int | float:
    """An operand of `< > <= >=`: what is no number becomes one as number() makes it."""
    kind = type(value)
    if kind is int or kind is float:
        return value  # type: ignore[no-any-return]  # the kind was just looked at
    if value is None or kind is bool or isinstance(value, str):
        return to_number(value)
    raise FlowError(f"cannot compare {got(value)} by size")


def less(left: Value, right: Value) -> bool:
    """`<`."""
    return comparable(left) < comparable(right)


def at_most(left: Value, right: Value) -> bool:
    """`<=`."""
    return comparable(left) <= comparable(right)
