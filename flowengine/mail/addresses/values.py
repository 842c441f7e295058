"""What an address is once it has been read: names without quoting, and the one way to write them again."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# RFC 5322 §3.2.3 atext, with RFC 6532 §3.2: all that is not ASCII.
ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x80-\U0010ffff"
_DOT_ATOM = re.compile(rf"[{ATEXT}]++(?:\.[{ATEXT}]++)*+")
_MUST_ESCAPE = re.compile(r'(["\\])')


def quote_local_part(local_part: str) -> str:
    """The local part as it is written before the @: quoted only where RFC 5322 §3.4.1 needs it."""
    if _DOT_ATOM.fullmatch(local_part):
        return local_part
    return '"' + _MUST_ESCAPE.sub(r"\\\1", local_part) + '"'


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox of a header field.

    display_name: decoded (RFC 2047), without quotes and control characters; "" when there is none.
    local_part: without quotes.
    domain: as written, without comments and blanks; a domain literal keeps its brackets.
    """

    display_name: str
    local_part: str
    domain: str

    @property
    def address(self) -> str:
        """local@domain, quoted only where needed."""
        return f"{quote_local_part(self.local_part)}@{self.domain}"


@dataclass(frozen=True, slots=True)
class Group:
    """A named list of mailboxes (RFC 5322 §3.4), often empty: `undisclosed-recipients:;`."""

    display_name: str
    members: tuple[Address, ...]


def mailboxes(entries: Iterable[Address | Group]) -> Iterator[Address]:
    """Every address, those in groups too."""
    for entry in entries:
        if isinstance(entry, Group):
            yield from entry.members
        else:
            yield entry
