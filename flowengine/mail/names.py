"""Domain names as mail compares them: lower case, A-labels, no final dot.

Every name from outside passes `to_ascii` once; what comes out is safe to compare, to log and to ask DNS for.
Length is checked before any work is done, so that a hostile name costs nothing.
"""

import re

from flowengine.mail.errors import MailError

MAX_NAME = 253
"""Octets of a domain name in text form, without the final dot (RFC 1035 §2.3.4)."""
MAX_LABEL = 63

# RFC 5321 §2.3.5 letters, digits, hyphen; and the underscore, which names in use have although RFC 952 does not.
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_PLAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")


def to_ascii(name: str) -> str | None:
    """The name in lower case with A-labels and no final dot, or None when it is not a domain name.

    Other scripts are mapped by UTS 46 (non-transitional), then encoded by IDNA 2008. A label that IDNA 2008 refuses
    but UTS 46 lets through (a symbol registered under IDNA 2003) is still encoded: people can click on it, so
    its policy must be found. Never raises; at most 254 characters are looked at.
    """
    if len(name) > MAX_NAME + 1:
        return None
    if not name.isascii():
        return _from_unicode(name)
    name = name.lower()
    if name.endswith("."):
        name = name[:-1]
    return name if len(name) <= MAX_NAME and _PLAIN.fullmatch(name) else None


def require(name: str) -> str:
    """As `to_ascii`. Raises MailError when this is not a domain name."""
    if (ascii_name := to_ascii(name)) is None:
        raise MailError(f"not a domain name: {name[:80]!r}")
    return ascii_name


def is_subdomain(name: str, parent: str) -> bool:
    """Whether `name` is `parent` or lies below it. Both as `to_ascii` gives them; nothing lies below ""."""
    return bool(parent) and (name == parent or name.endswith("." + parent))


def parents(name: str) -> tuple[str, ...]:
    """The names above this one, nearest first: a.b.example has b.example and example."""
    labels = name.split(".")
    return tuple(".".join(labels[i:]) for i in range(1, len(labels)))


def _from_unicode(name: str) -> str | None:
    import idna  # 10 ms and 3 MB that a server which meets no such name does not pay

    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        labels = mapped.removesuffix(".").split(".")
        encoded = ".".join(_encode_label(label) for label in labels)
    except (UnicodeError, IndexError):  # idna.IDNAError is a UnicodeError; IndexError is its Bidi check on odd labels
        return None
    # Checked after mapping too: UTS 46 makes "@" of U+FF20 and "a/c" of U+2100, and no name may become an address.
    return encoded if len(encoded) <= MAX_NAME and _PLAIN.fullmatch(encoded) else None


def _encode_label(label: str) -> str:
    import idna

    if label.isascii():
        return label
    try:
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError:
        return "xn--" + label.encode("punycode").decode("ascii")
