"""The line that `opendmarc-halonlog` turns into OpenDMARC history, so that its report tools go on working."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from flowengine.mail.dmarc.results import DMARCResult

_SPF_WORDS = frozenset({"pass", "softfail", "neutral", "none", "fail"})
_DKIM_WORDS = {"pass": "pass", "temperror": "tempfail"}
_FOREIGN = re.compile(r"[^!-:<-~]")
LONGEST_LINE = 1900
"""Characters of a line: syslog cuts longer ones, and half a line is none. What does not fit of signatures and report
addresses is left out."""
_KEY = re.compile(r"[^A-Za-z0-9._-]")


class Signature(NamedTuple):
    """One DKIM signature: its s= and d=, and the result word."""

    selector: str
    domain: str
    result: str


def log_line(
    result: DMARCResult,
    *,
    transaction: str,
    time: float,
    ip: str,
    sender: str,
    helo: str,
    spf: str,
    dkim: Sequence[Signature | tuple[str, str, str]] = (),
    spared: bool = False,
) -> str:
    """`[DMARC] [MAIL].From=… SPF=… DKIM=… DMARC=… (key=value; …)`, the keys sorted.

    transaction: the id of the message. time: unix, when it was received. sender: domain of the envelope sender.
    spf: SPF's word, aligned or not. dkim: all signatures. spared: a failure that we let pass, by a trusted ARC chain.
    No value holds a blank, a line end or a semicolon.
    """
    record = result.record
    action = "pass" if result.result == "pass" else "none" if spared else result.disposition
    values = {
        "id": transaction,
        "ts": str(int(time)),
        "ipaddr": ip,
        "from": result.domain,
        "mfrom": sender[:255],
        "helo": helo[:255],
        "pdomain": result.policy_domain or result.domain,
        "spf": spf if spf in _SPF_WORDS else "unknown",
        "align_spf": result.spf.word,
        "align_dkim": result.dkim.word,
        "policy": "pass" if result.result == "pass" else result.policy or "none",
        "action": action,
    }
    if record is not None:
        values["aspf"] = "strict" if record.aspf == "s" else "relaxed"
        values["adkim"] = "strict" if record.adkim == "s" else "relaxed"
        values["pct"] = str(record.percent if result.standard == "rfc7489" else 100)
        values["p"] = record.p or "none"
        if record.sp is not None:
            values["sp"] = record.sp
    values = {key: _value(value) for key, value in values.items()}
    room = LONGEST_LINE - len("".join(values)) - len("".join(values.values())) - 3 * len(values) - 2 * 253
    for key, word in _signatures(dkim).items():
        room -= len(key) + len(word) + 3
        if room > 0:
            values[key] = word  # both are clean
    for uri in record.rua if record is not None else ():
        room -= len(uri.uri) + 5
        if room > 0:
            address = _value(uri.uri)
            values["rua"] = f"{values['rua']},{address}" if "rua" in values else address
    pairs = "; ".join([f"{key}={values[key]}" for key in sorted(values)])
    author = _KEY.sub("?", result.domain)  # the reader takes the first parenthesis for the start of the list
    human = f"From={author} SPF={result.spf.word} DKIM={result.dkim.word} DMARC={action}"
    return f"[DMARC] [MAIL].{human} ({pairs})"


def _signatures(dkim: Sequence[Signature | tuple[str, str, str]]) -> dict[str, str]:
    """`dkim:SELECTOR._domainkey.DOMAIN` → word; of two with one key the one that passes counts."""
    found: dict[str, str] = {}
    for selector, domain, word in dkim:
        key = "dkim:" + _KEY.sub("?", f"{selector}._domainkey.{domain}")
        if found.get(key) != "pass":
            found[key] = _DKIM_WORDS.get(word, "permfail")
    return found


def _value(text: str) -> str:
    return _FOREIGN.sub("?", text)
