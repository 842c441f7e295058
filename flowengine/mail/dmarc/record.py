"""DMARC policy records (RFC 9989 §4.7, §4.8; pct, ri and rf of RFC 7489 §6.3): bytes in, typed tags out.

A record is never refused for one bad tag: the tag falls back to its default and the problem is written down, for the
operator who asks what is wrong with it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar
from urllib.parse import unquote

from flowengine.mail.addresses.paths import parse_mailbox
from flowengine.mail.errors import MailError

Policy = Literal["none", "quarantine", "reject"]
Mode = Literal["r", "s"]
Standard = Literal["rfc9989", "rfc7489"]
PSD = Literal["y", "n", "u"]
Value = TypeVar("Value")

_VERSION = re.compile(rb"v[ \t]*+=[ \t]*+(?-i:DMARC1)[ \t]*+(?:;|\Z)", re.IGNORECASE)
_TAG = re.compile(r"[a-z]++", re.IGNORECASE)
_PRINTABLE = re.compile(r"[ -~]++")
_URI = re.compile(r"([a-z][a-z0-9+.-]*+):([!-~]++)", re.IGNORECASE)
_SIZE = re.compile(r"!([0-9]{1,18})([kmgt]?)\Z", re.IGNORECASE)
_FACTOR = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_POLICIES: dict[str, Policy] = {"none": "none", "quarantine": "quarantine", "reject": "reject"}
_MODES: dict[str, Mode] = {"r": "r", "s": "s"}
_PSDS: dict[str, PSD] = {"y": "y", "n": "n", "u": "u"}
_YES_NO = {"y": True, "n": False}
_CACHED_SIZE = 1024


class ReportURI(NamedTuple):
    """Where reports go. address: the mailbox of a `mailto:`, else "". most: octets (obsolete `!10m`), None: any."""

    uri: str
    address: str
    most: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """One policy record. p, sp, np: None when absent or not valid (then named in `invalid`).

    test: `t=y`. percent: pct, which only RFC 7489 knows. interval: ri, seconds. tags: as written, first of each name.
    problems: sentences for the operator; they change nothing.
    """

    p: Policy | None = None
    sp: Policy | None = None
    np: Policy | None = None
    adkim: Mode = "r"
    aspf: Mode = "r"
    psd: PSD = "u"
    test: bool = False
    percent: int = 100
    interval: int = 86400
    fo: tuple[str, ...] = ("0",)
    rua: tuple[ReportURI, ...] = ()
    ruf: tuple[ReportURI, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    invalid: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()

    def effective(self, standard: Standard = "rfc9989") -> "Record | None":
        """The record as it is applied (RFC 9989 §4.10.1, RFC 7489 §6.6.3): without a valid policy it counts as
        `p=none` when it names somebody to report to, and else not at all (None)."""
        invalid = self.invalid - {"np"} if standard == "rfc7489" else self.invalid
        if self.p is not None and not invalid:
            return self
        return replace(self, p="none", sp=None, np=None) if self.rua else None


def parse(text: bytes) -> Record | None:
    """Parse the text of one TXT record; None when it is not a DMARC record. Never raises. Linear in the size."""
    return _cached(text) if len(text) <= _CACHED_SIZE else _parse(text)


@lru_cache(maxsize=512)
def _cached(text: bytes) -> Record | None:
    return _parse(text)


def _parse(text: bytes) -> Record | None:
    version = _VERSION.match(text)
    if version is None:
        return None
    tags, problems = _tags(text[version.end() :].decode("ascii", "replace"))
    reader = _Reader(tags, problems)
    p = reader.read("p", _POLICIES.get, None)
    sp = reader.read("sp", _POLICIES.get, None)
    np = reader.read("np", _POLICIES.get, None)
    invalid = frozenset(tag for tag, policy in (("p", p), ("sp", sp), ("np", np)) if tag in tags and policy is None)
    if "p" not in tags:
        problems.append("no p tag: counts as p=none with a report address, else as no record")
    record = Record(
        p,
        sp,
        np,
        reader.read("adkim", _MODES.get, "r"),
        reader.read("aspf", _MODES.get, "r"),
        reader.read("psd", _PSDS.get, "u"),
        reader.read("t", _YES_NO.get, False),
        reader.read("pct", _percent, 100),
        reader.read("ri", _interval, 86400),
        reader.read("fo", _failure_options, ("0",)),
        reader.uris("rua"),
        reader.uris("ruf"),
        tuple(tags.items()),
        invalid,
    )
    reader.remark(record)
    return replace(record, problems=tuple(problems))


def _tags(text: str) -> tuple[dict[str, str], list[str]]:
    """The tags after the version: name in lower case → value; and what is wrong with their writing."""
    tags: dict[str, str] = {}
    problems: list[str] = []
    for part in text.split(";"):
        name, equals, value = (piece.strip(" \t") for piece in part.partition("="))
        if not name and not equals:
            continue
        shown = part.strip()[:40]
        if not equals or not _TAG.fullmatch(name):
            problems.append(f"not a tag: {shown!r}")
        elif not _PRINTABLE.fullmatch(value):
            problems.append(f"{name[:20]}: empty, or not printable ASCII")
            tags.setdefault(name.lower(), "")
        elif name.lower() in tags:
            problems.append(f"{name[:20]}: given again; the first counts")
        else:
            tags[name.lower()] = value
    return tags, problems


class _Reader:
    """Reads typed values, and writes down what is wrong."""

    known = frozenset({"p", "sp", "np", "adkim", "aspf", "psd", "t", "pct", "ri", "rf", "fo", "rua", "ruf"})

    def __init__(self, tags: dict[str, str], problems: list[str]) -> None:
        self.tags, self.problems = tags, problems

    def read(self, tag: str, convert: Callable[[str], Value | None], default: Value) -> Value:
        """The value of a tag, or its default. Values do not depend on case (RFC 5234 §2.3)."""
        if (text := self.tags.get(tag)) is None:
            return default
        if (value := convert(text.lower())) is None:
            self.problems.append(f"{tag}: {text[:40]!r} is not a value of this tag")
            return default
        return value

    def uris(self, tag: str) -> tuple[ReportURI, ...]:
        found: list[ReportURI] = []
        for text in self.tags.get(tag, "").split(","):
            if uri := report_uri(text.strip(" \t")):
                found.append(uri)
            elif tag in self.tags:
                self.problems.append(f"{tag}: not a report address: {text.strip()[:60]!r}")
        return tuple(found)

    def remark(self, record: Record) -> None:
        """What is valid but will surprise."""
        for name in self.tags:
            if name not in self.known:
                self.problems.append(f"{name[:20]}: unknown tag, ignored")
            elif name in ("pct", "ri", "rf"):
                self.problems.append(f"{name}: not part of RFC 9989, ignored by its followers")
        if "fo" in self.tags and not record.ruf:
            self.problems.append("fo: without ruf it has no effect")
        if "v" in self.tags:
            self.problems.append("v: given again")


def report_uri(text: str) -> ReportURI | None:
    """One report address of DMARC (RFC 9989 §4.8 dmarc-uri) or TLS-RPT (RFC 8460 §3); None when it is not one."""
    most = None
    if size := _SIZE.search(text):
        most = int(size[1]) * _FACTOR[size[2].lower()]
        text = text[: size.start()]
    match = _URI.fullmatch(text)
    if match is None or "!" in text:
        return None
    if match[1].lower() != "mailto":
        return ReportURI(text, "", most)
    try:
        address = parse_mailbox(unquote(match[2].partition("?")[0])).address
    except MailError:
        return None
    return ReportURI(text, address, most)


def _percent(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 3 and int(text) <= 100 else None


def _interval(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 10 and int(text) < 1 << 32 else None


def _failure_options(text: str) -> tuple[str, ...] | None:
    """RFC 9989 §4.8 dmarc-fo: each of 0, 1, d and s at most once, 0 and 1 not both."""
    options = tuple(option.strip(" \t") for option in text.split(":"))
    allowed = {"0", "1", "d", "s"}
    if not set(options) <= allowed or len(set(options)) != len(options) or {"0", "1"} <= set(options):
        return None
    return options
