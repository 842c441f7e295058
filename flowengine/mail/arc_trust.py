"""Trusted sealers: when an ARC chain lets a message pass although DMARC fails (RFC 8617 §7.2.1).

Mailing lists and forwarders break what DMARC stands on. Whoever is named here is believed about what it saw when the
message came to it, as long as the chain proves that nobody has touched the message since.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from flowengine.mail.arc import ChainResult, collect
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.mail.results_reader import read


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a trusted sealer's word makes of a failure. status: pass, or temperror when the chain cannot be judged now.

    reason: one part of a sentence, for log and reports.
    """

    status: Literal["pass", "temperror"]
    reason: str


def newest_sealer(message: Message) -> str:
    """The d= of the newest seal of the message as received; "" without a chain that can be read. Verifies nothing, so
    that the keys of chains that would not help are never asked for."""
    try:
        sets = collect(message.original.headers)
    except MailError:
        return ""
    return sets[-1].domain if sets else ""


def vouched(chain: ChainResult, trusted: Collection[str], author: str) -> Vouched | None:
    """Whether a DMARC failure of the author domain is let pass: the chain passes, its newest sealer is one of the
    trusted domains (A-labels), and its results say dmarc=pass and nothing else about that domain. None when not.

    A chain that cannot be judged now is temperror: it lets nothing pass and is held against nobody.
    """
    if chain.status not in ("pass", "temperror") or not chain.sets:
        return None
    newest = chain.sets[-1]
    if newest.domain not in trusted:
        return None
    results = read(newest.authentication_results).results
    told = [one.result for one in results if one.method == "dmarc"]
    about = {one.property("header", "from") for one in results if one.method == "dmarc"}
    if set(told) != {"pass"} or not about <= {None, author}:
        return None
    who = f"{newest.domain} is a trusted sealer and reports dmarc=pass (ARC instance {newest.instance})"
    if chain.status == "pass":
        return Vouched("pass", who)
    return Vouched("temperror", f"{who}, and the chain cannot be judged now: {chain.reason}")
