"""What a check finds out, and the common ground of its parts."""

from dataclasses import dataclass, field

from flowengine.language import tree
from flowengine.language.functions import Vocabulary
from flowengine.language.linking import ClassInfo, FunctionInfo, Linked, Linker
from flowengine.language.problems import Problem, Severity, Span
from flowengine.language.scopes import Scope, Scopes, Target


@dataclass
class Checked:
    """What a check found out.

    targets: what each name of a function or class means. reached: the functions that anything may call.
    maybe: places where a variable is read that may have no value there.
    """

    scopes: Scopes
    linked: Linked
    problems: list[Problem] = field(default_factory=list)
    targets: dict[tree.Node, Target] = field(default_factory=dict)
    reached: dict[FunctionInfo, None] = field(default_factory=dict)
    classes: dict[ClassInfo, None] = field(default_factory=dict)
    maybe: set[tree.Variable] = field(default_factory=set)

    @property
    def errors(self) -> list[Problem]:
        """The problems that keep the flow from being loaded."""
        return [one for one in self.problems if one.severity == "error"]


class Findings:
    """One check under way: what it looks at and what it has found."""

    def __init__(self, linker: Linker, linked: Linked, vocabulary: Vocabulary, phase: str) -> None:
        self.linker, self.linked, self.vocabulary, self.phase = linker, linked, vocabulary, phase
        self.scopes = Scopes(linker, vocabulary, phase)
        self.result = Checked(self.scopes, linked, linked.problems)
        self.scope: Scope = self.scopes.of(linked.main)
        self.noted: set[tuple[Span, str]] = set()

    def problem(self, span: Span, id_: str, message: str, hint: str = "", severity: Severity = "error") -> None:
        """Note a problem, once a place."""
        if (span, id_) not in self.noted:
            self.noted.add((span, id_))
            self.linked.problems.append(Problem(span, id_, severity, message, hint))
