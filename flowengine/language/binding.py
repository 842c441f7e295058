"""From a builtin to what compiled flows call: arity, conversion, options, waiting, result.

For each builtin one adapter is written as Python source and compiled, as dataclasses do, so that a call whose arguments
have the right types costs a few type tests and nothing else.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flowengine.language.conversion import ANYTHING, Argument, BadWord, Mismatch, argument, got, result
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Secret, Value

if TYPE_CHECKING:
    from flowengine.language.functions import Builtin, Parameter

_NOT_GIVEN = object()
_BAD_WORD = object()


def bind(builtin: "Builtin") -> Callable[..., Value]:
    """The adapter of a builtin: `call(run, *arguments)` takes a flow's values and gives a flow's value.

    For a method the first argument is the object. Raises FlowError for a wrong number of arguments, a wrong type or an
    unknown option; a bad word (`Literal`) gives none where the function may return none, else FlowError.
    """
    return _Adapter(builtin).build()


class _Adapter:
    """The source of one adapter and the names it uses."""

    def __init__(self, builtin: "Builtin") -> None:
        self.builtin = builtin
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "missing": _NOT_GIVEN,
            "bad_word": _BAD_WORD,
            "function": builtin.function,
            "arity": self._arity_error,
            "Array": Array,
            "Secret": Secret,
            "type": type,
            "__builtins__": {},
        }
        self.fixed = [p for p in builtin.parameters if not p.variadic]
        self.variadic = next((p for p in builtin.parameters if p.variadic), None)
        self.at = builtin.options_at if builtin.options_at is not None else len(self.fixed)
        # a hash or a length says nothing of its argument; everything else may repeat it
        self.conceals = not builtin.reveals and builtin.returns not in (int, float, bool, None, type(None))

    def build(self) -> Callable[..., Value]:
        slots = [f"a{i}" for i in range(len(self.fixed))]
        if self._has_options():
            slots.insert(self.at, "o")
        heads = ["run", *(["this"] if self.builtin.receiver else []), *(f"{slot}=missing" for slot in slots), "*rest"]
        self.lines.append(f"def call({', '.join(heads)}):")
        if self.variadic is None:
            self._line("if rest: raise arity(rest)")
        if self.conceals:
            self._line("hidden = False")
        for index in range(len(self.fixed)):
            self._take(index)
        if self.variadic is not None:
            self._take_rest(self.variadic)
        self._call()
        exec(compile("\n".join(self.lines), f"<adapter of {self.builtin.name}>", "exec"), self.names)  # noqa: S102  # our own text
        call: Callable[..., Value] = self.names["call"]
        call.__name__ = call.__qualname__ = self.builtin.name
        return call

    def _line(self, text: str, depth: int = 1) -> None:
        self.lines.append("    " * depth + text)

    def _has_options(self) -> bool:
        return bool(self.builtin.options) or self.builtin.open_options

    def _take(self, index: int) -> None:
        """Test and convert one positional argument."""
        parameter, slot = self.fixed[index], f"a{index}"
        way = argument(parameter.annotation)
        last = "True" if index + 1 == len(self.fixed) else f"a{index + 1} is missing"
        if parameter.required:
            self._line(f"if {slot} is missing: raise arity(())")
            word = "if"
        else:
            self.names[f"d{index}"] = parameter.default
            self._line(f"if {slot} is missing: {slot} = d{index}")
            word = "elif"
            if self._has_options() and not way.arrays and self.at >= index:
                # Deliver(["recipient" => …]): the array that comes last is the options
                self._line(f"elif o is missing and type({slot}) is Array and {last}: o = {slot}; {slot} = d{index}")
        depth = 2
        if way.exact is object:
            if not self.conceals:
                return
            self._line(f"{word} type({slot}) is Secret: hidden = True")
            if _text_result(self.builtin.returns):
                self.names["holds_secret"] = holds_secret
                self._line(f"elif type({slot}) is Array and holds_secret({slot}): hidden = True")
            return
        test = f"type({slot}) is not t{index}" if way.exact else ("True" if word == "elif" else None)
        self.names[f"t{index}"] = way.exact
        if len(way.passing) > 1:
            test, self.names[f"t{index}"] = f"type({slot}) not in t{index}", way.passing
        self.names[f"c{index}"] = self._checked(way, f"${parameter.name}")
        if test == "True":
            self._line("else:")
        elif test:
            self._line(f"{word} {test}:")
        else:
            depth = 1
        if self.conceals:
            self.names["holds_secret"] = holds_secret
            self._line(f"hidden = hidden or holds_secret({slot})", depth)
        self._line(f"{slot} = c{index}({slot})", depth)
        if _has_words(way):
            self._line(f"if {slot} is bad_word: return None", depth)
        if self.conceals and (way.exact is Array or Array in way.passing) and _text_result(self.builtin.returns):
            self._line(f"if type({slot}) is Array and holds_secret({slot}): hidden = True")

    def _take_rest(self, variadic: "Parameter") -> None:
        way = argument(variadic.annotation)
        if self._has_options() and not way.arrays:
            self._line("if o is missing and rest and type(rest[-1]) is Array: o = rest[-1]; rest = rest[:-1]")
        if self.conceals:
            self.names["holds_secret"] = holds_secret
            self._line("for one in rest: hidden = hidden or holds_secret(one)")
        if way.exact is not object:
            self.names["cr"] = self._checked(way, f"${variadic.name}")
            self._line("rest = [cr(one) for one in rest]")

    def _call(self) -> None:
        given = [*(["this"] if self.builtin.receiver else []), *(["run"] if self.builtin.takes_run else [])]
        given += [f"a{index}" for index in range(len(self.fixed))]
        if self.variadic is not None:
            given.append("*rest")
        plain = f"function({', '.join(given)})"
        wait = "run.wait({})" if self.builtin.waits else "{}"
        if self._has_options():
            self.names["options"] = self._options()
            self._line(f"if o is missing or o is None: r = {wait.format(plain)}")
            self._line("else:")
            self._line("o = options(o)", 2)
            self._line("if o is bad_word: return None", 2)
            with_options = f"function({', '.join([*given, '**o'])})"
            self._line(f"r = {wait.format(with_options)}", 2)
        else:
            self._line(f"r = {wait.format(plain)}")
        way = result(self.builtin.returns)
        if way is not None:
            self.names["back"] = way
            self._line("r = back(r)")
        if self._may_alias():
            self.names["share_deep"] = share_deep
            self._line("if type(r) is Array: share_deep(r)")
        if self.conceals:
            self.names["conceal"] = conceal
            self._line("return conceal(r) if hidden else r")
        else:
            self._line("return r")

    def _may_alias(self) -> bool:
        """Whether an array of the result may hold an array that came in, or that the function keeps."""
        return (
            result(self.builtin.returns) is not None
            or self.builtin.returns in (Array, Any)
            or "Array" in str(self.builtin.returns)
        )

    def _checked(self, way: Argument, name: str) -> Callable[[Value], Any]:
        """The conversion of one parameter or option, with errors in the flow author's words."""
        builtin, soft = self.builtin, _may_be_none(self.builtin.returns)

        def convert(value: Value) -> Any:
            try:
                return way.convert(value)
            except BadWord:
                if soft:
                    return _BAD_WORD
                raise FlowError(f"{builtin.name}: {name} is {way.says}, got {_sample(value)}") from None
            except Mismatch:
                raise FlowError(f"{builtin.name}: {name} is {way.says}, got {got(value)}") from None

        return convert

    def _options(self) -> Callable[[Value], Any]:
        builtin = self.builtin
        ways: dict[str, tuple[str, Argument, Callable[[Value], Any]]] = {}
        for python_name, parameter in inspect.signature(builtin.function).parameters.items():
            name = python_name.rstrip("_")
            if parameter.kind is parameter.KEYWORD_ONLY:
                way = argument(builtin.options[name].annotation)
                ways[name] = (python_name, way, self._checked(way, f'option "{name}"'))

        def options(given: Value) -> Any:
            if type(given) is not Array:
                raise FlowError(f"{builtin.name}: the options are an array, got {got(given)}")
            taken: dict[str, Any] = {}
            for name, value in given.items():
                known = ways.get(name)
                if known is None:
                    if not builtin.open_options:
                        raise FlowError(unknown_option(builtin.name, name, builtin.options))
                    taken[str(name)] = value
                    continue
                python_name, way, convert = known
                if way.exact is not object and type(value) is not way.exact:
                    value = convert(value)
                    if value is _BAD_WORD:
                        return _BAD_WORD
                taken[python_name] = value
            return taken

        return options

    def _arity_error(self, rest: tuple[Value, ...]) -> FlowError:
        return FlowError(
            arity_message(self.builtin, len(self.fixed) + self._has_options() + len(rest) if rest else None)
        )


def arity_message(builtin: "Builtin", given: int | None) -> str:
    """What is wrong with a number of arguments. given: None when there are too few."""
    least, most = builtin.least, builtin.most
    takes = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
    plural = "" if takes in ("1", "at least 1") else "s"
    count = "too few" if given is None else f"{given}"
    return f"{builtin.name} takes {takes} argument{plural}, got {count}"


def unknown_option(function: str, name: object, options: Mapping[str, object]) -> str:
    """The message for an option that a function does not have, with the nearest that it has."""
    near = difflib.get_close_matches(str(name), options, 1)
    hint = f', did you mean "{near[0]}"?' if near else f"; it has {', '.join(sorted(options))}" if options else ""
    return f'{function} has no option "{name}"{hint}'


def holds_secret(value: Value) -> bool:
    """Whether a secret is somewhere in a value. Cost: linear in the size of an array."""
    if type(value) is Secret:
        return True
    if type(value) is not Array:
        return False
    kinds = {*map(type, value.values()), *map(type, value)}
    if Secret in kinds or Array not in kinds:
        return Secret in kinds
    pending, seen = [value], {id(value)}
    while pending:
        for name, item in pending.pop().items():
            if type(item) is Secret or type(name) is Secret:
                return True
            if type(item) is Array and id(item) not in seen:
                seen.add(id(item))
                pending.append(item)
    return False


def conceal(value: Value) -> Value:
    """A result made from a secret: its strings are secrets too."""
    if isinstance(value, str):
        return Secret(value)
    if type(value) is Array:
        return Array({name: conceal(item) for name, item in value.items()})
    return value


def share_deep(array: Array) -> None:
    """Mark the arrays inside a result as shared: they may also be inside an argument.

    Stops at what is shared already: whoever copies that marks the next level.
    """
    pending = [array]
    while pending:
        for item in pending.pop().values():
            if type(item) is Array and not item.shared:
                item.shared = True
                pending.append(item)


def _may_be_none(returns: Any) -> bool:
    return returns in (Any, None, object) or "None" in str(returns)


def _text_result(returns: Any) -> bool:
    return any(word in str(returns) for word in ("str", "bytes", "Text"))


def _has_words(way: Argument) -> bool:
    return way is not ANYTHING and "one of " in way.says


def _sample(value: Value) -> str:
    if type(value) is Secret:
        return repr(value)
    return f'"{value[:40]}"' if isinstance(value, str) else str(value)
