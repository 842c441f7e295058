"""DNS as the mail algorithms see it: a question, an answer, and the difference between "no" and "not now".

The resolver is a parameter everywhere. A name that does not exist is an answer; an answer that could not be had
is `DNSUnavailable`, which SPF, DKIM, DMARC and ARC each turn into `temperror`, never into a failure.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

RecordType = Literal["a", "aaaa", "mx", "txt", "ptr", "cname", "ns", "soa", "tlsa"]


class MX(NamedTuple):
    """One mail exchanger: its preference (lower first) and host name (lower case, no final dot; "" is a null MX)."""

    preference: int
    host: str


Record = str | bytes | MX


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says of (name, type).

    records: addresses as text for a/aaaa, joined strings as bytes for txt, `MX` for mx, names (lower case, no final
        dot) for ptr, cname, ns; master-file text for other types. Empty when there is none.
    exists: False for NXDOMAIN (RFC 8020: nothing below the name either), True for NOERROR with or without records.
    secure: DNSSEC validated by the configured resolver (the AD bit).
    ttl: seconds this answer may be kept.
    """

    records: tuple[Record, ...] = ()
    exists: bool = True
    secure: bool = False
    ttl: float = 0.0

    @property
    def txt(self) -> tuple[bytes, ...]:
        """The records of a TXT answer."""
        return tuple(record for record in self.records if isinstance(record, bytes))

    @property
    def names(self) -> tuple[str, ...]:
        """The records that are names or addresses."""
        return tuple(record for record in self.records if isinstance(record, str))

    @property
    def exchangers(self) -> tuple[MX, ...]:
        """The records of an MX answer."""
        return tuple(record for record in self.records if isinstance(record, MX))


class DNSUnavailable(Exception):
    """The answer could not be had now: time-out, SERVFAIL, REFUSED, a broken reply. Asking again later may help."""

    def __init__(self, name: str, kind: str, reason: str) -> None:
        super().__init__(f"{kind.upper()} {name}: {reason}")
        self.name, self.kind, self.reason = name, kind, reason


class Resolver(Protocol):
    """Asks DNS. Names are passed as A-labels, without a final dot."""

    async def query(self, name: str, kind: RecordType) -> Answer:
        """The answer to one question. Raises DNSUnavailable. A name that cannot be asked (label over 63 or name over
        253 octets, empty label) is answered as not existing."""
        ...
