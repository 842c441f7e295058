"""What can run at all, starting from the code of the modules and the implicit end; and whether any of it may wait.

A function that is mentioned counts as called: it may be passed on. Methods count by their class. A flow that may
compute for long counts as one that waits: it has to let others go on meanwhile.
"""

from dataclasses import dataclass, field

from flowengine.language import tree
from flowengine.language.findings import Checked
from flowengine.language.functions import Builtin
from flowengine.language.linking import ClassInfo, FunctionInfo, Module
from flowengine.language.natives import NativeClass
from flowengine.language.scopes import Target

_FEW = 1000
"""Turns of a loop that nobody notices."""


@dataclass
class Reach:
    """The functions and classes to compile, in the order in which they were found.

    waits: a run may have to wait, or may compute for long.
    """

    functions: dict[FunctionInfo, None] = field(default_factory=dict)
    classes: dict[ClassInfo, None] = field(default_factory=dict)
    waits: bool = False


def reach(checked: Checked) -> Reach:
    """What can run of a checked flow."""
    found = Reach()
    scopes, main = checked.scopes, checked.linked.main
    slow = {name for one in scopes.natives.values() for name, method in one.methods.items() if method.waits}
    pending: list[FunctionInfo | Module] = list(checked.linked.modules)

    def use(target: Target | None) -> None:
        if isinstance(target, FunctionInfo):
            if target not in found.functions:
                found.functions[target] = None
                pending.append(target)
        elif isinstance(target, ClassInfo):
            if target not in found.classes:
                found.classes[target] = None
                for method in target.methods.values():
                    use(method)
        elif isinstance(target, NativeClass):
            found.waits = found.waits or (target.constructor is not None and target.constructor.waits)
        elif isinstance(target, Builtin):
            found.waits = found.waits or target.waits

    end = main.export(scopes.phase.implicit_end) if scopes.phase.implicit_end else None
    use(end)
    while pending:
        owner = pending.pop()
        module = owner if isinstance(owner, Module) else owner.module
        for one in scopes.linker.nodes(owner):
            if isinstance(one, (tree.Name, tree.Static)):
                use(checked.targets.get(one))
                if isinstance(one, tree.Static):
                    thing = module.export(one.owner)
                    use(thing if isinstance(thing, ClassInfo) else None)
            elif isinstance(one, tree.Member):
                found.waits = found.waits or one.name in slow
            elif isinstance(one, tree.Function):
                use(module.infos[one])
            elif isinstance(one, (tree.While, tree.For, tree.Foreach)):
                found.waits = found.waits or lasts(one)
    return found


def lasts(loop: "tree.While | tree.For | tree.Foreach") -> bool:
    """Whether a loop may take long: no plain count up to a few and no walk through an array, or loops inside."""
    if isinstance(loop, tree.While) or (isinstance(loop, tree.For) and not _counts(loop.condition)):
        return True
    pending: list[tree.Node] = [loop.body]
    while pending:
        one = pending.pop()
        if isinstance(one, (tree.While, tree.For, tree.Foreach)):
            return True
        pending.extend(tree.children(one))
    return False


def _counts(condition: tree.Expression | None) -> bool:
    """Whether a condition is `$i < 10`."""
    if not isinstance(condition, tree.Binary) or condition.operator not in ("<", "<="):
        return False
    most = condition.right
    return isinstance(most, tree.Literal) and type(most.value) in (int, float) and float(str(most.value)) <= _FEW
