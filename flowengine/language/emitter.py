"""What both halves of the code generator stand on: Python ast nodes with the flow's places, names, temporaries.

One `Emitter` writes one Python function. Generated code names only what is in its namespace (`support.py`), its own
variables and `run`; it never reads an attribute of a flow's value unless its type was tested right before.
"""

import ast
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flowengine.language import tree
from flowengine.language.findings import Checked
from flowengine.language.linking import ClassInfo, FunctionInfo
from flowengine.language.problems import Span
from flowengine.language.scopes import Local, Predefined, Scope, Shared, Where
from flowengine.language.thrown import LINES

T = TypeVar("T")
LOAD, STORE = ast.Load(), ast.Store()


@dataclass
class Unit:
    """What the functions of one flow share while they are written.

    namespace: the globals of the compiled code. slots: places of shared variables in the run's list `g`.
    """

    checked: Checked
    phase: str
    trace: bool
    namespace: dict[str, Any]
    slots: dict[Any, int] = field(default_factory=dict)
    constants: int = 0
    hot: set[str] = field(default_factory=set)
    recursive: set[FunctionInfo] = field(default_factory=set)

    def slot(self, owner: object) -> int:
        """The place of a shared variable, or of a class's static variables."""
        return self.slots.setdefault(owner, len(self.slots))

    def constant(self, value: object) -> str:
        """The name of a constant in the namespace."""
        self.constants += 1
        name = f"k{self.constants}"
        self.namespace[name] = value
        return name


class Emitter:
    """Writes one Python function. Its mixins are `Expressions` and `Statements`."""

    def __init__(self, unit: Unit, scope: Scope, files: list[str]) -> None:
        self.unit, self.scope, self.files = unit, scope, files
        self.where: dict[str, Any] = {"lineno": 1, "col_offset": 0, "end_lineno": 1, "end_col_offset": 0}
        self.before: list[ast.stmt] = []  # function definitions that the next statement needs
        self.temporaries = 0
        self.uses_budget = self.uses_phase = False
        self.outer: set[str] = set()  # variables of enclosing functions

    # places in the source

    def at(self, one: tree.Node) -> dict[str, Any]:
        """Make a node's place the current one; returns the place before, to be put back."""
        held = self.where
        span = one.span
        if span.file not in self.files:
            self.files.append(span.file)
        base = self.files.index(span.file) * LINES
        self.where = {
            "lineno": base + span.line,
            "col_offset": span.column - 1,
            "end_lineno": base + span.end_line,
            "end_col_offset": span.end_column - 1,
        }
        return held

    def span(self) -> Span:
        """The current place, as the flow's author knows it."""
        line, end = self.where["lineno"], self.where["end_lineno"]
        column, end_column = self.where["col_offset"] + 1, self.where["end_col_offset"] + 1
        return Span(self.files[line // LINES], line % LINES, column, end % LINES, end_column)

    # Python expressions

    def name(self, name: str) -> ast.expr:
        return ast.Name(name, LOAD, **self.where)

    def constant(self, value: object) -> ast.expr:
        return ast.Constant(value, **self.where)  # type: ignore[arg-type]  # only scalars come here

    def call(self, function: str, *arguments: ast.expr) -> ast.expr:
        return ast.Call(self.name(function), list(arguments), [], **self.where)

    def with_run(self, function: str, *arguments: ast.expr) -> ast.expr:
        return self.call(function, self.name("run"), *arguments)

    def group(self, *items: ast.expr) -> ast.expr:
        return ast.Tuple(list(items), LOAD, **self.where)

    def choose(self, test: ast.expr, then: ast.expr, other: ast.expr) -> ast.expr:
        return ast.IfExp(test, then, other, **self.where)

    def compare(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
        return ast.Compare(left, [operator], [right], **self.where)

    def item(self, base: ast.expr, index: int) -> ast.expr:
        return ast.Subscript(base, self.constant(index), LOAD, **self.where)

    def is_type(self, value: ast.expr, kind: str) -> ast.expr:
        return self.compare(self.call("type", value), ast.Is(), self.name(kind))

    def temporary(self) -> str:
        """A new name that only this function knows."""
        self.temporaries += 1
        return f"t{self.temporaries}"

    def keep(self, name: str, value: ast.expr) -> ast.expr:
        """`(name := value)`."""
        return ast.NamedExpr(ast.Name(name, STORE, **self.where), value, **self.where)

    def once(self, value: ast.expr) -> tuple[ast.expr, ast.expr]:
        """A value to be used twice: what to write the first time, and the second."""
        if isinstance(value, ast.Name):
            return value, value
        name = self.temporary()
        return self.keep(name, value), self.name(name)

    # Python statements

    def assign(self, name: str, value: ast.expr) -> ast.stmt:
        return ast.Assign([ast.Name(name, STORE, **self.where)], value, **self.where)

    def run_it(self, value: ast.expr) -> ast.stmt:
        return ast.Expr(value, **self.where)

    def count_step(self) -> list[ast.stmt]:
        """One step of the budget."""
        self.uses_budget = True
        left = ast.Attribute(self.name("_b"), "left", LOAD, **self.where)
        target = ast.Attribute(self.name("_b"), "left", STORE, **self.where)
        refill = ast.Attribute(self.name("_b"), "refill", LOAD, **self.where)
        return [
            ast.AugAssign(target, ast.Sub(), self.constant(1), **self.where),
            ast.If(
                self.compare(left, ast.Lt(), self.constant(0)),
                [self.run_it(ast.Call(refill, [], [], **self.where))],
                [],
                **self.where,
            ),
        ]

    # variables of the flow

    def inside(self) -> ast.expr:
        """The class in whose code this stands."""
        owner = self.scope.info.owner if self.scope.info is not None else None
        return self.constant(None) if owner is None else self.name("c_" + owner.label)

    def owner(self) -> ClassInfo | None:
        """The class in whose code this stands, for the generator."""
        return self.scope.info.owner if self.scope.info is not None else None

    def locate(self, name: str) -> Where:
        """What a variable's name means here."""
        where = self.unit.checked.scopes.locate(self.scope, name)
        return where if where is not None else Local(self.scope, name)

    def python_name(self, where: Local) -> str:
        """The Python variable that holds a local one."""
        if where.name == "this":
            return "v_this"
        if where.scope is not self.scope:
            self.outer.add(f"v{where.scope.number}_{where.name}")
        return f"v{where.scope.number}_{where.name}"

    def raw(self, where: Where) -> ast.expr:
        """The content of a variable, UNSET when it has none."""
        if isinstance(where, Shared):
            slot = self.unit.slot((where.module, where.name))
            return ast.Subscript(self.name("g"), self.constant(slot), LOAD, **self.where)
        if isinstance(where, Predefined):
            self.uses_phase = True
            return ast.Attribute(self.name("_p"), where.variable.name, LOAD, **self.where)
        if where.name not in where.scope.assigned and where.name not in where.scope.parameters:
            return self.name("UNSET")  # nothing ever creates it
        return self.name(self.python_name(where))

    def read_variable(self, one: tree.Variable) -> ast.expr:
        """The value of a variable; an error when it has none."""
        where = self.locate(one.name)
        value = self.raw(where)
        if one not in self.unit.checked.maybe or isinstance(where, Predefined):
            return value
        if isinstance(where, Local) and one.name not in where.scope.flexible:
            return value  # Python itself notices
        first, second = self.once(value)
        return self.choose(
            self.compare(first, ast.IsNot(), self.name("UNSET")), second, self.call("no_value", self.constant(one.name))
        )

    def store(self, where: Where, value: ast.expr) -> ast.expr:
        """An expression that gives a variable a value, and has it."""
        if isinstance(where, Shared):
            slot = self.unit.slot((where.module, where.name))
            return self.call("set_slot", self.name("g"), self.constant(slot), value)
        if isinstance(where, Predefined):
            self.uses_phase = True
            return self.call("set_predefined", self.name("_p"), self.constant(where.variable.name), value)
        return self.keep(self.python_name(where), value)

    def store_now(self, where: Where, value: ast.expr) -> ast.stmt:
        """A statement that gives a variable a value."""
        if isinstance(where, Local):
            return self.assign(self.python_name(where), value)
        if isinstance(where, Shared):
            slot = self.constant(self.unit.slot((where.module, where.name)))
            return ast.Assign([ast.Subscript(self.name("g"), slot, STORE, **self.where)], value, **self.where)
        return self.run_it(self.store(where, value))

    def shared(self, value: ast.expr, one: tree.Expression, *names: str) -> ast.expr:
        """A value on its way into a second place, marked as shared where anything may write into it."""
        if not aliases(one):
            return value
        root = _root(one)
        if root is not None and root not in self.unit.hot and not any(name in self.unit.hot for name in names):
            return value
        if root is None and not any(name in self.unit.hot for name in names):
            return value
        return self.call("share", value)


def known(value: T | None) -> T:
    """What the parser or the checker has made sure of."""
    if value is None:
        raise RuntimeError("the checker let something pass that it should not")
    return value


def aliases(one: tree.Expression) -> bool:
    """Whether a value may be an array that somebody else holds too."""
    if isinstance(one, (tree.Ternary, tree.Coalesce, tree.Match, tree.Assign, tree.Logical)):
        return not isinstance(one, tree.Logical)
    return isinstance(one, (tree.Variable, tree.Subscript, tree.Path, tree.Member, tree.Static, tree.Call, tree.Cached))


def _root(one: tree.Expression) -> str | None:
    while isinstance(one, (tree.Subscript, tree.Path, tree.Member)):
        one = one.base
    return one.name if isinstance(one, tree.Variable) else None


def written_in_part(nodes: list[tree.Node]) -> set[str]:
    """The names of variables into which anything writes, not counting whole assignments."""
    found: set[str] = set()
    for one in nodes:
        places: tuple[tree.Expression, ...] = ()
        if isinstance(one, (tree.Assign, tree.Increment)):
            places = (one.target,)
        elif isinstance(one, tree.Unset):
            places = one.places
        elif isinstance(one, tree.Foreach):
            places = (one.value,) if one.key is None else (one.key, one.value)
        for place in places:
            found |= _in_part(place)
    return found


def _in_part(place: tree.Expression) -> set[str]:
    if isinstance(place, tree.Pattern):
        return {name for item in place.items for name in _in_part(item.value)}
    name = None
    while isinstance(place, (tree.Subscript, tree.Slice, tree.Path, tree.Member)):
        place = place.base
        name = place.name if isinstance(place, tree.Variable) else None
    return {name} if name is not None else set()
