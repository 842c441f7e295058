"""A structured header field cut into tokens: words, specials, domain literals; comments and folding set aside.

One pass, one compiled pattern, a counter for nested comments: the time is linear whatever is sent.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from flowengine.mail.addresses.values import ATEXT
from flowengine.mail.errors import MailError

LONGEST = 131_072
"""Characters of a field that are read: some two thousand addresses. A hostile one of a megabyte would take seconds."""


class Kind(Enum):
    """What a token is."""

    ATOM = auto()
    QUOTED = auto()
    ENCODED = auto()
    LITERAL = auto()
    SPECIAL = auto()
    END = auto()


class Token(NamedTuple):
    """One token: its meaning (without quotes), its place in the value, and what stood before it."""

    kind: Kind
    text: str
    place: int
    spaced: bool
    commented: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a field, ended by one END, and the text of its comments with parentheses."""

    tokens: tuple[Token, ...]
    comments: tuple[str, ...]


# RFC 5322 §3.2.2 folding is CRLF before a blank; a bare LF is taken so too, since stored messages have it.
_FWS = r"(?:[ \t]|\r?\n(?=[ \t]))"
_TOKEN = re.compile(
    rf"""
      (?P<blank>   {_FWS}++ )
    | (?P<encoded> =\?[^?\s()<>"]{{1,60}}\?[BbQq]\?[^?\s]*+\?= )       # RFC 2047 §2, generous in what it holds
    | (?P<atom>    [{ATEXT}]++ )
    | (?P<quoted>  " (?P<content> (?: [^"\\\r\n\x00]++ | {_FWS} | \\[^\r\n\x00] )*+ ) " )
    | (?P<special> [<>,:;@.] )
    | (?P<literal> \[ (?: [^\[\]\\\r\n\x00]++ | {_FWS} | \\[^\r\n\x00] )*+ \] )
    | (?P<comment> \( )
    """,
    re.VERBOSE,
)
# Everything in a comment up to the next parenthesis (obs-ctext and obs-qp of RFC 5322 §4.1 included).
_COMMENT_TEXT = re.compile(rf"(?:[^()\\\r\n\x00]++|{_FWS}|\\.)*+", re.DOTALL)
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(rf"{_FWS}++")
_KINDS = {"atom": Kind.ATOM, "encoded": Kind.ENCODED, "special": Kind.SPECIAL}


def decode(value: bytes | str) -> str:
    """The text of a field value: UTF-8 (RFC 6532 §3.2), with U+FFFD for bytes and surrogates that are not."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def tokenize(value: str) -> Tokens:
    """Cut the value of a structured field. Raises MailError for a character or an open construct with its place, and
    for a value beyond LONGEST."""
    if len(value) > LONGEST:
        raise MailError(f"longer than {LONGEST} characters")
    tokens: list[Token] = []
    comments: list[str] = []
    place, spaced, commented = 0, False, False
    while place < len(value):
        match = _TOKEN.match(value, place)
        if match is None:
            raise MailError(f"{_what_is_wrong(value[place])} at {place}")
        kind = match.lastgroup
        start, place = place, match.end()
        if kind == "blank":
            spaced = True
            continue
        if kind == "comment":
            place = _skip_comment(value, start)
            comments.append(value[start:place])
            spaced = commented = True
            continue
        if kind == "quoted":
            token = Token(Kind.QUOTED, _unquote(match["content"]), start, spaced, commented)
        elif kind == "literal":
            token = Token(Kind.LITERAL, _BLANKS.sub("", match[0]), start, spaced, commented)
        else:
            token = Token(_KINDS[str(kind)], match[0], start, spaced, commented)
        tokens.append(token)
        spaced = commented = False
    tokens.append(Token(Kind.END, "", len(value), spaced, commented))
    return Tokens(tuple(tokens), tuple(comments))


def _unquote(content: str) -> str:
    """The meaning of a quoted string: line ends of folding go, the backslash of a quoted pair goes."""
    if "\n" in content:
        content = _FOLD.sub("", content)
    return _ESCAPE.sub(r"\1", content) if "\\" in content else content


def _skip_comment(value: str, start: int) -> int:
    depth, place = 0, start
    while place < len(value):
        character = value[place]
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return place + 1
        else:
            place = _end_of_comment_text(value, place)
            continue
        place += 1
    raise MailError(f"comment not closed at {start}")


def _end_of_comment_text(value: str, place: int) -> int:
    match = _COMMENT_TEXT.match(value, place)
    if match is None or match.end() == place:
        raise MailError(f"{_what_is_wrong(value[place])} in a comment at {place}")
    return match.end()


def _what_is_wrong(character: str) -> str:
    match character:
        case '"':
            return "quoted string not closed, or a line end or NUL in it,"
        case "[":
            return "domain literal not closed, or a bracket, line end or NUL in it,"
        case "\r" | "\n":
            return "line end that does not fold"
        case _:
            return f"unexpected {character!r}"
