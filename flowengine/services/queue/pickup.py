"""What flows say about the pace of deliveries: suspensions and policies (HSL reference §2.7, `queue_suspend`,
`queue_policy`), known to all workers.

A message that has to wait is given a time at which it is likely to be let through, so that many that wait cost no more
than few.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from flowengine.services.queue.model import Job

FIELDS = ("transportid", "recipientdomain", "jobid", "remotemx", "remoteip", "localip")
"""What a rule may be about. The last three are known once a host is chosen."""
LATE = frozenset(FIELDS[3:])
MOST = 1000
"""Rules at a time; a new one beyond takes the place of the one that ends first."""
_KEYS = 10_000
"""Groups of one policy whose turns are remembered."""


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One suspension (without concurrency and rate) or policy.

    fields: what is counted together. condition: values, with wildcards, by field. concurrency: deliveries at a time.
    rate: so many in so many seconds.
    """

    condition: dict[str, str]
    fields: tuple[str, ...] = ()
    concurrency: float | None = None
    rate: tuple[float, float] | None = None
    tag: str = ""

    @property
    def suspends(self) -> bool:
        """Whether nothing is let through."""
        return self.concurrency is None and self.rate is None

    @property
    def late(self) -> bool:
        """Whether it can be judged only when a host is chosen."""
        return not LATE.isdisjoint({*self.fields, *self.condition})

    def matches(self, known: Mapping[str, str]) -> bool:
        """Whether it is about a delivery of which this is known."""
        return all(fnmatch.fnmatchcase(known.get(name, ""), value.lower()) for name, value in self.condition.items())


class Rates(Protocol):
    """Sliding windows of all workers (`runtime.services.Rates`)."""

    def hit(self, namespace: str, entry: str, count: int, interval: float, now: float) -> bool:
        """Add one entry if fewer than `count` lie in the last `interval` seconds; whether it was added."""
        ...


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now. until: Unix time. reason: for the log and `queue why`."""

    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Seat:
    """One of `most` places that an attempt has to take."""

    name: str
    most: int
    pause: float


class Pickup:
    """The rules as one worker knows them. It reads them now and then."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._rules: tuple[tuple[str, Rule, float], ...] = ()
        self._turns: dict[tuple[str, str], int] = {}

    def learn(self, rules: Sequence[tuple[str, bytes, float]]) -> None:
        """These are the rules now: name, rule, until when."""
        self._rules = tuple((name, msgspec.json.decode(rule, type=Rule), until) for name, rule, until in rules)
        names = {name for name, _, _ in self._rules}
        self._turns = {key: turn for key, turn in self._turns.items() if key[0] in names}

    @property
    def idle(self) -> bool:
        """Whether there is no rule at all."""
        return not self._rules

    @property
    def paces_hosts(self) -> bool:
        """Whether a policy counts by the host that is chosen."""
        return any(rule.late and not rule.suspends for _, rule, _ in self._rules)

    def judge(self, job: Job, now: float, host: Mapping[str, str] | None = None) -> Wait | list[Seat]:
        """Whether a delivery has to wait, or which places it must take.

        host: remotemx, remoteip and localip once they are known; then only the rules are judged that need them.
        """
        known = {**about(job), **(host or {})}
        seats: list[Seat] = []
        for name, rule, until in self._rules:
            if until <= now or rule.late != (host is not None) or not rule.matches(known):
                continue
            told = f"{'suspended' if rule.suspends else 'held to a pace'}{f' ({rule.tag})' if rule.tag else ''}"
            if rule.suspends:
                return Wait(until, told)
            key = "\0".join(known.get(field, "") for field in rule.fields)
            if rule.rate is not None:
                count, interval = rule.rate
                if not self._rates.hit(f"queue:{name}", key, max(1, int(count)), interval, now):
                    return Wait(min(until, now + self.turn((name, key)) * interval / max(1.0, count)), told)
                self._turns.pop((name, key), None)
            if rule.concurrency is not None:
                seats.append(Seat(f"{name}\0{key}", int(rule.concurrency), 1.0))
        return seats

    def turn(self, key: tuple[str, str]) -> int:
        """How many wait in this group since the last one was let through, this one included."""
        if len(self._turns) >= _KEYS:
            self._turns.clear()
        self._turns[key] = turn = self._turns.get(key, 0) + 1
        return turn


def about(job: Job) -> dict[str, str]:
    """What is known of a job before a host is chosen."""
    domain = job.place.domain or job.entries[0].recipient.rpartition("@")[2].lower()
    return {"transportid": job.place.transport.lower(), "recipientdomain": domain, "jobid": job.about.jobid.lower()}
