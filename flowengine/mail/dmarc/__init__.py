"""DMARC (RFC 9989, and RFC 7489 by parameter): does the author domain stand behind this message?"""

from flowengine.mail.dmarc.evaluate import evaluate
from flowengine.mail.dmarc.log import Signature, log_line
from flowengine.mail.dmarc.record import Policy, Record, ReportURI, Standard, parse
from flowengine.mail.dmarc.results import Alignment, DMARCResult, Identifier, scan_word
from flowengine.mail.dmarc.tree import Discovery, Found

__all__ = [
    "Alignment",
    "DMARCResult",
    "Discovery",
    "Found",
    "Identifier",
    "Policy",
    "Record",
    "ReportURI",
    "Signature",
    "Standard",
    "evaluate",
    "log_line",
    "parse",
    "scan_word",
]
