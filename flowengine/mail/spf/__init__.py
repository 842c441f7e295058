"""SPF (RFC 7208): may this host send with that domain? A record parser, macros, and the check."""

from flowengine.mail.spf.check import check
from flowengine.mail.spf.macros import MacroString, SPFSyntaxError
from flowengine.mail.spf.record import Record, is_spf, parse
from flowengine.mail.spf.results import Identity, Limits, Result, SPFResult, Step

__all__ = [
    "Identity",
    "Limits",
    "MacroString",
    "Record",
    "Result",
    "SPFResult",
    "SPFSyntaxError",
    "Step",
    "check",
    "is_spf",
    "parse",
]
