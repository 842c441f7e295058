"""Places of a flow, what stands left of `=`: reading them softly, testing, writing, taking apart.

A place is a root and the keys that lead into it. The root is a variable, a static variable, or any expression
that gives an object.
"""

import ast

from flowengine.language import tree
from flowengine.language.emitter import LOAD, Emitter, known
from flowengine.language.linking import ClassInfo, Module
from flowengine.language.natives import NativeClass
from flowengine.language.scopes import Predefined, Shared
from flowengine.language.values import key

ARITHMETIC = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "modulo", "**": "power",
}  # fmt: skip
_ROOM = 2**52  # so far from the largest exact number, one addition cannot pass it


class Places(Emitter):
    """The part of the emitter that knows places."""

    def expression(self, one: tree.Expression) -> ast.expr:
        """The Python expression of a flow's expression."""
        raise NotImplementedError  # `Expressions` knows them all

    def static_variable(self, one: tree.Static) -> ast.expr:
        """`Name::$name` and `ns::$name`."""
        owner = self.static_owner(one)
        if isinstance(owner, ClassInfo):
            return self.call("get_static", *self.static_place(owner, one.name))
        first, second = self.once(
            self.raw(Shared(owner, one.name)) if isinstance(owner, Module) else self.name("UNSET")
        )
        test = self.compare(first, ast.IsNot(), self.name("UNSET"))
        return self.choose(test, second, self.call("no_value", self.constant(one.name)))

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

    def bounds(self, one: tree.Slice) -> list[ast.expr]:
        return [
            self.constant(None) if each is None else self.expression(each) for each in (one.first, one.last, one.step)
        ]

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
            return self.static_variable(one), keys
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
            if item.default is not None:
                part = self.otherwise(part, item.default)
            steps.append(self.write_to(item.value, part))
        return self.item(self.group(*steps, second), -1)

    def otherwise(self, value: ast.expr, default: tree.Expression) -> ast.expr:
        """A value, or a default in place of none."""
        first, second = self.once(value)
        return self.choose(
            self.compare(first, ast.IsNot(), self.constant(None)), second, self.call("share", self.expression(default))
        )

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

    def arithmetic(self, operator: str, left: ast.expr, right: ast.expr) -> ast.expr:
        """An operator on two values; adding a small whole number to another is done on the spot."""
        if operator not in "+-" or not isinstance(right, ast.Constant) or type(right.value) is not int:
            return self.with_run(ARITHMETIC[operator], left, right)
        first, second = self.once(left)
        small = ast.Compare(self.constant(-_ROOM), [ast.Lt(), ast.Lt()], [second, self.constant(_ROOM)], **self.where)
        test = ast.BoolOp(ast.And(), [self.is_type(first, "int"), small], **self.where)
        quick = ast.BinOp(second, ast.Add() if operator == "+" else ast.Sub(), right, **self.where)
        slow = self.with_run(ARITHMETIC[operator], second, right)
        return slow if abs(right.value) > _ROOM else self.choose(test, quick, slow)

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


@tree.node
class Held(tree.Expression):
    """A subscript that has been computed already, in a Python variable."""

    name: str


def _plain_key(one: ast.expr) -> bool:
    """Whether a key is text that stays text."""
    return isinstance(one, ast.Constant) and type(one.value) is str and type(key(one.value)) is str
