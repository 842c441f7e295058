"""What is wrong with a configuration: every problem at once, each with its place and what was meant."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Literal

from flowengine.language.problems import Problem, Severity
from flowengine.services.config.positions import Path, Positions


class ConfigError(Exception):
    """A configuration that cannot be used, with everything that is wrong with it: one line a problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(line, problems)))
        self.problems = tuple(problems)


def line(problem: Problem) -> str:
    """`file:line:column: message`, and the hint."""
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{problem.brief}{hint}"


class Problems:
    """The problems of one file as they are found."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._found: list[Problem] = []
        self._paths: set[Path] = set()

    def add(
        self,
        path: Path,
        message: str,
        *,
        id: str = "bad-value",  # noqa: A002  # the word of `check --json`
        hint: str = "",
        severity: Severity = "error",
        at: Literal["value", "key", "table"] = "value",
    ) -> None:
        """Note a problem with the value, the key or the whole table at this path, which is put before the message."""
        span = self._positions.value(path) if at == "value" else self._positions.key(path)
        self._found.append(Problem(span, id, severity, f"{named(path, at == 'table')}{message}", hint))
        self._paths.add(path)

    def under(self, path: Path) -> bool:
        """Whether something is wrong at this path or below, so that what was read there means nothing."""
        return any(found[: len(path)] == path for found in self._paths)

    def of(self, *severities: Severity) -> tuple[Problem, ...]:
        """The problems of these severities in the order of the file."""
        return tuple(
            sorted((p for p in self._found if p.severity in severities), key=lambda problem: problem.span[1:3])
        )


def named(path: Path, table: bool = False) -> str:
    """`[table.name] key: ` for a path, as operators say it; `[table.name] ` for a table. Items count from 1."""
    names: list[str] = []
    for part in path:
        if isinstance(part, int):
            names[-1] += f"[{part + 1}]"
        else:
            names.append(part)
    key = f"{names.pop()}: " if names and not table else ""
    return f"[{'.'.join(names)}] {key}" if names else key


def nearest(word: object, known: Iterable[str]) -> str:
    """`did you mean "…"?`, or nothing when nothing is near."""
    near = get_close_matches(str(word)[:100].lower(), list(known), 1, 0.6)
    return f'did you mean "{near[0]}"?' if near else ""


def listed(known: Iterable[str]) -> str:
    """The names that are known, for a message."""
    return ", ".join(sorted(known)) or "none"
