"""What every verb of the command line shares: exit codes, options, how problems are shown.

Errors go to stderr; with --json one document goes to stdout and nothing else.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from flowengine.language.problems import Problem
    from flowengine.services.config import Config

GOOD, NO, USAGE, WORLD = 0, 1, 2, 3
F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option("-c", "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE",
                             help="Configuration; default: flowengine.toml here, else the embedded one.")  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


def fail(code: int, text: str) -> NoReturn:
    """Say what is wrong on stderr and leave."""
    click.echo(text, err=True)
    raise SystemExit(code)


def show(document: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def load(
    config_path: Path | None, dns: str | None = None, api_url: str | None = None, *, files: bool = True
) -> "Config":
    """The configuration, or exit 2 with everything that is wrong with it.

    dns, api_url: what the options say in place of the file. files: the files it names must be there and safe.
    """
    from flowengine.services.config import ConfigError
    from flowengine.services.config import load as read

    try:
        return read(config_path, files=files).with_options(dns, api_url)
    except ConfigError as error:
        print_problems(error.problems, config=True)
        raise SystemExit(USAGE) from None


def print_problems(problems: Iterable["Problem"], *, config: bool = False) -> None:
    """Problems as their author reads them: place, line, caret, hint. config: they are about a configuration."""
    from flowengine.language.problems import render

    sources: dict[str, list[str] | None] = {}
    for problem in problems:
        name = problem.span.file
        if name not in sources:
            try:
                sources[name] = Path(name).read_text("utf-8", "replace").split("\n")
            except OSError:
                sources[name] = None
        source = None if problem.id in ("unreadable", "bad-key") else sources[name]
        if config and source is not None and not _may_be_shown(source[problem.span.line - 1 : problem.span.line]):
            source = None
        click.echo(colour(render(problem, source), problem.severity), err=True)


def _may_be_shown(lines: Sequence[str]) -> bool:
    """Whether a line of a configuration is surely no secret: no key, no header of [api], no inside of a text."""
    return all(
        re.match(r"\s*(\[|[\w.-]+\s*=)", line)
        and not re.search(r"PRIVATE KEY|headers", line)
        and (re.match(r"\s*flows\s*=", line) or not re.search(r"\bdata\b\s*=\s*[\"']", line))
        for line in lines
    )


def colour(text: str, severity: str) -> str:
    """The first line in the colour of its severity, on a terminal only."""
    head, newline, rest = text.partition("\n")
    shade = {"error": "red", "warning": "yellow", "hint": "cyan"}.get(severity)
    return click.style(head, fg=shade) + newline + rest if sys.stderr.isatty() else text
