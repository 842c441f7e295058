"""The one domain that a message says it is from: what DMARC protects.

A From field that two readers could take for two authors has none: mail clients, filters and this parser must see the
same name, or the protected one is not the one that the recipient sees.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flowengine.mail import names
from flowengine.mail.addresses.headers import display, read
from flowengine.mail.addresses.tokens import Kind, Token, Tokens, decode, tokenize
from flowengine.mail.addresses.values import Address, Group
from flowengine.mail.addresses.words import decode_words
from flowengine.mail.errors import MailError


class Refusal(StrEnum):
    """Why a message has no author domain."""

    NO_FROM = "no From field"
    SEVERAL_FROM = "several From fields"
    SEVERAL_DOMAINS = "addresses of several domains"
    GROUP = "a group instead of an address"
    UNPARSABLE = "From field cannot be parsed"
    DOMAIN_LITERAL = "a domain literal"
    BAD_DOMAIN = "not a domain name"
    AMBIGUOUS = "From field that can be read in two ways"


@dataclass(frozen=True, slots=True)
class FromRefused:
    """The message names no single author domain. `str()` is a sentence for logs."""

    reason: Refusal
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


LONGEST_FROM = 65_536
"""Octets of a From field that are read: a hostile one of a megabyte would take seconds."""

# Line ends only as folding; no other control character: parsers in C stop at a NUL, others skip it.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\n(?![ \t])")
_ANGLE = re.compile("[<>\uff1c\uff1e]")
_AT = "@\uff20\ufe6b"
_NAMED_DOMAIN = re.compile(rf"[{_AT}]\s*+([^\s{_AT}<>()\[\]\"',;:\\?=\uff1c\uff1e]*+)")
# Most mail: a name without anything special, and an address. What matches here the grammar reads alike.
_PLAIN = re.compile(
    rb"""[ \t]*+(?:"[A-Za-z0-9 .,'&!/_-]*+"|[A-Za-z0-9 '&!/_-]*+)[ \t]*+
    <[A-Za-z0-9!#$%&'*+/^_`{|}~-]++(?:\.[A-Za-z0-9!#$%&'*+/^_`{|}~-]++)*+
    @((?!-)[A-Za-z0-9_-]++(?<!-)(?:\.(?!-)[A-Za-z0-9_-]++(?<!-))*+)>[ \t]*+(?:\r?\n)?""",
    re.VERBOSE,
)
_ENCODED_WORD = re.compile(r"=\?[^?]*+\?[BbQq]\?")


def from_domain(from_values: Sequence[bytes]) -> str | FromRefused:
    """The author domain (A-labels, lower case) of a message, from the values of all its From fields.

    Several addresses of one domain are one author domain (RFC 9989 §5.3.1). A field that breaks the grammar is taken
    when it can be read all the same and has no second domain in it. Never raises.
    """
    if not from_values:
        return FromRefused(Refusal.NO_FROM)
    if len(from_values[0]) > LONGEST_FROM:
        return FromRefused(Refusal.UNPARSABLE, f"longer than {LONGEST_FROM} octets")
    if len(from_values) > 1:
        return FromRefused(Refusal.SEVERAL_FROM, str(len(from_values)))
    if plain := _PLAIN.fullmatch(from_values[0]):
        return names.to_ascii(plain[1].decode("ascii")) or FromRefused(Refusal.BAD_DOMAIN)
    return _from_field(decode(from_values[0]).removesuffix("\n").removesuffix("\r"))


def _from_field(value: str) -> str | FromRefused:
    if control := _CONTROL.search(value):
        return FromRefused(Refusal.AMBIGUOUS, f"control character at {control.start()}")
    broken = ""
    try:
        field = tokenize(value)
        try:
            entries = read(field)
        except MailError as error:
            broken = str(error)
            entries = read(field, tolerant=True)
    except MailError as error:
        return FromRefused(Refusal.UNPARSABLE, broken or str(error))
    author = _one_domain(entries)
    if isinstance(author, FromRefused):
        return author
    if broken and _names_another(value, author):
        return FromRefused(Refusal.UNPARSABLE, broken)
    doubt = _second_reading(field, author)
    return FromRefused(Refusal.AMBIGUOUS, doubt) if doubt else author


def _one_domain(entries: Sequence[Address | Group]) -> str | FromRefused:
    domains: dict[str, None] = {}
    for entry in entries:
        if isinstance(entry, Group):
            return FromRefused(Refusal.GROUP, entry.display_name[:60])
        if entry.domain.startswith("["):
            return FromRefused(Refusal.DOMAIN_LITERAL, entry.domain[:60])
        if (domain := names.to_ascii(entry.domain)) is None:
            return FromRefused(Refusal.BAD_DOMAIN, entry.domain[:60])
        domains[domain] = None
    if len(domains) > 1:
        return FromRefused(Refusal.SEVERAL_DOMAINS, ", ".join(list(domains)[:4])[:200])
    return next(iter(domains))


def _second_reading(field: Tokens, author: str) -> str:
    """What a reader with another idea of quoting, comments or decoding takes for the author; "" if it is the same."""
    if any(_names_another(comment, author) for comment in field.comments):
        return "another address in a comment"
    for element in _elements(field.tokens):
        angle = next((at for at, token in enumerate(element) if token.text == "<" and token.kind is Kind.SPECIAL), None)
        name, address = ([], element) if angle is None else (element[:angle], element[angle + 1 :])
        if any(token.commented for token in address[angle is None :]):
            return "a comment within an address"
        if any(token.kind is Kind.SPECIAL and token.text in ",:" for token in address):
            return "a source route"
        words = [token.text for token in address if token.kind is not Kind.SPECIAL]
        if any(_NAMED_DOMAIN.search(word) or _ANGLE.search(word) for word in words):
            return "an address within a local part"
        if any(_ENCODED_WORD.search(word) for word in words):
            return "an encoded word within an address"
        if doubt := _doubtful_name(name, author):
            return doubt
    return ""


def _elements(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens between the commas of the list; a comma of a source route does not end an element."""
    element: list[Token] = []
    in_angle = False
    for token in tokens:
        special = token.text if token.kind is Kind.SPECIAL else ""
        if token.kind is Kind.END or (special == "," and not in_angle):
            yield element
            element = []
            continue
        in_angle = (in_angle or special == "<") and special != ">"
        element.append(token)


def _doubtful_name(name: Sequence[Token], author: str) -> str:
    shown = display(name)
    if _ANGLE.search(shown) and _names_another(shown, author):
        return "another address with angle brackets in the name"
    for token in name:
        if token.kind is Kind.ENCODED:
            # An @ may not stand in an encoded word of a name (RFC 2047 §5): some readers end the word there.
            if _names_another(token.text, author):
                return "another address in an encoded word"
            if _CONTROL.search(text := decode_words([token.text])) or "\n" in text:
                return "a control character in an encoded word"
    return ""


def _names_another(text: str, author: str) -> bool:
    """Whether the text has an @ before anything but the author's own domain. A single label is no domain of mail but
    the handle of a person, `(@jane)`."""
    for found in _NAMED_DOMAIN.findall(text):
        domain = names.to_ascii(found.rstrip("."))
        if domain is None or ("." in domain and domain != author):
            return True
    return False
