"""A resolver for tests: what it is given is all there is; it keeps the questions."""

from collections.abc import Mapping, Sequence

from flowengine.mail.dns import Answer, DNSUnavailable, Record, RecordType

Zone = Mapping[tuple[str, str], Sequence[Record] | None]


class FakeDNS:
    """zone: (name, type) → records; None is an answer that cannot be had now."""

    def __init__(self, zone: Zone) -> None:
        self.zone = {(name.lower(), kind): records for (name, kind), records in zone.items()}
        self.names = {name for name, _ in self.zone}
        self.asked: list[tuple[str, str]] = []

    async def query(self, name: str, kind: RecordType) -> Answer:
        self.asked.append((name, kind))
        labels = name.split(".")
        if len(name) > 253 or not all(0 < len(label) <= 63 for label in labels):
            return Answer(exists=False)
        records = self.zone.get((name, kind), ())
        if records is None:
            raise DNSUnavailable(name, kind, "time-out")
        exists = any(known == name or known.endswith("." + name) for known in self.names)
        return Answer(tuple(records), exists=exists)


def txt(records: Mapping[str, str | None]) -> FakeDNS:
    """A zone of TXT records only."""
    return FakeDNS({(name, "txt"): None if text is None else [text.encode()] for name, text in records.items()})
