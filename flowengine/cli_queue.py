"""`flowengine queue`: what waits, why, and what to do about it."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowengine.cli_shared import GOOD, NO, USAGE, WORLD, F, config_option, fail, json_option, load, show

if TYPE_CHECKING:
    from flowengine.services.queue.desk import Choice, Desk, Listed, Order

STATES = ("queued", "active", "held", "parked", "returning")


@click.group()
def queue() -> None:
    """The queue: messages that were taken with a 250 and are not delivered yet.

    An entry is one recipient, known as TRANSACTION-NUMBER; the client heard the transaction's id with its 250.
    """


def choosing(command: F) -> F:
    """The options that choose entries."""
    options: tuple[Callable[[F], F], ...] = (
        click.option("--sender", metavar="TEXT", help="Text in the sender's address; '' is the null sender."),
        click.option("--recipient", metavar="TEXT", help="Text in the recipient's address."),
        click.option("--domain", metavar="DOMAIN", help="The recipient's domain."),
        click.option("--transport", metavar="NAME", help="The transport."),
        click.option("--state", type=click.Choice(STATES), help="How they stand."),
        click.option("--older", type=float, metavar="SECONDS", help="In the queue for at least so long."),
        click.option("--newer", type=float, metavar="SECONDS", help="In the queue for at most so long."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    )
    for option in reversed(options):
        command = option(command)
    return config_option(json_option(command))


def _choice(ids: tuple[str, ...], options: dict[str, Any]) -> "Choice":
    from flowengine.services.queue.desk import Choice

    return Choice(ids, **options)


def _desk(config_path: Path | None) -> "Desk":
    from flowengine.services.queue.backends import open_window
    from flowengine.services.queue.desk import Desk
    from flowengine.services.queue.model import StoreTrouble

    desk = Desk(open_window(load(config_path, files=False).storage))
    try:
        return desk.__enter__()
    except StoreTrouble as error:
        fail(WORLD, str(error))


@queue.command("list")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Entries at most.")
@click.option("--after", type=int, default=0, metavar="KEY", help="Go on behind the page that ended with this key.")
@choosing
def list_(
    config_path: Path | None, as_json: bool, ids: tuple[str, ...], limit: int, after: int, **options: Any
) -> None:
    """List entries, the oldest first, one page at a time.

    \b
        flowengine queue list --domain example.net --older 3600
    """
    found = _asked(lambda: _desk(config_path).entries(_choice(ids, options), limit, after))
    more = found[-1].key if len(found) == limit else None
    if as_json:
        show({"entries": [one.document() for one in found], "next": more})
        return
    for one in found:
        last = one.reply or one.said
        click.echo(f"{one.id}  {_when(one)}  {one.size:>9}  <{one.sender}> → <{one.recipient}>")
        if last:
            click.echo(f"    {_clean(last)[:200]}")
    if more is not None:
        click.echo(f"more: --after {more}", err=True)


@queue.command("show")
@click.option("--content", is_flag=True, help="Print the message itself, to the octet.")
@click.argument("id_", metavar="ID")
@config_option
@json_option
def show_(config_path: Path | None, as_json: bool, id_: str, content: bool) -> None:
    """Show everything about a message, by the id of its transaction or of one entry.

    \b
        flowengine queue show 01a2269457f841a77089e94c
    """
    from flowengine.services.queue.model import Damaged

    desk = _desk(config_path)
    found = _found(desk, id_)
    if content:
        try:
            for chunk in _asked(lambda: desk.content(found[0].message)):
                sys.stdout.buffer.write(chunk)
        except Damaged as error:
            fail(WORLD, str(error))
        return
    import msgspec

    try:
        about: Any = msgspec.to_builtins(_asked(lambda: desk.about(found[0].message)))
    except Damaged as error:
        about = {"damaged": str(error)}
    if as_json:
        show({"about": about, "entries": [one.document() for one in found]})
        return
    click.echo(f"from <{found[0].sender}>, {found[0].size} octets, queued {_time(found[0].queued)}")
    for name, value in about.items():
        click.echo(f"  {name}: {_clean(str(value))}")
    for one in found:
        click.echo(f"{one.id}  <{one.recipient}> by {one.transport}: {_why(one)}")


@queue.command("why")
@click.argument("id_", metavar="ID")
@config_option
@json_option
def why(config_path: Path | None, as_json: bool, id_: str) -> None:
    """Say in words why a message is still here, and what happens next.

    \b
        flowengine queue why 01a2269457f841a77089e94c-1
    """
    found = _found(_desk(config_path), id_)
    if as_json:
        show({"entries": [{"id": one.id, "recipient": one.recipient, "why": _why(one)} for one in found]})
        return
    for one in found:
        click.echo(f"{one.id}  <{one.recipient}>: {_why(one)}")


def _order(name: "Order", doing: str, done: str, page: str) -> None:
    """Make the command of an order."""

    @click.option("--all", "everything", is_flag=True, help="Every entry; without it something must choose.")
    @choosing
    def command(
        config_path: Path | None, as_json: bool, ids: tuple[str, ...], everything: bool, **options: Any
    ) -> None:
        if not ids and not everything and all(value is None for value in options.values()):
            fail(USAGE, f"which entries? Name ids, choose by options, or say --all; nothing was {done}")
        desk, choice = _desk(config_path), _choice(ids, options)
        changed, busy = 0, 0
        progress = sys.stderr.isatty() and not as_json
        for step in _steps(desk, name, choice):
            changed, busy = step
            if progress:
                click.echo(f"\r{doing} {changed}…", nl=False, err=True)
        if progress:
            click.echo("", err=True)
        if as_json:
            show({done: changed, "busy": busy})
        else:
            left = f", {busy} on their way and left alone" if busy and name != "hold" else ""
            click.echo(f"{done} {changed}{left}")
        raise SystemExit(GOOD if changed else NO)

    command.__doc__ = page
    queue.command(name)(command)


def _steps(desk: "Desk", name: "Order", choice: "Choice") -> Any:
    from flowengine.services.queue.model import StoreTrouble

    try:
        yield from desk.order(name, choice)
    except StoreTrouble as error:
        fail(WORLD, str(error))


_ORDERS: "tuple[tuple[Order, str, str, str, str], ...]" = (
    ("retry", "retrying", "retried", "Try entries now; parked ones, too.", "--domain example.net"),
    ("hold", "holding", "held", "Hold entries back until they are released.", "--sender bulk@"),
    ("release", "releasing", "released", "Let held entries go on.", "--all"),
    ("bounce", "bouncing", "bounced", "Return entries to their senders without a further attempt.", "--older 86400"),
    ("delete", "deleting", "deleted", "Drop entries; nobody is told.", "--sender spam@"),
)
for _name, _doing, _done, _page, _example in _ORDERS:
    _order(_name, _doing, _done, f"{_page}\n\n\b\n    flowengine queue {_name} {_example}")


@queue.command("stats")
@click.option("--limit", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Destinations at most.")
@config_option
@json_option
def stats(config_path: Path | None, as_json: bool, limit: int) -> None:
    """How much waits, since when, and for whom the most.

    \b
        flowengine queue stats
    """
    desk = _desk(config_path)
    stand = _asked(desk.stand)
    places = _asked(lambda: desk.destinations(limit))
    if as_json:
        document = {name: getattr(stand, name) for name in ("queued", "held", "parked", "octets", "oldest")}
        show({**document, "destinations": places})
        return
    age = f", the oldest for {_span(time.time() - stand.oldest)}" if stand.oldest else ""
    click.echo(f"{stand.queued} queued, {stand.held} held, {stand.parked} parked; {stand.octets} octets{age}")
    for one in places:
        failing = f"; failed {one['failures']} times: {_clean(one['reply'])[:200]}" if one["failures"] else ""
        click.echo(f"{one['recipients']:>8}  {one['transport']} {one['domain']}{failing}")


# -- words ------------------------------------------------------------------------------------------------------------


def _asked(work: Callable[[], Any]) -> Any:
    from flowengine.services.queue.model import StoreTrouble

    try:
        return work()
    except StoreTrouble as error:
        fail(WORLD, str(error))


def _found(desk: "Desk", id_: str) -> "list[Listed]":
    from flowengine.services.queue.desk import Choice

    found: list[Listed] = _asked(lambda: desk.entries(Choice((id_,)), 1000))
    if not found:
        fail(NO, f"{id_} is not in the queue: it was delivered, returned, or never queued; the log knows by this id")
    return found


def _why(one: "Listed") -> str:
    now = time.time()
    last = f" The last answer was: {_clean(one.reply)}" if one.reply else ""
    if one.state == "active":
        return f"it is being delivered now, attempt {one.attempts + 1}.{last}"
    if one.state == "held":
        return f"it is held until somebody releases it (flowengine queue release {one.id}).{last}"
    if one.state == "parked":
        return f"it cannot be read: {_clean(one.reply)}. Look at it, then retry or delete it."
    if one.state == "returning":
        return "it is about to be returned to its sender."
    if one.resting > max(now, one.due):
        rest = f"the destination has failed {one.failures} times and rests for {_span(one.resting - now)}"
        return f"{rest}; it said: {_clean(one.said)}.{last}"
    when = "is due now" if one.due <= now else f"comes in {_span(one.due - now)}"
    end = f"it is returned after {_time(one.expires)}"
    return f"attempt {one.attempts + 1} {when}; {end}.{last}"


def _when(one: "Listed") -> str:
    if one.state != "queued":
        return one.state
    due = max(one.due, one.resting) - time.time()
    return "due now" if due <= 0 else f"in {_span(due)}"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _clean(text: str) -> str:
    """Text of others, safe for a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
