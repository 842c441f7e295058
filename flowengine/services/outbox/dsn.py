"""Parameters for reports of delivery that go on to the next hop as they came (RFC 3461 §4, §5)."""

import re
from collections.abc import Mapping

MAIL_DSN = ("RET", "ENVID")
RCPT_DSN = ("NOTIFY", "ORCPT")
_VALUE = re.compile(r"[!-<>-~]{1,500}").fullmatch  # esmtp-value (RFC 5321 §4.1.2), and no longer than §4.2, §4.4 say


def passed_on(parameters: Mapping[str, str], names: tuple[str, ...]) -> str:
    """Those of the parameters that have one of these names, for a command: each with a space in front."""
    return "".join(
        f" {name}={parameters[name]}" for name in names if name in parameters and _VALUE(parameters[name]) is not None
    )
