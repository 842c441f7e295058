"""Names as signatures and key records use them: lower case, A-labels, something DNS can be asked."""

from flowengine.mail import names
from flowengine.mail.errors import MailError


def domain_name(name: str, what: str) -> str:
    """A name in DNS, lower case, A-labels, without a final dot. Raises MailError that says what it should have been."""
    found = names.to_ascii(name)
    if found is None:
        raise MailError(f"{what} {name[:80]!r} is no name in DNS")
    return found
