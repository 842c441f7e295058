"""The tree of a flow: what the parser gives, checker and compiler read.

Every node knows its stretch of the source. Nodes are values; nothing is written into them after parsing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast, dataclass_transform

from flowengine.language.problems import Span

T = TypeVar("T")


@dataclass_transform(frozen_default=True, eq_default=False)
def node(cls: type[T]) -> type[T]:
    """A node is a frozen dataclass, equal only to itself."""
    return dataclass(frozen=True, slots=True, eq=False)(cls)


@node
class Node:
    """Anything with a place."""

    span: Span


class Expression(Node):
    """Has a value."""

    __slots__ = ()


class Statement(Node):
    """Does something."""

    __slots__ = ()


# expressions


@node
class Literal(Expression):
    """none, true, 5, "text", ''raw'', #/regex/."""

    value: bool | int | float | str | None


@node
class Concat(Expression):
    """`a . b . c`, or a double-quoted string with variables inside."""

    parts: tuple[Expression, ...]
    quoted: bool = False


@node
class Item(Node):
    """One item of an array literal, a pattern or a call. spread: `...value`. default: of a pattern, `$a = 3`."""

    value: Expression
    key: Expression | None = None
    spread: bool = False
    default: Expression | None = None


@node
class ArrayLiteral(Expression):
    """`["k" => v, x, ...$rest]`."""

    items: tuple[Item, ...]


@node
class Variable(Expression):
    """`$name`, without the dollar."""

    name: str


@node
class Subscript(Expression):
    """`base[index]`; without index it is the place where `[]` appends."""

    base: Expression
    index: Expression | None


@node
class Path(Expression):
    """`base[...["a", "b"]]`."""

    base: Expression
    path: Expression


@node
class Slice(Expression):
    """`base[first:last:step]`."""

    base: Expression
    first: Expression | None
    last: Expression | None
    step: Expression | None


@node
class Member(Expression):
    """`base->name`."""

    base: Expression
    name: str


@node
class Static(Expression):
    """`Owner::name` or `Owner::$name`; the owner is a class, a namespace or the word `static`."""

    owner: str
    name: str
    variable: bool


@node
class Name(Expression):
    """A function's or class's name; builtin: `builtin name`."""

    name: str
    builtin: bool = False


@node
class Call(Expression):
    """`function(arguments)`."""

    function: Expression
    arguments: tuple[Item, ...]


@node
class Cached(Expression):
    """`cache [options] f(arguments)`."""

    options: ArrayLiteral | None
    call: Call


@node
class Unary(Expression):
    """`!x`, `not x`, `-x`, `~x`; the operator of `not` is `!`."""

    operator: str
    operand: Expression


@node
class Binary(Expression):
    """`left operator right` for all that is neither `.`, `and`, `or` nor `??`."""

    operator: str
    left: Expression
    right: Expression


@node
class Logical(Expression):
    """`a and b and c`, or the same with `or`."""

    operator: str
    operands: tuple[Expression, ...]


@node
class Coalesce(Expression):
    """`left ?? right`."""

    left: Expression
    right: Expression


@node
class Ternary(Expression):
    """`condition ? then : other`; without `then` it is `condition ?: other`."""

    condition: Expression
    then: Expression | None
    other: Expression


@node
class Pattern(Expression):
    """The left side of `[$a, "k" => $b, [$c], ...$rest] = …`."""

    items: tuple[Item, ...]


@node
class Assign(Expression):
    """`target operator value`: `=`, `+=`, `??=` …"""

    target: Expression
    operator: str
    value: Expression


@node
class Increment(Expression):
    """`++x`, `x--` …; by is 1 or -1."""

    target: Expression
    by: int
    prefix: bool


@node
class Isset(Expression):
    """`isset($a["b"])`."""

    places: tuple[Expression, ...]


@node
class Unset(Expression):
    """`unset($a["b"])`."""

    places: tuple[Expression, ...]


@node
class Parameter(Node):
    """A parameter of a function."""

    name: str
    default: Expression | None = None
    variadic: bool = False


@node
class Function(Expression):
    """A function's parameters and body. name: "" when it is anonymous.

    captured: what `closure (…)` lists. generator: a `yield` is in it. old: written without a parameter list.
    """

    name: str
    parameters: tuple[Parameter, ...]
    captured: tuple["Variable", ...]
    body: tuple[Statement, ...]
    generator: bool
    old: bool = False
    name_span: Span | None = None

    @property
    def least(self) -> int:
        """The fewest arguments of a call."""
        return sum(one.default is None and not one.variadic for one in self.parameters)

    @property
    def most(self) -> int | None:
        """The most arguments of a call; None when there is no end."""
        return None if self.old or any(one.variadic for one in self.parameters) else len(self.parameters)


@node
class Arm(Node):
    """An arm of `match`; no labels: default."""

    labels: tuple[Expression, ...]
    value: Expression


@node
class Match(Expression):
    """`match (subject) { a, b => x, default => y }`."""

    subject: Expression
    arms: tuple[Arm, ...]


@node
class Yield(Expression):
    """`yield value`."""

    value: Expression


# statements


@node
class Evaluate(Statement):
    """`expression;`"""

    value: Expression


@node
class Block(Statement):
    """`{ … }`, and what an include brings."""

    body: tuple[Statement, ...]


@node
class Echo(Statement):
    """`echo value;`"""

    value: Expression


@node
class If(Statement):
    """`if … else if … else`: the conditions with their bodies, and the last else."""

    branches: tuple[tuple[Expression, Statement], ...]
    otherwise: Statement | None


@node
class For(Statement):
    """`for (before; condition; after) body`."""

    before: tuple[Expression, ...]
    condition: Expression | None
    after: tuple[Expression, ...]
    body: Statement


@node
class Foreach(Statement):
    """`foreach (subject as key => value) body`; the value may be a pattern."""

    subject: Expression
    key: Expression | None
    value: Expression
    body: Statement


@node
class While(Statement):
    """`while (condition) body`; `forever body` has no condition."""

    condition: Expression | None
    body: Statement


@node
class Case(Node):
    """A case of `switch`; no label: default."""

    label: Expression | None
    body: tuple[Statement, ...]


@node
class Switch(Statement):
    """`switch (subject) { case … }`."""

    subject: Expression
    cases: tuple[Case, ...]


@node
class Break(Statement):
    """`break;`"""


@node
class Continue(Statement):
    """`continue;`"""


@node
class Return(Statement):
    """`return value;`"""

    value: Expression | None


@node
class Throw(Statement):
    """`throw value;`"""

    value: Expression


@node
class Try(Statement):
    """`try body catch (variable) handler`."""

    body: Block
    variable: Variable | None
    handler: Block


@node
class Barrier(Statement):
    """`barrier name => shared { … }`."""

    name: Expression
    shared: Variable | None
    body: Block


@node
class Global(Statement):
    """`global $a, $b;`"""

    variables: tuple[Variable, ...]


@node
class Include(Statement):
    """`include "name";` or `include_once`."""

    name: str
    once: bool
    name_span: Span


@node
class Imported(Node):
    """One thing in the braces of an import. variable: it has a dollar."""

    name: str
    alias: str
    variable: bool


@node
class Import(Statement):
    """`import { … } from`, `import * as ns from` (namespace), `import $v from` (data)."""

    names: tuple[Imported, ...]
    namespace: str | None
    data: Variable | None
    module: str
    module_span: Span
    options: Expression | None


@node
class FunctionDef(Statement):
    """`function name(…) { … }`."""

    function: Function


@node
class Property(Node):
    """A variable of a class."""

    name: str
    default: Expression | None
    private: bool
    readonly: bool
    static: bool


@node
class Method(Node):
    """A function of a class; the constructor is called `constructor`."""

    function: Function
    private: bool
    static: bool


@node
class ClassDef(Statement):
    """`class Name { … }`."""

    name: str
    name_span: Span
    properties: tuple[Property, ...]
    methods: tuple[Method, ...]


_known_parts: dict[type[Node], tuple[str, ...]] = {}


def _parts(kind: type[Node]) -> tuple[str, ...]:
    """The names of the fields of a kind of node that can hold nodes."""
    found = _known_parts.get(kind)
    if found is None:
        without = (str, bool, int, Span, Span | None)
        found = tuple(each.name for each in fields(cast(Any, kind)) if each.type not in without)
        _known_parts[kind] = found
    return found


def children(one: Node) -> Iterator[Node]:
    """The nodes directly inside a node, in the order of the source."""
    for name in _parts(type(one)):
        value = getattr(one, name)
        if isinstance(value, Node):
            yield value
        elif type(value) is tuple:
            for item in value:
                if isinstance(item, Node):
                    yield item
                elif type(item) is tuple:  # the branches of an if
                    yield from (inner for inner in item if isinstance(inner, Node))


def walk(*nodes: Node, into_functions: bool = True) -> Iterator[Node]:
    """The nodes and all that is inside them. into_functions: also the bodies of functions and methods."""
    pending = list(reversed(nodes))
    while pending:
        one = pending.pop()
        yield one
        if not into_functions and isinstance(one, (Function, Method)):
            continue
        pending.extend(reversed(list(children(one))))


def depth(*nodes: Node) -> tuple[int, Node | None]:
    """How deep the tree is, and the first node that is deepest."""
    pending: list[tuple[Node, int]] = [(one, 1) for one in nodes]
    deepest, where = 0, None
    while pending:
        one, level = pending.pop()
        if level > deepest:
            deepest, where = level, one
        pending.extend((child, level + 1) for child in children(one))
    return deepest, where
