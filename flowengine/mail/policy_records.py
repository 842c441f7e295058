"""Smaller policies that domains publish: MTA-STS (RFC 8461), TLS-RPT (RFC 8460), BIMI (draft).

Each parser answers None for a text that is another kind of record, and raises MailError for one that breaks its rules.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from flowengine.mail import names
from flowengine.mail.dmarc.record import ReportURI, report_uri
from flowengine.mail.dns import Resolver
from flowengine.mail.errors import MailError

Parsed = TypeVar("Parsed")

_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*+=[ \t]*+([!-:<-~][ -:<-~]*+)?")
_BIMI = re.compile(rb"v[ \t]*+=[ \t]*+BIMI1[ \t]*+(?:;|\Z)")
_STS_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_STS_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*+(.*)", re.DOTALL)
STSMode = Literal["enforce", "testing", "none"]
_STS_MODES: dict[str, STSMode] = {"enforce": "enforce", "testing": "testing", "none": "none"}
_LONGEST_STS_AGE = 31_557_600
_LARGEST_STS_POLICY = 64 * 1024


def only(texts: Iterable[bytes], parse: Callable[[bytes], Parsed | None]) -> Parsed | None:
    """The one record of its kind among the TXT records of a name; None when there is none, or more than one, which
    all three documents take for none (RFC 8461 §3.1, RFC 8460 §3). Raises MailError as `parse` does."""
    found = [record for record in (parse(text) for text in texts) if record is not None]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class STSRecord:
    """The TXT record at `_mta-sts.`: a new `id` says that there is a new policy to fetch."""

    id: str


def parse_sts_record(text: bytes) -> STSRecord | None:
    """Parse `v=STSv1; id=…;` (RFC 8461 §3.1)."""
    fields = _fields(text, "STSv1")
    if fields is None:
        return None
    if not _STS_ID.fullmatch(fields.get("id", "")):
        raise MailError("MTA-STS record without a valid id (1 to 32 letters and digits)")
    return STSRecord(fields["id"])


@dataclass(frozen=True, slots=True)
class STSPolicy:
    """The policy at `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 §3.2).

    mx: names in lower case with A-labels; `*.` in front stands for one label. max_age: seconds.
    """

    mode: STSMode
    max_age: int
    mx: tuple[str, ...]

    def allows(self, host: str) -> bool:
        """Whether mail may go to this MX host (§4.1)."""
        name = names.to_ascii(host)
        return name is not None and (name in self.mx or f"*.{name.partition('.')[2]}" in self.mx)


def parse_sts_policy(body: bytes) -> STSPolicy:
    """Parse a policy file. Raises MailError; the first of a repeated field counts, all of mx do (§3.2)."""
    if len(body) > _LARGEST_STS_POLICY:
        raise MailError("MTA-STS policy of more than 64 KiB")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MailError(f"MTA-STS policy is not UTF-8 at {error.start}") from None
    fields: dict[str, str] = {}
    hosts: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        line = line.rstrip(" \t")
        if not line:
            continue
        match = _STS_LINE.fullmatch(line)
        if match is None or "\r" in line:
            raise MailError(f"MTA-STS policy: line {number} is no field")
        if match[1] == "mx":
            hosts.append(_mx_pattern(match[2], number))
        else:
            fields.setdefault(match[1], match[2])
    if fields.get("version") != "STSv1":
        raise MailError("MTA-STS policy without version STSv1")
    mode, age = _STS_MODES.get(fields.get("mode", "")), fields.get("max_age", "")
    if mode is None:
        raise MailError("MTA-STS policy without a valid mode")
    if not re.fullmatch("[0-9]{1,10}", age):
        raise MailError("MTA-STS policy without a valid max_age")
    if not hosts and mode != "none":
        raise MailError(f"MTA-STS policy of mode {mode} without mx")
    return STSPolicy(mode, min(int(age), _LONGEST_STS_AGE), tuple(hosts))


def _mx_pattern(text: str, number: int) -> str:
    wildcard = "*." if text.startswith("*.") else ""
    name = names.to_ascii(text.removeprefix("*."))
    if name is None:
        raise MailError(f"MTA-STS policy: mx in line {number} is not a host name")
    return wildcard + name


@dataclass(frozen=True, slots=True)
class TLSReportRecord:
    """The TXT record at `_smtp._tls.`: where reports about TLS go (RFC 8460 §3)."""

    rua: tuple[ReportURI, ...]


def parse_tls_report_record(text: bytes) -> TLSReportRecord | None:
    """Parse `v=TLSRPTv1; rua=…`. Addresses of other schemes than mailto and https are dropped (§3)."""
    fields = _fields(text, "TLSRPTv1")
    if fields is None:
        return None
    found = (report_uri(part.strip(" \t")) for part in fields.get("rua", "").split(","))
    rua = tuple(uri for uri in found if uri is not None and (uri.address or uri.uri.lower().startswith("https:")))
    if not rua:
        raise MailError("TLS-RPT record without a usable rua")
    return TLSReportRecord(rua)


@dataclass(frozen=True, slots=True)
class BIMIRecord:
    """The assertion record at `SELECTOR._bimi.`

    location: HTTPS address of the SVG. authority: of the evidence document (VMC or CMC). Both "" decline to take part.
    avatar_preference: which picture the owner prefers, `brand` or `personal`.
    """

    location: str
    authority: str
    avatar_preference: Literal["brand", "personal"] = "brand"

    @property
    def declined(self) -> bool:
        """Whether the domain says that it shows no indicator."""
        return not self.location and not self.authority


def parse_bimi(text: bytes) -> BIMIRecord | None:
    """Parse `v=BIMI1; l=…; a=…`."""
    fields = _fields(text, "BIMI1")
    if fields is None:
        return None
    if "l" not in fields:
        raise MailError("BIMI record without l")
    for tag in ("l", "a"):
        value = fields.get(tag, "")
        if value and (not value.lower().startswith("https://") or " " in value or "," in value):
            raise MailError(f"BIMI record: {tag} is not one HTTPS address")
    preference = fields.get("avp", "brand").lower()
    return BIMIRecord(fields["l"], fields.get("a", ""), "personal" if preference == "personal" else "brand")


async def find_bimi(
    resolver: Resolver, author: str, organizational_domain: str, selector: str = "default"
) -> BIMIRecord | None:
    """The BIMI record for an author domain: its own, else that of its organizational domain; None when there is none,
    or several. Names are A-labels. Raises DNSUnavailable, and MailError for a record that breaks the rules."""
    for domain in dict.fromkeys((author, organizational_domain)):
        answer = await resolver.query(f"{selector}._bimi.{domain}", "txt")
        if found := [text for text in answer.txt if _BIMI.match(text)]:
            return parse_bimi(found[0]) if len(found) == 1 else None
    return None


def _fields(text: bytes, version: str) -> dict[str, str] | None:
    """The `name=value` fields after the version, which comes first and is case-sensitive; the first of each counts."""
    first, *rest = text.decode("ascii", "replace").split(";")
    if re.fullmatch(rf"v[ \t]*=[ \t]*{version}[ \t]*", first) is None:
        return None
    fields: dict[str, str] = {}
    for part in rest:
        field = part.strip(" \t")
        if not field:
            continue
        match = _FIELD.fullmatch(field)
        if match is None:
            raise MailError(f"{version} record: {field[:40]!r} is no field")
        fields.setdefault(match[1].lower(), match[2] or "")
    return fields
