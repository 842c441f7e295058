"""Signing what leaves: DKIM and ARC seals, asked for now, set at commit.

`DKIMSign` tells the truth at once about key and options; a signature that fails at commit defers, so a message that
was meant to be signed never leaves unsigned in silence.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from flowengine.builtins.authentication import evaluation
from flowengine.language.functions import builtin, options_of
from flowengine.language.texts import shown
from flowengine.language.values import Value, from_text, to_text
from flowengine.mail import dkim
from flowengine.mail.arc_seal import ArcSeal
from flowengine.mail.authentication_results import write
from flowengine.mail.edits import make_field
from flowengine.mail.errors import MailError
from flowengine.mail.evaluation import IN_A_THREAD
from flowengine.mail.keys import PrivateKey
from flowengine.mail.message import Message
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run

Canonicalization = Literal["simple", "relaxed"]
Algorithm = Literal["rsa-sha256", "rsa-sha1", "ed25519-sha256", "sha256", "sha1"]
SPELLINGS: dict[str, Literal["rsa-sha256", "rsa-sha1", "ed25519-sha256"]] = {"sha256": "rsa-sha256", "sha1": "rsa-sha1"}
"""Words of the 2015 manual for today's algorithms."""


async def wanted_seal(
    run: Run,
    message: Message,
    selector: str,
    domain: str,
    key: str,
    *,
    canonicalization_header: Canonicalization = "relaxed",
    canonicalization_body: Canonicalization = "relaxed",
    algorithm: Algorithm | None = None,
    headers: Sequence[str] | None = None,
    profile: Literal["recommended", "strict", "lists", "minimal"] = "recommended",
    additional_headers: Sequence[str] = (),
    oversign_headers: Sequence[str] | None = None,
    arc: bool | int = False,
    timestamp: bool | int = False,
    expiration: int | None = None,
    expiration_relative: int | None = None,
    identity: str | None = None,
    id: bool = False,  # noqa: A002  # the language's own name
    body_length: Value = None,
) -> dkim.Seal:
    """The seal that a flow asks for. Its keyword arguments are the options of `DKIMSign` and `signDKIM`, and explained
    there. Weak keys and algorithms are warned of.

    message: in which the ARC sets are counted. Raises MailError for whatever keeps it from being made.
    """
    if body_length is not None:
        raise MailError("body_length is refused: anybody could append to the message (RFC 6376 §8.2)")
    name = _said(domain)
    private_key = await _key(run, key, named=id)
    seal = dkim.seal_of(
        selector=_said(selector),
        domain=name,
        key=private_key,
        algorithm=SPELLINGS.get(algorithm, algorithm) if algorithm else None,  # old words are mapped
        header_canonicalization=canonicalization_header,
        body_canonicalization=canonicalization_body,
        headers=None if headers is None else tuple(map(_said, headers)),
        profile=profile,
        additional_headers=tuple(map(_said, additional_headers)),
        oversign_headers=None if oversign_headers is None else tuple(map(_said, oversign_headers)),
        identity=None if identity is None else _said(identity),
        timestamp=timestamp,
        expiration=expiration,
        expiration_relative=expiration_relative,
        arc=_instance(message, arc),
    )
    _in_time(seal, run.now())
    if private_key.kind == "rsa" and private_key.bits < 2048:
        run.warn(f"the key for {name} has {private_key.bits} bits; RFC 8301 asks for 2048")
    if seal.algorithm == "rsa-sha1":
        run.warn(f"rsa-sha1 for {name}: verifiers refuse it (RFC 8301)")
    return seal


@builtin(Phase.DATA, name="DKIMSign", reveals=True)
@options_of(wanted_seal)
async def dkim_sign(
    run: Run,
    selector: str,
    domain: str,
    key: str,
    *,
    discard_changes: bool = False,
    return_header: bool = False,
    **options: Any,
) -> bool | str:
    """Sign the message with DKIM (RFC 6376) and put the signature on top when it leaves.

    selector: name of the key record, the `s1` of `s1._domainkey.example.net`.
    domain: the domain that vouches for the message.
    key: `pki:NAME` for a key of the configuration, or a private key: PEM, base64 of DER, an Ed25519 seed.
    canonicalization_header, canonicalization_body: simple or relaxed.
    algorithm: follows the key unless named; rsa-sha1 only when named, since verifiers refuse it (RFC 8301).
    headers: exactly these are signed. additional_headers: these beside the recommended ones.
    profile: what is signed without `headers`: recommended; strict (nothing that a reader sees or a program obeys can be
        added later); lists (survives lists that leave subject and body alone); minimal (author, time, identity).
    oversign_headers: named once more in h=, so that nobody can add another one.
    discard_changes: drop this run's changes to the message and sign it as received.
    return_header: return the value of the signature field instead of adding it.
    arc: make an ARC-Message-Signature; true counts the instance, a number names it.
    timestamp: t=, true for now. expiration, expiration_relative: x=, Unix time or seconds from the timestamp.
    identity: i=, an address or @domain within the domain. id: `key` is the name of a configuration key.
    body_length: refused, because whoever appends to the message would keep the signature.

    Returns true when the message will leave signed, false when it cannot be: no such key, a key or name that does not
    fit. The reason is in the log. Asking for the same signature twice sets one.

        DKIMSign("s1", "example.net", "pki:example");  // true
        DKIMSign("s1", "example.net", "pki:absent");   // false
    """
    try:
        seal = await wanted_seal(run, run.mail, selector, domain, key, **options)
    except MailError as error:
        unsigned(run, _said(domain), str(error))
        return False
    if discard_changes:
        run.message = run.original
    if return_header:
        header = await signature_header(run, run.mail, seal)
        return False if header is None else header
    run.seal(seal)
    return True


def _said(text: str) -> str:
    """A text of the flow as it may stand in a signature and in the log; not a key that took the place of a name."""
    return to_text(shown(text))


def _in_time(seal: dkim.Seal, now: float) -> None:
    """Raises MailError for a signature that would be void when it is made, which the flow should hear at once."""
    start = now if isinstance(seal.timestamp, bool) else seal.timestamp
    relative = seal.expiration_relative
    if (relative is not None and relative <= 0) or (seal.expiration is not None and seal.expiration <= start):
        raise MailError("the signature would expire before it is made (RFC 6376 §3.5)")


@builtin(Phase.DATA, name="ARCSeal", reveals=True)
async def arc_seal(
    run: Run,
    selector: str,
    domain: str,
    key: str,
    *,
    hostname: str | None = None,
    results: str | None = None,
    headers: Sequence[str] | None = None,
    additional_headers: Sequence[str] = (),
    oversign_headers: Sequence[str] | None = None,
    id: bool = False,  # noqa: A002  # the language's own name
) -> bool:
    """Seal the message with ARC (RFC 8617) when it leaves, above all DKIM signatures: what we found out when it came
    travels on, even if whoever comes next can no longer verify it. For what is forwarded or sent to lists.

    selector, domain, key: as for `DKIMSign`.
    hostname: the authserv-id of the results; default: `hostname` of the configuration.
    results: other results than SPF, DKIM, DMARC and ARC of this message, as the value of an Authentication-Results
        field.
    headers, additional_headers, oversign_headers: what the message signature covers, as for `DKIMSign`.
    id: `key` is the name of a configuration key.

    Returns true when the message will leave sealed, false when it cannot be: no such key; or a chain that has failed
    before, is full, or cannot be judged now. The reason is in the log.

        ARCSeal("s1", "example.net", "pki:example");  // true
        ARCSeal("s1", "example.net", "pki:absent");   // false
    """
    found, transaction = evaluation(run), run.transaction
    try:
        seal = dkim.Seal(
            selector=_said(selector),
            domain=_said(domain),
            key=await _key(run, key, named=id),
            headers=None if headers is None else tuple(map(_said, headers)),
            additional_headers=tuple(map(_said, additional_headers)),
            oversign_headers=None if oversign_headers is None else tuple(map(_said, oversign_headers)),
            arc=1,
        )
        told = None if results is None else _said(results)
        if told is None:
            name = run.settings.hostname if hostname is None else _said(hostname)
            told = write(name, await found.results(transaction.ip, transaction.helo, transaction.sender.address))
        make_field("ARC-Authentication-Results", f"i=1; {told}")
        one = ArcSeal(seal, await found.arc(), told)
        if any(isinstance(other, ArcSeal) and other != one for other in run.seals):
            raise MailError("the message gets one ARC set, and another was asked for before")
        run.seal(one)
    except MailError as error:
        run.world.log("warning", "unsealed", id=run.message_id, domain=_said(domain), reason=str(error))
        return False
    return True


async def _key(run: Run, key: str, named: bool) -> PrivateKey:
    """The key a flow means. Raises MailError, which never quotes the text."""
    if named or key.startswith("pki:"):
        name = _said(key).removeprefix("pki:")
        found = run.world.key(name)
        if found is None:
            raise MailError(f"there is no key pki:{name}; add [pki.{name}] to the configuration")
        return found
    keys = run.services.keys
    known = keys.parsed(key)
    return known if known is not None else await asyncio.to_thread(keys.parse, key)


def _instance(message: Message, arc: bool | int) -> int | None:
    if arc is False:
        return None
    return len(message.fields.places("arc-seal")) + 1 if arc is True else int(arc)


async def signature_header(run: Run, message: Message, seal: dkim.Seal) -> str | None:
    """The value of the signature field of a message as it stands; None when it cannot be made, with a word about it."""
    now = run.now()
    try:
        if message.body.size >= IN_A_THREAD:
            return from_text(await asyncio.to_thread(dkim.sign, message, seal, now))
        return from_text(dkim.sign(message, seal, now))
    except MailError as error:
        unsigned(run, seal.domain, str(error))
        return None


def unsigned(run: Run, domain: str, reason: str) -> None:
    """Note that a signature which the flow asked for will not be made."""
    run.notes.unsigned.append(f"{domain}: {reason}")
    run.world.log("warning", "unsigned", id=run.message_id, domain=domain, reason=reason)
