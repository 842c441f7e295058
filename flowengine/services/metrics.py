"""Counters and gauges for the operator: every one declared here, with its labels and what it counts.

A worker only adds up (`Tally`); the process that serves the endpoint keeps the sums of all workers (`Metrics`).
"""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest

COUNTERS: dict[str, tuple[tuple[str, ...], str]] = {
    "verdicts": (("verdict", "listener"), "Finished transactions by their verdict."),
    "signing_verdicts": (
        ("verdict", "listener"),
        "Deliveries: signed, unsigned (not asked for), failed (asked for in vain).",
    ),
    "refusals": (("listener", "phase", "reply"), "What was refused before a verdict on a message: 4xx, 5xx; by phase."),
    "flow_errors": (("phase",), "Scripts that failed."),
    "authentications": (("result",), "AUTH attempts."),
    "tls_handshakes": (("listener", "result"), "TLS towards clients: TLSv1.2, TLSv1.3, failed, too slow."),
    "dns_queries": (("result",), "Questions to DNS: hit, miss, stale, error."),
    "dns_seconds": ((), "Time spent waiting for DNS servers."),
    "http_calls": (("result",), "Calls of flows to web servers: answered, unavailable."),
    "deliveries": (
        ("result", "transport"),
        "Recipients handed on: delivered, deferred, refused, remembered, duplicate.",
    ),
    "queued": (("transport",), "Recipients put into the queue."),
    "attempts": (
        ("result", "transport"),
        "Recipients of attempts of the queue: delivered, deferred, returned, parked.",
    ),
    "reports": (("action",), "Reports to senders: failed, delayed, relayed, delivered; suppressed, undeliverable."),
    "queue_commits": ((), "Transactions of the queue's storage, each synced."),
    "queue_changes": ((), "What was done in them: messages put, entries claimed, attempts written down."),
    "taken_over": ((), "Recipients whose worker had died, taken over by another."),
    "limits": (("limit",), "Clients and messages that came to a limit, by its name in [limits]; spool: no room there."),
    "connections": (("listener", "result"), "Connections of clients: accepted, and those that heard no greeting."),
}

GAUGES: dict[str, str] = {
    "open_connections": "Connections of clients, of all workers.",
    "in_flight_bytes": "Octets of messages in memory, of all workers.",
    "resident_bytes": "Memory of all workers, shared pages counted in each.",
    "workers": "Workers that report.",
    "queue_messages": "Recipients that wait in the queue for their delivery.",
    "queue_held": "Recipients that are held until somebody releases them.",
    "queue_parked": "Recipients whose message cannot be read.",
    "queue_bytes": "Octets of all messages in the queue.",
    "queue_oldest_seconds": "Age of the oldest message in the queue.",
    "queue_active": "Attempts under way, of all workers.",
}

Labels = tuple[tuple[str, str], ...]


def check(name: str, labels: Iterable[str]) -> None:
    """Raises KeyError for a counter that is not declared, ValueError for other labels than it has."""
    if sorted(COUNTERS[name][0]) != sorted(labels):
        raise ValueError(f"the counter {name} has the labels {COUNTERS[name][0]}")


class Tally:
    """What one worker counted since somebody took it (`runtime.services.Counters`)."""

    def __init__(self) -> None:
        self._counts: dict[tuple[object, ...], float] = {}
        self._known: set[tuple[object, ...]] = set()

    def increment(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter. Raises KeyError for one that is not declared, ValueError for other labels."""
        key = (name, *labels.items())
        if key not in self._known:
            check(name, labels)
            self._known.add(key)
        self._counts[key] = self._counts.get(key, 0) + amount

    def take(self) -> list[tuple[str, dict[str, str], float]]:
        """What was counted since the last time: name, labels, amount."""
        counts, self._counts = self._counts, {}
        return [(str(name), dict(labels), amount) for (name, *labels), amount in counts.items()]  # type: ignore[arg-type]  # pairs of text


class Metrics:
    """The sums of all workers, in a registry of their own (`runtime.services.Counters`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._counters = {
            name: Counter(f"flowengine_{name}", page, labels, registry=self.registry)
            for name, (labels, page) in COUNTERS.items()
        }
        self._gauges = {
            name: Gauge(f"flowengine_{name}", page, registry=self.registry) for name, page in GAUGES.items()
        }

    def increment(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter. Raises KeyError for one that is not declared, ValueError for other labels."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def show(self, gauges: Mapping[str, float]) -> None:
        """How things stand now; what is not named stands at 0. Raises KeyError for one that is not declared."""
        for name, gauge in self._gauges.items():
            gauge.set(gauges.get(name, 0))

    def text(self) -> bytes:
        """All of it in Prometheus' text form."""
        return generate_latest(self.registry)
