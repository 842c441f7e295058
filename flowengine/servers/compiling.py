"""Flows of the configuration, compiled: what was checked is what runs.

One `Compiler` knows the vocabulary, the script root and the stdlib; servers, `check`, `run` and `test` share it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowengine.builtins.vocabulary import vocabulary
from flowengine.language.compiler import Program, check, compile_flow
from flowengine.language.loader import Loader, Source
from flowengine.language.problems import FlowProblems, Problem, Span
from flowengine.runtime.policy import Policy, Route
from flowengine.services import resources

if TYPE_CHECKING:
    from flowengine.services.config import Config, Listener


class Compiler:
    """Compiles and checks the flows of one configuration."""

    def __init__(self, config: "Config") -> None:
        self.config = config
        self.vocabulary = vocabulary()
        root = config.scripts.root or config.directory
        self.loader = Loader(root=root, stdlib=resources.find("stdlib"))
        self._programs: dict[tuple[Path, str], Program] = {}

    def compile(self, path: Path, phase: str, *, trace: bool = False) -> Program:
        """The flow of a file. Raises FlowProblems, also for a file that cannot be read."""
        key = (path.resolve(), phase)
        if trace:
            return compile_flow(self.source(path), self.vocabulary, phase, self.loader, trace=True)
        if key not in self._programs:
            self._programs[key] = compile_flow(self.source(path), self.vocabulary, phase, self.loader)
        return self._programs[key]

    def source(self, path: Path) -> Source:
        """The text of a flow. Raises FlowProblems when it cannot be read."""
        try:
            return Source.read(path, str(path))
        except OSError as error:
            span = Span(str(path), 1, 1, 1, 1)
            raise FlowProblems([Problem(span, "unreadable", "error", f"cannot be read: {error.strerror}")]) from None

    def check_all(self, paths: Iterable[Path], phase: str) -> list[Problem]:
        """Everything that is wrong with these flows, in one process."""
        found: list[Problem] = []
        for path in paths:
            try:
                found.extend(check(self.source(path), self.vocabulary, phase, self.loader))
            except FlowProblems as error:
                found.extend(error.problems)
        return list(dict.fromkeys(found))

    def check_config(self) -> list[Problem]:
        """Everything that is wrong with the configuration's flows, after what is unwise in the configuration itself."""
        flows: dict[tuple[Path, str], None] = {}
        for listener in self.config.listeners.values():
            for phase, path in (
                *listener.flows.items(),
                *(row for route in listener.routes for row in route.flows.items()),
            ):
                if phase in self.vocabulary.phases:
                    flows[path, phase] = None
        found = [*self.config.warnings, *(one for path, phase in flows for one in self.check_all([path], phase))]
        return list(dict.fromkeys(found))

    def policy(self, name: str, listener: "Listener") -> Policy:
        """What a listener allows, with its flows compiled. Raises FlowProblems with those of all its flows."""
        problems: list[Problem] = []

        def programs(flows: Mapping[Any, Path]) -> dict[str, Program]:
            compiled: dict[str, Program] = {}
            for phase, path in flows.items():
                try:
                    compiled[phase] = self.compile(path, phase)
                except FlowProblems as error:
                    problems.extend(error.problems)
            return compiled

        limits = self.config.limits
        policy = Policy(
            id=name,
            flows=programs(listener.flows),
            routes=tuple(Route(tuple(row.domains), programs(row.flows), row.transport) for row in listener.routes),
            transport=listener.transport,
            recipient_domains=tuple(listener.recipient_domains),
            relay_from=tuple(listener.relay_from),
            require_auth=listener.require_auth,
            takes_all=self.config.takes_all(listener),
            max_recipients=limits.recipients,
            max_hops=limits.hops,
            max_header_fields=limits.header_count,
            max_header_size=limits.header_size,
        )
        if problems:
            raise FlowProblems(problems)
        return policy

    def policies(self) -> dict[str, Policy]:
        """Every listener's policy. Raises FlowProblems with the problems of all of them."""
        problems: list[Problem] = []
        policies: dict[str, Policy] = {}
        for name, listener in self.config.listeners.items():
            try:
                policies[name] = self.policy(name, listener)
            except FlowProblems as error:
                problems.extend(error.problems)
        if problems:
            raise FlowProblems(list(dict.fromkeys(problems)))
        return policies

    def only_transport(self) -> str | None:
        """The transport a play takes for granted: the only one there is."""
        return next(iter(self.config.transports)) if len(self.config.transports) == 1 else None
