"""Checks of values as far as they are sure: what may be none where that raises, comparisons that always come out the
same, loops that never end, edits of a message that was signed already.

Nothing here is an error: each hangs on a value or a path.
"""

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from flowengine.language import tree
from flowengine.language.conversion import BadWord, Mismatch, argument
from flowengine.language.findings import Findings
from flowengine.language.functions import Builtin
from flowengine.language.problems import Span

ARITHMETIC = ("+", "-", "*", "/", "%", "**")
SIGNING = frozenset({"DKIMSign", "ARCSeal"})
EDITING = frozenset({"AddHeader", "SetHeader", "PrependHeader", "AppendHeader", "DelHeader", "SetBody"})
MISUSED = frozenset({
    "length", "pack", "unpack", "chr", "sha2", "hmac_sha2", "range", "array_range", "array_combine", "array_random",
    "explode", "str_split", "str_chunk", "pow", "sqrt", "log", "random_bytes", "random_number", "rate", "memory_inc",
    "memory_dec", "metrics_get", "metrics_set", "metrics_increment", "metrics_decrement", "strftime", "json_encode",
    "crypt", "uuidv5", "zlib_compress", "aes_encrypt", "rsa_sign", "rsa_verify", "ed25519_sign", "ed25519_verify",
    "pkcs7_sign", "inet_includes", "in_file", "server_concurrency",
})  # fmt: skip
"""Builtins that give none for a wrong call alone, not for what a message may hold."""
COMPARISONS = ("==", "!=", "===", "!==", "<", ">", "<=", ">=", "=~", "!~")
POSITIONS = frozenset({"strpos", "strrpos", "str_find", "str_rfind"})


def kinds(annotation: Any) -> frozenset[Any] | None:
    """The Python types that a result can have; None when that is not known."""
    if annotation in (None, type(None)):
        return frozenset({type(None)})
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return frozenset(type(word) for word in inner)
    if origin in (typing.Union, types.UnionType):
        found: set[Any] = set()
        for one in inner:
            more = kinds(one)
            if more is None:
                return None
            found |= more
        return frozenset(found)
    if annotation in (Any, object) or isinstance(annotation, typing.TypeVar):
        return None
    return frozenset({origin or annotation})


class ValueChecks(Findings):
    """The part of the checker that knows what values can be."""

    def builtin_of(self, one: tree.Expression | None) -> Builtin | None:
        """The builtin that an expression calls, when it is a call of one."""
        if not isinstance(one, tree.Call):
            return None
        target = self.result.targets.get(one.function)
        return target if isinstance(target, Builtin) else None

    def may_be_none(self, one: tree.Expression | None) -> Builtin | None:
        """The builtin whose result an expression is, when that can be none."""
        target = self.builtin_of(one)
        found = None if target is None or target.name in MISUSED else kinds(target.returns)
        return target if found is not None and type(None) in found and len(found) > 1 else None

    def none_given(self, called: Builtin, name: str, annotation: object, given: tree.Expression) -> None:
        """A result that can be none, for a parameter that does not take it."""
        source = self.may_be_none(given)
        if source is None:
            return
        way = argument(annotation)
        if way.exact is object:
            return
        try:
            way.convert(None)
        except Mismatch:
            message = f"{source.name} can be none, which {called.name} does not take as {name}"
            self.problem(given.span, "possibly-none", message, 'test it first, or write `?? ""`', "warning")
        except BadWord:
            return

    def values(self, nodes: list[tree.Node]) -> None:
        """Look at the expressions and loops of a body, once its names are known."""
        for one in nodes:
            if isinstance(one, tree.Binary):
                self.binary(one)
            elif isinstance(one, tree.Foreach):
                self.walked(one)
            elif isinstance(one, (tree.While, tree.For)):
                self.endless(one)
            elif isinstance(one, tree.Call):
                self.arguments(one)
            elif isinstance(one, tree.Coalesce):
                self.coalesced(one)

    def arguments(self, call: tree.Call) -> None:
        """Results that can be none among the arguments of a builtin."""
        target = self.builtin_of(call)
        if target is None or any(item.spread for item in call.arguments):
            return
        fixed = [one for one in target.parameters if not one.variadic]
        at = target.options_at if target.options_at is not None else len(fixed)
        has_options = bool(target.options) or target.open_options
        position = 0
        for index, item in enumerate(call.arguments):
            if has_options and index == at:
                continue
            if position >= len(fixed):
                return
            parameter = fixed[position]
            position += 1
            self.none_given(target, f"${parameter.name}", parameter.annotation, item.value)

    def binary(self, one: tree.Binary) -> None:
        """Operands that can be none, and comparisons whose result is known."""
        if one.operator in ARITHMETIC:
            for operand in (one.left, one.right):
                source = self.may_be_none(operand)
                if source is not None:
                    message = f"{source.name} can be none, with which `{one.operator}` fails"
                    self.problem(operand.span, "possibly-none", message, "test it first, or write `?? 0`", "warning")
        if one.operator in ("==", "!=", "===", "!=="):
            for left, right in ((one.left, one.right), (one.right, one.left)):
                self.compared(one, left, right)

    def coalesced(self, one: tree.Coalesce) -> None:
        """A comparison beside `??` without brackets."""
        between = self.text_between(one.left.span, one.right.span)
        bare = [
            operand
            for operand, bracket in ((one.left, ")"), (one.right, "("))
            if isinstance(operand, tree.Binary) and operand.operator in COMPARISONS and bracket not in between
        ]
        if bare:
            message = f"`??` takes the whole `{bare[0].operator}` beside it"
            hint = "write brackets: `($a ?? 1) > 2`, or round the comparison"
            self.problem(one.span, "loose-coalesce", message, hint, "hint")

    def text_between(self, first: Span, second: Span) -> str:
        """What stands between two expressions; brackets of both kinds when they are not on one line of this file."""
        lines = self.scope.module.source.text.split("\n", first.end_line)
        if first.file != self.scope.module.source.name or first.end_line != second.line or len(lines) < first.end_line:
            return "()"
        return lines[first.end_line - 1][first.end_column - 1 : second.column - 1]

    def compared(self, one: tree.Binary, left: tree.Expression, right: tree.Expression) -> None:
        """A result compared with a literal that it never is."""
        target = self.builtin_of(left)
        if target is None or not isinstance(right, tree.Literal) or not isinstance(left, tree.Call):
            return
        name = left.function.name if isinstance(left.function, tree.Name) else target.name
        if right.value is False and name in POSITIONS:
            self.problem(one.span, "strpos-false", f"{name} returns -1, never false", "compare with -1", "hint")
            return
        found = kinds(target.returns)
        if found is None:
            return
        if right.value is None and type(None) not in found:
            message = f"{name} is never none, so this always comes out the same"
            self.problem(one.span, "never-none", message, 'where nothing is there it gives "" or []', "hint")
        if isinstance(right.value, bool) and bool not in found and one.operator in ("===", "!=="):
            message = f"{name} is never {'true' if right.value else 'false'}, so this always comes out the same"
            hint = "compare with none" if type(None) in found else "leave out the comparison"
            self.problem(one.span, "never-boolean", message, hint, "hint")

    def walked(self, one: tree.Foreach) -> None:
        """`foreach` over a result that can be none."""
        source = self.may_be_none(one.subject)
        if source is not None:
            message = f"{source.name} can be none, which foreach cannot walk through"
            self.problem(one.subject.span, "possibly-none", message, "write `?? []` after it", "warning")

    def endless(self, one: "tree.While | tree.For") -> None:
        """A loop that nothing in it ends."""
        condition = one.condition
        if condition is not None and not (isinstance(condition, tree.Literal) and condition.value):
            return
        if not any(self.leaves(inner) for inner in inside(one.body)):
            message = "this loop never ends, so the script fails when its steps are used up"
            self.problem(one.span, "endless-loop", message, "a `break` or a condition ends it", "warning")

    def leaves(self, one: tree.Node) -> bool:
        """Whether a node may end a loop around it: by itself, or through a function."""
        if isinstance(one, (tree.Break, tree.Return, tree.Throw, tree.Yield)):
            return True
        if not isinstance(one, tree.Call):
            return False
        target = self.builtin_of(one)
        return target is None or target.final

    def edits_after_signing(self, body: tuple[tree.Statement, ...]) -> None:
        """Changes to a message further down than the call that has it signed."""
        signed: str | None = None
        for statement in body:
            names = [
                one.function.name
                for one in inside(statement)
                if isinstance(one, tree.Call) and isinstance(one.function, tree.Name) and self.builtin_of(one)
            ]
            edit = next((name for name in names if name in EDITING), None)
            if signed is not None and edit is not None:
                message = f"{edit} after {signed}: here the signature covers it, elsewhere it would break"
                hint = "sign last, so that it is right everywhere"
                self.problem(statement.span, "edit-after-signing", message, hint, "hint")
                return
            signed = next((name for name in names if name in SIGNING), signed)


def inside(*nodes: tree.Node) -> Iterator[tree.Node]:
    """Nodes and what is in them, functions left out: those run elsewhere."""
    pending = list(reversed(nodes))
    while pending:
        one = pending.pop()
        if isinstance(one, (tree.Function, tree.FunctionDef, tree.ClassDef)):
            continue
        yield one
        pending.extend(reversed(list(tree.children(one))))
