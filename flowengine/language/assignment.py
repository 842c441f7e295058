"""Which variables have a value at each point of a body: definite assignment.

Walks a body in the order in which it runs. Branches are joined by what both give a value; loops may run not at all.
The compiler leaves out the test for an unset variable where this walk is sure.
"""

from dataclasses import dataclass, field

from flowengine.language import tree
from flowengine.language.linking import Linker
from flowengine.language.scopes import Local, Predefined, Scope, Scopes, Shared, Where

Known = set[str] | None  # None: this point is never reached


@dataclass
class Assignment:
    """One walk.

    unknown: reads of what nothing creates. maybe: reads of what may have no value there. written: roots of writes.
    misplaced: `[]` where nothing is written.
    """

    scopes: Scopes
    scope: Scope
    linker: Linker
    unknown: list[tree.Variable] = field(default_factory=list)
    maybe: list[tree.Variable] = field(default_factory=list)
    written: list[tree.Variable] = field(default_factory=list)
    misplaced: list[tree.Expression] = field(default_factory=list)
    known: Known = field(default_factory=set)
    leaving: list[Known] = field(default_factory=list)

    def run(self, body: tuple[tree.Statement, ...]) -> None:
        """Walk a whole body."""
        self.known = set(self.scope.parameters)
        self.statements(body)

    # statements

    def statements(self, body: tuple[tree.Statement, ...]) -> None:
        for one in body:
            self.statement(one)

    def statement(self, one: tree.Statement | None) -> None:
        """One statement; what it surely assigns is known after it."""
        match one:
            case tree.Evaluate() | tree.Echo():
                self.expression(one.value)
            case tree.Block():
                self.statements(one.body)
            case tree.Include():
                self.statements(self.scope.module.inclusions.get(one, ()))
            case tree.If():
                self.if_(one)
            case tree.Foreach():
                self.foreach(one)
            case tree.While():
                self.loop((), one.condition, (), one.body)
            case tree.For():
                self.loop(one.before, one.condition, one.after, one.body)
            case tree.Switch():
                self.switch(one)
            case tree.Return():
                if one.value is not None:
                    self.expression(one.value)
                self.known = None
            case tree.Throw():
                self.expression(one.value)
                self.known = None
            case tree.Break() | tree.Continue():
                if self.leaving and isinstance(one, tree.Break):
                    self.leaving[-1] = _join(self.leaving[-1], self.known)
                self.known = None
            case tree.Try():
                self.try_(one)
            case tree.Barrier():
                self.expression(one.name)
                if one.shared is not None:
                    self.write(one.shared, sure=False)
                self.statement(one.body)
            case tree.Import():
                if one.data is not None:
                    self.write(one.data)
                if one.options is not None:
                    self.expression(one.options)
            case _:
                pass

    def if_(self, one: tree.If) -> None:
        joined: Known = None
        for condition, body in one.branches:
            true, false = self.condition(condition)
            self.known = true
            self.statement(body)
            joined = _join(joined, self.known)
            self.known = false
        self.statement(one.otherwise)
        self.known = _join(joined, self.known)

    def foreach(self, one: tree.Foreach) -> None:
        self.expression(one.subject)
        before = _copy(self.known)
        for place in (one.key, one.value):
            if place is not None:
                self.place(place)
        self.leaving.append(None)
        self.statement(one.body)
        self.leaving.pop()
        self.known = before

    def loop(
        self,
        before: tuple[tree.Expression, ...],
        condition: tree.Expression | None,
        after: tuple[tree.Expression, ...],
        body: tree.Statement,
    ) -> None:
        for each in before:
            self.expression(each)
        true, false = (_copy(self.known), None) if condition is None else self.condition(condition)
        self.known = true
        self.leaving.append(None)
        self.statement(body)
        end = self.known
        if end is None and true is not None:
            self.known = _copy(true)  # continue gets here too
        for each in after:
            self.expression(each)
        self.known = _join(false, self.leaving.pop())

    def switch(self, one: tree.Switch) -> None:
        self.expression(one.subject)
        start = _copy(self.known)
        for case in one.cases:
            if case.label is not None:
                self.known = start
                self.expression(case.label)
                start = _copy(self.known)
        self.leaving.append(None)
        self.known = None
        for case in one.cases:
            self.known = _join(_copy(start), self.known)
            self.statements(case.body)
        left = self.leaving.pop()
        if all(case.label is not None for case in one.cases):
            left = _join(left, start)
        self.known = _join(left, self.known)

    def try_(self, one: tree.Try) -> None:
        before = _copy(self.known)
        self.statement(one.body)
        after = self.known
        self.known = before
        if one.variable is not None:
            self.write(one.variable)
        self.statement(one.handler)
        self.known = _join(after, self.known)

    # expressions

    def condition(self, one: tree.Expression) -> tuple[Known, Known]:
        """What is known where a condition is true, and where it is false."""
        if isinstance(one, tree.Unary) and one.operator == "!":
            true, false = self.condition(one.operand)
            return false, true
        if isinstance(one, tree.Logical):
            joined: Known = None
            for operand in one.operands:
                true, false = self.condition(operand)
                self.known, left = (true, false) if one.operator == "and" else (false, true)
                joined = _join(joined, left)
            last = _copy(self.known)
            return (last, joined) if one.operator == "and" else (joined, last)
        self.expression(one)
        true, false = _copy(self.known), self.known
        if isinstance(one, tree.Isset) and true is not None:
            true |= {place.name for place in one.places if isinstance(place, tree.Variable)}
        if isinstance(one, tree.Literal):
            return (true, None) if one.value else (None, false)
        return true, false

    def expression(self, one: tree.Expression) -> None:
        """One expression, its parts in the order in which they are evaluated."""
        match one:
            case tree.Variable():
                self.read(one)
            case tree.Assign():
                self.assign(one)
            case tree.Increment():
                self.expression(one.target)
                self.place(one.target, sure=False)
            case tree.Logical():
                true, false = self.condition(one)
                self.known = _join(true, false)
            case tree.Ternary():
                true, false = self.condition(one.condition)
                self.known = true
                if one.then is not None:
                    self.expression(one.then)
                left, self.known = self.known, false
                self.expression(one.other)
                self.known = _join(left, self.known)
            case tree.Coalesce():
                self.soft(one.left)
                before = _copy(self.known)
                self.expression(one.right)
                self.known = before
            case tree.Isset():
                for place in one.places:
                    self.soft(place)
            case tree.Unset():
                for place in one.places:
                    self.soft(place)
                    if not isinstance(place, tree.Variable):
                        self.place(place, sure=False)
                    else:
                        self.written.append(place)
            case tree.Match():
                self.match(one)
            case tree.Function():
                for variable in one.captured:
                    self.exists(variable)
            case tree.Subscript() if one.index is None:
                self.misplaced.append(one)
                self.expression(one.base)
            case _:
                for child in tree.children(one):
                    if isinstance(child, tree.Item):
                        if child.key is not None:
                            self.expression(child.key)
                        self.expression(child.value)
                    elif isinstance(child, tree.Expression):
                        self.expression(child)

    def match(self, one: tree.Match) -> None:
        self.expression(one.subject)
        before, joined = self.known, None
        for arm in one.arms:
            self.known = _copy(before)
            for label in arm.labels:
                self.expression(label)
            self.expression(arm.value)
            joined = _join(joined, self.known)
        self.known = joined if one.arms else before

    def assign(self, one: tree.Assign) -> None:
        if one.operator == "??=":
            self.soft(one.target)
            before = _copy(self.known)
            self.expression(one.value)
            self.known = before
            self.place(one.target)
            return
        if one.operator != "=":
            self.expression(one.target)
        self.expression(one.value)
        self.place(one.target)

    def place(self, one: tree.Expression, *, sure: bool = True) -> None:
        """Something is written to a place; its subscripts are read."""
        if isinstance(one, tree.Pattern):
            for item in one.items:
                if item.key is not None:
                    self.expression(item.key)
                if item.default is not None:
                    before = _copy(self.known)
                    self.expression(item.default)
                    self.known = before
                self.place(item.value)
            return
        whole = one
        while not isinstance(one, tree.Variable):
            match one:
                case tree.Subscript():
                    if one.index is not None:
                        self.expression(one.index)
                case tree.Path():
                    self.expression(one.path)
                case tree.Slice():
                    for bound in (one.first, one.last, one.step):
                        if bound is not None:
                            self.expression(bound)
                case tree.Member():
                    pass
                case _:
                    if not isinstance(one, tree.Static):
                        self.expression(one)  # f()->x = 1
                    return
            one = one.base
        if isinstance(whole, tree.Member) or (whole is not one and one.name == "this"):
            self.read(one)  # $o->x = 1 needs an object
            return
        self.write(one, sure=sure)

    def soft(self, one: tree.Expression) -> None:
        """What isset and ?? look at: the root may be missing."""
        while isinstance(one, (tree.Subscript, tree.Path, tree.Slice, tree.Member)):
            match one:
                case tree.Subscript():
                    if one.index is not None:
                        self.expression(one.index)
                case tree.Path():
                    self.expression(one.path)
                case tree.Slice():
                    for bound in (one.first, one.last, one.step):
                        if bound is not None:
                            self.expression(bound)
                case _:
                    pass
            one = one.base
        if not isinstance(one, tree.Variable):
            self.expression(one)

    # variables

    def read(self, one: tree.Variable) -> None:
        """A variable is read."""
        where = self.scopes.locate(self.scope, one.name)
        if where is None or (isinstance(where, Shared) and not self.scopes.created(where.module, where.name)):
            self.unknown.append(one)
        elif isinstance(where, Predefined):
            return
        elif self.known is None or one.name not in self.known or self.may_be_unset(one.name, where):
            self.maybe.append(one)

    def may_be_unset(self, name: str, where: Where) -> bool:
        """Whether anything that can see a variable unsets it."""
        if isinstance(where, Shared):
            return where.name in self.scopes.ever_unset(where.module)
        return name in self.scopes.unset_in(where.scope) if isinstance(where, Local) else False

    def exists(self, one: tree.Variable) -> None:
        """A variable is captured by a closure, which may create it."""
        if self.scopes.locate(self.scope, one.name) is None:
            self.unknown.append(one)

    def write(self, one: tree.Variable, *, sure: bool = True) -> None:
        """A variable gets a value."""
        self.written.append(one)
        if sure and self.known is not None:
            self.known.add(one.name)


def _copy(known: Known) -> Known:
    return None if known is None else set(known)


def _join(one: Known, other: Known) -> Known:
    if one is None:
        return other
    if other is None:
        return one
    return one & other
