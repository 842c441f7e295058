"""Names as signatures and key records use them: lower case, A-labels, something DNS can be asked."""

import idna

from flowengine.mail.errors import MailError


def domain_name(name: str, what: str) -> str:
    """A name in DNS, lower case, A-labels, without a final dot. Raises MailError."""
    text = name.removesuffix(".").lower()
    if len(text) > 1000:
        raise MailError(f"{what} is too long for a name in DNS")
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise MailError(f"{what} {name[:80]!r} is no internationalized domain name") from error
    labels = text.split(".")
    if len(text) > 253 or not all(0 < len(label) <= 63 and _is_label(label) for label in labels):
        raise MailError(f"{what} {name[:80]!r} is no name in DNS")
    return text


def _is_label(label: str) -> bool:
    return label.isascii() and label.replace("-", "").replace("_", "").isalnum()
