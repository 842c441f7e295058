"""The files of a flow put together: includes in place, imports as modules, and what each module defines.

Linking reads every file, knows all names, and looks at no body. Problems are collected, not raised, so that everything
wrong in every file is reported at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from flowengine.language import tree
from flowengine.language.dataimports import load_data
from flowengine.language.loader import PROVIDED, Loader, Source, Unresolved
from flowengine.language.problems import FlowProblems, Problem, Severity, Span
from flowengine.language.values import Value

MOST_MODULES = 200
MOST_STATEMENTS = 200_000


@dataclass(eq=False)
class FunctionInfo:
    """A function and where it stands. label: its name in the compiled code, unique in the flow."""

    node: tree.Function
    module: "Module"
    parent: "FunctionInfo | None"
    label: str
    functions: dict[str, "FunctionInfo"] = field(default_factory=dict)
    owner: "ClassInfo | None" = None
    static: bool = False


@dataclass(eq=False)
class ClassInfo:
    """A class and its functions. label: its name in the compiled code."""

    node: tree.ClassDef
    module: "Module"
    label: str
    methods: dict[str, FunctionInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportedVariable:
    """A variable of another module under a name of our own."""

    module: "Module"
    name: str


Thing = FunctionInfo | ClassInfo


@dataclass(eq=False)
class Module:
    """One file with all that it includes. Its variables are its own; functions see them through `global`."""

    source: Source
    index: int
    files: list[str]
    body: tuple[tree.Statement, ...] = ()
    functions: dict[str, FunctionInfo] = field(default_factory=dict)
    classes: dict[str, ClassInfo] = field(default_factory=dict)
    imported: dict[str, Thing] = field(default_factory=dict)
    namespaces: dict[str, "Module"] = field(default_factory=dict)
    variables: dict[str, ImportedVariable] = field(default_factory=dict)
    builtins: dict[str, str] = field(default_factory=dict)
    inclusions: dict[tree.Include, tuple[tree.Statement, ...]] = field(default_factory=dict)
    requires: dict[tree.Import, "Module"] = field(default_factory=dict)
    data: dict[tree.Import, Value] = field(default_factory=dict)
    infos: dict[tree.Function, FunctionInfo] = field(default_factory=dict)

    def export(self, name: str) -> Thing | None:
        """A function or class that another module may import."""
        return self.functions.get(name) or self.classes.get(name) or self.imported.get(name)


@dataclass
class Linked:
    """A whole flow: its main module, and every module in the order in which their code runs first."""

    main: Module
    modules: list[Module]
    known: dict[str, FunctionInfo]
    problems: list[Problem]


class Linker:
    """Puts one flow together."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.modules: dict[str, Module] = {}
        self.order: list[Module] = []
        self.known: dict[str, FunctionInfo] = {}
        self.problems: list[Problem] = []
        self.parsed: set[str] = set()
        self.sources: dict[str, Source] = {}
        self.bodies: dict[Module | FunctionInfo, list[tree.Node]] = {}
        self.labels = 0
        self.statements = 0

    def link(self, source: Source) -> Linked:
        """The flow in a source. Syntax errors of any file are among its problems."""
        main = self.module(source, [])
        return Linked(main, self.order, self.known, self.problems)

    def problem(self, span: Span, id_: str, message: str, hint: str = "", severity: Severity = "error") -> None:
        """Note a problem."""
        self.problems.append(Problem(span, id_, severity, message, hint))

    def label(self, name: str) -> str:
        """A name for the compiled code that nothing else has."""
        self.labels += 1
        return f"f{self.labels}_{name}"

    def module(self, source: Source, chain: list[str]) -> Module:
        """The module of a source, made at the first time."""
        place = str(source.path.resolve()) if source.path is not None else source.name
        if place in self.modules:
            return self.modules[place]
        module = self.modules[place] = Module(source, len(self.modules), [source.name])
        module.body = self.parse(source)
        self.included(module, module.body, source, [place], {place})
        self.hoist(module, self.nodes(module), None)
        for statement, importer in self.imports(module, source):
            self.bring(module, statement, importer, [*chain, place])
        self.order.append(module)
        return module

    def parse(self, source: Source) -> tuple[tree.Statement, ...]:
        """The statements of a source; none when it has errors, which are noted once."""
        try:
            parsed = self.loader.parse(source)
        except FlowProblems as error:
            if source.name not in self.parsed:
                self.parsed.add(source.name)
                self.problems.extend(error.problems)
            return ()
        if source.name not in self.parsed:
            self.parsed.add(source.name)  # warnings are noted once as well
            self.problems.extend(parsed.warnings)
        return parsed.body

    def included(
        self, module: Module, body: Iterable[tree.Node], source: Source, chain: list[str], once: set[str]
    ) -> None:
        """Read what a body includes, at any depth of blocks and functions."""
        for one in tree.walk(*body):
            if not isinstance(one, tree.Include) or one in module.inclusions:
                continue
            module.inclusions[one] = ()
            try:
                found = self.loader.module(one.name, source)
            except Unresolved as error:
                self.problem(one.name_span, "unresolved-import", error.message, error.hint)
                continue
            place = str(found.path)
            if place in chain:
                self.problem(one.name_span, "unresolved-import", f'"{one.name}" includes itself', "break the circle")
                continue
            if one.once and place in once:
                continue
            once.add(place)
            if found.name not in module.files:
                module.files.append(found.name)
            inner = self.parse(found)
            self.statements += len(inner)
            if len(chain) > 50 or self.statements > MOST_STATEMENTS:
                self.problem(one.name_span, "unresolved-import", "too much is included")
                return
            module.inclusions[one] = inner
            self.sources[found.name] = found
            self.included(module, inner, found, [*chain, place], once)

    def statements_of(self, module: Module, body: Iterable[tree.Node]) -> list[tree.Node]:
        """A body with what it includes, without the insides of functions and classes."""
        found: list[tree.Node] = []
        pending = list(reversed(list(body)))
        while pending:
            one = pending.pop()
            found.append(one)
            if isinstance(one, tree.Include):
                pending.extend(reversed(module.inclusions.get(one, ())))
            elif not isinstance(one, (tree.Function, tree.FunctionDef, tree.ClassDef)):
                pending.extend(reversed(list(tree.children(one))))
        return found

    def nodes(self, owner: "Module | FunctionInfo") -> list[tree.Node]:
        """All nodes of a module's own code, or of a function with its parameters; found once."""
        found = self.bodies.get(owner)
        if found is None:
            if isinstance(owner, Module):
                found = self.statements_of(owner, owner.body)
            else:
                found = self.statements_of(owner.module, (*owner.node.parameters, *owner.node.body))
            self.bodies[owner] = found
        return found

    def hoist(self, module: Module, nodes: list[tree.Node], parent: FunctionInfo | None) -> None:
        """Register the functions and classes of a body before anything looks at them."""
        own = parent.functions if parent is not None else module.functions
        for one in nodes:
            if isinstance(one, tree.FunctionDef):
                known = own.get(one.function.name)
                if known is not None and known.node is not one.function:
                    first = known.node.span
                    self.problem(
                        one.function.name_span or one.span,
                        "duplicate-function",
                        f"a second function {one.function.name}",
                        f"the first is at {first.file}:{first.line}",
                    )
                elif known is None:
                    own[one.function.name] = self.function(module, one.function, parent)
            elif isinstance(one, tree.ClassDef):
                self.hoist_class(module, one, parent)
            elif isinstance(one, tree.Function):
                self.function(module, one, parent)

    def function(
        self, module: Module, node: tree.Function, parent: FunctionInfo | None, owner: ClassInfo | None = None
    ) -> FunctionInfo:
        """A function and those inside it."""
        info = FunctionInfo(node, module, parent, self.label(node.name), owner=owner)
        if owner is None and parent is not None:
            info.owner = parent.owner if node.name == "" else None
        module.infos[node] = info
        self.hoist(module, self.nodes(info), info)
        return info

    def hoist_class(self, module: Module, node: tree.ClassDef, parent: FunctionInfo | None) -> None:
        """A class and its functions."""
        if parent is not None:
            self.problem(node.name_span, "syntax", "a class inside a function", "move it out")
            return
        known = module.classes.get(node.name)
        if known is not None:
            if known.node is not node:
                self.problem(node.name_span, "duplicate-class", f"a second class {node.name}")
            return
        info = module.classes[node.name] = ClassInfo(node, module, self.label(node.name))
        names = {one.name for one in node.properties}
        for method in node.methods:
            name = method.function.name
            if name in info.methods or name in names:
                place = method.function.name_span or method.span
                self.problem(place, "duplicate-member", f"{node.name} has a second member {name}")
                continue
            info.methods[name] = self.function(module, method.function, None, info)
            info.methods[name].static = method.static
        seen: set[str] = set()
        for one in node.properties:
            if one.name in seen:
                self.problem(one.span, "duplicate-member", f"{node.name} has a second member ${one.name}")
            seen.add(one.name)

    def imports(self, module: Module, source: Source) -> list[tuple[tree.Import, Source]]:
        """The imports of a module with the source in which each stands."""
        return [
            (one, source if one.span.file == source.name else self.sources.get(one.span.file, source))
            for one in self.nodes(module)
            if isinstance(one, tree.Import)
        ]

    def bring(self, module: Module, one: tree.Import, importer: Source, chain: list[str]) -> None:
        """Do one import."""
        if one.data is not None:
            try:
                module.data[one] = load_data(one, self.loader, importer)
            except Unresolved as error:
                self.problem(one.module_span, "unresolved-import", error.message, error.hint)
                module.data[one] = None
            return
        try:
            found = self.loader.module(one.module, importer)
        except Unresolved as error:
            if self.provided(module, one):
                return
            self.problem(one.module_span, "unresolved-import", error.message, error.hint)
            module.namespaces.setdefault(one.namespace or "", Module(importer, -1, []))
            return
        place = str(found.path)
        if place in chain:
            self.problem(one.module_span, "unresolved-import", f'"{one.module}" imports itself', "break the circle")
            return
        if len(self.modules) >= MOST_MODULES:
            self.problem(one.module_span, "unresolved-import", f"more than {MOST_MODULES} modules")
            return
        target = self.module(found, chain)
        module.requires[one] = target
        if one.namespace is not None:
            module.namespaces[one.namespace] = target
        for name in one.names:
            self.bring_name(module, target, name, one.module)

    def provided(self, module: Module, one: tree.Import) -> bool:
        """Whether an import names a module whose words are builtins here; its names then mean these."""
        words = PROVIDED.get(one.module.removesuffix(".hsl"))
        if words is None or one.namespace is not None or any(each.name not in words for each in one.names):
            return False
        module.builtins.update((each.alias, each.name) for each in one.names)
        return True

    def bring_name(self, module: Module, target: Module, name: tree.Imported, called: str) -> None:
        """One name in the braces of an import."""
        if name.variable:
            further = target.variables.get(name.name)
            module.variables[name.alias] = further or ImportedVariable(target, name.name)
            if further is None and name.name not in assigned_names(self, target):
                self.problem(name.span, "unresolved-import", f'"{called}" has no variable ${name.name}')
            return
        thing = target.export(name.name)
        if thing is None:
            if target.source.name not in {one.span.file for one in self.problems if one.id == "syntax"}:
                self.problem(name.span, "unresolved-import", f'"{called}" has no function or class {name.name}')
            return
        if name.alias in module.functions or name.alias in module.classes:
            self.problem(name.span, "duplicate-function", f"{name.alias} is both imported and defined here")
        module.imported[name.alias] = thing

    def find_known(self, name: str, span: Span) -> FunctionInfo | None:
        """A function that exists without an import, such as `api_call`; None when there is none of that name."""
        if name in self.known:
            return self.known[name]
        place = self.loader.known.get(name)
        if place is None:
            return None
        try:
            found = self.loader.module(place, Source("", ""))
        except Unresolved:
            return None
        thing = self.module(found, []).functions.get(name)
        if thing is not None:
            self.known[name] = thing
        return thing


def assigned_names(linker: Linker, module: Module) -> set[str]:
    """The variables that a module's own code may create."""
    names = set(module.variables)
    for one in linker.nodes(module):
        names |= set(targets(one))
    return names


def targets(one: tree.Node) -> list[str]:
    """The names of the variables that a node writes to, whole or in part."""
    if isinstance(one, (tree.Assign, tree.Increment)):
        return place_names(one.target)
    if isinstance(one, tree.Foreach):
        return place_names(one.value) + (place_names(one.key) if one.key is not None else [])
    if isinstance(one, (tree.Try, tree.Barrier)):
        variable = one.variable if isinstance(one, tree.Try) else one.shared
        return [variable.name] if variable is not None else []
    if isinstance(one, tree.Import) and one.data is not None:
        return [one.data.name]
    if isinstance(one, tree.Function):
        return [variable.name for variable in one.captured]  # its body may write to them
    return []


def place_names(place: tree.Expression) -> list[str]:
    """The variables that an assignment to a place writes to."""
    if isinstance(place, tree.Pattern):
        return [name for item in place.items for name in place_names(item.value)]
    while isinstance(place, (tree.Subscript, tree.Slice, tree.Path, tree.Member)):
        place = place.base
    return [place.name] if isinstance(place, tree.Variable) else []
