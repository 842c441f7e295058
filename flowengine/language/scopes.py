"""Which variable a name means, and which function (HSL reference §1.3, §1.10).

A module's own code has one scope, every function another; blocks have none. A function sees the variables of its
module, and the predefined ones, only through `global`; a closure sees what it lists, by reference.
"""

from dataclasses import dataclass, field

from flowengine.language import tree
from flowengine.language.functions import Builtin, Variable, Vocabulary
from flowengine.language.linking import (
    ClassInfo,
    FunctionInfo,
    ImportedVariable,
    Linker,
    Module,
    assigned_names,
    targets,
)
from flowengine.language.natives import NativeClass, native_class
from flowengine.language.problems import Span
from flowengine.language.thrown import ExceptionObject


@dataclass(frozen=True)
class Local:
    """A variable of one scope."""

    scope: "Scope"
    name: str


@dataclass(frozen=True)
class Shared:
    """A variable of a module that functions or other modules see too."""

    module: Module
    name: str


@dataclass(frozen=True)
class Predefined:
    """A variable of the phase."""

    variable: Variable


Where = Local | Shared | Predefined


@dataclass(eq=False)
class Scope:
    """The variables of a function, or of a module's own code (info is None).

    lent: what closures inside capture.
    flexible: may be looked at before they have a value (isset, ??, unset, written in part, captured).
    """

    module: Module
    info: FunctionInfo | None
    enclosing: "Scope | None"
    number: int
    parameters: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    declared: dict[str, Span] = field(default_factory=dict)
    captured: set[str] = field(default_factory=set)
    lent: set[str] = field(default_factory=set)
    flexible: set[str] = field(default_factory=set)
    unset: set[str] = field(default_factory=set)
    unset_by_closures: set[str] | None = None


Target = FunctionInfo | ClassInfo | Builtin | NativeClass


class Scopes:
    """All the scopes of one flow in one phase."""

    def __init__(self, linker: Linker, vocabulary: Vocabulary, phase: str) -> None:
        self.linker, self.vocabulary = linker, vocabulary
        self.phase = vocabulary.phases[phase]
        self.natives = {name: native_class(one) for name, one in vocabulary.classes.items()}
        self.natives.setdefault("Exception", native_class(ExceptionObject))
        self.scopes: dict[FunctionInfo | Module, Scope] = {}
        self.shared: dict[Module, set[str]] = {}
        self.unset_anywhere: dict[Module, set[str]] = {}

    def of(self, owner: FunctionInfo | Module) -> Scope:
        """The scope of a function or of a module's own code."""
        if owner not in self.scopes:
            enclosing = None
            if isinstance(owner, FunctionInfo) and owner.node.name == "":
                enclosing = self.of(owner.parent or owner.module)
            module = owner if isinstance(owner, Module) else owner.module
            info = owner if isinstance(owner, FunctionInfo) else None
            self.scopes[owner] = scope = Scope(module, info, enclosing, len(self.scopes))
            self._fill(scope)
        return self.scopes[owner]

    def _fill(self, scope: Scope) -> None:
        if scope.info is not None:
            node = scope.info.node
            scope.parameters = {one.name for one in node.parameters} | ({"argv", "argc"} if node.old else set())
            scope.captured = {one.name for one in node.captured}
            if scope.info.owner is not None and not (scope.info.static and node.name):
                scope.parameters.add("this")
        for one in self.linker.nodes(scope.info or scope.module):
            scope.assigned.update(targets(one))
            if isinstance(one, tree.Global):
                for variable in one.variables:
                    scope.declared.setdefault(variable.name, variable.span)
            elif isinstance(one, tree.Isset):
                scope.flexible.update(_root(place) for place in one.places)
            elif isinstance(one, tree.Unset):
                scope.flexible |= {_root(place) for place in one.places}
                scope.unset |= {place.name for place in one.places if isinstance(place, tree.Variable)}
            elif isinstance(one, tree.Coalesce):
                scope.flexible.add(_root(one.left))
            elif isinstance(one, (tree.Assign, tree.Increment)):
                self._written(
                    scope, one.target, "??=" if isinstance(one, tree.Assign) and one.operator == "??=" else ""
                )
            elif isinstance(one, tree.Function):
                scope.lent.update(variable.name for variable in one.captured)
                scope.flexible |= scope.lent
            elif isinstance(one, tree.Barrier) and one.shared is not None:
                scope.flexible.add(one.shared.name)
            elif isinstance(one, tree.Foreach):
                for place in (one.key, one.value):
                    if place is not None:
                        self._written(scope, place, "")
        scope.flexible.discard("")

    def _written(self, scope: Scope, place: tree.Expression, operator: str) -> None:
        if isinstance(place, tree.Pattern):
            for item in place.items:
                self._written(scope, item.value, operator)
        elif not isinstance(place, tree.Variable) or operator:
            scope.flexible.add(_root(place))

    def shared_names(self, module: Module) -> set[str]:
        """The variables of a module that others than its own code see."""
        if module not in self.shared:
            names = {name for info in module.infos.values() for name in self._declared(info)}
            for other in self.linker.modules.values():
                for one in other.variables.values():
                    if one.module is module:
                        names.add(one.name)
                if module in other.namespaces.values():
                    names |= assigned_names(self.linker, module)
            self.shared[module] = names
        return self.shared[module]

    def _declared(self, info: FunctionInfo) -> set[str]:
        return set(self.of(info).declared)

    def unset_in(self, scope: Scope) -> set[str]:
        """The local variables that a scope, or a closure inside it, unsets."""
        if scope.unset_by_closures is None:
            infos = [info for info in scope.module.infos.values() if info.node.captured and info is not scope.info]
            inner = [self.of(info) for info in infos]
            scope.unset_by_closures = {name for one in inner for name in one.unset & one.captured}
        return scope.unset | scope.unset_by_closures

    def ever_unset(self, module: Module) -> set[str]:
        """The variables that anything in a module unsets."""
        if module not in self.unset_anywhere:
            found = set(self.of(module).unset)
            for info in module.infos.values():
                found |= self.of(info).unset
            self.unset_anywhere[module] = found
        return self.unset_anywhere[module]

    def locate(self, scope: Scope, name: str) -> Where | None:
        """What a variable's name means in a scope; None when nothing there creates it."""
        if scope.info is None:
            return self._in_module(scope, name)
        if name in scope.parameters:
            return Local(scope, name)
        if name in scope.declared:
            return self._global(scope.module, name)
        if name in scope.captured and scope.enclosing is not None:
            return self.locate(scope.enclosing, name) or Local(scope.enclosing, name)
        if name in scope.assigned:
            return Local(scope, name)
        return None

    def _in_module(self, scope: Scope, name: str) -> Where | None:
        known = scope.module.variables.get(name)
        if known is not None:
            return Shared(known.module, known.name)
        if name in self.phase.variables:
            return Predefined(self.phase.variables[name])
        if name in self.shared_names(scope.module):
            return Shared(scope.module, name)
        return Local(scope, name) if name in scope.assigned else None

    def _global(self, module: Module, name: str) -> Where:
        known: ImportedVariable | None = module.variables.get(name)
        if known is not None:
            return Shared(known.module, known.name)
        if name in self.phase.variables:
            return Predefined(self.phase.variables[name])
        return Shared(module, name)

    def created(self, module: Module, name: str) -> bool:
        """Whether the module's own code, or any function through `global`, gives a shared variable a value."""
        if name in self.of(module).assigned or name in module.variables:
            return True
        return any(name in self.of(info).declared and name in self.of(info).assigned for info in module.infos.values())

    def find(self, name: str, scope: Scope, span: Span) -> Target | None:
        """What a function's or class's name means in a scope."""
        info = scope.info
        while info is not None:
            if name in info.functions:
                return info.functions[name]
            info = info.parent
        own = scope.module.export(name)
        if own is not None:
            return own
        name = scope.module.builtins.get(name, name)
        return self.find_builtin(name, span) or self.natives.get(name)

    def find_builtin(self, name: str, span: Span) -> Builtin | FunctionInfo | None:
        """What `builtin name` means: a builtin of the phase, or a function that exists without an import."""
        return self.vocabulary.find(name, self.phase.name) or self.linker.find_known(name, span)


def _root(place: tree.Expression) -> str:
    """The variable at the root of a place; "" when there is none."""
    while isinstance(place, (tree.Subscript, tree.Slice, tree.Path, tree.Member)):
        place = place.base
    return place.name if isinstance(place, tree.Variable) else ""
