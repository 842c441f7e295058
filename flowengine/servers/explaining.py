"""What `flowengine verify` prints: each result, why it is so, and what it means for a mail admin who knows no RFC.

A line a method, indented lines that explain it. The words of results and reasons are those of the document (`--json`)
and of the log, so that they can be searched for.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import zip_longest

from flowengine.mail.arc import ChainResult
from flowengine.mail.arc_trust import vouched
from flowengine.mail.dkim import SignatureResult
from flowengine.mail.dmarc import DMARCResult
from flowengine.mail.results_reader import read
from flowengine.mail.spf import SPFResult
from flowengine.servers.verifying import VerifyReport

_MOST_STEPS = 20
_LONGEST = 1000  # characters of a line
_SPF: dict[str, str] = {
    "fail": "the domain says that this host may not send for it",
    "softfail": "the domain says that this host probably may not send for it",
    "neutral": "the domain says nothing about this host",
    "permerror": "the domain's record is wrong; its owner has to mend it",
    "temperror": "DNS did not answer; ask again later",
}
_SIGNATURES: tuple[tuple[str, str], ...] = (
    ("body hash did not verify", "the body was changed after signing: by a mailing list, a gateway, a scanner"),
    ("signature did not verify", "a signed header was changed after signing, or the key in DNS is not the signer's"),
    ("the body is shorter", "the body was cut after signing"),
    ("octets of the body are not signed", "whoever passed the message on could append this to it"),
    ("signature is from the future", "the clock of the signer or ours is wrong (t=)"),
    ("the key is not available now", "DNS did not answer; ask again later"),
    ("the key was revoked", "the domain has withdrawn this key (empty p=)"),
    ("no key for signature", "nothing usable is published there: the key was removed, or never published"),
    ("rsa-sha1", "it verifies, and SHA-1 protects nothing any more"),
    ("the key has only", "it verifies, and a key this short protects nothing"),
    ("not checked", "only the first signatures are verified, as each costs time"),
)
_DEMANDS: dict[str | None, str] = {
    "reject": "asks to refuse it",
    "quarantine": "asks to treat it as suspicious",
    "none": "asks for nothing to be done about it",
}


def verify_text(report: VerifyReport) -> str:
    """The report for people. What a message holds can neither steer a terminal nor fill it."""
    return "".join(f"{_shown(line)}\n" for line in _lines(report))


def _shown(line: str) -> str:
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)


def _lines(report: VerifyReport) -> Iterator[str]:
    yield from _spf(report.spf)
    if not report.dkim:
        yield _line("DKIM", "none", "the message is not signed")
    for one, second in zip_longest(report.dkim, report.second_opinion):
        yield from _signature(one, second)
    yield from _dmarc(report.dmarc)
    yield from _arc(report.arc, report.dmarc)


def _line(method: str, word: str, text: str) -> str:
    return f"{method:<6} {word:<10} {text}"


def _more(text: str) -> str:
    return f"           {text}"


def _spf(result: SPFResult) -> Iterator[str]:
    who = result.domain or "no domain"
    yield _line("SPF", result.result, f"{who}: {result.reason.removeprefix(f'{who}: ') or 'ok'}")
    if result.identity == "helo" and result.domain:
        yield _more("the sender is empty, as of a bounce: the name in HELO is checked")
    for step in result.trace[:_MOST_STEPS]:
        yield _more(f"{step.domain}  {step.term}  {step.outcome}")
    if result.explanation:
        yield _more(f"the domain says: {result.explanation}")
    if meaning := _SPF.get(result.result):
        yield _more(meaning)


def _signature(one: SignatureResult, second: bool | None) -> Iterator[str]:
    yield _line("DKIM", one.result, f"d={one.domain} s={one.selector} {one.algorithm}: {one.reason or _signed(one)}")
    if one.reason:
        yield from (_more(meaning) for start, meaning in _SIGNATURES if start in one.reason)
    if one.reason == "signature expired" and one.expiration is not None:
        yield _more(f"it was good until {_date(one.expiration)} (x=): what counts is when the message came")
    if one.testing:
        yield _more("the domain only tests its signatures (t=y)")
    if second is not None:
        yield _more(f"dkimpy {'agrees' if second == (one.result == 'pass') else 'says otherwise'}")


def _date(seconds: int) -> str:
    """A time in UTC; years that have no calendar stay seconds."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def _signed(one: SignatureResult) -> str:
    signed = ", ".join(dict.fromkeys(one.signed_headers))
    return f"signed: {signed}" if signed else "ok"


def _dmarc(result: DMARCResult) -> Iterator[str]:
    domain = result.domain or "no From domain"
    nothing = "its policy is not known" if result.result == "temperror" else "it has no policy"
    policy = f"its policy is {result.policy}" if result.policy else nothing
    where = f" (the record of {result.policy_domain})" if result.policy_domain not in ("", result.domain) else ""
    yield _line("DMARC", result.result, f"{domain}: {policy}{where}; {result.reason or 'ok'}")
    if "not aligned" in result.reason or "not strictly aligned" in result.reason:
        yield _more(
            f"not aligned: it may be genuine, but it vouches for its own domain, not for {domain} that readers see"
        )
    yield _more(_meaning(result, domain))


def _meaning(result: DMARCResult, domain: str) -> str:
    match result.result:
        case "pass":
            return f"so {domain} stands behind this message"
        case "fail":
            demand = _DEMANDS.get(result.disposition, "")
            return f"so nobody proves that it comes from {domain}, which {demand}"
        case "none":
            return f"so {domain} leaves it to you what to make of the results above"
        case "temperror":
            return "so it cannot be told now: ask again later"
        case _:
            return "so readers could take it for mail of somebody else: refuse it"


def _arc(chain: ChainResult, dmarc: DMARCResult) -> Iterator[str]:
    whole = "nothing was changed since the last of these hands" if chain.status == "pass" else chain.reason
    yield _line("ARC", chain.status, whole or "no chain")
    for one in chain.sets:
        told = "; ".join(f"{result.method}={result.result}" for result in read(one.authentication_results).results)
        yield _more(f"{one.instance}. {one.domain} saw {told or 'nothing that it tells'}")
    newest = chain.domains[-1:]
    if dmarc.result == "fail" and vouched(chain, newest, dmarc.domain) is not None:
        yield _more(f"where {newest[0]} is a trusted sealer (trusted_sealers), it is believed, and the message passes")
