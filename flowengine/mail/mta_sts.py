"""MTA-STS (RFC 8461): what a domain says about the TLS of its mail exchangers.

Bytes in, values out; whatever comes, it is a policy or a MailError.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from flowengine.mail.errors import MailError

LONGEST = 64 << 10
"""Octets of a policy that are read."""
MOST_PATTERNS = 100
MAX_AGE = 31557600
"""Seconds, a year (§3.2)."""
_RECORD = re.compile(rb"v=STSv1[ \t]*;[ \t]*(.*)", re.DOTALL).fullmatch
_ID = re.compile(rb"[ \t]*id[ \t]*=[ \t]*([A-Za-z0-9]{1,32})[ \t]*").fullmatch
_PATTERN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)+").fullmatch


@dataclass(frozen=True, slots=True)
class Policy:
    """What is to be done. mx: names of exchangers, `*.` in front stands for one label. max_age in seconds."""

    mode: Literal["enforce", "testing", "none"]
    mx: tuple[str, ...]
    max_age: int

    def allows(self, host: str) -> bool:
        """Whether an exchanger of this name (lower case, A-labels) may get the mail (§4.1)."""
        above = host.partition(".")[2]
        return any(pattern == host or (pattern[:2] == "*." and pattern[2:] == above) for pattern in self.mx)


def record_id(records: Iterable[bytes]) -> str | None:
    """The id of the policy from the TXT records of `_mta-sts.DOMAIN`; None without exactly one of ours (§3.1)."""
    ours = [match for match in map(_RECORD, records) if match is not None]
    if len(ours) != 1:
        return None
    found = [match[1] for match in map(_ID, ours[0][1].split(b";")) if match is not None]
    return found[0].decode() if found else None


def parse_policy(text: bytes) -> Policy:
    """The policy of `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (§3.2). Raises MailError."""
    if len(text) > LONGEST:
        raise MailError("an MTA-STS policy beyond all measure")
    fields: dict[str, str] = {}
    mx: list[str] = []
    for line in text.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not colon:
            if line.strip():
                raise MailError("an MTA-STS policy has a line without a colon")
        elif name == "mx":
            pattern = value.lower().rstrip(".")
            if _PATTERN(pattern) is None or len(mx) >= MOST_PATTERNS:
                raise MailError("an MTA-STS policy names an exchanger that cannot be one, or too many")
            mx.append(pattern)
        else:
            fields.setdefault(name, value)  # the first one counts
    mode, age = fields.get("mode"), fields.get("max_age", "")
    if fields.get("version") != "STSv1" or mode not in ("enforce", "testing", "none"):
        raise MailError("an MTA-STS policy without version STSv1 or a mode")
    if not re.fullmatch(r"[0-9]{1,10}", age):
        raise MailError("an MTA-STS policy without max_age")
    if not mx and mode != "none":
        raise MailError("an MTA-STS policy names no exchanger")
    return Policy(cast('Literal["enforce", "testing", "none"]', mode), tuple(mx), min(int(age), MAX_AGE))
