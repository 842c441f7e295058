"""Everything wrong with a flow, before it runs, and what the compiler needs to know of its names.

Errors are what fails whatever the data: names, arity, options, phase, imports. What hangs on a value or a path is at
most a warning. Functions of imported modules are looked at when something reaches them.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches

from flowengine.language import tree
from flowengine.language.assignment import Assignment
from flowengine.language.binding import arity_message, unknown_option
from flowengine.language.conversion import BadWord, Mismatch, argument, got
from flowengine.language.functions import Builtin, Vocabulary
from flowengine.language.linking import ClassInfo, FunctionInfo, Linked, Linker, Module
from flowengine.language.natives import NativeClass
from flowengine.language.problems import Problem, Severity, Span
from flowengine.language.scopes import Local, Predefined, Scope, Scopes, Shared, Target
from flowengine.language.values import Array, Value

MOST_LOOPS = 15  # Python compiles at most 20 blocks inside one another
_FOREIGN = {
    "null": "write `none`", "NULL": "write `none`", "nil": "write `none`", "undefined": "write `none`",
    "True": "write `true`", "False": "write `false`", "TRUE": "write `true`", "FALSE": "write `false`",
    "empty": "write `!$x`", "list": "write `[$a, $b] = ...`", "print": "write `echo ...;`", "die": "write `return;`",
    "exit": "write `return;`", "sizeof": "write `length(...)`", "in_arr": "write `in_array(...)`",
}  # fmt: skip
_REMOVED = {"ScanSPF", "ScanBWList", "Blacklist", "WrapMessage", "DeliverAsSpam"}
_POSITIONS = {"strpos", "strrpos", "str_find", "str_rfind"}


@dataclass
class Checked:
    """What a check found out.

    targets: what each name of a function or class means. reached: the functions that anything may call.
    maybe: places where a variable is read that may have no value there. waits: whether anything may wait.
    """

    scopes: Scopes
    linked: Linked
    problems: list[Problem] = field(default_factory=list)
    targets: dict[tree.Node, Target] = field(default_factory=dict)
    reached: dict[FunctionInfo, None] = field(default_factory=dict)
    classes: dict[ClassInfo, None] = field(default_factory=dict)
    maybe: set[tree.Variable] = field(default_factory=set)
    waits: bool = False

    @property
    def errors(self) -> list[Problem]:
        """The problems that keep the flow from being loaded."""
        return [one for one in self.problems if one.severity == "error"]


class Checker:
    """Looks at one linked flow in one phase."""

    def __init__(self, linker: Linker, linked: Linked, vocabulary: Vocabulary, phase: str) -> None:
        self.linker, self.linked, self.vocabulary, self.phase = linker, linked, vocabulary, phase
        self.scopes = Scopes(linker, vocabulary, phase)
        self.result = Checked(self.scopes, linked, linked.problems)
        self.pending: list[FunctionInfo] = []
        self.scope = self.scopes.of(linked.main)
        self.noted: set[tuple[Span, str]] = set()
        self.waiting_methods = {
            name for one in self.scopes.natives.values() for name, method in one.methods.items() if method.waits
        }

    def check(self) -> Checked:
        """Look at everything that may run, and at all functions of the flow's own files."""
        for module in self.linked.modules:
            self.look_at(self.scopes.of(module), module.body)
        end = self.scopes.phase.implicit_end
        own = self.linked.main.export(end) if end else None
        if isinstance(own, FunctionInfo):
            self.reach(own)
        for info in list(self.linked.main.infos.values()):
            self.reach(info)
        while self.pending:
            info = self.pending.pop()
            self.look_at(self.scopes.of(info), info.node.body)
        self.result.problems = sorted(
            {(*one.span, one.id, one.message): one for one in self.linked.problems}.values(),
            key=lambda one: (one.span.file, one.span.line, one.span.column),
        )
        return self.result

    def problem(self, span: Span, id_: str, message: str, hint: str = "", severity: Severity = "error") -> None:
        """Note a problem, once a place."""
        if (span, id_) not in self.noted:
            self.noted.add((span, id_))
            self.linked.problems.append(Problem(span, id_, severity, message, hint))

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
        self.variables(scope, body)

    # names

    def node(self, one: tree.Node, called: dict[tree.Expression, tree.Call]) -> None:
        """One node of a body."""
        if isinstance(one, tree.Name):
            self.name(one, called.get(one))
        elif isinstance(one, tree.Static):
            self.static(one, called.get(one))
        elif isinstance(one, tree.Member):
            if one.name in self.waiting_methods:
                self.result.waits = True
        elif isinstance(one, tree.Function):
            self.reach(self.scope.module.infos[one])
        elif isinstance(one, tree.ClassDef):
            self.class_(one)
        elif isinstance(one, tree.Binary):
            self.habits(one)
        elif isinstance(one, (tree.Import, tree.Return)):
            self.statement(one)
        elif isinstance(one, tree.Concat) and one.quoted:
            self.interpolation(one)
        elif isinstance(one, tree.Subscript) and one.index is None:
            self.appends.add(one)
        elif isinstance(one, tree.Cached):
            self.cached(one)

    @property
    def appends(self) -> set[tree.Subscript]:
        """The `[]` seen, and whether each stands where something is written is decided by `variables`."""
        found: set[tree.Subscript] = self.__dict__.setdefault("_appends", set())
        return found

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
        elif isinstance(target, NativeClass):
            if target.constructor is not None and target.constructor.waits:
                self.result.waits = True
        else:
            if target.waits:
                self.result.waits = True
            if target.deprecated:
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

    # calls

    def call(self, name: str, target: Target, call: tree.Call) -> None:
        """The arguments of a call whose target is known."""
        if isinstance(target, FunctionInfo):
            self.arity(name, target.node.least, target.node.most, call)
        elif isinstance(target, ClassInfo):
            made = target.methods.get("constructor")
            self.arity(name, made.node.least if made else 0, made.node.most if made else 0, call)
        elif isinstance(target, NativeClass):
            if target.constructor is None:
                self.problem(call.span, "unknown-function", f"{name} objects are not made by flows")
            else:
                self.builtin_call(target.constructor, call)
        else:
            self.builtin_call(target, call)

    def arity(self, name: str, least: int, most: int | None, call: tree.Call) -> None:
        """The number of arguments, when it is known."""
        spread = any(one.spread for one in call.arguments)
        given = sum(not one.spread for one in call.arguments)
        if (given < least and not spread) or (most is not None and given > most):
            takes = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
            plural = "" if takes in ("1", "at least 1") else "s"
            self.problem(call.span, "arity", f"{name} takes {takes} argument{plural}, got {given}")

    def builtin_call(self, builtin: Builtin, call: tree.Call) -> None:
        """Arity, options and literal arguments of a call of a builtin."""
        spread = any(one.spread for one in call.arguments)
        given = sum(not one.spread for one in call.arguments)
        if (given < builtin.least and not spread) or (builtin.most is not None and given > builtin.most):
            self.problem(call.span, "arity", arity_message(builtin, given))
            return
        if spread:
            return
        fixed = [one for one in builtin.parameters if not one.variadic]
        at = builtin.options_at if builtin.options_at is not None else len(fixed)
        has_options = bool(builtin.options) or builtin.open_options
        position = 0
        for index, item in enumerate(call.arguments):
            if has_options and index == at:
                self.options(builtin, item.value)
                continue
            if position >= len(fixed):
                return
            parameter = fixed[position]
            position += 1
            last = index + 1 == len(call.arguments)
            way = argument(parameter.annotation)
            written = isinstance(item.value, tree.ArrayLiteral) and not way.arrays
            if has_options and last and index <= at and written and not parameter.required:
                self.options(builtin, item.value)
                continue
            self.literal(builtin, f"${parameter.name}", parameter.annotation, item.value)

    def options(self, builtin: Builtin, given: tree.Expression) -> None:
        """The options array of a call, as far as it is written out."""
        if not isinstance(given, tree.ArrayLiteral) or builtin.open_options:
            return
        for item in given.items:
            if item.spread or item.key is None or not isinstance(item.key, tree.Literal):
                continue
            known = builtin.options.get(str(item.key.value))
            if known is None:
                message = unknown_option(builtin.name, item.key.value, builtin.options)
                message, _, hint = message.partition(", did you mean ")
                self.problem(item.key.span, "unknown-option", message, f"did you mean {hint}" if hint else "")
            else:
                self.literal(builtin, f'option "{known.name}"', known.annotation, item.value)

    def literal(self, builtin: Builtin, name: str, annotation: object, given: tree.Expression) -> None:
        """A literal argument against the type of its parameter."""
        way = argument(annotation)
        value: Value = given.value if isinstance(given, tree.Literal) else None
        if isinstance(given, tree.ArrayLiteral):
            if way.arrays:
                return
            value = Array()
        elif not isinstance(given, tree.Literal) or way.exact is object:
            return
        try:
            way.convert(value)
        except (Mismatch, BadWord):
            if type(value) is not way.exact:
                sample = f'"{value}"' if isinstance(value, str) and "one of" in way.says else got(value)
                message = f"{builtin.name}: {name} is {way.says}, got {sample}"
                self.problem(given.span, "argument-type", message, "", "warning")

    def cached(self, one: tree.Cached) -> None:
        """The options of a cache, and what must not be cached."""
        from flowengine.language.caching import OPTIONS

        for item in one.options.items if one.options is not None else ():
            if isinstance(item.key, tree.Literal) and item.key.value not in OPTIONS:
                near = get_close_matches(str(item.key.value), OPTIONS, 1)
                hint = f'did you mean "{near[0]}"?' if near else f"it has {', '.join(OPTIONS)}"
                self.problem(item.key.span, "unknown-option", f'cache has no option "{item.key.value}"', hint)
        target = (
            self.scopes.find(one.call.function.name, self.scope, one.span)
            if isinstance(one.call.function, tree.Name)
            else None
        )
        if isinstance(target, Builtin) and target.final:
            self.problem(
                one.span, "cached-action", f"{target.name} ends the script, so it would run only once", "", "warning"
            )

    # statements

    def statement(self, one: tree.Statement) -> None:
        """Statements with rules of their own."""
        if isinstance(one, tree.Import) and self.scope.info is not None:
            self.problem(one.span, "syntax", "an import inside a function", "imports stand at the top of the file")

    def constant(self, one: tree.Expression, what: str) -> None:
        """A default must be known before the flow runs."""
        allowed = (
            tree.Literal,
            tree.ArrayLiteral,
            tree.Item,
            tree.Unary,
            tree.Binary,
            tree.Concat,
            tree.Logical,
            tree.Ternary,
        )
        for each in tree.walk(one):
            if not isinstance(each, (*allowed, tree.Name, tree.Static)):
                self.problem(each.span, "not-constant", f"{what} is a constant expression", "numbers, strings, arrays")
                return

    def class_(self, one: tree.ClassDef) -> None:
        """The variables of a class; its functions are looked at like others."""
        info = self.scope.module.classes.get(one.name)
        if info is None or info.node is not one:
            return
        self.use_class(info)
        for each in one.properties:
            if each.default is not None:
                self.constant(each.default, "the first value of a variable")

    def globals(self, scope: Scope) -> None:
        """`global` of a parameter, or of something that nothing creates."""
        for name, span in scope.declared.items():
            if name in scope.parameters:
                self.problem(span, "duplicate-variable", f"${name} is already a parameter", "", "error")

    def loops(self, body: tuple[tree.Statement, ...] | tree.Statement | None, depth: int, *, in_switch: bool) -> None:
        """break and continue have a loop around them; loops do not nest too deep."""
        pending: list[tuple[tree.Node, int, bool]] = []
        statements = body if isinstance(body, tuple) else (body,) if body is not None else ()
        pending = [(one, depth, in_switch) for one in statements]
        while pending:
            one, level, switch = pending.pop()
            if isinstance(one, tree.Break) and not level and not switch:
                self.problem(one.span, "syntax", "break outside a loop")
            elif isinstance(one, tree.Continue) and not level:
                self.problem(one.span, "syntax", "continue outside a loop")
            if isinstance(one, (tree.Function, tree.FunctionDef, tree.ClassDef)):
                continue
            if isinstance(one, tree.Include):
                pending.extend((each, level, switch) for each in self.scope.module.inclusions.get(one, ()))
                continue
            if isinstance(one, (tree.For, tree.Foreach, tree.While, tree.Try, tree.Barrier, tree.Switch)):
                is_loop = isinstance(one, (tree.For, tree.Foreach, tree.While))
                inner = level + 1 if is_loop or level else level
                if self.blocks(one, level) > MOST_LOOPS:
                    self.problem(one.span, "syntax", f"more than {MOST_LOOPS} blocks inside one another")
                    continue
                pending.extend((each, inner, switch or isinstance(one, tree.Switch)) for each in tree.children(one))
                continue
            pending.extend((each, level, switch) for each in tree.children(one))

    def blocks(self, one: tree.Node, level: int) -> int:
        """How many loops, tries, switches and barriers are around and inside a node."""
        deepest = level
        pending = [(one, level)]
        while pending:
            each, depth = pending.pop()
            if isinstance(each, (tree.For, tree.Foreach, tree.While, tree.Try, tree.Barrier, tree.Switch)):
                depth += 1
            deepest = max(deepest, depth)
            if deepest > MOST_LOOPS or isinstance(each, (tree.Function, tree.FunctionDef, tree.ClassDef)):
                continue
            pending.extend((inner, depth) for inner in tree.children(each))
        return deepest

    def unreachable(self, body: tuple[tree.Statement, ...]) -> None:
        """Statements that follow one which never goes on."""
        bodies: list[tuple[tree.Statement, ...]] = [body]
        while bodies:
            statements = bodies.pop()
            ended = False
            for one in statements:
                if ended and not isinstance(one, (tree.FunctionDef, tree.ClassDef, tree.Import, tree.Break)):
                    self.problem(one.span, "unreachable-code", "this is never reached", "", "warning")
                    break
                ended = ended or self.ends(one)
            for one in statements:
                bodies.extend(_bodies(one))

    def ends(self, one: tree.Statement) -> bool:
        """Whether nothing after a statement runs."""
        if isinstance(one, (tree.Return, tree.Throw, tree.Break, tree.Continue)):
            return True
        if not isinstance(one, tree.Evaluate) or not isinstance(one.value, tree.Call):
            return False
        target = self.result.targets.get(one.value.function)
        if not isinstance(target, Builtin) or not target.final:
            return False
        arguments = one.value.arguments
        return not any(item.spread or not isinstance(item.value, (tree.Literal, tree.Concat)) for item in arguments)

    def habits(self, one: tree.Binary) -> None:
        """What people bring from other languages."""
        if one.operator in ("===", "!==", "==", "!="):
            for left, right in ((one.left, one.right), (one.right, one.left)):
                if not isinstance(left, tree.Call) or not isinstance(right, tree.Literal) or right.value is not False:
                    continue
                if isinstance(left.function, tree.Name) and left.function.name in _POSITIONS:
                    message = f"{left.function.name} returns -1, never false"
                    self.problem(one.span, "strpos-false", message, "compare with -1", "hint")

    def interpolation(self, one: tree.Concat) -> None:
        """`"$a[0]"` is $a and the text `[0]`."""
        for part, following in zip(one.parts, one.parts[1:], strict=False):
            text = following.value if isinstance(following, tree.Literal) else None
            if (isinstance(part, tree.Variable) and isinstance(text, str) and text[:2] in ('["', "['", "->")) or (
                isinstance(part, tree.Variable) and isinstance(text, str) and text[:1] == "[" and text[1:2].isdigit()
            ):
                hint = 'only plain variables stand in a string; join the rest: "..." . $a[0]'
                self.problem(
                    part.span, "interpolated-subscript", f'"${part.name}" ends before `{text[:2]}`', hint, "hint"
                )

    # variables

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

    def shared(self, where: Shared) -> bool:
        """Whether anything gives a shared variable a value."""
        return self.scopes.created(where.module, where.name)


def _bodies(one: tree.Node) -> list[tuple[tree.Statement, ...]]:
    """The lists of statements directly inside a statement."""
    if isinstance(one, tree.Block):
        return [one.body]
    if isinstance(one, (tree.Function, tree.FunctionDef, tree.ClassDef)):
        return []
    found: list[tuple[tree.Statement, ...]] = []
    for each in tree.children(one):
        if isinstance(each, (tree.Block, tree.Case)):
            found.append(each.body)
        elif isinstance(each, tree.Statement):
            found.append((each,))
    return found
