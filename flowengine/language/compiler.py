"""A checked flow → Python functions (docs/language.md; PERFORMANCE: compile to plain functions, no async colouring).

Each function of the flow becomes a Python function `f(run, g, …)`, where `g` is the list of the variables that several
functions see; everything else is a local of its function. A `Program` keeps no state: many runs use it at once.
"""

import ast
import linecache
import warnings
from collections.abc import Callable
from typing import Any

from flowengine.language import tree
from flowengine.language.budget import Budget
from flowengine.language.checker import Checker
from flowengine.language.emitter import LOAD, STORE, Unit, written_in_part
from flowengine.language.findings import Checked
from flowengine.language.functions import Vocabulary
from flowengine.language.host import Host
from flowengine.language.linking import ClassInfo, FunctionInfo, Linker, Module
from flowengine.language.loader import Loader, Source
from flowengine.language.objects import FieldEntry, HslClass, MethodEntry
from flowengine.language.problems import FlowError, FlowProblems, Problem, Span
from flowengine.language.reach import Reach, reach
from flowengine.language.scopes import Local, Scope
from flowengine.language.statements import Statements
from flowengine.language.support import namespace
from flowengine.language.thrown import FILES, flow_error


class Program:
    """A flow ready to run.

    waits: whether a run may have to wait, or to let others go on; then it belongs into a greenlet.
    problems: warnings and hints.
    classes: the native classes of its vocabulary by name, for a host that hands objects to the flow.
    """

    def __init__(self, source: Source, flow: Callable[[Any], None], checked: Checked, waits: bool) -> None:
        self.source, self._flow = source, flow
        self.waits = waits
        self.problems = tuple(checked.problems)
        self.classes = checked.scopes.vocabulary.classes

    def run(self, host: Host) -> None:
        """Run the flow. Raises Final from the builtin that ended it, FlowError with its place for every failure."""
        try:
            self._flow(host)
        except FlowError as error:
            raise flow_error(error)  # noqa: B904  # the same error, now with its place
        except Exception as error:  # whatever goes wrong in a flow is the flow's failure
            raise flow_error(error) from error


def check(source: Source, vocabulary: Vocabulary, phase: str, loader: Loader) -> list[Problem]:
    """All problems of a flow, warnings and hints included."""
    return _check(source, vocabulary, phase, loader).problems


def compile_flow(source: Source, vocabulary: Vocabulary, phase: str, loader: Loader, *, trace: bool = False) -> Program:
    """The program of a flow. trace: every builtin call is reported to `host.traced`. Raises FlowProblems."""
    checked = _check(source, vocabulary, phase, loader)
    if checked.errors:
        raise FlowProblems(checked.problems)
    try:
        return _Assembly(checked, phase, trace).program(source)
    except (RecursionError, SyntaxError, MemoryError) as error:
        span = Span(source.name, 1, 1, 1, 1)
        raise FlowProblems([Problem(span, "syntax", "error", f"nested too deep to compile: {error}")]) from error


def _check(source: Source, vocabulary: Vocabulary, phase: str, loader: Loader) -> Checked:
    linker = Linker(loader)
    linked = linker.link(source)
    return Checker(linker, linked, vocabulary, phase).check()


class _Loading:
    """The run in which defaults and first values are computed, once, when a flow is loaded."""

    def __init__(self) -> None:
        self.budget = Budget(steps=100_000)

    def warn(self, message: str) -> None:
        """Nobody listens yet."""


class _Assembly:
    """Puts the Python code of one flow together."""

    def __init__(self, checked: Checked, phase: str, trace: bool) -> None:
        self.checked = checked
        self.scopes = checked.scopes
        self.unit = Unit(checked, phase, trace, namespace())
        self.reach = reach(checked)
        self.files: dict[Module, list[str]] = {}
        for module in checked.linked.modules:
            self.unit.hot |= written_in_part(self.scopes.linker.nodes(module))
            for info in module.infos.values():
                self.unit.hot |= written_in_part(self.scopes.linker.nodes(info))
        self.unit.recursive = recursive(checked, self.reach)

    def program(self, source: Source) -> Program:
        """The whole flow."""
        unit, main = self.unit, self.checked.linked.main
        for info in self.reach.classes:
            unit.namespace["c_" + info.label] = HslClass(info.node.name, [], [], {})
        code: dict[Module, list[ast.stmt]] = {module: [] for module in self.checked.linked.modules}
        for function in self.reach.functions:
            if function.node.name:
                code[function.module].extend(self.function(function))
        first: list[Module] = []
        for module in self.checked.linked.modules:
            if module is not main and (lines := self.top(module)):
                code[module].append(lines)
                first.append(module)
        for info in self.reach.classes:
            code[info.module].extend(self.fields(info))
        code[main].append(self.flow(main, first))
        unit.namespace["run"] = _Loading()
        unit.namespace["g"] = []
        unit.namespace["UNSETS"] = [unit.namespace["UNSET"]] * len(unit.slots)
        names: dict[str, tuple[str, ...]] = {}
        for module, lines_ in code.items():
            filename = module.source.name.replace("\0", "")
            while filename in names:
                filename += "'"
            names[filename] = tuple(self.files.get(module, [module.source.name]))
            whole = ast.Module(lines_, [])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # `"a" is None` is the flow's own doing
                compiled = compile(whole, filename, "exec", dont_inherit=True)
            exec(compiled, unit.namespace)  # noqa: S102  # only nodes of ours are in it
            text = module.source.text
            linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
        unit.namespace[FILES] = names
        self.finish_classes()
        flow = unit.namespace["flow"]
        for name in ("run", "g"):
            unit.namespace.pop(name)
        return Program(source, flow, self.checked, self.reach.waits or bool(unit.recursive))

    def emitter(self, scope: Scope, owner: "Statements | None" = None) -> Statements:
        """A writer for one function."""
        files = self.files.setdefault(scope.module, [scope.module.source.name])
        made = Statements(self.unit, scope, files)
        made.around = []
        made.define = lambda info: self.closure(info, made)
        if owner is not None:
            made.where = owner.where
        return made

    # functions

    def function(self, info: FunctionInfo) -> list[ast.stmt]:
        """A named function or a method, as a function of the compiled module."""
        heads = ["run", "g"]
        if info.owner is not None and info.parent is None:
            heads.append("v_this")
        return self.definition(info, info.label, heads, self.emitter(self.scopes.of(info)))

    def closure(self, info: FunctionInfo, outside: Statements) -> str:
        """An anonymous function, defined before the statement that it stands in; returns its Python name."""
        name = info.label
        emitter = self.emitter(self.scopes.of(info), outside)
        lines = self.definition(info, name, [], emitter)
        outside.outer |= {one for one in emitter.outer if not one.startswith(f"v{outside.scope.number}_")}
        outside.before.extend(lines)
        return name

    def definition(self, info: FunctionInfo, name: str, heads: list[str], emitter: Statements) -> list[ast.stmt]:
        """The Python definition of a function; for a generator the generator before it."""
        node = info.node
        emitter.at(node)
        arguments = self.arguments(info, heads, emitter)
        body = emitter.body(node.body)
        lines = self.prologue(emitter, info) + body
        if info in self.unit.recursive and not node.generator:
            lines = self.guarded(emitter, lines)
        lines = lines or [ast.Pass(**emitter.where)]
        if not node.generator:
            return [self.define(name, arguments, lines, emitter)]
        inner = f"{name}_g"
        names = [emitter.name(one.arg) for one in arguments.args]
        if arguments.vararg is not None:
            names.append(ast.Starred(emitter.name(arguments.vararg.arg), LOAD, **emitter.where))
        generator = ast.Call(emitter.name(inner), list(names), [], **emitter.where)
        made = ast.Return(emitter.call("Generator", generator), **emitter.where)
        lines.append(
            ast.If(emitter.constant(False), [emitter.run_it(ast.Yield(None, **emitter.where))], [], **emitter.where)
        )
        plain = self.arguments(info, heads, emitter, defaults=False)
        return [self.define(inner, plain, lines, emitter), self.define(name, arguments, [made], emitter)]

    def define(self, name: str, arguments: ast.arguments, lines: list[ast.stmt], emitter: Statements) -> ast.stmt:
        return ast.FunctionDef(name, arguments, lines, [], None, None, **emitter.where)

    def arguments(
        self, info: FunctionInfo, heads: list[str], emitter: Statements, *, defaults: bool = True
    ) -> ast.arguments:
        """The parameters of a function in Python's words."""
        scope = self.scopes.of(info)
        where = emitter.where
        args = [ast.arg(one, None, None, **where) for one in heads]
        given: list[ast.expr] = []
        vararg = None
        for one in info.node.parameters:
            argument = ast.arg(emitter.python_name(Local(scope, one.name)), None, None, **where)
            if one.variadic:
                vararg = argument
                continue
            args.append(argument)
            if one.default is not None and defaults:
                given.append(emitter.call("share", emitter.expression(one.default)))
        if info.node.old:
            vararg = ast.arg(emitter.python_name(Local(scope, "argv")), None, None, **where)
        return ast.arguments([], args, vararg, [], [], None, given)

    def prologue(self, emitter: Statements, info: FunctionInfo | None) -> list[ast.stmt]:
        """What a function does before its own first line."""
        scope = emitter.scope
        lines: list[ast.stmt] = []
        steps = emitter.count_step() if info is not None and self.calls(info) else []
        outer = sorted(one for one in emitter.outer if not one.startswith(f"v{scope.number}_"))
        if outer:
            lines.append(ast.Nonlocal(outer, **emitter.where))
        if emitter.uses_budget or (info in self.unit.recursive):
            lines.append(emitter.assign("_b", ast.Attribute(emitter.name("run"), "budget", LOAD, **emitter.where)))
        if emitter.uses_phase:
            lines.append(emitter.assign("_p", ast.Attribute(emitter.name("run"), "variables", LOAD, **emitter.where)))
        lines += steps
        for name in sorted(scope.flexible - scope.parameters):
            where = self.scopes.locate(scope, name)
            if isinstance(where, Local) and where.scope is scope and name in scope.assigned:
                lines.append(emitter.assign(emitter.python_name(Local(scope, name)), emitter.name("UNSET")))
        if info is None:
            return lines
        for one in info.node.parameters:
            own = emitter.python_name(Local(scope, one.name))
            if one.variadic:
                lines.append(emitter.assign(own, emitter.call("list_of", emitter.name(own))))
            elif one.name in self.unit.hot:
                lines.append(emitter.assign(own, emitter.call("share", emitter.name(own))))
        if info.node.old:
            argv, argc = (emitter.python_name(Local(scope, one)) for one in ("argv", "argc"))
            lines.append(emitter.assign(argv, emitter.call("list_of", emitter.name(argv))))
            lines.append(emitter.assign(argc, emitter.call("len", emitter.name(argv))))
        return lines

    def calls(self, info: FunctionInfo) -> bool:
        """Whether a function calls anything of the flow; only then can calls grow without end."""
        for one in self.checked.scopes.linker.nodes(info):
            if isinstance(one, (tree.Call, tree.Cached)):
                function = one.function if isinstance(one, tree.Call) else one.call.function
                if not isinstance(function, tree.Name) or isinstance(
                    self.checked.targets.get(function), (FunctionInfo, ClassInfo)
                ):
                    return True
        return False

    def guarded(self, emitter: Statements, lines: list[ast.stmt]) -> list[ast.stmt]:
        """The body of a recursive function: one deeper, and back whatever happens."""
        enter, leave = (
            emitter.run_it(
                ast.Call(ast.Attribute(emitter.name("_b"), word, LOAD, **emitter.where), [], [], **emitter.where)
            )
            for word in ("enter", "leave")
        )
        head: list[ast.stmt] = []
        rest = list(lines)
        while rest and (isinstance(rest[0], ast.Nonlocal) or _sets_budget(rest[0])):
            head.append(rest.pop(0))
        return [*head, enter, ast.Try(rest or [ast.Pass(**emitter.where)], [], [], [leave], **emitter.where)]

    # modules

    def top(self, module: Module) -> ast.stmt | None:
        """The own code of an imported module; None when it has nothing but definitions."""
        emitter = self.emitter(self.scopes.of(module))
        body = emitter.body(module.body)
        if not body:
            return None
        lines = self.prologue(emitter, None) + body
        arguments = ast.arguments(
            [], [ast.arg(one, None, None, **emitter.where) for one in ("run", "g")], None, [], [], None, []
        )
        return self.define(f"m{module.index}", arguments, lines, emitter)

    def flow(self, main: Module, first: list[Module]) -> ast.stmt:
        """The function that runs a flow from its first line to its implicit end."""
        emitter = self.emitter(self.scopes.of(main))
        emitter.ending = self.ending
        body = emitter.body(main.body)
        if not main.body or not isinstance(main.body[-1], tree.Return):
            body += self.ending(emitter)
        prologue = self.prologue(emitter, None)
        shared: list[ast.stmt] = [
            ast.Assign([ast.Name("g", STORE, **emitter.where)], emitter.constant(None), **emitter.where)
        ]
        if self.unit.slots:
            copy = ast.Attribute(emitter.name("UNSETS"), "copy", LOAD, **emitter.where)
            shared = [emitter.assign("g", ast.Call(copy, [], [], **emitter.where))]
        calls = [
            emitter.run_it(emitter.call(f"m{module.index}", emitter.name("run"), emitter.name("g"))) for module in first
        ]
        arguments = ast.arguments([], [ast.arg("run", None, None, **emitter.where)], None, [], [], None, [])
        return self.define("flow", arguments, [*prologue, *shared, *calls, *body], emitter)

    def ending(self, emitter: Statements) -> list[ast.stmt]:
        """The implicit end: the flow's own function of that name, else the run decides."""
        name = self.scopes.phase.implicit_end
        own = self.checked.linked.main.export(name) if name is not None else None
        if isinstance(own, FunctionInfo):
            return [emitter.run_it(emitter.call(own.label, emitter.name("run"), emitter.name("g")))]
        end = ast.Attribute(emitter.name("run"), "implicit_end", LOAD, **emitter.where)
        return [emitter.run_it(ast.Call(end, [], [], **emitter.where))]

    # classes

    def fields(self, info: ClassInfo) -> list[ast.stmt]:
        """The first values of a class's variables, computed when the flow is loaded."""
        emitter = self.emitter(self.scopes.of(info.module))
        lines: list[ast.stmt] = []
        for index, one in enumerate(info.node.properties):
            emitter.at(one)
            value = emitter.constant(None) if one.default is None else emitter.expression(one.default)
            lines.append(emitter.assign(f"d_{info.label}_{index}", value))
        return lines

    def finish_classes(self) -> None:
        """Fill the classes once their functions exist."""
        for info in self.reach.classes:
            made: HslClass = self.unit.namespace["c_" + info.label]
            for index, one in enumerate(info.node.properties):
                value = self.unit.namespace[f"d_{info.label}_{index}"]
                entry = FieldEntry(one.name, value, one.private, one.readonly)
                (made.statics if one.static else made.fields)[one.name] = entry
            for method in info.node.methods:
                function = info.methods[method.function.name]
                call = self.unit.namespace[function.label]
                node = method.function
                made.methods[node.name] = MethodEntry(call, node.least, node.most, method.private, method.static)


def _sets_budget(line: ast.stmt) -> bool:
    return isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id == "_b"


def recursive(checked: Checked, reached: Reach) -> set[FunctionInfo]:
    """The functions that may be running twice at once: on a circle of references, or calling what is not known."""
    linker = checked.scopes.linker
    calls: dict[FunctionInfo, set[FunctionInfo]] = {}
    methods: dict[str, set[FunctionInfo]] = {}
    for known in reached.classes:
        for name, info in known.methods.items():
            methods.setdefault(name, set()).add(info)
    found: set[FunctionInfo] = set()
    for info in reached.functions:
        own = calls.setdefault(info, set())
        for one in linker.nodes(info):
            if isinstance(one, (tree.Name, tree.Static)):
                target = checked.targets.get(one)
                if isinstance(target, FunctionInfo):
                    own.add(target)
                elif isinstance(target, ClassInfo):
                    own |= set(target.methods.values())
                if isinstance(one, tree.Static):
                    own |= methods.get(one.name, set())
            elif isinstance(one, tree.Member):
                own |= methods.get(one.name, set())
            elif isinstance(one, tree.Function):
                own.add(info.module.infos[one])
            elif isinstance(one, tree.Call) and not isinstance(one.function, (tree.Name, tree.Static, tree.Member)):
                found.add(info)
    return found | _on_circles(calls)


def _on_circles(calls: dict[FunctionInfo, set[FunctionInfo]]) -> set[FunctionInfo]:
    """The functions that reach themselves: Tarjan's strongly connected components, without recursion."""
    index: dict[FunctionInfo, int] = {}
    low: dict[FunctionInfo, int] = {}
    stack: list[FunctionInfo] = []
    on_stack: set[FunctionInfo] = set()
    found: set[FunctionInfo] = set()
    for root in calls:
        if root in index:
            continue
        work: list[tuple[FunctionInfo, list[FunctionInfo]]] = [(root, list(calls.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            one, pending = work[-1]
            if pending:
                following = pending.pop()
                if following not in index:
                    index[following] = low[following] = len(index)
                    stack.append(following)
                    on_stack.add(following)
                    work.append((following, list(calls.get(following, ()))))
                elif following in on_stack:
                    low[one] = min(low[one], index[following])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[one])
            if low[one] == index[one]:
                component: set[FunctionInfo] = set()
                while True:
                    last = stack.pop()
                    on_stack.discard(last)
                    component.add(last)
                    if last is one:
                        break
                if len(component) > 1 or one in calls.get(one, ()):
                    found |= component
    return found
