"""Address lists of header fields (RFC 5322 §3.4, obsolete forms of §4.4, non-ASCII of RFC 6532).

`parse_list` reads by the grammar or says where it breaks. `extract` is for scripts: it also takes what people write
before the angle bracket without quoting it, and answers only with addresses.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from flowengine.mail.addresses.tokens import Kind, Token, Tokens, decode, tokenize
from flowengine.mail.addresses.values import ATEXT, Address, Group, mailboxes
from flowengine.mail.addresses.words import decode_words
from flowengine.mail.errors import MailError

_WORDS = (Kind.ATOM, Kind.QUOTED, Kind.ENCODED)
_ATOM = re.compile(rf"[{ATEXT}]++")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]++")
# What a quoted local part may not hold although obs-qtext (RFC 5322 §4.1) lets it: it would end up in replies and logs.
_LINE_CONTROL = re.compile(r"[\x00\r\n]")


def parse_list(value: bytes | str) -> list[Address | Group]:
    """Read the value of From, To, Cc … (without the field name). Raises MailError with the place (in characters).

    Display names may be anything that can be shown; local parts and domains must be clean UTF-8.
    An empty list is an error, empty elements between addresses are not (§4.4).
    """
    return read(tokenize(decode(value)))


def extract(value: bytes | str) -> list[str]:
    """The `local@domain` of every mailbox of a field value, groups included; [] when it cannot be read."""
    try:
        entries = read(tokenize(decode(value)), tolerant=True)
    except MailError:
        return []
    return [address.address for address in mailboxes(entries)]


def read(field: Tokens, *, tolerant: bool = False) -> list[Address | Group]:
    """As `parse_list`, from tokens.

    tolerant: before an angle bracket anything goes, as in `Doe, Jane [home] <jane@a.example>`. Raises MailError.
    """
    return _Reader(field.tokens, tolerant=tolerant).entries()


class _Reader:
    """Walks the tokens once, from left to right."""

    def __init__(self, tokens: Sequence[Token], *, tolerant: bool) -> None:
        self._tokens = tokens
        self._at = 0
        self._tolerant = tolerant

    def entries(self) -> list[Address | Group]:
        found: list[Address | Group] = []
        while True:
            while self._is(","):
                self._at += 1
            if self._ended():
                break
            found.append(self._entry())
            if not self._ended() and not self._is(","):
                raise self._unexpected("a comma")
        if not found:
            raise MailError("no address")
        return found

    @property
    def _here(self) -> Token:
        return self._tokens[self._at]

    def _ended(self) -> bool:
        return self._tokens[self._at].kind is Kind.END

    def _is(self, special: str) -> bool:
        token = self._tokens[self._at]
        return token.kind is Kind.SPECIAL and token.text == special

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _unexpected(self, wanted: str) -> MailError:
        token = self._here
        found = "the end" if token.kind is Kind.END else repr(token.text[:40])
        return MailError(f"{wanted} expected, not {found} at {token.place}")

    def _entry(self) -> Address | Group:
        start = self._at
        name = self._phrase()
        if name and self._is(":"):
            return self._group(name)
        self._at = start
        return self._mailbox()

    def _mailbox(self) -> Address:
        start = self._at
        name = self._phrase()
        if not self._is("<"):
            if self._tolerant and self._angle_follows():
                name = self._anything_before_angle(start)
            elif self._is("@"):
                self._at = start
                return self._addr_spec("")
            else:
                raise self._unexpected("an address")
        return self._angle_addr(name)

    def _phrase(self) -> Sequence[Token]:
        start = self._at
        while self._here.kind in _WORDS or (self._is(".") and self._at > start):
            self._at += 1
        return self._tokens[start : self._at]

    def _group(self, name: Sequence[Token]) -> Group:
        self._at += 1
        members: list[Address] = []
        while not self._is(";"):
            if self._is(","):
                self._at += 1
                continue
            members.append(self._mailbox())
            if not self._is(",") and not self._is(";"):
                raise self._unexpected("a comma or the end of the group")
        self._at += 1
        return Group(display(name), tuple(members))

    def _angle_addr(self, name: Sequence[Token]) -> Address:
        self._at += 1
        if self._is("@") or self._is(","):
            self._skip_route()
        address = self._addr_spec(display(name))
        if not self._is(">"):
            raise self._unexpected("'>'")
        self._at += 1
        return address

    def _skip_route(self) -> None:
        """RFC 5322 §4.4 obs-route: names of hosts to pass, which everybody ignores."""
        while True:
            while self._is(","):
                self._at += 1
            if self._is(":"):
                break
            if not self._is("@"):
                raise self._unexpected("a route")
            self._at += 1
            self._domain()
            if not self._is(",") and not self._is(":"):
                raise self._unexpected("':' after the route")
        self._at += 1

    def _addr_spec(self, display_name: str) -> Address:
        local_part = self._local_part()
        if not self._is("@"):
            raise self._unexpected("'@'")
        self._at += 1
        return Address(display_name, local_part, self._domain())

    def _local_part(self) -> str:
        parts: list[str] = []
        while True:
            token = self._here
            if token.kind is Kind.QUOTED:
                if _LINE_CONTROL.search(token.text):
                    raise MailError(f"NUL or line end in a local part at {token.place}")
            elif token.kind not in _WORDS or not _ATOM.fullmatch(token.text):
                raise self._unexpected("a local part")
            parts.append(_clean(token))
            self._at += 1
            if not self._is("."):
                return ".".join(parts)
            self._at += 1

    def _domain(self) -> str:
        if self._here.kind is Kind.LITERAL:
            literal = self._next()
            if _CONTROL.search(literal.text):
                raise MailError(f"control character in a domain literal at {literal.place}")
            return _clean(literal)
        labels: list[str] = []
        while True:
            token = self._here
            if token.kind is Kind.QUOTED or token.kind not in _WORDS or not _ATOM.fullmatch(token.text):
                raise self._unexpected("a domain")
            if token.text[0] == "-" or token.text[-1] == "-":  # RFC 5321 §2.3.5, which RFC 5322 §3.4.1 refers to
                raise MailError(f"label that begins or ends with a hyphen at {token.place}")
            labels.append(_clean(token))
            self._at += 1
            if not self._is("."):
                return ".".join(labels)
            self._at += 1

    def _angle_follows(self) -> bool:
        """Whether all up to the next < can only be a name. A comma may stand in it when no @ does."""
        at, commas, ats = self._at, False, False
        while (token := self._tokens[at]).kind is not Kind.END:
            special = token.text if token.kind is Kind.SPECIAL else ""
            if special == "<":
                return True
            if special == ";" or (special == "," and ats) or (special == "@" and commas):
                return False
            commas, ats = commas or special == ",", ats or special == "@"
            at += 1
        return False

    def _anything_before_angle(self, start: int) -> Sequence[Token]:
        while not self._is("<"):
            self._at += 1
        return self._tokens[start : self._at]


def _clean(token: Token) -> str:
    if "\ufffd" in token.text:
        raise MailError(f"bytes that are not UTF-8 in an address at {token.place}")
    return token.text


def display(tokens: Sequence[Token]) -> str:
    """The words of a phrase as a reader sees them. Blanks between two encoded words vanish (RFC 2047 §6.2)."""
    pieces: list[str] = []
    for encoded, group in groupby(tokens, key=lambda token: token.kind is Kind.ENCODED):
        words = list(group)
        if pieces and words[0].spaced:
            pieces.append(" ")
        if encoded:
            pieces.append(decode_words(token.text for token in words))
        else:
            pieces.append(words[0].text)
            pieces += [(" " if token.spaced else "") + token.text for token in words[1:]]
    return decode(_CONTROL.sub(" ", "".join(pieces)).strip())
