"""Checks of calls: number of arguments, options, literal arguments, what is cached."""

from difflib import get_close_matches

from flowengine.language import tree
from flowengine.language.binding import arity_message, unknown_option
from flowengine.language.caching import OPTIONS
from flowengine.language.conversion import BadWord, Mismatch, argument, got
from flowengine.language.findings import Findings
from flowengine.language.functions import Builtin
from flowengine.language.linking import ClassInfo, FunctionInfo
from flowengine.language.natives import NativeClass
from flowengine.language.scopes import Target
from flowengine.language.values import Array, Value


class CallChecks(Findings):
    """The part of the checker that knows calls."""

    def call(self, name: str, target: Target, call: tree.Call) -> None:
        """The arguments of a call whose target is known."""
        if isinstance(target, FunctionInfo):
            self.arity(name, target.node.least, target.node.most, call)
        elif isinstance(target, ClassInfo):
            made = target.methods.get("constructor")
            self.arity(name, made.node.least if made else 0, made.node.most if made else 0, call)
        elif isinstance(target, NativeClass):
            if target.constructor is None:
                self.problem(call.span, "unknown-function", f"{name} objects are not made by flows")
            else:
                self.builtin_call(target.constructor, call)
        else:
            self.builtin_call(target, call)

    def arity(self, name: str, least: int, most: int | None, call: tree.Call) -> None:
        """The number of arguments, when it is known."""
        spread = any(one.spread for one in call.arguments)
        given = sum(not one.spread for one in call.arguments)
        if (given < least and not spread) or (most is not None and given > most):
            takes = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
            plural = "" if takes in ("1", "at least 1") else "s"
            self.problem(call.span, "arity", f"{name} takes {takes} argument{plural}, got {given}")

    def builtin_call(self, builtin: Builtin, call: tree.Call) -> None:
        """Arity, options and literal arguments of a call of a builtin."""
        spread = any(one.spread for one in call.arguments)
        given = sum(not one.spread for one in call.arguments)
        if (given < builtin.least and not spread) or (builtin.most is not None and given > builtin.most):
            self.problem(call.span, "arity", arity_message(builtin, given))
            return
        if spread:
            return
        fixed = [one for one in builtin.parameters if not one.variadic]
        at = builtin.options_at if builtin.options_at is not None else len(fixed)
        has_options = bool(builtin.options) or builtin.open_options
        position = 0
        for index, item in enumerate(call.arguments):
            if has_options and index == at:
                self.options(builtin, item.value)
                continue
            if position >= len(fixed):
                return
            parameter = fixed[position]
            position += 1
            last = index + 1 == len(call.arguments)
            way = argument(parameter.annotation)
            written = isinstance(item.value, tree.ArrayLiteral) and not way.arrays
            if has_options and last and index <= at and written and not parameter.required:
                self.options(builtin, item.value)
                continue
            self.literal(builtin, f"${parameter.name}", parameter.annotation, item.value)

    def options(self, builtin: Builtin, given: tree.Expression) -> None:
        """The options array of a call, as far as it is written out."""
        if not isinstance(given, tree.ArrayLiteral) or builtin.open_options:
            return
        for item in given.items:
            if item.spread or item.key is None or not isinstance(item.key, tree.Literal):
                continue
            known = builtin.options.get(str(item.key.value))
            if known is None:
                message = unknown_option(builtin.name, item.key.value, builtin.options)
                message, _, hint = message.partition(", did you mean ")
                self.problem(item.key.span, "unknown-option", message, f"did you mean {hint}" if hint else "")
            else:
                self.literal(builtin, f'option "{known.name}"', known.annotation, item.value)

    def literal(self, builtin: Builtin, name: str, annotation: object, given: tree.Expression) -> None:
        """A literal argument against the type of its parameter."""
        way = argument(annotation)
        value: Value = given.value if isinstance(given, tree.Literal) else None
        if isinstance(given, tree.ArrayLiteral):
            if way.arrays:
                return
            value = Array()
        elif not isinstance(given, tree.Literal) or way.exact is object:
            return
        try:
            way.convert(value)
        except (Mismatch, BadWord):
            if type(value) is not way.exact:
                sample = f'"{value}"' if isinstance(value, str) and "one of" in way.says else got(value)
                message = f"{builtin.name}: {name} is {way.says}, got {sample}"
                self.problem(given.span, "argument-type", message, "", "warning")

    def cached(self, one: tree.Cached) -> None:
        """The options of a cache, and what must not be cached."""
        for item in one.options.items if one.options is not None else ():
            if isinstance(item.key, tree.Literal) and item.key.value not in OPTIONS:
                near = get_close_matches(str(item.key.value), OPTIONS, 1)
                hint = f'did you mean "{near[0]}"?' if near else f"it has {', '.join(OPTIONS)}"
                self.problem(item.key.span, "unknown-option", f'cache has no option "{item.key.value}"', hint)
        target = (
            self.scopes.find(one.call.function.name, self.scope, one.span)
            if isinstance(one.call.function, tree.Name)
            else None
        )
        if isinstance(target, Builtin) and target.final:
            self.problem(
                one.span, "cached-action", f"{target.name} ends the script, so it would run only once", "", "warning"
            )
