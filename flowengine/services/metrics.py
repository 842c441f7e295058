"""Counters for the operator: every one declared here, with its labels and what it counts."""

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest

COUNTERS: dict[str, tuple[tuple[str, ...], str]] = {
    "verdicts": (("verdict", "listener"), "Finished transactions by their verdict."),
    "signing_verdicts": (
        ("verdict", "listener"),
        "Deliveries: signed, unsigned (not asked for), failed (asked for in vain).",
    ),
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
    "limits": (("limit",), "Clients and messages that came to a limit, by its name in [limits]."),
    "connections": (("listener", "result"), "Connections: accepted, refused."),
}


class Metrics:
    """The counters of one process, in a registry of their own (`runtime.services.Counters`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._counters = {
            name: Counter(f"flowengine_{name}", page, labels, registry=self.registry)
            for name, (labels, page) in COUNTERS.items()
        }
        self._children: dict[tuple[object, ...], Counter] = {}

    def increment(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter. Raises KeyError for one that is not declared, ValueError for other labels."""
        key = (name, *labels.items())
        child = self._children.get(key)
        if child is None:
            counter = self._counters[name]
            child = self._children[key] = counter.labels(**labels) if labels else counter
        child.inc(amount)

    def text(self) -> bytes:
        """The counters in Prometheus' text form."""
        return generate_latest(self.registry)
