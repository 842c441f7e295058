"""What is verified about a message: DKIM, SPF, DMARC. One evaluation a message serves all of these."""

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Literal

from flowengine.builtins.actions import client_address
from flowengine.language.functions import builtin
from flowengine.language.values import Array, Value, from_text, to_bytes, to_text
from flowengine.mail import dkim, dmarc, names, spf
from flowengine.mail.addresses import FromRefused
from flowengine.mail.dns import Answer, DNSUnavailable, RecordType, Resolver
from flowengine.mail.evaluation import IN_A_THREAD, Evaluation
from flowengine.mail.message import Message
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run

MESSAGE = (Phase.DATA, Phase.EOD)
"""Phases in which there is a message."""


def evaluation(run: Run) -> Evaluation:
    """The evaluation that all of the transaction shares."""
    found = run.transaction.evaluation
    if found is None:
        raise LookupError(f"there is no message in {run.phase}")
    return found


@builtin(*MESSAGE, name="ScanDMARC")
async def scan_dmarc(
    run: Run,
    *,
    ip: str | None = None,
    helo: str | None = None,
    domain: str | None = None,
    trusted_sealers: Sequence[str] = (),
) -> str | Array:
    """What the From domain's DMARC policy says of the message (RFC 9989; RFC 7489 by configuration).

    ip, helo, domain: other values than the transaction's for the client's address, HELO name and the envelope
        sender's domain.
    trusted_sealers: domains whose ARC seals are believed: a failure is "pass" when the chain passes, its newest seal is
        theirs, and they saw dmarc=pass (RFC 8617 §7.2.1). The log says so with the reason.

    What was asked goes to the log once a message, with the line that `opendmarc-halonlog` reads.

    Returns [From domain => word]: pass; policy_absent; none, quarantine or reject when the message failed and that is
    the domain's policy; temperror when the policy or something it hangs on cannot be reached now. The text "permerror"
    when the From field names no single domain.

        ScanDMARC();  // ["example.org"=>"pass"]
    """
    sender = run.transaction.sender.address if domain is None else f"postmaster@{to_text(domain)}" if domain else ""
    client, name = (
        run.transaction.ip if ip is None else client_address(ip),
        run.transaction.helo if helo is None else to_text(helo),
    )
    verdict = await evaluation(run).dmarc(client, name, sender)
    if isinstance(verdict, FromRefused):
        return "permerror"
    trusted = {names.to_ascii(to_text(one)) or to_text(one).lower() for one in trusted_sealers}
    vouched = await evaluation(run).vouched(verdict, trusted) if trusted else None
    word = dmarc.scan_word(verdict) if vouched is None else vouched.status
    return Array({from_text(verdict.domain): word})


@builtin(*MESSAGE, name="FromDomain")
def from_domain(run: Run) -> str | None:
    """The one domain of the From field in lower case and A-labels; none when there is no such one domain.

    Refuses what two programs could read in two ways: several From fields, several domains, groups, broken syntax.

        FromDomain();  // "example.org"
    """
    author = evaluation(run).author
    return None if isinstance(author, FromRefused) else from_text(author)


Words = Literal["skip", "pass", "fail", "temperror", "permerror"]
_RANK: dict[str, int] = {"pass": 4, "temperror": 3, "fail": 2, "permerror": 1, "skip": 0}
_WORDS: dict[str, Words] = {"pass": "pass", "fail": "fail", "policy": "fail", "temperror": "temperror"}


@builtin(*MESSAGE, name="DKIMSDID")
async def dkim_sdid(
    run: Run,
    domains: Sequence[str] = (),
    *,
    signature_limit: int = 5,
    timeout: float = 5.0,
    dns_function: Callable[..., Value] | None = None,
) -> Array:
    """The results of the message's DKIM signatures by signing domain (the SDID, d=). Of several the best counts.

    domains: only these; signatures of others are "skip". [] means all.
    signature_limit: signatures looked at; those beyond are "skip". timeout: seconds for all of DNS.
    dns_function: asked instead of DNS, with the name; answers as `dns_query` does.

    Returns [domain => "pass", "fail", "skip", "temperror" or "permerror"].

        DKIMSDID();  // ["example.org"=>"pass"]
    """
    wanted = {names.to_ascii(to_text(domain)) or to_text(domain).lower() for domain in domains}
    usual = signature_limit == 5 and dns_function is None  # the evaluation's own limit
    try:
        async with asyncio.timeout(max(0.0, timeout)):
            if usual:
                results = await evaluation(run).dkim()
            else:
                results = await _verified(run, resolver(run, dns_function), max(0, signature_limit))
    except TimeoutError:
        return Array({from_text(domain): "temperror" for _, domain in evaluation(run).signers()})
    found = Array()
    for place, one in enumerate(results):
        domain = from_text(one.domain)
        word: Words = _WORDS.get(one.result, "permerror")
        if place >= signature_limit or (wanted and one.domain not in wanted):
            word = "skip"
        if domain not in found or _RANK[word] > _RANK[found[domain]]:
            found[domain] = word
    return found


async def _verified(run: Run, asked: Resolver, limit: int) -> tuple[dkim.SignatureResult, ...]:
    message, now = run.original, run.now()
    prepared = None
    if message.body.size >= IN_A_THREAD:
        prepared = await asyncio.to_thread(dkim.prepare, message, now=now, limit=limit)
    return await dkim.verify(message, asked, now=now, limit=limit, prepared=prepared)


@builtin(*MESSAGE, name="DKIMVerify")
async def dkim_verify_field(
    run: Run, headerfield: str, *, timeout: float = 5.0, dns_function: Callable[..., Value] | None = None
) -> Array:
    """The result of one DKIM signature over the message as received.

    headerfield: the raw field with its name, from `getHeaders("DKIM-Signature", ["field" => true])`.

    Returns ["result" => "pass", "permerror" or "temperror", "error" => why not, "tags" => the signature's tags].

        DKIMVerify("X: y")["result"];  // "permerror"
    """
    try:
        async with asyncio.timeout(max(0.0, timeout)):
            one = await verified_field(run, run.original, headerfield, resolver(run, dns_function))
    except TimeoutError:
        return Array({"result": "temperror", "error": f"no answer within {timeout:g} s"})
    return signature_result(one)


async def verified_field(run: Run, message: Message, headerfield: str, asked: Resolver) -> dkim.SignatureResult:
    """The result of a signature in a flow's raw field; a large body is hashed in a thread."""
    raw, now = to_bytes(headerfield).rstrip(b"\r\n"), run.now()
    prepared = None
    if message.body.size >= IN_A_THREAD:
        prepared = await asyncio.to_thread(dkim.prepare_field, message, raw, now=now)
    return await dkim.verify_field(message, raw, asked, now=now, prepared=prepared)


def signature_result(one: dkim.SignatureResult) -> Array:
    """A signature's result in HSL's own shape (HSL reference §2.6)."""
    word = one.result if one.result in ("pass", "temperror") else "permerror"
    about = Array({"result": word})
    if one.reason and word != "pass":
        about["error"] = from_text(one.reason)
    if one.tags:
        about["tags"] = Array({from_text(name): from_text(value) for name, value in one.tags.items()})
    return about


@builtin(*MESSAGE, name="DKIMResults")
async def dkim_results(run: Run) -> Array:
    """All that is known of the message's DKIM signatures, a list from top to bottom.

    Each is [domain, selector, identity, algorithm, bits, result (RFC 8601), reason, testing, secure, headers,
    unsigned_octets, timestamp, expiration, age]; the last three in seconds, none where the signature has no t= or x=.

        DKIMResults()[0]["result"];  // "pass"
    """
    now = run.now()
    return Array.of(
        Array(
            {
                "domain": from_text(one.domain),
                "selector": from_text(one.selector),
                "identity": from_text(one.identity),
                "algorithm": from_text(one.algorithm),
                "bits": one.key_bits,
                "result": one.result,
                "reason": from_text(one.reason),
                "testing": one.testing,
                "secure": one.secure,
                "headers": Array.of(from_text(name) for name in one.signed_headers),
                "unsigned_octets": one.unsigned_octets,
                "timestamp": one.timestamp,
                "expiration": one.expiration,
                "age": None if one.timestamp is None else int(now) - one.timestamp,
            }
        )
        for one in await evaluation(run).dkim()
    )


class _Function:
    """A flow's `dns_function` as a resolver of TXT records."""

    def __init__(self, function: Callable[..., Value]) -> None:
        self._function = function

    async def query(self, name: str, kind: RecordType) -> Answer:
        value = self._function(from_text(name))
        if isinstance(value, Array) and "error" in value:
            if value["error"] == "NXDOMAIN":
                return Answer(exists=False)
            raise DNSUnavailable(name, kind, str(value["error"]))
        if isinstance(value, Array) and isinstance(value.get("result"), Array):
            value = value["result"]
        if not isinstance(value, Array):
            raise DNSUnavailable(name, kind, "dns_function gave no list")
        return Answer(tuple(to_bytes(text) for text in value.values() if isinstance(text, str)))


def resolver(run: Run, function: Callable[..., Value] | None) -> Resolver:
    """Who answers the questions of a verification: the world, or a flow's `dns_function`."""
    return run.world if function is None else _Function(function)


_SCORES: dict[str, int] = {"pass": 0, "softfail": 20, "fail": 100}


@builtin(aliases=("ScanSPF",), name="spf")
async def spf_score(run: Run, ip: str, helo: str, domain: str, *, extended_result: bool = False) -> int | Array:
    """SPF as a score: 0 pass, 20 softfail, 100 fail, 50 for everything else.

    domain: the envelope sender or its domain; "" asks for the HELO name. extended_result: ["result" => word] instead.

        spf("192.0.2.7", "mx.example.org", "example.org");  // 0
    """
    found = await _spf(run, ip, helo, domain)
    word = found.result if found is not None else "invalid"
    return Array({"result": word}) if extended_result else _SCORES.get(word, 50)


@builtin
async def spf_query(
    run: Run, ip: str, helo: str, domain: str, *, timeout: float = 20.0, servers: Sequence[str] = ()
) -> Array:
    """SPF (RFC 7208) as a word: none, neutral, pass, fail, softfail, temperror, permerror; invalid for an ip that is
    no address.

    domain: the envelope sender or its domain; "" asks for the HELO name. timeout: seconds for all of it.

    Returns ["result" => word, "explanation" => the domain's own text where it has one].

        spf_query("192.0.2.7", "mx.example.org", "example.org")["result"];  // "pass"
    """
    if servers:
        run.warn("spf_query asks the configured DNS servers, whatever its option says")
    try:
        async with asyncio.timeout(max(0.0, timeout)):
            found = await _spf(run, ip, helo, domain)
    except TimeoutError:
        return Array({"result": "temperror"})
    if found is None:
        return Array({"result": "invalid"})
    about = Array({"result": found.result})
    if found.explanation:
        about["explanation"] = from_text(found.explanation)
    return about


async def _spf(run: Run, ip: str, helo: str, domain: str) -> spf.SPFResult | None:
    """SPF, or None for a client whose address is none. One that is not known ("") has no SPF."""
    sender = to_text(domain)
    if sender and "@" not in sender:
        sender = f"postmaster@{sender}"
    if not ip:
        return spf.SPFResult("none", "", "mailfrom" if sender else "helo", "the client's address is not known")
    try:
        ip_address(to_text(ip))
    except ValueError:
        return None
    return await spf.check(to_text(ip), to_text(helo), sender, run.world, receiver=run.settings.hostname, now=run.now())
