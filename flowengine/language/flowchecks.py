"""Checks of statements and expressions: loops, code that is never reached, constants, habits of other languages."""

from flowengine.language import tree
from flowengine.language.findings import Findings
from flowengine.language.functions import Builtin
from flowengine.language.scopes import Scope

MOST_LOOPS = 15  # Python compiles at most 20 blocks inside one another


class FlowChecks(Findings):
    """The part of the checker that knows statements."""

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
