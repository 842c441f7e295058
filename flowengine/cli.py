"""The command line: every verb of `flowengine`, put together from the house below.

Exit codes: 0 good, 1 the answer is no or a flow has problems, 2 wrong usage or configuration, 3 the outside world
failed.
Errors go to stderr; with --json one document goes to stdout and nothing else.
"""

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowengine import __version__
from flowengine.cli_quarantine import quarantine
from flowengine.cli_queue import queue
from flowengine.cli_shared import (
    GOOD,
    NO,
    USAGE,
    WORLD,
    F,
    config_option,
    fail,
    json_option,
    load,
    print_problems,
    show,
)

if TYPE_CHECKING:
    from flowengine.language.problems import Problem


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="flowengine")
def main() -> None:
    """Scriptable mail-flow policy: HSL flows decide each SMTP transaction."""


main.add_command(queue)
main.add_command(quarantine)


# -- serve ------------------------------------------------------------------------------------------------------------


@main.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Run the listeners in the foreground.

    Prints one line `ready` per listener when it accepts. SIGTERM drains. SIGHUP reads configuration, flows and
    certificates again: new workers serve with them, the old ones drain; when something is wrong, all stays as it was.

    \b
        flowengine serve -c /etc/flowengine/flowengine.toml
    """
    from flowengine.language.problems import FlowProblems
    from flowengine.servers.processes.parent import CannotServe, Parent
    from flowengine.services.config import ConfigError
    from flowengine.services.config import load as read

    config = load(config_path)
    try:
        Parent(config, click.echo, lambda: read(config_path)).run()
    except FlowProblems as error:
        print_problems(error.problems)
        raise SystemExit(NO) from None
    except ConfigError as error:
        print_problems(error.problems, config=True)
        raise SystemExit(USAGE) from None
    except CannotServe as error:
        fail(error.code, str(error))


# -- trace ------------------------------------------------------------------------------------------------------------


@main.command()
@config_option
@json_option
@click.option("--seconds", type=click.FloatRange(0.1, 86400), metavar="N", help="End after so many seconds.")
@click.option("--lines", type=click.IntRange(1), metavar="N", help="End after so many lines.")
@click.argument("what", default="all")
def trace(config_path: Path | None, as_json: bool, seconds: float | None, lines: int | None, what: str) -> None:
    """Look into a running server.

    WHAT is a client's address or network, or `all`: every command, log line and fact of new connections, as they
    happen, until Ctrl-C. Or it is the id that a reply carried: the verdict of that transaction, and what DNS, HTTP and
    the others answered it (the last thousand of each worker are remembered).

    \b
        flowengine trace 192.0.2.7
        flowengine trace 2001:db8::/32 --seconds 60
        flowengine trace 0198a2b4c6d8e0f112233445
    """
    from flowengine.servers.processes.looking import NotThere, look

    config = load(config_path, files=False)
    left = lines

    def told(line: dict[str, Any]) -> bool:
        nonlocal left
        click.echo(json.dumps(line, ensure_ascii=False) if as_json else _trace_line(line))
        left = None if left is None else left - 1
        return left != 0

    try:
        found = asyncio.run(look(config.storage.directory, what, seconds, told))
    except ValueError as error:
        fail(USAGE, str(error))
    except NotThere as error:
        fail(WORLD, str(error))
    except KeyboardInterrupt:
        return
    if not found:
        fail(NO, f"{what}: no worker remembers it; the log has its line")


def _trace_line(line: dict[str, Any]) -> str:
    """One line for people: who, what, and the facts of it."""
    head = " ".join(str(line.pop(name)) for name in ("client", "event") if line.get(name))
    line = {name: value for name, value in line.items() if name != "level" and value is not None}
    rest = "\n".join(f"    {name}: {value}" for name, value in line.items() if not isinstance(value, list))
    lists = "\n".join(f"    {name}:\n" + "\n".join(f"        {one}" for one in value)
                      for name, value in line.items() if isinstance(value, list) and value)  # fmt: skip
    if line.keys() <= {"listener", "verb", "code", "reply"}:
        return f"{head} {line.get('verb', '')} → {line.get('reply', '')}".replace("\n", " / ")
    return "\n".join(part for part in (head, rest, lists) if part)


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
    from flowengine.services.config import ConfigError
    from flowengine.services.config import load as read
    from flowengine.services.keys import open_keys
    from flowengine.services.users_file import read_users

    try:
        config = read(config_path)
    except ConfigError as error:
        show_problems(error.problems, as_json, config=True)
        raise SystemExit(USAGE) from None
    compiler = Compiler(config)
    if phase not in compiler.vocabulary.phases:
        fail(USAGE, f"there is no phase {phase!r}; known: {', '.join(compiler.vocabulary.phases)}")
    if paths:
        problems = compiler.check_all(paths, phase)
    else:
        problems = compiler.check_config()
        try:
            open_keys(config, make=False)
            for path in {one.users for one in config.listeners.values() if one.users and one.users.exists()}:
                read_users(path)
        except ConfigError as error:
            show_problems([*error.problems, *problems], as_json, config=True)
            raise SystemExit(USAGE) from None
    if as_json:
        show({"problems": [problem.document() for problem in problems]})
    else:
        print_problems(problems)
        if not problems:
            click.echo("no problems")
    raise SystemExit(code_of(problems))


def show_problems(problems: Sequence["Problem"], as_json: bool, *, config: bool = False) -> None:
    """Problems on stderr, and with --json also as the document of `check`."""
    print_problems(problems, config=config)
    if as_json:
        show({"problems": [problem.document() for problem in problems]})


def code_of(problems: Sequence["Problem"]) -> int:
    """The exit code of a check: a flow that is not there is wrong usage, one with an error a no."""
    if any(problem.id == "unreadable" for problem in problems):
        return USAGE
    return NO if any(problem.severity == "error" for problem in problems) else GOOD


# -- run and verify ---------------------------------------------------------------------------------------------------


def client_ip(context: click.Context, option: click.Parameter, value: str) -> str:
    """The address in its usual form, "" for none."""
    from ipaddress import ip_address

    try:
        return str(ip_address(value)) if value else ""
    except ValueError:
        raise click.BadParameter(f"{value!r} is no IP address", context, option) from None


def web_address(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """An http or https address."""
    if value is not None and not re.match(r"https?://[^/?#\s]+[^\s]*\Z", value):
        raise click.BadParameter(f"{value!r} is no http:// or https:// address", context, option)
    return value


def visit_options(command: F) -> F:
    """The options that `run` and `verify` share."""
    for option in reversed([
        click.option("--client-ip", default="", metavar="IP", callback=client_ip,
                     help="The client's address; without it SPF is none."),
        click.option("--helo", default="", metavar="NAME", help="The client's HELO name."),
        click.option("--mail-from", metavar="ADDR", help="Envelope sender, <> for none; default: Return-Path, From."),
        click.option("--rcpt-to", multiple=True, metavar="ADDR", help="A recipient, repeatable; default: To."),
        click.option("--auth-user", metavar="NAME", help="The user who authenticated."),
        click.option("--phase", default="data", show_default=True, help="The phase the flow speaks in."),
        click.option("--dns", metavar="HOST:PORT", help="Ask this server instead of [dns] servers."),
        click.option("--api-url", metavar="URL", callback=web_address, help="Ask this address instead of [api] url."),
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


@main.command()
@click.argument("flow", type=click.Path(path_type=Path))
@click.argument("message")
@click.option("--command", default="NOOP", metavar="LINE", help="The command line of a proxy flow.")
@click.option("--retry", default=0, metavar="N", help="Attempts before this one, for the queue's phases.")
@click.option("--result", default="250 2.0.0 Ok", metavar="REPLY", help="What came of the attempt, for postdelivery.")
@visit_options
def run(flow: Path, message: str, **options: Any) -> None:
    """Play MESSAGE (- for standard input) through FLOW and print what it decides. Nothing is sent anywhere.

    \b
        flowengine run flows/inbound.hsl mail.eml --client-ip 192.0.2.7 --mail-from a@example.org
        flowengine run flows/after.hsl mail.eml --phase postdelivery --result "451 4.7.1 Busy" --retry 2
    """
    from flowengine.language.problems import FlowProblems
    from flowengine.mail.errors import MailError
    from flowengine.mail.message import Message
    from flowengine.servers.compiling import Compiler
    from flowengine.servers.play import Visit, play
    from flowengine.servers.printing import play_document, play_text
    from flowengine.services.config import ConfigError
    from flowengine.services.outside import services_for

    config = load(options["config_path"], options["dns"], options["api_url"])
    compiler = Compiler(config)
    phase = options["phase"]
    if phase not in compiler.vocabulary.phases:
        fail(USAGE, f"there is no phase {phase!r}; known: {', '.join(compiler.vocabulary.phases)}")
    try:
        program = compiler.compile(flow, phase, trace=True)
    except FlowProblems as error:
        show_problems(error.problems, options["as_json"])
        raise SystemExit(code_of(error.problems)) from None
    received = Message(read_message(message))
    visit = Visit(
        phase=phase,
        client_ip=options["client_ip"],
        helo=options["helo"],
        mail_from=options["mail_from"],
        recipients=options["rcpt_to"],
        user=options["auth_user"],
        transport=compiler.only_transport() if config.path is not None else None,
        command=options["command"],
        retry=options["retry"],
        result=options["result"],
    )
    try:
        services = services_for(config)
        services = replace(services, settings=replace(services.settings, sends=False))
        if config.path is None:  # a play without a configuration: any transport and quarantine will do
            services = replace(services, settings=replace(services.settings, transports=None, quarantines=None))
        played = asyncio.run(play(program, received, visit, services))
    except MailError as error:
        fail(USAGE, str(error))
    except ConfigError as error:
        print_problems(error.problems, config=True)
        raise SystemExit(USAGE) from None
    if options["output"] is not None and played.output is not None:
        try:
            options["output"].write_bytes(played.output)
        except OSError as error:
            fail(USAGE, f"{options['output']}: {error.strerror}")
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
    from flowengine.servers.explaining import verify_text
    from flowengine.servers.play import Visit
    from flowengine.servers.verifying import verify_message
    from flowengine.services.config import ConfigError
    from flowengine.services.outside import services_for

    config = load(options["config_path"], options["dns"], options["api_url"])
    received = Message(read_message(message))
    visit = Visit(
        client_ip=options["client_ip"],
        helo=options["helo"],
        mail_from=options["mail_from"],
        recipients=options["rcpt_to"],
    )
    try:
        report = asyncio.run(verify_message(received, visit, services_for(config)))
    except MailError as error:
        fail(USAGE, str(error))
    except ConfigError as error:
        print_problems(error.problems, config=True)
        raise SystemExit(USAGE) from None
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

    words, stdlib = vocabulary(), resources.find("stdlib")
    if name is None:
        click.echo("\n".join(pages.names(words, stdlib)))
        return
    found = pages.pages(name, words, stdlib) or pages.option_pages(name)
    if found:
        click.echo("\n".join(found), nl=False)
        return
    near = difflib.get_close_matches(name, pages.names(words, stdlib), 3)
    fail(NO, f"nothing is called {name}" + (f"; did you mean {', '.join(near)}?" if near else ""))


# -- keys -------------------------------------------------------------------------------------------------------------


@main.group()
def keys() -> None:
    """Private keys and their DNS records."""


@keys.command("new")
@click.argument("name")
@click.option("--type", "kind", type=click.Choice(["rsa", "ed25519"]), default="rsa", show_default=True)
@click.option("--bits", type=int, default=2048, show_default=True, help="Size of an RSA key: 2048, 3072 or 4096.")
@click.option("--selector", metavar="S", help="Selector of the record that is printed.")
@click.option("--domain", metavar="D", help="Domain of the record that is printed.")
@config_option
@json_option
def keys_new(
    name: str, kind: Any, bits: int, selector: str | None, domain: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Make the private key NAME (mode 600) and print the DNS record that publishes it.

    The key goes where [pki.NAME] says, else into the storage directory, where `pki:NAME` finds it once the
    configuration has [pki.NAME].

    \b
        flowengine keys new example --selector s1 --domain example.net
    """
    from flowengine.mail.errors import MailError
    from flowengine.services.config.values import parse_word
    from flowengine.services.keys import KeyFileError, kept_path, new_key

    config = load(config_path, files=False)
    name = name.removeprefix("pki:")
    try:
        parse_word(name)
    except ValueError as error:
        fail(USAGE, str(error))
    configured = config.pki.get(name)
    path = configured.file if configured and configured.file else kept_path(config, name)
    try:
        key = new_key(path, kind, bits)
    except (KeyFileError, MailError) as error:
        fail(USAGE, str(error))
    about = _about_key(name, key, path)
    selector = selector or (configured.selector if configured else None)
    domain = domain or (configured.domain if configured else None)
    if selector and domain:
        about["record"] = _record(key, selector, domain)
    if as_json:
        show(about)
        return
    click.echo(f"made {path}: {key.kind} {key.bits}, {key.fingerprint}")
    if configured is None:
        click.echo(
            f"flows know it as pki:{name}; to give it a selector and a domain, write into the configuration:\n"
            f"    [pki.{name}]\n    file = {json.dumps(str(path.absolute()))}"
        )
    if selector and domain:
        click.echo(_zone(key, selector, domain))


@keys.command("list")
@config_option
@json_option
def keys_list(config_path: Path | None, as_json: bool) -> None:
    """List the keys of the configuration.

    \b
        flowengine keys list
    """
    ring = _ring(config_path)
    listed = [_about_key(one.name, one.key, one.path, one.selector, one.domain) for one in ring.values()]
    if as_json:
        show({"keys": listed})
        return
    for one in listed:
        place = f"{one['selector']}._domainkey.{one['domain']}" if one["selector"] and one["domain"] else ""
        click.echo(f"{one['name']}  {one['type']} {one['bits']}  {one['fingerprint']}  {place}".rstrip())


@keys.command("show")
@click.argument("name")
@click.option("--selector", metavar="S", help="Default: the key's own of the configuration.")
@click.option("--domain", metavar="D", help="Default: the key's own of the configuration.")
@config_option
@json_option
def keys_show(name: str, selector: str | None, domain: str | None, config_path: Path | None, as_json: bool) -> None:
    """Show what may be shown of the key NAME: type, size, fingerprint, place. Never the key.

    \b
        flowengine keys show example
    """
    one = _configured(name, config_path)
    about = _about_key(one.name, one.key, one.path, selector or one.selector, domain or one.domain)
    if as_json:
        show(about)
        return
    for word, value in about.items():
        click.echo(f"{word:<12} {value if value is not None else '-'}")


@keys.command("record")
@click.argument("name")
@click.option("--selector", metavar="S", help="Default: the key's own of the configuration.")
@click.option("--domain", metavar="D", help="Default: the key's own of the configuration.")
@config_option
@json_option
def keys_record(name: str, selector: str | None, domain: str | None, config_path: Path | None, as_json: bool) -> None:
    """Print the DNS record that publishes the key NAME, ready for a zone file.

    \b
        flowengine keys record example --selector s1 --domain example.net
    """
    one = _configured(name, config_path)
    selector, domain = _place(one, selector, domain)
    if as_json:
        show(_record(one.key, selector, domain))
    else:
        click.echo(_zone(one.key, selector, domain))


@keys.command("check")
@click.argument("name")
@click.option("--selector", metavar="S", help="Default: the key's own of the configuration.")
@click.option("--domain", metavar="D", help="Default: the key's own of the configuration.")
@click.option("--dns", metavar="HOST:PORT", help="Ask this server instead of [dns] servers.")
@config_option
@json_option
def keys_check(
    name: str, selector: str | None, domain: str | None, dns: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Compare the key NAME with what DNS publishes, and let dkimpy verify a signature of it.

    Exit 0 when mail signed with it verifies, 1 when not, 3 when DNS does not answer.

    \b
        flowengine keys check example --selector s1 --domain example.net
    """
    from flowengine.mail.dns import DNSUnavailable
    from flowengine.services.key_checks import check_record, self_test
    from flowengine.services.outside import services_for

    one = _configured(name, config_path)
    selector, domain = _place(one, selector, domain)
    config = load(config_path, dns)

    async def ask() -> Any:
        return await check_record(one.key, selector, domain, services_for(config).dns)

    try:
        found = asyncio.run(ask())
    except DNSUnavailable as error:
        fail(WORLD, f"DNS gives no answer: {error}")
    second = self_test(one.key, selector, domain)
    good = not found.problems and second.result != "refused"
    if as_json:
        show({"name": found.name, "good": good, "published": list(found.published), "problems": list(found.problems),
              "notes": list(found.notes), "secure": found.secure, "dkimpy": second.result})  # fmt: skip
    else:
        click.echo(f"{found.name}: {'good' if good else 'NOT good'}")
        for problem in found.problems:
            click.echo(f"  problem: {problem}")
        for note in found.notes:
            click.echo(f"  note: {note}")
        click.echo(f"  dkimpy: signature {second.result}{': ' + second.reason if second.reason else ''}")
        if found.problems:
            click.echo(f"publish this record:\n{_zone(one.key, selector, domain)}")
    raise SystemExit(GOOD if good else NO)


def _ring(config_path: Path | None) -> Any:
    from flowengine.services.config import ConfigError
    from flowengine.services.keys import open_keys

    try:
        return open_keys(load(config_path), make=False).configured
    except ConfigError as error:
        fail(USAGE, str(error))


def _configured(name: str, config_path: Path | None) -> Any:
    ring = _ring(config_path)
    name = name.removeprefix("pki:")
    if name not in ring:
        known = f"known: {', '.join(sorted(ring))}" if ring else "there is none yet; make one with flowengine keys new"
        fail(USAGE, f"there is no key {name}; {known}")
    return ring[name]


def _place(one: Any, selector: str | None, domain: str | None) -> tuple[str, str]:
    selector, domain = selector or one.selector, domain or one.domain
    if not selector or not domain:
        fail(USAGE, f"name --selector and --domain, or write them into [pki.{one.name}]")
    return str(selector), str(domain)


def _about_key(
    name: str, key: Any, path: Path | None, selector: str | None = None, domain: str | None = None
) -> dict[str, Any]:
    place = None if path is None else str(path)
    return {"name": name, "type": key.kind, "bits": key.bits, "fingerprint": key.fingerprint, "file": place,
            "selector": selector, "domain": domain}  # fmt: skip


def _record(key: Any, selector: str, domain: str) -> dict[str, str]:
    return {"name": f"{selector}._domainkey.{domain}", "type": "TXT", "value": key.record()}


def _zone(key: Any, selector: str, domain: str) -> str:
    from flowengine.services.key_checks import zone_lines

    return zone_lines(key, selector, domain)


# -- users ------------------------------------------------------------------------------------------------------------


@main.group()
def users() -> None:
    """The users file: names and password hashes (scrypt)."""


def users_options(command: F) -> F:
    """The options of every `users` command."""
    file = click.option("--file", "file", type=click.Path(path_type=Path), metavar="FILE",
                        help="The users file; default: that of the only listener that has one.")  # fmt: skip
    return config_option(file(command))


@users.command("add")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@users_options
def users_add(name: str, password_stdin: bool, config_path: Path | None, file: Path | None) -> None:
    """Add the user NAME, or give NAME another password.

    \b
        flowengine users add alice@example.net
    """
    from flowengine.services.config import ConfigError
    from flowengine.services.users_file import add_user

    path = _users_file(config_path, file)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if not password:
        fail(USAGE, "the password is empty")
    try:
        added = add_user(path, name, password)
    except (ConfigError, ValueError) as error:
        fail(USAGE, str(error))
    click.echo(f"{'added' if added else 'changed'} {name} in {path}")


@users.command("remove")
@click.argument("name")
@users_options
def users_remove(name: str, config_path: Path | None, file: Path | None) -> None:
    """Remove the user NAME.

    \b
        flowengine users remove alice@example.net
    """
    from flowengine.services.config import ConfigError
    from flowengine.services.users_file import remove_user

    path = _users_file(config_path, file)
    try:
        removed = remove_user(path, name)
    except ConfigError as error:
        fail(USAGE, str(error))
    if not removed:
        fail(NO, f"there is no user {name} in {path}")
    click.echo(f"removed {name} from {path}")


@users.command("list")
@json_option
@users_options
def users_list(as_json: bool, config_path: Path | None, file: Path | None) -> None:
    """List the users.

    \b
        flowengine users list
    """
    from flowengine.services.config import ConfigError
    from flowengine.services.users_file import read_users

    path = _users_file(config_path, file)
    try:
        names = sorted(read_users(path))
    except ConfigError as error:
        fail(USAGE, str(error))
    if as_json:
        show({"file": str(path), "users": names})
    else:
        for one in names:
            click.echo(one)


def _users_file(config_path: Path | None, file: Path | None) -> Path:
    if file is not None:
        return file
    config = load(config_path, files=False)
    files = {listener.users for listener in config.listeners.values() if listener.users is not None}
    if len(files) != 1:
        fail(
            USAGE,
            "name the users file with --file" + (f"; there are {', '.join(map(str, sorted(files)))}" if files else ""),
        )
    return files.pop()
