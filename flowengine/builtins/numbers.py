"""Arithmetic beyond the operators, and chance.

Numbers are IEEE doubles. What has no answer among them (a root of -1, a logarithm of 0, more than a double holds) is
none.
"""

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.values import MAX_EXACT

MAX_RANDOM = 1 << 20  # bytes of one random_bytes call (HSL reference §2.7)
_PRECISE = Context(prec=400)  # a double has at most 309 digits before the point


@builtin(name="abs")
def absolute(number: float) -> float:
    """A number without its sign.

    abs(-1.5);  // 1.5
    """
    return abs(number)


@builtin
def ceil(number: float) -> float:
    """The smallest whole number that is not below a number.

    ceil(1.2);  // 2
    ceil(-1.2);  // -1
    """
    return math.ceil(number) if math.isfinite(number) else number


@builtin
def floor(number: float) -> float:
    """The largest whole number that is not above a number.

    floor(1.8);  // 1
    floor(-1.2);  // -2
    """
    return math.floor(number) if math.isfinite(number) else number


@builtin(name="round")
def rounded(number: float, decimals: int = 0) -> float:
    """A number with so many decimals; halves go away from zero. Negative decimals round to tens, hundreds and so on.

    round(2.5);  // 3
    round(-2.5);  // -3
    round(1.005, 2);  // 1.01
    round(1234, -2);  // 1200
    """
    if not math.isfinite(number) or decimals > 325:
        return number
    if decimals < -310:
        return 0
    # of the shortest text that means this double, as people see it: 1.005 is a little less in binary
    exact = Decimal(repr(number)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, _PRECISE.copy())
    return float(exact) if decimals > 0 else int(exact)


@builtin
def sqrt(number: float) -> float | None:
    """The square root.

    Returns none below 0.

        sqrt(9);  // 3
        sqrt(-1);  // none
    """
    return _real(lambda: math.sqrt(number))


@builtin
def log(number: float, base: float = math.e) -> float | None:
    """The logarithm, by default the natural one.

    Returns none where there is no logarithm.

        log(1);  // 0
        log(8, 2);  // 3
        log(0);  // none
    """
    if base == 2:
        return _real(lambda: math.log2(number))
    if base == 10:
        return _real(lambda: math.log10(number))
    return _real(lambda: math.log(number) if base == math.e else math.log(number, base))


@builtin(name="pow")
def power(base: float, exponent: float) -> float | None:
    """A number to the power of another. The operator ** does the same.

    Returns none where there is no answer, or none that a double holds.

        pow(2, 10);  // 1024
        pow(0, -1);  // none
    """
    return _real(lambda: math.pow(base, exponent))


def _real(compute: Callable[[], float]) -> float | None:
    try:
        return compute()
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


@builtin(aliases=("rand",))
def random_number(run: Run, first: int | None = None, last: int | None = None) -> float | None:
    """A random whole number from first to last, both included; without arguments one between 0 and 1.

    Returns none when last is below first.

        random_number(4, 4);  // 4
        rand(2, 1);  // none
    """
    if first is None:
        return run.world.random_number()
    if last is None:
        raise FlowError("random_number takes no arguments or two: first and last")
    if last < first or last - first > MAX_EXACT:
        return None
    return first + int(run.world.random_number() * (last - first + 1))


@builtin
def random_bytes(run: Run, bytes_: int) -> bytes | None:
    """A string of so many random bytes, from the system's generator.

    Returns none for a number below 0 or above 1048576.

        length(random_bytes(16));  // 16
        random_bytes(-1);  // none
    """
    if not 0 <= bytes_ <= MAX_RANDOM:
        return None
    run.budget.grow(bytes_)
    return run.world.random_octets(bytes_)
