"""What came before DKIM and DMARC, for flows that still ask. Nothing else believes these words."""

import asyncio

from flowengine.builtins.authentication import MESSAGE, evaluation
from flowengine.language.functions import builtin
from flowengine.language.values import Array, from_text
from flowengine.mail import adsp, domainkeys
from flowengine.mail.addresses import FromRefused
from flowengine.mail.evaluation import IN_A_THREAD
from flowengine.runtime.run import Run


@builtin(*MESSAGE, name="DKIMADSP", deprecated="ScanDMARC()")
async def dkim_adsp(run: Run) -> Array:
    """Historic: what the From domain says of mail without a signature of its own (ADSP, RFC 5617).

    Returns [From domain => word]: pass (its own signature verifies); none (no record); unknown; fail (it signs all its
    mail); discard; nxdomain; temperror. ["" => "permerror"] when the From field names no single domain.

        DKIMADSP();  // ["example.org"=>"pass"]
    """
    found = evaluation(run)
    author = found.author
    if isinstance(author, FromRefused):
        return Array({"": "permerror"})
    return Array({from_text(author): await adsp.evaluate(author, await found.dkim(), run.world)})


@builtin(*MESSAGE, name="DomainKeysVerify", deprecated="DKIMResults()")
async def domain_keys_verify(run: Run) -> Array:
    """Historic: the topmost DomainKey-Signature of the message as received (DomainKeys, RFC 4870).

    It knows rsa-sha1 alone, which nobody should trust today (RFC 8301): DMARC does not count it.

    Returns ["result" => none, pass, fail, policy, temperror or permerror, "domain", "selector", "error" => why not].

        DomainKeysVerify()["result"];  // "none"
    """
    message = run.original
    large = message.body.size >= IN_A_THREAD and bool(message.headers.places("domainkey-signature"))
    prepared = await asyncio.to_thread(domainkeys.prepare, message) if large else None
    one = await domainkeys.verify(message, run.world, prepared)
    about = Array({"result": one.result})
    if one.domain:
        about["domain"], about["selector"] = from_text(one.domain), from_text(one.selector)
    if one.reason:
        about["error"] = from_text(one.reason)
    return about
