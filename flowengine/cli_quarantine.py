"""`flowengine quarantine`: look at what is kept aside, let it go on, or throw it away."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowengine.cli_shared import GOOD, NO, USAGE, WORLD, config_option, fail, json_option, load, show

if TYPE_CHECKING:
    from flowengine.services.config import Config
    from flowengine.services.quarantine_desk import Kept, QuarantineDesk


@click.group()
def quarantine() -> None:
    """Messages that a flow has kept aside, by the names of [quarantine.*]."""


def _desk(config: "Config", name: str) -> "QuarantineDesk":
    from flowengine.services.quarantine_desk import QuarantineDesk

    if name not in config.quarantine:
        known = ", ".join(sorted(config.quarantine)) or "none"
        fail(USAGE, f"there is no quarantine {name}; there is {known}")
    return QuarantineDesk(config.quarantine[name].path)


def _document(one: "Kept") -> dict[str, Any]:
    return {"name": one.name, "came": one.came, **one.about}


@quarantine.command("list")
@click.option("--older", type=float, metavar="SECONDS", help="Kept for at least so long.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Messages at most.")
@click.argument("name")
@click.argument("words", nargs=-1)
@config_option
@json_option
def list_(
    config_path: Path | None, as_json: bool, name: str, words: tuple[str, ...], older: float | None, limit: int
) -> None:
    """List the quarantine NAME, the oldest first; with WORDS only messages about which all of them are said.

    \b
        flowengine quarantine list spam alice@example.net
    """
    found: list[Kept] = []
    for one in _desk(load(config_path, files=False), name).kept(words, older):
        found.append(one)
        if len(found) >= limit:
            break
    if as_json:
        show({"messages": [_document(one) for one in found]})
        return
    for one in found:
        came = datetime.fromtimestamp(int(one.came), UTC).strftime("%Y-%m-%d %H:%M")
        people = ", ".join(f"<{who}>" for who in one.recipients[:3]) + ("…" if len(one.recipients) > 3 else "")
        reason = f"  {one.about['reason']}" if one.about.get("reason") else ""
        click.echo(_clean(f"{one.name}  {came}  <{one.about.get('sender', '?')}> → {people}{reason}"))


@quarantine.command("show")
@click.option("--content", is_flag=True, help="Print the message itself, to the octet.")
@click.argument("name")
@click.argument("id_", metavar="ID")
@config_option
@json_option
def show_(config_path: Path | None, as_json: bool, name: str, id_: str, content: bool) -> None:
    """Show what is known of the message ID in the quarantine NAME.

    \b
        flowengine quarantine show --content spam 18a0c1d2e3f40516-0123456789ab
    """
    desk = _desk(load(config_path, files=False), name)
    one = _found(desk, id_)
    if content:
        sys.stdout.buffer.write(desk.content(id_))
    elif as_json:
        show(_document(one))
    else:
        for key, value in _document(one).items():
            click.echo(f"{key}: {_clean(str(value))}")


@quarantine.command("release")
@click.option("--transport", metavar="NAME", help="The way it goes; default: the one it was to have.")
@click.option("--recipient", "recipients", multiple=True, metavar="ADDR", help="In place of its own; repeatable.")
@click.option("--keep", is_flag=True, help="Leave it in the quarantine, too.")
@click.argument("name")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@config_option
@json_option
def release(
    config_path: Path | None,
    as_json: bool,
    name: str,
    ids: tuple[str, ...],
    transport: str | None,
    recipients: tuple[str, ...],
    keep: bool,
) -> None:
    """Put messages of the quarantine NAME into the queue, and take them out here. No flow is asked again.

    \b
        flowengine quarantine release spam 18a0c1d2e3f40516-0123456789ab
    """
    from flowengine.services.quarantine_desk import Release
    from flowengine.services.queue.model import StoreTrouble

    config = load(config_path, files=False)
    desk = _desk(config, name)
    released = []
    try:
        with Release(config) as queue:
            for one in [_found(desk, id_) for id_ in ids]:
                place = queue.put(one, desk.content(one.name), transport, recipients)
                released.append({"name": one.name, "transaction": one.about.get("transaction"), "transport": place})
                if not keep:
                    desk.delete(one.name)
                if not as_json:
                    click.echo(f"released {one.name} by {place}")
    except ValueError as error:
        fail(USAGE, str(error))
    except (StoreTrouble, OSError) as error:
        fail(WORLD, str(error))
    if as_json:
        show({"released": released})


@quarantine.command("delete")
@click.option("--older", type=float, metavar="SECONDS", help="All that are kept for longer.")
@click.argument("name")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@config_option
@json_option
def delete(config_path: Path | None, as_json: bool, name: str, ids: tuple[str, ...], older: float | None) -> None:
    """Throw messages of the quarantine NAME away.

    \b
        flowengine quarantine delete spam --older 2592000
    """
    if not ids and older is None:
        fail(USAGE, "which messages? Name ids or --older; nothing was deleted")
    desk = _desk(load(config_path, files=False), name)
    try:
        found = [_found(desk, id_).name for id_ in ids]
        for one in found:
            desk.delete(one)
        count = len(found) + (desk.expire(older) if older is not None else 0)
    except OSError as error:
        fail(WORLD, str(error))
    if as_json:
        show({"deleted": count})
    else:
        click.echo(f"deleted {count}")
    raise SystemExit(GOOD if count else NO)


def _found(desk: "QuarantineDesk", id_: str) -> "Kept":
    one = desk.find(id_)
    if one is None:
        fail(NO, f"there is no message {id_} in this quarantine")
    return one


def _clean(text: str) -> str:
    """Text of others, safe for a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
