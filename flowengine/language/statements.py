"""Statements of a flow as Python statements."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowengine.language import tree
from flowengine.language.emitter import STORE
from flowengine.language.expressions import Expressions
from flowengine.language.scopes import Local


@dataclass
class Around:
    """A loop, or a switch that is written as one.

    step: what `continue` does first. passed: the flag by which a switch hands `continue` on to the loop around it.
    """

    step: Callable[[], list[ast.stmt]] | None = None
    switch: bool = False
    passed: str = ""
    used: bool = False


class Statements(Expressions):
    """The half of the emitter that knows statements."""

    around: list[Around]
    ending: Callable[["Statements"], list[ast.stmt]] | None = None
    generator = False

    def body(self, statements: tuple[tree.Statement, ...]) -> list[ast.stmt]:
        """A list of statements."""
        found: list[ast.stmt] = []
        for one in statements:
            found.extend(self.statement(one))
        return found

    def block(self, one: tree.Statement) -> list[ast.stmt]:
        """The body of a loop or branch; Python wants at least one statement."""
        return self.statement(one) or [ast.Pass(**self.where)]

    def statement(self, one: tree.Statement) -> list[ast.stmt]:
        """One statement, with the functions that it needs before it."""
        held, outer = self.at(one), self.before
        self.before = []
        try:
            way = _WAYS.get(type(one))
            made = way(self, one) if way is not None else []
            return [*self.before, *made]
        finally:
            self.where, self.before = held, outer

    # simple ones

    def evaluate(self, one: tree.Evaluate) -> list[ast.stmt]:
        value = one.value
        held = self.at(value)
        try:
            if isinstance(value, tree.Assign) and isinstance(value.target, tree.Variable) and value.operator != "??=":
                return [self.store_now(self.locate(value.target.name), self.new_value(value, value.target))]
            if isinstance(value, tree.Assign) and value.operator == "=" and not isinstance(value.target, tree.Pattern):
                return [self.run_it(self.write_to(value.target, self.new_value(value, value.target)))]
            if isinstance(value, tree.Increment) and isinstance(value.target, tree.Variable):
                new = self.with_run("count", self.expression(value.target), self.constant(value.by))
                return [self.store_now(self.locate(value.target.name), new)]
            return [self.run_it(self.expression(value))]
        finally:
            self.where = held

    def block_statement(self, one: tree.Block) -> list[ast.stmt]:
        return self.body(one.body)

    def include(self, one: tree.Include) -> list[ast.stmt]:
        return self.body(self.scope.module.inclusions.get(one, ()))

    def echo(self, one: tree.Echo) -> list[ast.stmt]:
        return [self.run_it(self.with_run("echo", self.expression(one.value)))]

    def return_(self, one: tree.Return) -> list[ast.stmt]:
        value = one.value
        if self.ending is not None:
            first = [self.run_it(self.expression(value))] if value is not None else []
            return [*first, *self.ending(self), ast.Return(None, **self.where)]
        if value is None:
            return [ast.Return(None, **self.where)]
        result = self.expression(value)
        if not (isinstance(value, tree.Variable) and isinstance(self.locate(value.name), Local)):
            result = self.shared(result, value, *self.unit.hot)
        elif (
            value.name in self.scope.flexible
            or value.name in self.scope.captured
            or value.name in self.scope.parameters
        ):
            result = self.shared(result, value)
        return [ast.Return(result, **self.where)]

    def throw(self, one: tree.Throw) -> list[ast.stmt]:
        return [ast.Raise(self.call("throw", self.expression(one.value)), None, **self.where)]

    # branches

    def if_(self, one: tree.If) -> list[ast.stmt]:
        otherwise = self.statement(one.otherwise) if one.otherwise is not None else []
        for condition, body in reversed(one.branches):
            held = self.at(condition)
            test = self.test(condition)
            self.where = held
            otherwise = [ast.If(test, self.block(body), otherwise, **self.where)]
        return otherwise

    def switch(self, one: tree.Switch) -> list[ast.stmt]:
        subject = self.temporary()
        start = [self.assign(subject, self.expression(one.subject))]
        if all(_closed(case.body, last=case is one.cases[-1]) for case in one.cases):
            return start + self.simple_switch(one, subject)
        return start + self.falling_switch(one, subject)

    def label(self, subject: str, label: tree.Expression) -> ast.expr:
        """Whether the subject fits a case: compared like `==`."""
        return self.call("equal", self.name(subject), self.expression(label))

    def simple_switch(self, one: tree.Switch, subject: str) -> list[ast.stmt]:
        """No case falls through and no break stands inside: a chain of ifs, empty cases joined with the next."""
        result: list[ast.stmt] = []
        groups: list[tuple[list[tree.Case], tuple[tree.Statement, ...]]] = []
        labels: list[tree.Case] = []
        for case in one.cases:
            labels.append(case)
            if case.body or case is one.cases[-1]:
                groups.append((labels, case.body))
                labels = []
        default = next((body for cases, body in groups if any(case.label is None for case in cases)), ())
        result = self.body(_without_break(default))
        for cases, body in reversed(groups):
            tests = [self.label(subject, case.label) for case in cases if case.label is not None]
            if not tests:
                continue  # default alone
            test = tests[0] if len(tests) == 1 else ast.BoolOp(ast.Or(), tests, **self.where)
            result = [ast.If(test, self.body(_without_break(body)) or [ast.Pass(**self.where)], result, **self.where)]
        return result

    def falling_switch(self, one: tree.Switch, subject: str) -> list[ast.stmt]:
        """The general form: find the case, then run from there in a loop that turns once."""
        chosen = self.temporary()
        around = Around(switch=True, passed=self.temporary())
        default = next((i for i, case in enumerate(one.cases) if case.label is None), len(one.cases))
        find: list[ast.stmt] = [self.assign(chosen, self.constant(default))]
        for index, case in reversed(list(enumerate(one.cases))):
            if case.label is not None:
                find = [
                    ast.If(
                        self.label(subject, case.label), [self.assign(chosen, self.constant(index))], find, **self.where
                    )
                ]
        self.around.append(around)
        cases: list[ast.stmt] = []
        for index, case in enumerate(one.cases):
            body = self.body(case.body)
            if body:
                test = self.compare(self.name(chosen), ast.LtE(), self.constant(index))
                cases.append(ast.If(test, body, [], **self.where))
        self.around.pop()
        turn = ast.While(self.constant(True), [*cases, ast.Break(**self.where)], [], **self.where)
        if not around.used:
            return [*find, turn]
        after = ast.If(self.name(around.passed), self.continue_(None), [], **self.where)
        return [*find, self.assign(around.passed, self.constant(False)), turn, after]

    # loops

    def loop_body(self, one: tree.Statement, step: Callable[[], list[ast.stmt]] | None = None) -> list[ast.stmt]:
        """The body of a loop."""
        self.around.append(Around(step))
        body = self.block(one)
        self.around.pop()
        return body

    def while_(self, one: tree.While) -> list[ast.stmt]:
        test = self.constant(True) if one.condition is None else self.test(one.condition)
        return [ast.While(test, [*self.count_step(), *self.loop_body(one.body)], [], **self.where)]

    def for_(self, one: tree.For) -> list[ast.stmt]:
        def run(expressions: tuple[tree.Expression, ...]) -> list[ast.stmt]:
            return [line for each in expressions for line in self.statement(tree.Evaluate(each.span, each))]

        test = self.constant(True) if one.condition is None else self.test(one.condition)
        body = self.loop_body(one.body, lambda: run(one.after))
        return [*run(one.before), ast.While(test, [*self.count_step(), *body, *run(one.after)], [], **self.where)]

    def foreach(self, one: tree.Foreach) -> list[ast.stmt]:
        subject = self.expression(one.subject)
        first: list[ast.stmt] = []
        value = self.loop_target(one.value, first)
        if one.key is None:
            target: ast.expr = ast.Name(value, STORE, **self.where)
            walk = self.with_run("values", subject, self.inside())
        else:
            name = self.loop_target(one.key, first)
            target = ast.Tuple(
                [ast.Name(name, STORE, **self.where), ast.Name(value, STORE, **self.where)], STORE, **self.where
            )
            walk = self.with_run("pairs", subject, self.inside())
        return [ast.For(target, walk, [*first, *self.loop_body(one.body)], [], **self.where)]

    def loop_target(self, place: tree.Expression, first: list[ast.stmt]) -> str:
        """The Python variable that a loop fills, and what puts its content where the flow wants it."""
        if isinstance(place, tree.Variable):
            where = self.locate(place.name)
            if isinstance(where, Local):
                name = self.python_name(where)
                if place.name in self.unit.hot:
                    first.append(self.assign(name, self.call("share", self.name(name))))
                return name
        name = self.temporary()
        first.append(self.run_it(self.write_to(place, self.call("share", self.name(name)))))
        return name

    def break_(self, one: tree.Break) -> list[ast.stmt]:
        return [ast.Break(**self.where)]

    def continue_(self, one: tree.Continue | None) -> list[ast.stmt]:
        around = self.around[-1]
        if around.switch:
            around.used = True
            return [self.assign(around.passed, self.constant(True)), ast.Break(**self.where)]
        step: list[ast.stmt] = around.step() if around.step is not None else []
        return [*step, ast.Continue(**self.where)]

    # the rest

    def try_(self, one: tree.Try) -> list[ast.stmt]:
        name = self.temporary()
        handler = [self.run_it(self.with_run("caught", self.name(name)))]
        if one.variable is not None:
            handler = [self.store_now(self.locate(one.variable.name), self.with_run("caught", self.name(name)))]
        handler += self.body(one.handler.body)
        catch = ast.ExceptHandler(self.name("Exception"), name, handler, **self.where)
        body = self.body(one.body.body) or [ast.Pass(**self.where)]
        return [ast.Try(body, [catch], [], [], **self.where)]

    def barrier(self, one: tree.Barrier) -> list[ast.stmt]:
        held = self.temporary()
        enter = self.assign(held, self.with_run("barrier_enter", self.expression(one.name)))
        leave = self.call("barrier_leave", self.name(held))
        body = self.body(one.body.body) or [ast.Pass(**self.where)]
        if one.shared is not None:
            where = self.locate(one.shared.name)
            body = [self.store_now(where, self.call("barrier_value", self.name(held))), *body]
            leave = self.call("barrier_leave", self.name(held), self.raw(where))
        return [enter, ast.Try(body, [], [], [self.run_it(leave)], **self.where)]

    def import_(self, one: tree.Import) -> list[ast.stmt]:
        if one.data is None:
            return []
        value = self.name(self.unit.constant(self.scope.module.data[one]))
        return [self.store_now(self.locate(one.data.name), value)]


def _closed(body: tuple[tree.Statement, ...], *, last: bool) -> bool:
    """Whether a case ends by itself and has no break but its last statement: then it can be a branch of an if."""
    if not body:
        return True
    end = body[-1]
    if isinstance(end, tree.Block) and len(body) == 1:
        return _closed(end.body, last=last)
    inner = body[:-1] if isinstance(end, tree.Break) else body
    if not last and not isinstance(end, (tree.Break, tree.Return, tree.Throw, tree.Continue)):
        return False
    return not any(_breaks(one) for one in inner)


def _breaks(one: tree.Node) -> bool:
    """Whether a break or an include inside a statement would leave the switch around it."""
    if isinstance(one, (tree.Break, tree.Include)):
        return True
    if isinstance(one, (tree.While, tree.For, tree.Foreach, tree.Switch, tree.Function, tree.FunctionDef)):
        return False
    return any(_breaks(each) for each in tree.children(one))


def _without_break(body: tuple[tree.Statement, ...]) -> tuple[tree.Statement, ...]:
    if len(body) == 1 and isinstance(body[0], tree.Block):
        return _without_break(body[0].body)
    return body[:-1] if body and isinstance(body[-1], tree.Break) else body


_WAYS: dict[type, Callable[[Any, Any], list[ast.stmt]]] = {
    tree.Evaluate: Statements.evaluate,
    tree.Block: Statements.block_statement,
    tree.Include: Statements.include,
    tree.Echo: Statements.echo,
    tree.Return: Statements.return_,
    tree.Throw: Statements.throw,
    tree.If: Statements.if_,
    tree.Switch: Statements.switch,
    tree.While: Statements.while_,
    tree.For: Statements.for_,
    tree.Foreach: Statements.foreach,
    tree.Break: Statements.break_,
    tree.Continue: Statements.continue_,
    tree.Try: Statements.try_,
    tree.Barrier: Statements.barrier,
    tree.Import: Statements.import_,
}
