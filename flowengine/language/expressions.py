"""Expressions of a flow as Python expressions."""

import ast
from collections.abc import Callable
from typing import Any

from flowengine.language import tree
from flowengine.language.emitter import LOAD, Emitter, known
from flowengine.language.functions import Builtin
from flowengine.language.linking import ClassInfo, FunctionInfo, Module
from flowengine.language.natives import NativeClass
from flowengine.language.scopes import Predefined, Shared
from flowengine.language.texts import text
from flowengine.language.values import Array, key

_SIMPLE = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "modulo", "**": "power",
}  # fmt: skip
_BITS = {"&", "|", "^", "<<", ">>", ">>>"}
_SIZES: dict[str, tuple[str, ast.cmpop]] = {
    "<": ("less", ast.Lt()), ">": ("greater", ast.Gt()), "<=": ("at_most", ast.LtE()), ">=": ("at_least", ast.GtE()),
}  # fmt: skip


_ROOM = 2**52  # so far from the largest exact number, one addition cannot pass it


class Expressions(Emitter):
    """The half of the emitter that knows expressions."""

    define: Callable[[FunctionInfo], str]

    def expression(self, one: tree.Expression) -> ast.expr:
        """The Python expression of a flow's expression."""
        held = self.at(one)
        try:
            return _WAYS[type(one)](self, one)
        finally:
            self.where = held

    # literals

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

    # variables and members

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

    def bounds(self, one: tree.Slice) -> list[ast.expr]:
        return [
            self.constant(None) if each is None else self.expression(each) for each in (one.first, one.last, one.step)
        ]

    def member(self, one: tree.Member) -> ast.expr:
        return self.with_run("read", self.expression(one.base), self.constant(one.name), self.inside())

    def static(self, one: tree.Static) -> ast.expr:
        owner = self.static_owner(one)
        if isinstance(owner, Module):
            if one.variable:
                where = Shared(owner, one.name)
                first, second = self.once(self.raw(where))
                test = self.compare(first, ast.IsNot(), self.name("UNSET"))
                return self.choose(test, second, self.call("no_value", self.constant(one.name)))
            return self.value_of(self.unit.checked.targets[one], one.name)
        if isinstance(owner, NativeClass):
            return self.value_of(self.unit.checked.targets[one], one.name)
        if one.variable:
            return self.call("get_static", *self.static_place(owner, one.name))
        return self.with_run(
            "static_function", self.name("g"), self.name("c_" + owner.label), self.constant(one.name), self.inside()
        )

    def static_place(self, owner: ClassInfo, name: str) -> list[ast.expr]:
        slot = self.constant(self.unit.slot(owner))
        return [self.name("g"), slot, self.name("c_" + owner.label), self.constant(name), self.inside()]

    def static_owner(self, one: tree.Static) -> "Module | NativeClass | ClassInfo":
        """What stands left of `::`; the checker knows that it is there."""
        module = self.scope.module
        if one.owner == "static":
            return known(self.owner())  # the checker refuses `static::` outside classes
        if one.owner in module.namespaces:
            return module.namespaces[one.owner]
        thing = module.export(one.owner)
        if isinstance(thing, ClassInfo):
            return thing
        return self.unit.checked.scopes.natives[one.owner]

    # functions

    def function_name(self, one: tree.Name) -> ast.expr:
        return self.value_of(self.unit.checked.targets[one], one.name)

    def value_of(self, target: Any, name: str) -> ast.expr:
        """A function as a value."""
        if isinstance(target, FunctionInfo):
            least, most = self.constant(target.node.least), self.constant(target.node.most)
            own = (self.constant(name), self.name(target.label), self.name("run"), self.name("g"), least, most)
            return self.call("function_value", *own)
        if self.unit.trace:
            span = self.name(self.unit.constant(self.span()))
            return self.with_run("traced_value", span, self.constant(name), self.builtin(target))
        return self.with_run("builtin_value", self.constant(name), self.builtin(target))

    def builtin(self, target: Builtin) -> ast.expr:
        """The adapter of a builtin."""
        plain = "".join(one if one.isalnum() else "_" for one in target.name)
        name = f"b_{plain}"
        while self.unit.namespace.setdefault(name, target.call) is not target.call:
            name += "_"
        return self.name(name)

    def function(self, one: tree.Function) -> ast.expr:
        info = self.scope.module.infos[one]
        name = self.define(info)
        return self.with_run("closure", self.name(name), self.constant(one.least), self.constant(one.most))

    def given(self, arguments: tuple[tree.Item, ...], *, share: bool = True) -> list[ast.expr]:
        """The arguments of a call."""
        values: list[ast.expr] = []
        for item in arguments:
            value = self.expression(item.value)
            if item.spread:
                values.append(ast.Starred(self.call("arguments", value), LOAD, **self.where))
            else:
                values.append(self.shared(value, item.value) if share else value)
        return values

    def function_call(self, one: tree.Call) -> ast.expr:
        function = one.function
        if isinstance(function, tree.Name):
            return self.call_target(self.unit.checked.targets[function], function.name, one)
        if isinstance(function, tree.Static) and not function.variable:
            return self.call_static(function, one)
        if isinstance(function, tree.Member):
            base = self.expression(function.base)
            rest = (self.constant(function.name), self.inside(), *self.given(one.arguments))
            if self.unit.trace:
                return self.with_run("invoke_traced", self.name(self.unit.constant(one.span)), base, *rest)
            return self.with_run("invoke", base, *rest)
        return self.call("call_value", self.expression(function), *self.given(one.arguments))

    def call_target(self, target: Any, name: str, one: tree.Call) -> ast.expr:
        """A call of something that has a name."""
        if isinstance(target, FunctionInfo):
            values = self.given(one.arguments)
            own = (self.name("run"), self.name("g"))
            if any(item.spread for item in one.arguments):
                limits = (self.constant(target.node.least), self.constant(target.node.most))
                return self.call("call_checked", self.constant(name), *limits, self.name(target.label), *own, *values)
            return self.call(target.label, *own, *values)
        if isinstance(target, ClassInfo):
            own_class = self.name("c_" + target.label)
            return self.with_run("create", self.name("g"), own_class, self.inside(), *self.given(one.arguments))
        if isinstance(target, NativeClass):
            return self.builtin_call(known(target.constructor), one)
        return self.builtin_call(target, one)

    def builtin_call(self, builtin: Builtin, one: tree.Call) -> ast.expr:
        """A call of a builtin, straight to its adapter."""
        values = self.given(one.arguments, share=may_keep(builtin))
        adapter = self.builtin(builtin)
        if self.unit.trace:
            span = self.name(self.unit.constant(one.span))
            return self.with_run("traced", span, self.constant(builtin.name), adapter, *values)
        return ast.Call(adapter, [self.name("run"), *values], [], **self.where)

    def call_static(self, function: tree.Static, one: tree.Call) -> ast.expr:
        owner = self.static_owner(function)
        if not isinstance(owner, ClassInfo):
            return self.call_target(self.unit.checked.targets[function], function.name, one)
        info = self.scope.info
        this: ast.expr = self.constant(None)
        if function.owner == "static" and info is not None and "this" in self.scope.parameters:
            this = self.name("v_this")
        own = (self.name("g"), self.name("c_" + owner.label), self.constant(function.name), self.inside(), this)
        return self.with_run("invoke_static", *own, *self.given(one.arguments))

    def cached(self, one: tree.Cached) -> ast.expr:
        function = one.call.function
        options = self.constant(None) if one.options is None else self.expression(one.options)
        name = getattr(function, "name", "")
        if isinstance(function, tree.Static):
            name = f"{function.owner}::{name}"
        elif isinstance(function, tree.Name) and function.builtin:
            name = f"builtin {name}"
        target = self.unit.checked.targets.get(function)
        if isinstance(target, FunctionInfo):
            name = f"{target.node.span.file}:{name}"
        return self.with_run(
            "cached", options, self.constant(name), self.expression(function), *self.given(one.call.arguments)
        )

    # operators

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

    def arithmetic(self, operator: str, left: ast.expr, right: ast.expr) -> ast.expr:
        """An operator on two values; adding a small whole number to another is done on the spot."""
        if operator not in "+-" or not isinstance(right, ast.Constant) or type(right.value) is not int:
            return self.with_run(_SIMPLE[operator], left, right)
        first, second = self.once(left)
        small = ast.Compare(self.constant(-_ROOM), [ast.Lt(), ast.Lt()], [second, self.constant(_ROOM)], **self.where)
        test = ast.BoolOp(ast.And(), [self.is_type(first, "int"), small], **self.where)
        quick = ast.BinOp(second, ast.Add() if operator == "+" else ast.Sub(), right, **self.where)
        slow = self.with_run(_SIMPLE[operator], second, right)
        return slow if abs(right.value) > _ROOM else self.choose(test, quick, slow)

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

    def soft(self, one: tree.Expression) -> ast.expr:
        """A value that is none where anything on its path is missing."""
        root, keys = self.place(one)
        if root is None:
            return self.expression(one)
        if not keys:
            if isinstance(one, tree.Variable) and not isinstance(self.locate(one.name), Predefined):
                if one.name in self.scope.parameters and one.name not in self.scope.unset:
                    return root
                first, second = self.once(root)
                return self.choose(self.compare(first, ast.IsNot(), self.name("UNSET")), second, self.constant(None))
            return root
        return self.with_run("soft", root, self.group(*keys), self.inside())

    def isset(self, one: tree.Isset) -> ast.expr:
        tests = [self.is_set(place) for place in one.places]
        return tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests, **self.where)

    def is_set(self, place: tree.Expression) -> ast.expr:
        root, keys = self.place(place)
        if root is None:
            return self.compare(self.expression(place), ast.IsNot(), self.constant(None))
        if not keys:
            return self.compare(root, ast.IsNot(), self.name("UNSET"))
        return self.with_run("present", root, self.group(*keys), self.inside())

    def unset(self, one: tree.Unset) -> ast.expr:
        done = [self.remove(place) for place in one.places]
        return done[0] if len(done) == 1 else self.call("all_of", *done)

    def remove(self, place: tree.Expression) -> ast.expr:
        """`unset` of one place: whether it was there."""
        if isinstance(place, tree.Variable):
            where = self.locate(place.name)
            was = self.compare(self.raw(where), ast.IsNot(), self.name("UNSET"))
            return self.item(self.group(was, self.store(where, self.name("UNSET"))), 0)
        if isinstance(place, tree.Slice):
            setup, pinned = self.pin(place.base)
            root, keys = self.place(pinned)
            base = self.with_run("soft", known(root), self.group(*keys), self.inside()) if keys else known(root)
            done = self.temporary()
            removed = self.keep(done, self.with_run("remove_slice", base, self.group(*self.bounds(place))))
            write = self.write_to(pinned, self.item(self.name(done), 0))
            return self.after([*setup, removed, write], self.item(self.name(done), 1))
        root, keys = self.place(place)
        done = self.temporary()
        removed = self.keep(done, self.with_run("remove", self.group(*keys), known(root), self.inside()))
        write = self.store_root(place, self.item(self.name(done), 0))
        return self.item(self.group(removed, write, self.item(self.name(done), 1)), 2)

    # places

    def pin(self, one: tree.Expression) -> tuple[list[ast.expr], tree.Expression]:
        """A place that is read and then written: what computes its subscripts, and the place with these in hand."""
        setup: list[ast.expr] = []

        def hold(part: tree.Expression | None) -> tree.Expression | None:
            if part is None or isinstance(part, (tree.Literal, Held)):
                return part
            name = self.temporary()
            setup.append(self.keep(name, self.expression(part)))
            return Held(part.span, name)

        def walk(place: tree.Expression) -> tree.Expression:
            if isinstance(place, tree.Subscript):
                return tree.Subscript(place.span, walk(place.base), hold(place.index))
            if isinstance(place, tree.Member):
                return tree.Member(place.span, walk(place.base), place.name)
            if isinstance(place, tree.Path):
                return tree.Path(place.span, walk(place.base), hold(place.path) or place.path)
            if isinstance(place, tree.Slice):
                return tree.Slice(place.span, walk(place.base), hold(place.first), hold(place.last), hold(place.step))
            if isinstance(place, (tree.Variable, tree.Static, tree.Pattern)):
                return place
            return hold(place) or place

        return setup, walk(one)

    def held(self, one: "Held") -> ast.expr:
        return self.name(one.name)

    def after(self, setup: list[ast.expr], value: ast.expr) -> ast.expr:
        """A value that needs something computed first."""
        return self.item(self.group(*setup, value), -1) if setup else value

    def place(self, one: tree.Expression) -> tuple[ast.expr | None, list[ast.expr]]:
        """The root of a place as it is, UNSET when it has no value, and the keys that lead into it."""
        keys: list[ast.expr] = []
        while True:
            if isinstance(one, tree.Subscript):
                keys.append(self.name("APPEND") if one.index is None else self.expression(one.index))
            elif isinstance(one, tree.Member):
                keys.append(self.constant(one.name))
            elif isinstance(one, tree.Path):
                keys.append(ast.Starred(self.call("steps", self.expression(one.path)), LOAD, **self.where))
            else:
                break
            one = one.base
        keys.reverse()
        if isinstance(one, tree.Variable):
            return self.raw(self.locate(one.name)), keys
        if isinstance(one, tree.Static) and one.variable:
            owner = self.static_owner(one)
            if isinstance(owner, Module):
                return self.raw(Shared(owner, one.name)), keys
            return self.static(one), keys
        if not keys:
            return None, keys
        return self.expression(one), keys

    def store_root(self, place: tree.Expression, value: ast.expr) -> ast.expr:
        """Put a changed root back into its variable."""
        one = place
        while isinstance(one, (tree.Subscript, tree.Member, tree.Path)):
            one = one.base
        if isinstance(one, tree.Variable):
            if one.name == "this":
                return value
            return self.store(self.locate(one.name), value)
        if isinstance(one, tree.Static):
            owner = self.static_owner(one)
            if isinstance(owner, Module):
                return self.store(Shared(owner, one.name), value)
            if isinstance(owner, ClassInfo):
                return self.call("set_static", *self.static_place(owner, one.name), value)
        return value  # the result of a call: only an object is worth writing into

    def write_to(self, place: tree.Expression, value: ast.expr) -> ast.expr:
        """An expression that writes a value to a place; its own value is not defined."""
        if isinstance(place, tree.Variable):
            return self.store(self.locate(place.name), value)
        if isinstance(place, tree.Pattern):
            return self.take_apart(place, value)
        if isinstance(place, tree.Slice):
            setup, pinned = self.pin(place.base)
            root, keys = self.place(pinned)
            base = self.with_run("soft", known(root), self.group(*keys), self.inside()) if keys else known(root)
            new = self.with_run("replace_slice", base, self.group(*self.bounds(place)), value)
            return self.after(setup, self.write_to(pinned, new))
        root, keys = self.place(place)
        if isinstance(place, tree.Static):
            return self.store_root(place, value)
        if len(keys) == 1 and self.owner() is None and _plain_key(keys[0]):
            return self.store_root(place, self.with_run("put", keys[0], value, known(root)))
        written = self.with_run("write", self.group(*keys), value, known(root), self.inside())
        return self.store_root(place, written)

    def take_apart(self, pattern: tree.Pattern, value: ast.expr) -> ast.expr:
        """`[$a, "k" => $b, ...$rest] = value`."""
        first, second = self.once(value)
        steps = [first]
        position = 0
        for item in pattern.items:
            if item.spread:
                steps.append(self.write_to(item.value, self.with_run("rest_of", second, self.constant(position))))
                continue
            if item.key is not None:
                index = self.expression(item.key)
            else:
                index = self.constant(position)
                position += 1
            part = self.call("share", self.with_run("read", second, index, self.inside()))
            steps.append(self.write_to(item.value, part))
        return self.item(self.group(*steps, second), -1)

    def assignment(self, one: tree.Assign) -> ast.expr:
        """An assignment whose value is used."""
        setup, target = self.pin(one.target) if one.operator != "=" else ([], one.target)
        if one.operator == "??=":
            first, second = self.once(self.soft(target))
            value = self.once(self.call("share", self.expression(one.value)))
            write = self.item(self.group(value[0], self.write_to(target, value[1]), value[1]), 2)
            return self.after(setup, self.choose(self.compare(first, ast.IsNot(), self.constant(None)), second, write))
        value_now = self.new_value(one, target)
        if isinstance(target, tree.Variable):
            return self.write_to(target, value_now)
        first, second = self.once(value_now)
        return self.after([*setup, first, self.write_to(target, second)], second)

    def new_value(self, one: tree.Assign, target: tree.Expression) -> ast.expr:
        """What an assignment stores. target: that of the assignment, pinned."""
        if one.operator != "=":
            return self.changed(target, one.operator[:-1], self.expression(one.value))
        names = (target.name,) if isinstance(target, tree.Variable) else ()
        return self.shared(self.expression(one.value), one.value, *names)

    def changed(self, target: tree.Expression, operator: str, value: ast.expr) -> ast.expr:
        """What `target operator= value` stores."""
        old = self.expression(target)
        if operator == ".":
            return self.with_run("concat", old, value)
        return self.arithmetic(operator, old, value)

    def increment(self, one: tree.Increment) -> ast.expr:
        by = self.constant(one.by)
        setup, target = self.pin(one.target)
        if one.prefix:
            first, second = self.once(self.with_run("count", self.expression(target), by))
            return self.after([*setup, first, self.write_to(target, second)], second)
        name = self.temporary()
        old = self.keep(name, self.expression(target))
        return self.after(
            [*setup, old, self.write_to(target, self.with_run("count", self.name(name), by))], self.name(name)
        )

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


@tree.node
class Held(tree.Expression):
    """A subscript that has been computed already, in a Python variable."""

    name: str


def _plain_key(one: ast.expr) -> bool:
    """Whether a key is text that stays text."""
    return isinstance(one, ast.Constant) and type(one.value) is str and type(key(one.value)) is str


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


def may_keep(builtin: Builtin) -> bool:
    """Whether the result of a builtin may hold an array that it was given."""
    return any(word in str(builtin.returns) for word in ("Array", "Any", "object"))


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
