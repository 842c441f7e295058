"""Everything wrong with a flow, before it runs, and what the compiler needs to know of its names.

Errors are what fails whatever the data: names, arity, options, phase, imports. What hangs on a value or a path is at
most a warning. Functions of imported modules are looked at when something reaches them.
"""

from difflib import get_close_matches

from flowengine.language import tree
from flowengine.language.assignment import Assignment
from flowengine.language.callchecks import CallChecks
from flowengine.language.findings import Checked
from flowengine.language.flowchecks import FlowChecks
from flowengine.language.functions import Vocabulary
from flowengine.language.linking import ClassInfo, FunctionInfo, Linked, Linker, Module
from flowengine.language.natives import NativeClass
from flowengine.language.scopes import Local, Predefined, Scope, Target
from flowengine.language.valuechecks import ValueChecks

_FOREIGN = {
    "null": "write `none`", "NULL": "write `none`", "nil": "write `none`", "undefined": "write `none`",
    "True": "write `true`", "False": "write `false`", "TRUE": "write `true`", "FALSE": "write `false`",
    "empty": "write `!$x`", "list": "write `[$a, $b] = ...`", "print": "write `echo ...;`", "die": "write `return;`",
    "exit": "write `return;`", "sizeof": "write `length(...)`", "in_arr": "write `in_array(...)`",
}  # fmt: skip
_REMOVED = {"ScanSPF", "ScanBWList", "Blacklist", "WrapMessage", "DeliverAsSpam"}


class Checker(CallChecks, FlowChecks, ValueChecks):
    """Looks at one linked flow in one phase."""

    def __init__(self, linker: Linker, linked: Linked, vocabulary: Vocabulary, phase: str) -> None:
        super().__init__(linker, linked, vocabulary, phase)
        self.pending: list[FunctionInfo] = []

    def check(self) -> Checked:
        """Look at everything that may run, and at all functions of the flow's own files."""
        end = self.scopes.phase.implicit_end
        own = self.linked.main.export(end) if end else None
        if isinstance(own, FunctionInfo):
            self.reach(own)
        for info in list(self.linked.main.infos.values()):
            self.reach(info)
        # looking at a body may bring in further modules: functions that exist without an import
        looked = 0
        while self.pending or looked < len(self.linked.modules):
            if looked < len(self.linked.modules):
                module = self.linked.modules[looked]
                looked += 1
                self.look_at(self.scopes.of(module), module.body)
            else:
                info = self.pending.pop()
                self.look_at(self.scopes.of(info), info.node.body)
        self.result.problems = sorted(
            {(*one.span, one.id, one.message): one for one in self.linked.problems}.values(),
            key=lambda one: (one.span.file, one.span.line, one.span.column),
        )
        return self.result

    def reach(self, info: FunctionInfo) -> None:
        """Something may call this function."""
        if info not in self.result.reached:
            self.result.reached[info] = None
            self.pending.append(info)

    def look_at(self, scope: Scope, body: tuple[tree.Statement, ...]) -> None:
        """One body: its names and calls, its statements, its variables."""
        self.scope = scope
        defaults = scope.info.node.parameters if scope.info is not None else ()
        for parameter in defaults:
            if parameter.default is not None:
                self.constant(parameter.default, "a default")
        nodes = self.linker.nodes(scope.info or scope.module)
        self.globals(scope)
        called = {one.function: one for one in nodes if isinstance(one, tree.Call)}
        for one in nodes:
            self.node(one, called)
        self.loops(body, 0, in_switch=False)
        self.unreachable(body)
        self.values(nodes)
        self.edits_after_signing(body)
        self.variables(scope, body)

    def node(self, one: tree.Node, called: dict[tree.Expression, tree.Call]) -> None:
        """One node of a body."""
        if isinstance(one, tree.Name):
            self.name(one, called.get(one))
        elif isinstance(one, tree.Static):
            self.static(one, called.get(one))
        elif isinstance(one, tree.Function):
            self.reach(self.scope.module.infos[one])
        elif isinstance(one, tree.ClassDef):
            self.class_(one)
        elif isinstance(one, (tree.Import, tree.Return)):
            self.statement(one)
        elif isinstance(one, tree.Concat) and one.quoted:
            self.interpolation(one)
        elif isinstance(one, tree.Cached):
            self.cached(one)

    def name(self, one: tree.Name, call: tree.Call | None) -> None:
        """The name of a function or class, called or taken as a value."""
        find = self.scopes.find_builtin(one.name, one.span) if one.builtin else None
        target = find if one.builtin else self.scopes.find(one.name, self.scope, one.span)
        if target is None:
            self.unknown(one)
            return
        self.use(one, target)
        if call is not None:
            self.call(one.name, target, call)
        elif isinstance(target, (ClassInfo, NativeClass)):
            self.problem(
                one.span, "unknown-function", f"{one.name} is a class", f"write `{one.name}(...)` for an object"
            )

    def use(self, one: tree.Node, target: Target) -> None:
        """Remember what a name means, and reach it."""
        self.result.targets[one] = target
        if isinstance(target, FunctionInfo):
            if target is self.scope.info:
                self.problem(one.span, "recursion", f"{target.node.name} calls itself", "its depth is limited", "hint")
            self.reach(target)
        elif isinstance(target, ClassInfo):
            self.use_class(target)
        elif not isinstance(target, NativeClass) and target.deprecated:
            self.problem(one.span, "deprecated", f"{target.name}: {target.deprecated}", "", "hint")

    def use_class(self, target: ClassInfo) -> None:
        if target not in self.result.classes:
            self.result.classes[target] = None
            for info in target.methods.values():
                self.reach(info)

    def unknown(self, one: tree.Name) -> None:
        """Say what is wrong with a name that means nothing here."""
        phases = self.vocabulary.phases_of(one.name)
        if phases:
            where = ", ".join(sorted(phases))
            self.problem(
                one.span, "wrong-phase", f"{one.name} does not exist in {self.phase} flows", f"it works in {where}"
            )
            return
        if one.builtin:
            self.problem(one.span, "unknown-function", f"there is no builtin {one.name}", self.near(one.name))
            return
        hint = _FOREIGN.get(one.name) or (
            "it was removed in Halon 3.x" if one.name in _REMOVED else self.near(one.name)
        )
        self.problem(one.span, "unknown-function", f"there is no function {one.name}", hint)

    def near(self, name: str) -> str:
        """The nearest name that exists, as a hint."""
        known = {one for one in self.vocabulary.builtins if self.vocabulary.find(one, self.phase)}
        known |= set(self.scope.module.functions) | set(self.scope.module.imported) | set(self.scopes.natives)
        known |= set(self.scope.module.classes)
        found = get_close_matches(name, sorted(known), 1)
        return f"did you mean {found[0]}?" if found else ""

    def static(self, one: tree.Static, call: tree.Call | None) -> None:
        """`Owner::name`."""
        owner = self.owner(one)
        if owner is None:
            return
        if isinstance(owner, Module):
            self.in_namespace(one, owner, call)
            return
        if isinstance(owner, NativeClass):
            method = owner.statics.get(one.name)
            if method is None or one.variable:
                self.problem(one.span, "unknown-function", f"{owner.name} has no static member {one.name}")
                return
            self.use(one, method)
            if call is not None:
                self.call(method.name, method, call)
            return
        self.use_class(owner)
        if one.variable:
            if not any(each.name == one.name and each.static for each in owner.node.properties):
                self.problem(one.span, "unknown-variable", f"{owner.node.name} has no static variable ${one.name}")
            return
        info = owner.methods.get(one.name)
        if info is None:
            self.problem(one.span, "unknown-function", f"{owner.node.name} has no function {one.name}")
        elif call is not None:
            self.arity(one.name, info.node.least, info.node.most, call)

    def owner(self, one: tree.Static) -> "ClassInfo | NativeClass | Module | None":
        """What stands left of `::`."""
        module = self.scope.module
        if one.owner == "static":
            inside = self.scope.info.owner if self.scope.info is not None else None
            if inside is None:
                self.problem(one.span, "syntax", "`static::` stands outside a class")
            return inside
        if one.owner in module.namespaces:
            return module.namespaces[one.owner]
        thing = module.export(one.owner)
        if isinstance(thing, ClassInfo):
            return thing
        if one.owner in self.scopes.natives:
            return self.scopes.natives[one.owner]
        hint = self.near(one.owner)
        self.problem(one.span, "unknown-function", f"there is no class or namespace {one.owner}", hint)
        return None

    def in_namespace(self, one: tree.Static, owner: Module, call: tree.Call | None) -> None:
        """`ns::f` and `ns::$x`."""
        if owner.index < 0 or not owner.body:
            return  # it could not be found or read, which is said elsewhere
        if one.variable:
            if not self.scopes.created(owner, one.name):
                self.problem(one.span, "unknown-variable", f"{one.owner} has no variable ${one.name}")
            return
        thing = owner.export(one.name)
        if thing is None:
            self.problem(one.span, "unknown-function", f"{one.owner} has no function {one.name}")
            return
        self.use(one, thing)
        if call is not None:
            self.call(one.name, thing, call)

    def statement(self, one: tree.Statement) -> None:
        """Statements with rules of their own."""
        if isinstance(one, tree.Import) and self.scope.info is not None:
            self.problem(one.span, "syntax", "an import inside a function", "imports stand at the top of the file")

    def class_(self, one: tree.ClassDef) -> None:
        """The variables of a class; its functions are looked at like others."""
        info = self.scope.module.classes.get(one.name)
        if info is None or info.node is not one:
            return
        self.use_class(info)
        for each in one.properties:
            if each.default is not None:
                self.constant(each.default, "the first value of a variable")

    def variables(self, scope: Scope, body: tuple[tree.Statement, ...]) -> None:
        """Reads and writes of variables, in the order in which the code runs."""
        walk = Assignment(self.scopes, scope, self.linker)
        walk.run(body)
        for variable in walk.unknown:
            self.unknown_variable(scope, variable)
        for variable in walk.written:
            where = self.scopes.locate(scope, variable.name)
            if isinstance(where, Predefined) and not where.variable.writable:
                hint = "take another name" if scope.info is None else "leave out `global`, or take another name"
                self.problem(variable.span, "read-only", f"${variable.name} cannot be assigned", hint)
            elif variable.name == "this" and scope.info is not None and scope.info.owner is not None:
                self.problem(variable.span, "read-only", "$this cannot be assigned")
        for variable in walk.maybe:
            self.result.maybe.add(variable)
            where = self.scopes.locate(scope, variable.name)
            if isinstance(where, Local) and variable.name not in scope.captured | scope.lent:
                message = f"${variable.name} may have no value here"
                self.problem(variable.span, "possibly-unset", message, "test it with isset(), or use ??", "warning")
        for place in walk.misplaced:
            self.problem(place.span, "syntax", "`[]` appends, it has no value to read", "write `$a[] = value;`")

    def unknown_variable(self, scope: Scope, variable: tree.Variable) -> None:
        """Say what is wrong with a variable that nothing creates."""
        name = variable.name
        module = self.scopes.of(scope.module)
        in_module = self.scopes.locate(module, name) is not None
        message = f"nothing gives ${name} a value"
        if scope.info is not None and scope.info.node.name == "" and name in self._outside(scope):
            own = "closure" if scope.enclosing and scope.enclosing.info else "global"
            hint = f"write `closure (${name})` after the parameters" if own == "closure" else f"write `global ${name};`"
        elif scope.info is not None and in_module:
            hint = f"a function sees it after `global ${name};`"
        else:
            known = scope.assigned | scope.parameters | set(scope.declared) | scope.captured
            if scope.info is None:
                known |= set(self.scopes.phase.variables) | set(scope.module.variables)
            found = get_close_matches(name, sorted(known), 1)
            others = sorted(p for p, spec in self.vocabulary.phases.items() if name in spec.variables)
            hint = f"did you mean ${found[0]}?" if found else f"it exists in {', '.join(others)}" if others else ""
        self.problem(variable.span, "unknown-variable", message, hint)

    def _outside(self, scope: Scope) -> set[str]:
        outer = scope.enclosing
        return set() if outer is None else outer.assigned | outer.parameters | set(outer.declared)
