"""The command line: every verb of `flowengine`, put together from the house below.

Exit codes: 0 good, 1 the answer is no or a flow has problems, 2 wrong usage or configuration, 3 the outside world failed.
Errors go to stderr; with --json one document goes to stdout and nothing else.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flowengine import __version__

if TYPE_CHECKING:
    from flowengine.language.problems import Problem
    from flowengine.services.config import Config

GOOD, NO, USAGE, WORLD = 0, 1, 2, 3
F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option("-c", "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE",
                             help="Configuration; default flowengine.toml in this directory, else the embedded one.")  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="flowengine")
def main() -> None:
    """Scriptable mail-flow policy: HSL flows decide each SMTP transaction."""


def fail(code: int, text: str) -> None:
    """Say what is wrong on stderr and leave."""
    click.echo(text, err=True)
    raise SystemExit(code)


def show(document: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def load(config_path: Path | None, dns: str | None = None, api_url: str | None = None) -> "Config":
    """The configuration, or exit 2 with everything that is wrong with it."""
    from flowengine.services.config import ConfigError, load_config

    try:
        config = load_config(config_path)
        return config.with_options(dns=dns, api_url=api_url) if dns or api_url else config
    except ConfigError as error:
        fail(USAGE, str(error))
        raise


def print_problems(problems: Iterable["Problem"]) -> None:
    """Problems as their author reads them: place, line, caret, hint."""
    from flowengine.language.problems import render

    sources: dict[str, list[str] | None] = {}
    for problem in problems:
        name = problem.span.file
        if name not in sources:
            try:
                sources[name] = Path(name).read_text("utf-8", "replace").split("\n")
            except OSError:
                sources[name] = None
        click.echo(colour(render(problem, sources[name]), problem.severity), err=True)


def colour(text: str, severity: str) -> str:
    """The first line in the colour of its severity, on a terminal only."""
    head, newline, rest = text.partition("\n")
    shade = {"error": "red", "warning": "yellow", "hint": "cyan"}.get(severity)
    return click.style(head, fg=shade) + newline + rest if sys.stderr.isatty() else text


# -- serve ------------------------------------------------------------------------------------------------------------


@main.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Run the listeners in the foreground.

    Prints one line `ready` per listener when it accepts. SIGTERM drains.

    \b
        flowengine serve -c /etc/flowengine/flowengine.toml
    """
    from flowengine.language.problems import FlowProblems
    from flowengine.servers.serve import CannotServe, run_server

    config = load(config_path)
    try:
        run_server(config, announce=lambda line: click.echo(line))
    except FlowProblems as error:
        print_problems(error.problems)
        raise SystemExit(NO) from None
    except CannotServe as error:
        fail(error.code, str(error))


# -- check ------------------------------------------------------------------------------------------------------------


@main.command()
@config_option
@json_option
@click.option("--phase", default="data", show_default=True, help="Phase of the flows named on the command line.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def check(config_path: Path | None, as_json: bool, phase: str, paths: Sequence[Path]) -> None:
    """Check the configuration and its flows, or only the flows PATH...; all problems at once.

    \b
        flowengine check
        flowengine check --phase rcptto flows/recipients.hsl
    """
    from flowengine.servers.compiling import Compiler

    config = load(config_path)
    compiler = Compiler(config)
    if phase not in compiler.vocabulary.phases:
        fail(USAGE, f"there is no phase {phase!r}; known: {', '.join(compiler.vocabulary.phases)}")
    problems = compiler.check_all(paths, phase) if paths else compiler.check_config()
    if as_json:
        show({"problems": [problem.document() for problem in problems]})
    else:
        print_problems(problems)
        if not problems:
            click.echo("no problems")
    raise SystemExit(NO if any(problem.severity == "error" for problem in problems) else GOOD)


# -- run and verify ---------------------------------------------------------------------------------------------------


def visit_options(command: F) -> F:
    """The options that `run` and `verify` share."""
    for option in reversed([
        click.option("--client-ip", default="", metavar="IP", help="The client's address; without it SPF is none."),
        click.option("--helo", default="", metavar="NAME", help="The client's HELO name."),
        click.option("--mail-from", metavar="ADDR", help="Envelope sender, <> for none; default: Return-Path, else From."),
        click.option("--rcpt-to", multiple=True, metavar="ADDR", help="A recipient, repeatable; default: To."),
        click.option("--auth-user", metavar="NAME", help="The user who authenticated."),
        click.option("--phase", default="data", show_default=True, help="The phase the flow speaks in."),
        click.option("--dns", metavar="HOST:PORT", help="Ask this server instead of [dns] servers."),
        click.option("--api-url", metavar="URL", help="Ask this address instead of [api] url."),
        click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
                     help="Write the message as the first delivery would send it."),
        click.option("--trace", is_flag=True, help="Show every call of a builtin."),
        config_option,
        json_option,
    ]):  # fmt: skip
        command = option(command)
    return command


def read_message(path: str) -> bytes:
    """The bytes of a message file, `-` for standard input; a Unix file gets CRLF."""
    from flowengine.servers.play import unix_to_wire

    try:
        return unix_to_wire(sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes())
    except OSError as error:
        fail(USAGE, f"{path}: {error.strerror}")
        raise


@main.command()
@click.argument("flow", type=click.Path(path_type=Path))
@click.argument("message")
@visit_options
def run(flow: Path, message: str, **options: Any) -> None:
    """Play MESSAGE (- for standard input) through FLOW and print what it decides. Nothing is sent anywhere.

    \b
        flowengine run flows/inbound.hsl mail.eml --client-ip 192.0.2.7 --mail-from a@example.org
    """
    from flowengine.language.problems import FlowProblems
    from flowengine.mail.errors import MailError
    from flowengine.mail.message import Message
    from flowengine.servers.compiling import Compiler
    from flowengine.servers.engine import services_for
    from flowengine.servers.play import Visit, play
    from flowengine.servers.printing import play_document, play_text

    config = load(options["config_path"], options["dns"], options["api_url"])
    compiler = Compiler(config)
    phase = options["phase"]
    if phase not in compiler.vocabulary.phases:
        fail(USAGE, f"there is no phase {phase!r}; known: {', '.join(compiler.vocabulary.phases)}")
    try:
        program = compiler.compile(flow, phase, trace=True)
    except FlowProblems as error:
        print_problems(error.problems)
        if options["as_json"]:
            show({"problems": [problem.document() for problem in error.problems]})
        raise SystemExit(NO) from None
    received = Message(read_message(message))
    visit = Visit(
        phase=phase,
        client_ip=options["client_ip"],
        helo=options["helo"],
        mail_from=options["mail_from"],
        recipients=options["rcpt_to"],
        user=options["auth_user"],
        transport=compiler.only_transport(),
    )
    try:
        played = asyncio.run(play(program, received, visit, services_for(config, quiet=True)))
    except MailError as error:
        fail(USAGE, f"{message}: {error}")
        raise
    if options["output"] is not None and played.output is not None:
        options["output"].write_bytes(played.output)
    if options["as_json"]:
        show(play_document(played, options["trace"]))
    else:
        click.echo(play_text(played, trace=options["trace"]), nl=False)
    raise SystemExit(GOOD if played.reply.positive else NO)


@main.command()
@click.argument("message")
@visit_options
def verify(message: str, **options: Any) -> None:
    """Explain SPF, DKIM, DMARC and ARC of MESSAGE (- for standard input).

    \b
        flowengine verify mail.eml --client-ip 192.0.2.7 --helo mx.example.org
    """
    from flowengine.mail.errors import MailError
    from flowengine.mail.message import Message
    from flowengine.servers.engine import services_for
    from flowengine.servers.play import Visit
    from flowengine.servers.verifying import verify_message, verify_text

    config = load(options["config_path"], options["dns"], options["api_url"])
    received = Message(read_message(message))
    visit = Visit(
        client_ip=options["client_ip"],
        helo=options["helo"],
        mail_from=options["mail_from"],
        recipients=options["rcpt_to"],
    )
    try:
        report = asyncio.run(verify_message(received, visit, services_for(config, quiet=True)))
    except MailError as error:
        fail(USAGE, f"{message}: {error}")
        raise
    if options["as_json"]:
        show(report.document())
    else:
        click.echo(verify_text(report), nl=False)
    raise SystemExit(NO if report.dmarc.result == "fail" else GOOD)


# -- test -------------------------------------------------------------------------------------------------------------


@main.command()
@config_option
@json_option
@click.option("--update", is_flag=True, help="Write what happened into the case files as the expectation.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def test(config_path: Path | None, as_json: bool, update: bool, paths: Sequence[Path]) -> None:
    """Play the case files of flows (FLOW.cases/*.case); default: all below flows/.

    \b
        flowengine test flows/inbound.hsl
    """
    from flowengine.servers.cases import CaseError, find
    from flowengine.servers.playing_cases import play_cases

    config = load(config_path)
    try:
        files = find(list(paths) or [Path("flows")])
        results = asyncio.run(play_cases(files, config, update))
    except CaseError as error:
        fail(USAGE, str(error))
        raise
    failed = [result for result in results if not result.passed]
    if as_json:
        show(
            {"passed": len(results) - len(failed), "failed": len(failed), "cases": [one.document() for one in results]}
        )
    else:
        for result in failed:
            click.echo(f"{result.case}: {result.title}\n{result.difference}")
        click.echo(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    raise SystemExit(NO if failed else GOOD)


# -- reference --------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("name", required=False)
def reference(name: str | None) -> None:
    """Show the page of NAME: a builtin, a $variable, a function of the stdlib, a configuration key.

    \b
        flowengine reference DKIMSign
        flowengine reference '$senderdomain'
        flowengine reference listeners.inbound
    """
    import difflib

    from flowengine.builtins.vocabulary import vocabulary
    from flowengine.servers import reference as pages
    from flowengine.services import resources
    from flowengine.services.config.documents import option_page, option_names

    words, stdlib = vocabulary(), resources.find("stdlib")
    if name is None:
        click.echo("\n".join(pages.names(words, stdlib)))
        return
    found = pages.pages(name, words, stdlib) or option_page(name)
    if found:
        click.echo("\n".join(found), nl=False)
        return
    near = difflib.get_close_matches(name, [*pages.names(words, stdlib), *option_names()], 3)
    fail(NO, f"nothing is called {name}" + (f"; did you mean {', '.join(near)}?" if near else ""))
