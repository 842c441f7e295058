"""Macros of SPF (RFC 7208 §7): parsed once with the record, expanded for each message without any look-up.

`%{p}` needs DNS; who expands it gets the answer first and hands it in with the other values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from flowengine.mail.errors import MailError


class SPFSyntaxError(MailError):
    """The record breaks the grammar of RFC 7208 §12; its result is `permerror`."""


class Macro(NamedTuple):
    """One `%{…}`: keep the last `keep` parts (0: all) of the value cut at `delimiters`."""

    letter: str
    keep: int
    reverse: bool
    delimiters: str
    escape: bool


_MACRO = re.compile(r"%(?:\{([slodiphcrtv])([0-9]*+)(r?)([.+,/_=-]*+)\}|([%_-]))", re.IGNORECASE)
_LITERAL = re.compile(r"[!-$&-~]++")  # %x21-24 / %x26-7E
_LITERAL_AND_SPACE = re.compile(r"[ -$&-~]++")
_ESCAPES = {"%": "%", "_": " ", "-": "%20"}
_TOP_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*+(?<!-))?")
_EXPLANATION_ONLY = frozenset("crt")
_MOST_PARTS = 128  # §7.3 asks for this many at least; no name has more


@dataclass(frozen=True, slots=True)
class MacroString:
    """A macro-string or domain-spec in pieces. `plain` is its text when it has no macro."""

    source: str
    pieces: tuple[str | Macro, ...]
    plain: str | None
    needs_validated_name: bool

    def expand(self, values: Mapping[str, str], longest: int | None = None) -> str:
        """The text, with values for the letters that occur. longest: characters of it that matter, from the right;
        a hostile record full of macros costs no more than those."""
        if self.plain is not None:
            return self.plain
        texts: list[str] = []
        length = 0
        for piece in reversed(self.pieces):
            text = piece if isinstance(piece, str) else _expand(piece, values)
            texts.append(text)
            length += len(text)
            if longest is not None and length > longest:
                break
        return "".join(reversed(texts))


def parse_macro_string(text: str, *, explanation: bool = False) -> MacroString:
    """Parse a macro-string. Raises SPFSyntaxError.

    explanation: the text of an `exp` record, where blanks and the letters c, r and t are allowed too (§7.2).
    """
    pieces, _ = _pieces(text, explanation)
    return _macro_string(text, pieces)


def parse_domain_spec(text: str) -> MacroString:
    """Parse a domain-spec: a macro-string that ends in a top label or a macro (§7.1). Raises SPFSyntaxError."""
    pieces, ends_in_macro = _pieces(text, explanation=False)
    if not ends_in_macro:
        _, dot, top = text.removesuffix(".").rpartition(".")
        if not dot or not _TOP_LABEL.fullmatch(top) or top.isdigit():
            raise SPFSyntaxError(f"{text[:80]!r} does not end in a top-level domain")
    return _macro_string(text, pieces)


def _pieces(text: str, explanation: bool) -> tuple[list[str | Macro], bool]:
    """The pieces, and whether the last is a macro-expand."""
    literal = _LITERAL_AND_SPACE if explanation else _LITERAL
    pieces: list[str | Macro] = []
    place, in_macro = 0, False
    while place < len(text):
        if plain := literal.match(text, place):
            pieces.append(plain[0])
            place, in_macro = plain.end(), False
            continue
        match = _MACRO.match(text, place)
        if match is None:
            raise SPFSyntaxError(f"bad macro or character at {text[place : place + 20]!r}")
        pieces.append(_ESCAPES[match[5]] if match[5] else _macro(match, explanation))
        place, in_macro = match.end(), True
    return pieces, in_macro


def _macro_string(text: str, pieces: list[str | Macro]) -> MacroString:
    macros = [piece for piece in pieces if isinstance(piece, Macro)]
    plain = None if macros else "".join(piece for piece in pieces if isinstance(piece, str))
    return MacroString(text, tuple(pieces), plain, any(macro.letter == "p" for macro in macros))


def _macro(match: re.Match[str], explanation: bool) -> Macro:
    letter, digits, reverse, delimiters = match[1], match[2], match[3], match[4]
    if letter.lower() in _EXPLANATION_ONLY and not explanation:
        raise SPFSyntaxError(f"macro %{{{letter}}} outside an explanation")
    significant = digits.lstrip("0")
    if digits and not significant:
        raise SPFSyntaxError(f"macro {match[0][:20]!r} keeps no part")
    keep = min(int(significant[:4]), _MOST_PARTS) if significant else 0
    return Macro(letter.lower(), keep, bool(reverse), delimiters or ".", letter.isupper())


def _expand(macro: Macro, values: Mapping[str, str]) -> str:
    value = values[macro.letter]
    if macro.keep or macro.reverse or macro.delimiters != ".":
        parts = re.split(f"[{re.escape(macro.delimiters)}]", value)
        if macro.reverse:
            parts.reverse()
        value = ".".join(parts[-macro.keep :])
    return quote(value, safe="", errors="replace") if macro.escape else value
