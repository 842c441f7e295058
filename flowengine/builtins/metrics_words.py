"""Numbers that flows count for people: `stat`, `metrics_*`; and how busy a listener is."""

from collections.abc import Mapping

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import Value, number_text, to_text

ATTEMPTS = 10  # of a change that others overtake
LONGEST = 500


@builtin
def stat(run: Run, name: str, values: Mapping[str, float]) -> None:
    """Write numbers to the log, where graphs can be made of them.

    name: of the graph. values: number by legend.

        stat("spam", ["score" => 3]);  // none
    """
    listed = {to_text(shown(legend)): value for legend, value in list(values.items())[:100]}
    run.world.log("info", "stat", id=run.message_id, name=to_text(shown(name)), values=listed)


def _place(name: str, labels: Mapping[str, Value]) -> str:
    said = "\0".join(f"{label}={_plain(value)}" for label, value in sorted(labels.items()))
    place = f"\0metric\0{shown(name)}\0{said}"
    if len(place) > LONGEST:
        raise FlowError("the name of a metric with its labels is too long")
    return place


def _plain(value: Value) -> str:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    raise FlowError("the label of a metric is text or a number")


def _change(run: Run, place: str, by: float) -> bool | None:
    for _ in range(ATTEMPTS):
        found = run.world.memory_get(place)
        version, old = found if found is not None else (None, 0)
        new = (old if isinstance(old, (int, float)) else 0) + by
        if run.world.memory_put(place, new, version):
            return True
    return None


@builtin
def metrics_increment(run: Run, name: str, labels: Mapping[str, Value], value: float = 1) -> bool | None:
    """Add to a number that all flows of this server share.

    labels: texts that tell numbers of one name apart. value: how much.

    Returns true, or none when it could not be counted.

        metrics_increment("seen", ["kind" => "spam"]);  // true
    """
    return _change(run, _place(name, labels), value)


@builtin
def metrics_decrement(run: Run, name: str, labels: Mapping[str, Value], value: float = 1) -> bool | None:
    """Take from a number that all flows of this server share. Arguments as for `metrics_increment`.

    metrics_decrement("open", []);  // true
    """
    return _change(run, _place(name, labels), -value)


@builtin
def metrics_set(run: Run, name: str, labels: Mapping[str, Value], value: float) -> bool | None:
    """Set a number that all flows of this server share. Arguments as for `metrics_increment`.

    metrics_set("level", [], 7);  // true
    """
    return True if run.world.memory_put(_place(name, labels), value, -1) else None


@builtin
def metrics_get(run: Run, name: str, labels: Mapping[str, Value]) -> float | None:
    """A number that all flows of this server share; none when nobody has counted it.

    metrics_get("absent", []);  // none
    """
    found = run.world.memory_get(_place(name, labels))
    return found[1] if found is not None and isinstance(found[1], (int, float)) else None


@builtin
def server_concurrency(run: Run, id_: str, address: str | None = None) -> int | None:
    """How many connections a listener has, or has from one address. This version does not count them for flows.

    id: the listener. address: an IP address.

    Returns none, with a warning.

        server_concurrency("inbound");  // none
    """
    run.warn("server_concurrency: connections are not counted for flows by this version")
    return None
