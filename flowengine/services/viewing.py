"""A log that people can look into while the server runs: live lines of some clients, and the last transactions by id.

Lines go to the ordinary log as before. Nobody looking costs a comparison a line.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from flowengine.runtime.services import Level, Log
from flowengine.runtime.world import Fact
from flowengine.services.log import clean

RECENT = 1000
"""Transactions that are remembered in one worker."""
RECENT_SIZE = 16 << 20
"""Octets that their facts may take, about."""
FACTS = 200
"""Facts of one transaction that are shown."""
_WATCHED = 10_000
_FACT = 300

See = Callable[[Mapping[str, object]], None]


@dataclass(frozen=True, slots=True)
class Filter:
    """Whose lines somebody wants to see. client: a network, None for everybody; id: one transaction or visit."""

    client: IPv4Network | IPv6Network | None = None
    id: str = ""

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """An address, a network, `all`, or an id as replies carry it. Raises ValueError."""
        if text == "all":
            return cls()
        if len(text) == 24 and not set(text) - set("0123456789abcdef"):
            return cls(id=text)
        try:
            return cls(ip_network(text, strict=False))
        except ValueError:
            raise ValueError(f"{text!r} is no address, no network, no id of a transaction, and not `all`") from None

    def holds(self, client: str, id_: str) -> bool:
        """Whether a line is one of them."""
        if self.id:
            return id_ == self.id
        if self.client is None:
            return True
        try:
            return ip_address(client) in self.client
        except ValueError:  # a Unix socket has no address
            return False


@dataclass(slots=True)
class _Concluded:
    fields: Mapping[str, object]
    facts: Sequence[Fact]
    size: int


class ViewedLog:
    """A `Log` in front of another. see: gets the lines that are wanted while `filters` is not empty."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.filters: tuple[Filter, ...] = ()
        self.see: See | None = None
        self._clients: OrderedDict[str, str] = OrderedDict()
        self._recent: OrderedDict[str, _Concluded] = OrderedDict()
        self._size = 0

    def takes(self, level: Level) -> bool:
        """Whether the other log takes it, or somebody looks on."""
        return bool(self.filters) or self._log.takes(level)

    def event(self, level: Level, event: str, /, **fields: object) -> None:
        """One line."""
        self._log.event(level, event, **fields)
        if self.filters:
            self._show(level, event, fields)
        if event == "verdict" and (recent := self._recent.get(str(fields.get("id")))) is not None:
            recent.fields = fields

    def began(self, id_: str, client: str) -> None:
        """From now on lines with this id are about this client."""
        if self.filters:
            self._clients[id_] = client
            if len(self._clients) > _WATCHED:
                self._clients.popitem(last=False)

    def concluded(self, id_: str, facts: Sequence[Fact]) -> None:
        """A transaction is over: what the outside world answered it."""
        size = sum(map(_weight, facts))
        if size > RECENT_SIZE:
            facts, size = [], 0
        self._recent[id_] = _Concluded({}, facts, size)
        self._size += size
        while len(self._recent) > RECENT or self._size > RECENT_SIZE:
            _, old = self._recent.popitem(last=False)
            self._size -= old.size
        if self.filters:
            self._show("debug", "facts", {"id": id_, "facts": shown_facts(facts)})

    def wants(self, client: str, id_: str = "") -> bool:
        """Whether somebody wants to see what this client does."""
        return any(one.holds(client, id_) for one in self.filters)

    def recall(self, id_: str) -> Mapping[str, object] | None:
        """The verdict line and the facts of one of the last transactions; None when it is not among them."""
        found = self._recent.get(id_)
        if found is None:
            return None
        return {"verdict": clean(found.fields), "facts": shown_facts(found.facts)}

    def _show(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        id_ = str(fields.get("id") or "")
        client = str(fields.get("client") or self._clients.get(id_, ""))
        if self.see is not None and self.wants(client, id_):
            line = {name: clean(value, depth=8) for name, value in fields.items() if value is not None}
            self.see({"level": level, "event": event, "client": client, **line})


def shown_facts(facts: Sequence[Fact]) -> list[str]:
    """Facts as people may see them."""
    return [str(fact)[:_FACT] for fact in facts[:FACTS]]


def _weight(fact: Fact) -> int:
    """About how many octets a fact holds on to."""
    answer = getattr(fact.answer, "body", fact.answer)
    return 200 + (len(answer) if isinstance(answer, (str, bytes)) else 300)
