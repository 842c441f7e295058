"""What any flow may ask of the queue: how full it is, who is to wait, quotas (HSL reference §2.4, §2.7).

Without a queue each of them is a script error that says so.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import Array, Value, from_text, number_text, to_text
from flowengine.runtime.phases import Phase
from flowengine.runtime.queue_view import PickupPolicy, QueueUnavailable, QueueView, Suspension

T = TypeVar("T")
FIELDS = ("transportid", "localip", "remoteip", "remotemx", "recipientdomain", "jobid", "grouping", "tenantid")
MOST = 1000  # values of one filter
_ASKING = (Phase.MAILFROM, Phase.RCPTTO, Phase.DATA, Phase.EOD, Phase.PREDELIVERY)


async def asked(run: Run, question: tuple[object, ...], ask: Callable[[QueueView], Awaitable[T]]) -> T:
    """What the queue answers, kept as a fact. Raises FlowError when there is none to ask."""
    try:
        return await run.world.ask_queue(question, ask)
    except QueueUnavailable as failure:
        raise FlowError(f"{question[0]}: {failure}") from None


@builtin(*_ASKING, name="GetMailQueueMetric")
async def get_mail_queue_metric(
    run: Run, *, metric: Literal["count", "bytes"] = "count", filter_: Mapping[str, Value] | None = None
) -> float:
    """How many messages, or bytes, are in the queue. Needs the queue.

    metric: count or bytes.
    filter: only those for which all of these hold: senderip, remoteip, saslusername, sender, senderdomain, recipient,
        recipientdomain, transportid, retry, metadata.NAME. An array of values: any of them.

        GetMailQueueMetric(["filter" => ["senderdomain" => "example.org"]]);  // 3
    """
    filters: dict[str, tuple[str, ...]] = {}
    for name, value in (filter_ or {}).items():
        values = list(value.values()) if isinstance(value, Array) else [value]
        if len(values) > MOST:
            raise FlowError(f"GetMailQueueMetric: more than {MOST} values of a filter")
        filters[_text(name)] = tuple(_plain(one) for one in values)
    question = ("GetMailQueueMetric", metric, tuple(sorted(filters.items())))
    return await asked(run, question, lambda view: view.metric(metric, filters))


def _text(value: object) -> str:
    return to_text(shown(str(value)))


def _plain(value: Value) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    raise FlowError("a filter of the queue is text or a number, or an array of them")


def _fields(fields: Mapping[str, Value], word: str) -> dict[str, str]:
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise FlowError(f'{word}: there is no field "{_text(unknown[0])}"; there are {", ".join(FIELDS)}')
    return {name: _plain(value) for name, value in fields.items() if value is not None}


@builtin(aliases=("PickupSuspend",))
async def queue_suspend(
    run: Run, fields: Mapping[str, Value], ttl: float, *, tag: str = "", update: bool = True
) -> Array:
    """Keep messages from being picked up for delivery for a while. Needs the queue.

    fields: which: values (with * wildcards) by transportid, localip, remoteip, remotemx, recipientdomain, jobid.
    ttl: seconds. tag: a name for people. update: prolong one for the same fields.

    Returns ["id" => its name].

        queue_suspend(["remotemx" => "*.example.com"], 60)["id"];  // "s1"
    """
    suspension = Suspension(_fields(fields, "queue_suspend"), _seconds(ttl), _text(tag), update)
    question = ("queue_suspend", tuple(sorted(suspension.fields.items())), suspension.ttl, suspension.tag, update)
    return Array({"id": from_text(await asked(run, question, lambda view: view.suspend(suspension)))})


@builtin(aliases=("PickupPolicy",))
async def queue_policy(
    run: Run,
    fields: Sequence[str],
    condition: Mapping[str, Value],
    policy: Mapping[str, Value],
    ttl: float,
    *,
    update: bool = True,
) -> Array:
    """Limit how fast, or how many at a time, messages are picked up for delivery, for a while. Needs the queue.

    fields: what is counted together, such as ["localip", "recipientdomain"]. condition: for which values of them.
    policy: ["concurrency" => deliveries at a time], ["rate" => [messages, seconds]], tag, stop, properties.
    ttl: seconds. update: prolong one for the same fields and condition.

    Returns ["id" => its name].

        queue_policy(["jobid"], ["jobid" => "news"], ["rate" => [10, 60]], 3600)["id"];  // "p1"
    """
    _fields(dict.fromkeys(map(str, fields)), "queue_policy")
    rate = policy.get("rate")
    made = PickupPolicy(
        tuple(map(_text, fields)),
        _fields(condition, "queue_policy"),
        _seconds(ttl),
        _number(policy.get("concurrency")),
        _rate(rate),
        {_text(name): value for name, value in policy.items() if name not in ("concurrency", "rate")},
        update,
    )
    question = (
        "queue_policy",
        made.fields,
        tuple(sorted(made.condition.items())),
        made.concurrency,
        made.rate,
        made.ttl,
    )
    return Array({"id": from_text(await asked(run, question, lambda view: view.limit(made)))})


def _seconds(ttl: float) -> float:
    if not 0 < ttl < float("inf"):
        raise FlowError("ttl is a number of seconds above 0")
    return float(ttl)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise FlowError("queue_policy: concurrency is a number") from None


def _rate(value: Value) -> tuple[float, float] | None:
    if value is None:
        return None
    parts = list(value.values()) if isinstance(value, Array) else [value, 1]
    numbers = [_number(one) for one in parts]
    if len(numbers) != 2 or numbers[0] is None or not numbers[1]:
        raise FlowError("queue_policy: rate is [messages, seconds]")
    return numbers[0], numbers[1]


@builtin
async def queue_policy_delete(run: Run, id_: str) -> bool:
    """End what `queue_policy` began. Needs the queue.

    id: the name that it returned.

    Returns whether there was one.

        queue_policy_delete("p1");  // true
    """
    return await asked(run, ("queue_policy_delete", _text(id_)), lambda view: view.unlimit(_text(id_)))


@builtin
async def queue_quota(run: Run, name: str) -> Array:
    """How much counts towards a quota (the option quotas of `queue`). Needs the queue.

    Returns ["count" => messages, "bytes" => octets].

        queue_quota("customer-7")["count"];  // 3
    """
    count, octets = await asked(run, ("queue_quota", _text(name)), lambda view: view.quota(_text(name)))
    return Array({"count": count, "bytes": octets})
