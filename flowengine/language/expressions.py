"""Expressions of a flow as Python expressions: literals, variables, operators."""

import ast
from collections.abc import Callable
from typing import Any

from flowengine.language import tree
from flowengine.language.calls import Calls
from flowengine.language.emitter import LOAD, known
from flowengine.language.linking import Module
from flowengine.language.natives import NativeClass
from flowengine.language.places import Held
from flowengine.language.texts import text
from flowengine.language.values import Array, key

_BITS = {"&", "|", "^", "<<", ">>", ">>>"}
_SIZES: dict[str, tuple[str, ast.cmpop]] = {
    "<": ("less", ast.Lt()), ">": ("greater", ast.Gt()), "<=": ("at_most", ast.LtE()), ">=": ("at_least", ast.GtE()),
}  # fmt: skip


class Expressions(Calls):
    """The part of the emitter that knows all expressions."""

    def expression(self, one: tree.Expression) -> ast.expr:
        """The Python expression of a flow's expression."""
        held = self.at(one)
        try:
            return _WAYS[type(one)](self, one)
        finally:
            self.where = held

    def is_text(self, value: ast.expr) -> ast.expr:
        """Whether a value goes into a string as Python writes it."""
        return ast.BoolOp(ast.Or(), [self.is_type(value, "str"), self.is_type(value, "int")], **self.where)

    def literal(self, one: tree.Literal) -> ast.expr:
        return self.constant(one.value)

    def array(self, one: tree.ArrayLiteral) -> ast.expr:
        made = constant_array(one)
        if made is not None:
            return self.name(self.unit.constant(made))
        if not any(item.spread for item in one.items):
            return self.call("make", *(self.pair(item) for item in one.items))
        result = self.call("make")
        pending: list[tree.Item] = []
        for item in one.items:
            if not item.spread:
                pending.append(item)
                continue
            result = self.filled(result, pending)
            pending = []
            result = self.with_run("spread_into", result, self.expression(item.value))
        return self.filled(result, pending)

    def filled(self, array: ast.expr, items: list[tree.Item]) -> ast.expr:
        """An array with more items."""
        return self.call("fill", array, *(self.pair(item) for item in items)) if items else array

    def pair(self, item: tree.Item) -> ast.expr:
        if item.key is None:
            return self.group(self.name("APPEND"), self.expression(item.value))
        return self.group(self.key(item.key), self.expression(item.value))

    def key(self, one: tree.Expression) -> ast.expr:
        """A key, cast already when it is a literal."""
        if isinstance(one, tree.Literal):
            return self.constant(key(one.value))
        return self.call("cast", self.expression(one))

    def concat(self, one: tree.Concat) -> ast.expr:
        pieces: list[str | tree.Expression] = []
        for part in _flat(one):
            if isinstance(part, tree.Literal) and part.value is not None:
                if pieces and isinstance(pieces[-1], str):
                    pieces[-1] += text(part.value)
                else:
                    pieces.append(text(part.value))
            else:
                pieces.append(part)
        if all(isinstance(piece, str) for piece in pieces):
            return self.constant("".join(piece for piece in pieces if isinstance(piece, str)))
        values = [self.constant(piece) if isinstance(piece, str) else self.expression(piece) for piece in pieces]
        complex_ones = [value for value in values if not isinstance(value, (ast.Name, ast.Constant))]
        if any(isinstance(piece, tree.Literal) for piece in pieces):  # none, which is worth a warning
            return self.with_run("concat", *values)
        moving = any(isinstance(piece, tree.Variable) and piece.name in self.scope.flexible for piece in pieces)
        if len(complex_ones) > 1 or (complex_ones and moving):
            return self.with_run("concat", *values)  # a call may change a variable that stands before it
        if complex_ones:
            first, second = self.once(complex_ones[0])
            values = [second if value is complex_ones[0] else value for value in values]
            tests = [self.is_type(first, "str")]
        else:
            tests = []
        tests += [
            self.is_text(value)
            for value in values
            if isinstance(value, ast.Name) and not (complex_ones and value is second)
        ]
        joined = ast.JoinedStr(
            [
                value if isinstance(value, ast.Constant) else ast.FormattedValue(value, -1, None, **self.where)
                for value in values
            ],
            **self.where,
        )
        test = tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests, **self.where)
        whole = self.temporary()
        small = self.compare(self.call("len", self.keep(whole, joined)), ast.Lt(), self.constant(4096))
        quick = self.choose(small, self.name(whole), self.with_run("grown", self.name(whole)))
        return self.choose(test, quick, self.with_run("concat", *values))

    def variable(self, one: tree.Variable) -> ast.expr:
        return self.read_variable(one)

    def subscript(self, one: tree.Subscript) -> ast.expr:
        written = known(one.index)  # the checker refuses `$a[]` where nothing is written
        base = self.expression(one.base)
        if not isinstance(written, tree.Literal) or isinstance(written.value, float):
            return self.with_run("read", base, self.expression(written), self.inside())
        index = key(written.value)
        first, second = self.once(base)
        get = ast.Call(ast.Attribute(second, "get", LOAD, **self.where), [self.constant(index)], [], **self.where)
        slow = self.with_run("read", second, self.constant(written.value), self.inside())
        return self.choose(self.is_type(first, "Array"), get, slow)

    def path(self, one: tree.Path) -> ast.expr:
        return self.with_run("read_path", self.expression(one.base), self.expression(one.path), self.inside())

    def slice(self, one: tree.Slice) -> ast.expr:
        return self.with_run("cut", self.expression(one.base), *self.bounds(one))

    def member(self, one: tree.Member) -> ast.expr:
        return self.with_run("read", self.expression(one.base), self.constant(one.name), self.inside())

    def static(self, one: tree.Static) -> ast.expr:
        if one.variable:
            return self.static_variable(one)
        owner = self.static_owner(one)
        if isinstance(owner, (Module, NativeClass)):
            return self.value_of(self.unit.checked.targets[one], one.name)
        own = (self.name("g"), self.name("c_" + owner.label), self.constant(one.name), self.inside())
        return self.with_run("static_function", *own)

    def unary(self, one: tree.Unary) -> ast.expr:
        value = self.expression(one.operand)
        if one.operator == "!":
            return ast.UnaryOp(ast.Not(), value, **self.where)
        return self.with_run("negate" if one.operator == "-" else "complement", value)

    def logical(self, one: tree.Logical) -> ast.expr:
        """The result is a boolean, so anything else is turned into one."""
        values = [self.expression(each) for each in one.operands]
        whole = ast.BoolOp(ast.And() if one.operator == "and" else ast.Or(), values, **self.where)
        if all(is_boolean(each) for each in one.operands):
            return whole
        return self.choose(whole, self.constant(True), self.constant(False))

    def test(self, one: tree.Expression) -> ast.expr:
        """An expression of which only the truth counts; Python's and a flow's truth are the same."""
        held = self.at(one)
        try:
            if isinstance(one, tree.Logical):
                operands = [self.test(each) for each in one.operands]
                return ast.BoolOp(ast.And() if one.operator == "and" else ast.Or(), operands, **self.where)
            if isinstance(one, tree.Unary) and one.operator == "!":
                return ast.UnaryOp(ast.Not(), self.test(one.operand), **self.where)
            return self.expression(one)
        finally:
            self.where = held

    def binary(self, one: tree.Binary) -> ast.expr:
        operator = one.operator
        if operator in ("=~", "!~"):
            return self.match_regex(one)
        if operator in ("==", "!=", "===", "!=="):
            return self.equality(one)
        if operator in _SIZES:
            return self.size(one)
        left, right = self.expression(one.left), self.expression(one.right)
        if operator in _BITS:
            return self.with_run("bits", self.constant(operator), left, right)
        return self.arithmetic(operator, left, right)

    def match_regex(self, one: tree.Binary) -> ast.expr:
        subject, pattern = self.expression(one.left), self.expression(one.right)
        found = self.with_run("matches", subject, pattern)
        return found if one.operator == "=~" else ast.UnaryOp(ast.Not(), found, **self.where)

    def equality(self, one: tree.Binary) -> ast.expr:
        strict, negated = len(one.operator) == 3, one.operator[0] == "!"
        helper = "identical" if strict else "equal"
        left, right = one.left, one.right
        if isinstance(left, tree.Literal) and not isinstance(right, tree.Literal):
            left, right = right, left
        value = self.expression(left)
        if isinstance(right, tree.Literal):
            wanted = right.value
            if wanted is None or (strict and type(wanted) is bool):
                return self.compare(value, ast.IsNot() if negated else ast.Is(), self.constant(wanted))
            if type(wanted) in (str, int):
                first, second = self.once(value)
                same = self.compare(second, ast.NotEq() if negated else ast.Eq(), self.constant(wanted))
                slow = self.call(helper, second, self.constant(wanted))
                if negated:
                    slow = ast.UnaryOp(ast.Not(), slow, **self.where)
                return self.choose(self.is_type(first, type(wanted).__name__), same, slow)
        other = self.expression(right)
        result = self.call(helper, value, other)
        if negated:
            result = ast.UnaryOp(ast.Not(), result, **self.where)
        if isinstance(value, ast.Name) and isinstance(other, ast.Name):
            texts = ast.BoolOp(ast.And(), [self.is_type(value, "str"), self.is_type(other, "str")], **self.where)
            return self.choose(texts, self.compare(value, ast.NotEq() if negated else ast.Eq(), other), result)
        return result

    def size(self, one: tree.Binary) -> ast.expr:
        helper, operator = _SIZES[one.operator]
        left, right = self.expression(one.left), self.expression(one.right)
        if isinstance(right, ast.Constant) and type(right.value) is int:
            first, second = self.once(left)
            quick = self.compare(second, operator, right)
            return self.choose(self.is_type(first, "int"), quick, self.call(helper, second, right))
        return self.call(helper, left, right)

    def ternary(self, one: tree.Ternary) -> ast.expr:
        if one.then is None:
            first, second = self.once(self.expression(one.condition))
            return self.choose(first, second, self.expression(one.other))
        return self.choose(self.test(one.condition), self.expression(one.then), self.expression(one.other))

    def coalesce(self, one: tree.Coalesce) -> ast.expr:
        first, second = self.once(self.soft(one.left))
        return self.choose(self.compare(first, ast.IsNot(), self.constant(None)), second, self.expression(one.right))

    def match(self, one: tree.Match) -> ast.expr:
        subject, again = self.once(self.expression(one.subject))
        default = next((arm for arm in one.arms if not arm.labels), None)
        result = self.expression(default.value) if default else self.with_run("no_arm", again)
        arms = [arm for arm in one.arms if arm.labels]
        for arm in reversed(arms):
            tests = [self.call("identical", again, self.expression(label)) for label in arm.labels]
            test = tests[0] if len(tests) == 1 else ast.BoolOp(ast.Or(), tests, **self.where)
            result = self.choose(test, self.expression(arm.value), result)
        if isinstance(subject, ast.Name):
            return result
        return self.item(self.group(subject, result), 1)

    def yielded(self, one: tree.Yield) -> ast.expr:
        return ast.Yield(self.call("share", self.expression(one.value)), **self.where)


def _flat(one: tree.Concat) -> list[tree.Expression]:
    parts: list[tree.Expression] = []
    for part in one.parts:
        parts.extend(_flat(part) if isinstance(part, tree.Concat) else [part])
    return parts


def is_boolean(one: tree.Expression) -> bool:
    """Whether an expression is sure to be a boolean."""
    if isinstance(one, tree.Binary):
        return one.operator in ("==", "!=", "===", "!==", "=~", "!~", "<", ">", "<=", ">=")
    if isinstance(one, tree.Literal):
        return type(one.value) is bool
    return isinstance(one, (tree.Isset, tree.Logical, tree.Unset)) or (
        isinstance(one, tree.Unary) and one.operator == "!"
    )


def constant_array(one: tree.ArrayLiteral) -> Array | None:
    """An array literal of literals only, shared from the start; None for any other."""
    made = Array()
    for item in one.items:
        value = item.value
        if item.spread or (item.key is not None and not isinstance(item.key, tree.Literal)):
            return None
        content: Any
        if isinstance(value, tree.Literal):
            content = value.value
        elif isinstance(value, tree.ArrayLiteral):
            content = constant_array(value)
            if content is None:
                return None
        else:
            return None
        if item.key is None:
            made.append(content)
        else:
            made.put(key(item.key.value), content)
    made.shared = True
    return made


_WAYS: dict[type, Callable[[Any, Any], ast.expr]] = {
    Held: Expressions.held,
    tree.Literal: Expressions.literal,
    tree.ArrayLiteral: Expressions.array,
    tree.Concat: Expressions.concat,
    tree.Variable: Expressions.variable,
    tree.Subscript: Expressions.subscript,
    tree.Path: Expressions.path,
    tree.Slice: Expressions.slice,
    tree.Member: Expressions.member,
    tree.Static: Expressions.static,
    tree.Name: Expressions.function_name,
    tree.Function: Expressions.function,
    tree.Call: Expressions.function_call,
    tree.Cached: Expressions.cached,
    tree.Unary: Expressions.unary,
    tree.Binary: Expressions.binary,
    tree.Logical: Expressions.logical,
    tree.Coalesce: Expressions.coalesce,
    tree.Ternary: Expressions.ternary,
    tree.Assign: Expressions.assignment,
    tree.Increment: Expressions.increment,
    tree.Isset: Expressions.isset,
    tree.Unset: Expressions.unset,
    tree.Match: Expressions.match,
    tree.Yield: Expressions.yielded,
}
