"""Addresses of header fields (RFC 5322, 6532) and of the envelope (RFC 5321, 6531), and the author's domain.

Everything parses in time linear in its size, without recursion, and fails as MailError with the place.
"""

from flowengine.mail.addresses.author import FromRefused, Refusal, from_domain
from flowengine.mail.addresses.headers import extract, parse_list
from flowengine.mail.addresses.paths import Path, parse_mailbox, parse_path, split
from flowengine.mail.addresses.values import Address, Group, mailboxes

__all__ = [
    "Address",
    "FromRefused",
    "Group",
    "Path",
    "Refusal",
    "extract",
    "from_domain",
    "mailboxes",
    "parse_list",
    "parse_mailbox",
    "parse_path",
    "split",
]
