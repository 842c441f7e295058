"""A value as text: what `.` and echo see, and what may be shown to people (HSL reference §1.2, DESIGN §7).

`text` is exact and keeps secrets secret by type; `shown` is what echo, log, trace, replies and errors may print.
"""

import hashlib
import re
from typing import Any

from flowengine.language.problems import BudgetExceeded
from flowengine.language.values import Array, Function, Secret, Value, number_text

MOST_PIECES = 500_000
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----")


def text(value: Value) -> str:
    """A value as a flow's string. Raises RecursionError for arrays nested too deep."""
    kind = type(value)
    if kind is str or kind is Secret:
        return value  # type: ignore[no-any-return]  # the kind was just looked at
    if kind is int or kind is float:
        return number_text(value)
    if value is None:
        return ""
    if kind is bool:
        return "true" if value else "false"
    if kind is Array:
        pieces: list[str] = []
        secret = _array_text(value, pieces, quoted)
        whole = "".join(pieces)
        return Secret(whole) if secret else whole
    if isinstance(value, Function):
        return f"function {value.name}"
    return str(getattr(value, "flow_text", None) or f"[object {getattr(value, 'class_name', kind.__name__)}]")


def quoted(value: Value) -> str:
    """A value as it stands inside the text of an array."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "none" if value is None else text(value)


def _array_text(array: Array, pieces: list[str], item_text: Any) -> bool:
    """Append the text of an array; whether a secret is in it. Raises BudgetExceeded for a text that is too long."""
    secret = False
    if len(pieces) > MOST_PIECES:
        raise BudgetExceeded("the text of the array is too long")  # a few nested lines can name billions of values
    comma = ""
    pieces.append("[")
    for name, value in array.items():
        pieces.append(f"{comma}{item_text(name)}=>")
        secret = secret or type(name) is Secret
        comma = ","
        if type(value) is Array:
            secret = _array_text(value, pieces, item_text) or secret
        else:
            secret = secret or type(value) is Secret
            pieces.append(item_text(value))
    pieces.append("]")
    return secret


def shown(value: Value) -> str:
    """A value as people may see it: secrets, and any text with a private key, as type and fingerprint."""
    if isinstance(value, str):
        return shown_string(value)
    if type(value) is Array:
        pieces: list[str] = []
        _array_text(value, pieces, lambda one: shown_item(one))
        whole = "".join(pieces)
        return shown_string(whole)
    return text(value)


def shown_item(value: Value) -> str:
    """A value inside an array, as people may see it."""
    if isinstance(value, str):
        safe = shown_string(value)
        return safe if safe is not value else quoted(value)
    return quoted(value)


def shown_string(value: str) -> str:
    """A string as people may see it; the same object when it is no secret."""
    if type(value) is Secret or "PRIVATE KEY-----" in value:
        return fingerprint(value)
    return value


def fingerprint(value: str) -> str:
    """What is shown in place of a secret. A password gets few digits: they tell two apart, and help nobody to guess."""
    digest = hashlib.sha256(value.encode("latin-1", "replace")).hexdigest()
    if _PRIVATE_KEY.search(value):
        return f"<private key sha256:{digest[:16]}>"
    return f"<secret sha256:{digest[:4]}>"
