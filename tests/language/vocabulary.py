"""A small vocabulary for the tests of the language: one builtin of each kind, three phases."""

# ruff: noqa: N802  # names and options are those of flows

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

from flowengine.language.functions import PhaseSpec, Variable, Vocabulary, builtin
from flowengine.language.natives import method
from flowengine.language.values import Array, Secret, Text, Value, to_number, truth, type_name


@builtin(aliases=("count", "strlen"), reveals=True)
def length(value: Array | str) -> int:
    """The items of an array or the bytes of a string."""
    return len(value)


@builtin
def explode(delimiter: str, text: str, limit: int = 0) -> Sequence[str]:
    """Split a string."""
    return text.split(delimiter, limit - 1 if limit else -1)


@builtin
def implode(glue: str, items: Sequence[str]) -> str:
    """Join strings."""
    return glue.join(items)


@builtin
def array_map(run: Any, callback: Callable[..., Value], items: Array) -> Array:
    """A function on every item."""
    return Array((key, callback(item)) for key, item in items.items())


@builtin
def array_filter(callback: Callable[..., Value], items: Array) -> Array:
    """The items for which a function is true."""
    return Array((key, item) for key, item in items.items() if truth(callback(item)))


@builtin
def number(value: Value) -> float:
    """A value as a number."""
    return to_number(value)


@builtin
def is_number(value: Value) -> bool:
    """Whether a value is a number."""
    return type(value) in (int, float)


@builtin
def typeof(value: Value) -> str:
    """The name of a value's type."""
    return type_name(value)


@builtin
def same(value: Value) -> Value:
    """The very value it is given."""
    return value


@builtin
def strpos(text: str, find: str) -> int:
    """A position or -1."""
    return text.find(find)


@builtin
def secret(text: str) -> str:
    """A string that is not to be shown."""
    return Secret(text)


@builtin
def upper(text: Text) -> Text:
    """Unicode upper case."""
    return Text(text.upper())


@builtin
def call(callback: Callable[..., Value], *arguments: Value) -> Value:
    """Call a function."""
    return callback(*arguments)


@builtin
def tick(run: Any) -> int:
    """One more at every call."""
    run.ticks = getattr(run, "ticks", 0) + 1
    return int(run.ticks)


@builtin
def pass_time(run: Any, seconds: float) -> None:
    """Move the clock."""
    run.clock += seconds


@builtin(options_at=1)
async def http(run: Any, url: str, get: Array | None = None, *, timeout: float = 10.0, tls: bool = False) -> str:
    """Something that waits."""
    return f"{url} {timeout:g}"


@builtin
def sha2(text: str, bits: Literal[256, 512] = 256) -> str | None:
    """Something that knows its words."""
    return f"{bits}:{len(text)}"


@builtin("data")
def GetHeader(run: Any, name: str, decode: bool = True) -> str:
    """A header."""
    return f"<{name}>"


@builtin("data", final=True)
def Deliver(
    run: Any,
    recipient: str | None = None,
    transport: str | None = None,
    *,
    metadata: Array | None = None,
    done: bool = True,
) -> None:
    """End with a delivery."""
    run.finish("Deliver", recipient, transport, metadata)


@builtin("data", "mailfrom", final=True)
def Reject(run: Any, reason: str = "") -> None:
    """End with a refusal."""
    run.finish("Reject", reason)


@builtin
def is_array(value: Value) -> bool:
    """Whether a value is an array."""
    return type(value) is Array


@builtin
def maybe(text: str) -> str | None:
    """The text, or none for an empty one."""
    return text or None


@builtin
def listed(text: str) -> Sequence[str] | None:
    """The text in an array, or none for an empty one."""
    return [text] if text else None


@builtin
def api_call(run: Any, url: str, arguments: Sequence[str]) -> Value:
    """Keys from somewhere."""
    run.calls.append(("api_call", *arguments))
    return Array({"selector": "s1", "domain": "example.org", "rsakey": Secret("PEM")})


@builtin("data")
def DKIMSign(run: Any, selector: str, domain: str, key: str) -> bool:
    """Sign."""
    run.calls.append(("DKIMSign", selector, domain, type(key).__name__))
    return True


@builtin("data")
def AddHeader(run: Any, name: str, value: str) -> bool:
    """Add a header."""
    run.calls.append(("AddHeader", name, value))
    return True


@builtin("data")
async def ScanDMARC(run: Any) -> Array:
    """Policies."""
    return Array({"bank.example": "reject"})


@builtin
def GetAddressList(value: str) -> Sequence[str]:
    """Addresses."""
    return [value.strip("<>") + "@example.com"]


@builtin("predelivery")
def Try(run: Any) -> None:
    """Another phase's."""


@builtin(deprecated="use explode")
def old_split(text: str) -> Sequence[str]:
    """An old name."""
    return text.split(",")


class Pairs:
    """A native class."""

    class_name = "Pairs"

    @method
    def __init__(self, run: Any, start: Array, *, name: str = "none given") -> None:
        self.items, self.name = dict(start), name

    @method
    def set(self, key: str, value: Value) -> "Pairs":
        """Put a pair in."""
        self.items[key] = value
        return self

    @method
    async def get(self, run: Any, key: str) -> Value:
        """Take a value out, slowly."""
        return self.items.get(key)

    @staticmethod
    @method
    def of(*names: str) -> "Pairs":
        """Pairs of names."""
        made = object.__new__(Pairs)
        made.items, made.name = {name: len(name) for name in names}, "of"
        return made

    @property
    @method
    def label(self) -> str:
        """Its name."""
        return self.name

    @label.setter
    def label(self, value: Value) -> None:
        self.name = value

    def pairs(self) -> Any:
        """For foreach."""
        return list(self.items.items())


def vocabulary() -> Vocabulary:
    """The vocabulary with three phases."""
    names = ("messageid", "recipient", "senderip", "saslusername", "senderdomain")
    variables = {name: Variable(name, str, f"The {name}.") for name in names}
    variables["recipients"] = Variable("recipients", Sequence[str], "All recipients.")
    data = {**variables, "context": Variable("context", Any, "For the flow's own use.", writable=True)}
    phases = (PhaseSpec("data", data, "Deliver"), PhaseSpec("mailfrom", variables), PhaseSpec("predelivery", {}))
    return Vocabulary([sys.modules[__name__]], phases, [Pairs])


def predefined() -> dict[str, Any]:
    """What the predefined variables hold in a test."""
    return {
        "messageid": "m-1",
        "recipient": "bob@example.net",
        "senderip": "192.0.2.7",
        "saslusername": "",
        "senderdomain": "example.org",
        "recipients": Array.of(["bob@example.net", "eve@example.net"]),
        "context": None,
    }
