"""`flowengine verify`: what SPF, DKIM, DMARC and ARC say of a message, in words a mail admin needs no RFC for."""

from collections.abc import Iterator
from dataclasses import dataclass

from flowengine.mail import authentication_results, spf
from flowengine.mail.addresses import FromRefused
from flowengine.mail.arc import ChainResult
from flowengine.mail.dkim import SignatureResult
from flowengine.mail.dmarc import DMARCResult
from flowengine.mail.evaluation import Evaluation
from flowengine.mail.message import Message
from flowengine.runtime.services import Services
from flowengine.runtime.world import World
from flowengine.servers.play import Visit, envelope


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All that was found about one message."""

    spf: spf.SPFResult
    dkim: tuple[SignatureResult, ...]
    dmarc: DMARCResult
    arc: ChainResult
    authentication_results: str
    second_opinion: tuple[bool, ...] | None = None
    """What dkimpy says of each signature, where DNS answered; None when it was not asked."""

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
    sender = envelope(message, visit)[0].address
    client = visit.client_ip, visit.helo, sender
    verdict = await evaluation.dmarc(*client)
    if isinstance(verdict, FromRefused):
        verdict = DMARCResult("permerror", None, "none", "", str(verdict), standard=settings.dmarc_standard)
    results = await evaluation.results(*client)
    return VerifyReport(
        spf=await evaluation.spf(*client),
        dkim=await evaluation.dkim(),
        dmarc=verdict,
        arc=await evaluation.arc(),
        authentication_results=authentication_results.write(settings.hostname, results, fold=False),
    )


def verify_text(report: VerifyReport) -> str:
    """The report for people."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: VerifyReport) -> Iterator[str]:
    yield f"SPF    {report.spf.result:<10} {report.spf.domain or 'no domain'}: {report.spf.reason or 'ok'}"
    for step in report.spf.trace[:20]:
        yield f"           {step.domain}  {step.term}  {step.outcome}"
    if report.spf.explanation:
        yield f"           the domain says: {report.spf.explanation}"
    if not report.dkim:
        yield "DKIM   none       the message is not signed"
    for one in report.dkim:
        yield f"DKIM   {one.result:<10} d={one.domain} s={one.selector} {one.algorithm}: {one.reason or _signed(one)}"
    dmarc = report.dmarc
    policy = f"its policy is {dmarc.policy}" if dmarc.policy else "it has no policy"
    yield f"DMARC  {dmarc.result:<10} {dmarc.domain or 'no From domain'}: {policy}; {dmarc.reason or 'ok'}"
    chain = "the chain is whole" if report.arc.status == "pass" else report.arc.reason or "no chain"
    yield f"ARC    {report.arc.status:<10} {chain}"


def _signed(one: SignatureResult) -> str:
    signed = ", ".join(dict.fromkeys(one.signed_headers))
    return f"signed: {signed}" if signed else "ok"
