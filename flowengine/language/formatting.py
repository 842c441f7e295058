"""`"…" % [args]`: the format operator (HSL reference §1.7).

`%[argument][[fill]align][width][.precision]type`; options that do not fit a type are ignored.
"""

import math
import re

from flowengine.language.budget import Running
from flowengine.language.problems import FlowError
from flowengine.language.texts import text
from flowengine.language.values import Array, Secret, Value, number_text, to_number

_FIELD = re.compile(
    r"%(?:(?P<percent>%)|(?:\[(?P<argument>[0-9]{1,6})\])?(?:(?:'(?P<fill>[\s\S]))?(?P<align>[<>^=]))?"
    r"(?P<width>[0-9]{1,6})?(?:\.(?P<precision>[0-9]{1,3}))?(?P<type>[sfxcb]))"
)
_NUMBERS = "fxb"


def format_text(run: Running, pattern: str, values: Array) -> str:
    """The text of a format. Raises FlowError for an unknown field or a missing argument."""
    pieces: list[str] = []
    items = list(values.values())
    secret = type(pattern) is Secret
    at = following = size = 0
    while (percent := pattern.find("%", at)) >= 0:
        pieces.append(pattern[at:percent])
        field = _FIELD.match(pattern, percent)
        if field is None:
            raise FlowError(f'the format has an unknown field "{pattern[percent : percent + 10]}"')
        at = field.end()
        if field["percent"]:
            pieces.append("%")
            continue
        position = int(field["argument"]) if field["argument"] else following
        following = position + 1
        if position >= len(items):
            raise FlowError(f"the format has no argument {position}: the array has {len(items)}")
        size += int(field["width"] or 0)
        run.budget.grow(size)
        secret = secret or type(items[position]) is Secret
        pieces.append(one_field(field, items[position]))
    pieces.append(pattern[at:])
    whole = "".join(pieces)
    run.budget.grow(len(whole))
    return Secret(whole) if secret else whole


def one_field(field: re.Match[str], value: Value) -> str:
    """One value as its field wants it."""
    kind, precision = field["type"], field["precision"]
    sign = ""
    if kind == "s":
        body = text(value)
        if precision is not None:
            body = body[: int(precision)]
    elif kind == "c":
        body = chr(int(_finite(value)) & 0xFF)
    else:
        number = _finite(value)
        sign = "-" if number < 0 else ""
        body = _digits(abs(number), kind, precision)
    width = int(field["width"] or 0)
    fill = field["fill"] or " "
    missing = width - len(sign) - len(body)
    if missing <= 0:
        return sign + body
    align = field["align"] or (">" if kind in _NUMBERS else "<")
    if align == "=":
        return sign + fill * missing + body if kind in _NUMBERS else body + fill * missing
    body = sign + body
    if align == "<":
        return body + fill * missing
    if align == ">":
        return fill * missing + body
    return fill * (missing // 2) + body + fill * (missing - missing // 2)


def _digits(number: int | float, kind: str, precision: str | None) -> str:
    if kind == "x":
        return f"{int(number):x}"
    if kind == "b":
        return f"{int(number):b}"
    return number_text(number) if precision is None else f"{number:.{int(precision)}f}"


def _finite(value: Value) -> int | float:
    number = to_number(value)
    return number if math.isfinite(number) else 0
