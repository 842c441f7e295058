"""`flowengine verify`: what SPF, DKIM, DMARC and ARC say of a message, and a second opinion on the signatures.

`explaining` has the words for people.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import dkim as dkimpy

from flowengine.mail import authentication_results, spf
from flowengine.mail.addresses import FromRefused
from flowengine.mail.arc import ChainResult
from flowengine.mail.dkim import SignatureResult
from flowengine.mail.dmarc import DMARCResult
from flowengine.mail.dns import Answer
from flowengine.mail.errors import MailError
from flowengine.mail.evaluation import Evaluation
from flowengine.mail.message import Message
from flowengine.runtime.services import Services
from flowengine.runtime.world import Fact, World
from flowengine.servers.play import Visit, envelope

_LONGEST_SENDER = 512
_UNHEARD = logging.Logger("dkimpy")
_UNHEARD.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All that was found about one message."""

    spf: spf.SPFResult
    dkim: tuple[SignatureResult, ...]
    dmarc: DMARCResult
    arc: ChainResult
    authentication_results: str
    second_opinion: tuple[bool | None, ...] = ()
    """Whether dkimpy verifies each signature, on the records that we got; None where it was not asked."""

    def document(self) -> dict[str, object]:
        """What `verify --json` prints."""
        dmarc = self.dmarc
        return {
            "spf": {"result": self.spf.result, "domain": self.spf.domain, "explanation": self.spf.explanation},
            "dkim": [
                {"domain": one.domain, "selector": one.selector, "result": one.result, "reason": one.reason}
                for one in self.dkim
            ],
            "dmarc": {
                "result": dmarc.result,
                "policy": dmarc.policy,
                "domain": dmarc.domain,
                "alignment": {"spf": dmarc.spf.passed, "dkim": dmarc.dkim.passed},
                "reason": dmarc.reason,
            },
            "arc": {"result": self.arc.status, "instance": self.arc.instance},
            "authentication-results": self.authentication_results,
        }


async def verify_message(message: Message, visit: Visit, services: Services) -> VerifyReport:
    """Evaluate a message with the client's address and envelope of the visit. Raises MailError for the envelope."""
    world = World(services)
    settings = services.settings
    evaluation = Evaluation(
        message,
        world,
        hostname=settings.hostname,
        standard=settings.dmarc_standard,
        now=world.now,
        sample=world.random_number,
    )
    sender = _sender(message, visit)
    client = visit.client_ip, visit.helo, sender
    verdict = await evaluation.dmarc(*client)
    if isinstance(verdict, FromRefused):
        verdict = DMARCResult("permerror", None, "none", "", str(verdict), standard=settings.dmarc_standard)
    results = await evaluation.results(*client)
    signatures = await evaluation.dkim()
    return VerifyReport(
        spf=await evaluation.spf(*client),
        dkim=signatures,
        dmarc=verdict,
        arc=await evaluation.arc(),
        authentication_results=authentication_results.write(settings.hostname, results, fold=False),
        second_opinion=await asyncio.to_thread(second_opinion, message.render(), signatures, world.facts),
    )


def _sender(message: Message, visit: Visit) -> str:
    """The envelope sender. One that was given and breaks the grammar is taken as it is when it has an @: some server
    took it once, and SPF has a word for it (RFC 7208 §4.3). Raises MailError."""
    try:
        return envelope(message, visit)[0].address
    except MailError:
        given = (visit.mail_from or "").removeprefix("<").removesuffix(">")
        if "@" not in given or not given.isprintable() or len(given) > _LONGEST_SENDER:
            raise
    envelope(message, replace(visit, mail_from="<>"))  # the recipients must be addresses all the same
    return given


def second_opinion(
    message: bytes, signatures: Sequence[SignatureResult], facts: Sequence[Fact]
) -> tuple[bool | None, ...]:
    """What dkimpy makes of the signatures that we found good or bad with a key of DNS, which is not asked again."""
    records: dict[str, bytes] = {}
    for fact in facts:
        if fact.kind == "dns" and isinstance(fact.answer, Answer) and len(fact.answer.txt) == 1:
            records[str(fact.question[0]).rstrip(".").lower()] = fact.answer.txt[0]

    def record(name: bytes, **_: object) -> bytes | None:
        return records.get(name.decode("latin-1").rstrip(".").lower())

    def opinion(place: int, one: SignatureResult) -> bool | None:
        if one.result not in ("pass", "fail") or f"{one.selector}._domainkey.{one.domain}".lower() not in records:
            return None
        try:
            return bool(dkimpy.DKIM(message, logger=_UNHEARD).verify(idx=place, dnsfunc=record))
        except Exception:  # noqa: BLE001  # dkimpy raises what its parts raise
            return False

    return tuple(opinion(place, one) for place, one in enumerate(signatures))
