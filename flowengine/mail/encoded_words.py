"""Header text and its encoded form: RFC 2047 both ways, and folding.

Reading is tolerant: any bytes give text, in linear time, and what cannot be decoded stays as it stands. Charsets
come from a list, because a hostile name must not choose a Python codec (some are quadratic, some are no charsets).
Writing is strict: what comes out is printable ASCII on lines that no program takes for a new field.
"""

import base64
import binascii
import codecs
import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby

# Between "=?" and "?=" every part stops at the next "?", so the search is linear.
_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_QUOTED_PRINTABLE = re.compile(rb"=([0-9A-Fa-f]{2})")
_UNSAFE = re.compile(r"[\r\n\x00]+")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_CHARSETS = frozenset(
    ["utf-8", "us-ascii", "ascii", "latin-1", "latin1", "koi8-r", "koi8-u", "big5", "big5-hkscs", "gb2312", "gbk"]
    + ["gb18030", "euc-jp", "iso-2022-jp", "shift_jis", "cp932", "euc-kr", "ks_c_5601-1987", "cp949", "iso-2022-kr"]
    + ["tis-620", "macintosh", "utf-16", "utf-16le", "utf-16be", "hz-gb-2312", "cp850", "cp866", "viscii", "utf8"]
    + [f"iso-8859-{part}" for part in range(1, 17) if part != 12]
    + [f"{prefix}{page}" for prefix in ("windows-", "cp") for page in (874, *range(1250, 1259))]
)


def plain(value: bytes) -> str:
    """The characters of a value, encoded words as they stand: UTF-8, or Latin-1 when it is not that."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def decode(value: bytes) -> str:
    """The text of an unfolded header value. CR, LF and NUL in what was encoded become a space. Never raises."""
    text = plain(value)
    if "=?" not in text:
        return text
    parts: list[tuple[str, bytes, str]] = []  # charset ("" for plain text), octets, source text
    position = 0
    for word in _WORD.finditer(text):
        charset, kind, content = word.groups()
        charset = charset.partition("*")[0].lower()  # RFC 2231 §5: language after "*"
        octets = _octets(kind, content) if charset in _CHARSETS else None
        if octets is None:
            continue
        between = text[position : word.start()]
        # RFC 2047 §6.2: white space between two encoded words is not shown
        if between and not (parts and parts[-1][0] and between.isspace()):
            parts.append(("", b"", between))
        parts.append((charset, octets, word.group()))
        position = word.end()
    parts.append(("", b"", text[position:]))
    shown: list[str] = []
    for charset, run in groupby(parts, key=lambda part: part[0]):
        if not charset:
            shown.extend(source for _, _, source in run)
        else:  # a character may be split over neighbouring words, against the RFC and in practice
            shown.append(_UNSAFE.sub(" ", _text(b"".join(octets for _, octets, _ in run), charset)))
    return "".join(shown)


def in_charset(octets: bytes, charset: str) -> str:
    """The text of octets whose charset a message names (any case); octets that are none of it become U+FFFD, a charset
    that is not on the list is read as UTF-8 or Latin-1. Never raises."""
    name = charset.lower()
    return _text(octets, name) if name in _CHARSETS else plain(octets)


def _octets(kind: str, content: str) -> bytes | None:
    raw = content.encode("utf-8")
    if kind in "qQ":
        return _QUOTED_PRINTABLE.sub(lambda code: bytes([int(code[1], 16)]), raw.replace(b"_", b" "))
    raw = _NOT_BASE64.sub(b"", raw)
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return None


def _text(octets: bytes, charset: str) -> str:
    try:
        return octets.decode(codecs.lookup(charset).name, "replace")
    except (LookupError, UnicodeError):
        return octets.decode("latin-1")


_LONGEST = 900  # a word that would not fit a line of 998 octets (RFC 5322 §2.1.1) is encoded


# A fold that may stay: CRLF, white space, and then something to read.
_FOLD = re.compile(r"\r\n(?=[ \t]+[^\x00-\x20\x7f])")


def written(name: str, text: str, *, encoded: bool = True, columns: int | None = 78) -> str:
    """The text as the value of a header field called `name`, whatever the text holds.

    encoded: what is not ASCII becomes encoded words (RFC 2047), else it stays as UTF-8 (RFC 6532).
    columns: fold to this width; None keeps the folds that the text has (a signature must not be folded again).
    """
    if columns is not None:
        return fold(encode(text) if encoded else clean(text), name, columns)
    return "\r\n".join(encode(line) if encoded else clean(line) for line in _FOLD.split(text))


def clean(text: str) -> str:
    """The text on one line: each run of CR, LF and NUL becomes one space, other controls but tab go."""
    text = _UNSAFE.sub(" ", text)
    return text if text.isprintable() else "".join(c for c in text if (c >= " " and c != "\x7f") or c == "\t")


def encode(text: str) -> str:
    """The text as printable ASCII on one line: runs of words that need it become encoded words in UTF-8 (RFC 2047).

    Quoted strings that need it lose their quotes, because an encoded word inside them would not be decoded.
    """
    text = clean(text)
    if text.isascii() and len(text) <= _LONGEST:
        return text
    written: list[str] = []
    run: list[str] = []  # what to encode together, with the white space between
    for space, word in _words(text):
        if word.isascii() and len(word) <= _LONGEST:
            if run:
                written.append(_encode_run("".join(run)))
                run = []
            written.append(space + word)
        else:
            bare = word[1:-1].replace("\\", "") if len(word) > 1 and word[0] == word[-1] == '"' else word
            if not run:
                written.append(space)
            run.append(space + bare if run else bare)
    if run:
        written.append(_encode_run("".join(run)))
    return "".join(written)


def _words(text: str) -> Iterator[tuple[str, str]]:
    """The words of a text, each with the white space in front of it; a quoted string is one word."""
    parts = re.split("([ \t]+)", text)  # word, space, word, space, … word
    words, spaces = parts[::2], ["", *parts[1::2]]
    closing = [place for place, word in enumerate(words) if word.endswith('"') and not word.endswith('\\"')]
    index = 0
    while index < len(words):
        last = index
        if words[index].startswith('"'):
            later = bisect_left(closing, index + 1 if len(words[index]) == 1 else index)
            last = closing[later] if later < len(closing) else index
        yield spaces[index], "".join(parts[2 * index : 2 * last + 1])
        index = last + 1


def _encode_run(text: str) -> str:
    """Encoded words of at most 75 characters (RFC 2047 §2), none of which splits a character."""
    words: list[str] = []
    piece = bytearray()
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > 45:  # 60 characters of base64, 12 around them
            words.append(base64.b64encode(piece).decode("ascii"))
            piece.clear()
        piece += octets
    words.append(base64.b64encode(piece).decode("ascii"))
    return " ".join(f"=?utf-8?B?{word}?=" for word in words)


def fold(value: str, name: str, columns: int = 78) -> str:
    """Break a one-line value at white space so that lines keep to `columns` where words allow.

    `name` is the field's, whose length and colon stand on the first line. No line is white space alone, because
    some programs take that for the end of the header.
    """
    value = value.rstrip(" \t")
    room = columns - len(name) - 2
    if len(value) <= room:
        return value
    lines: list[str] = []
    line = ""
    for word in re.findall(r"[ \t]*[^ \t]+", value):  # every word but the first begins with white space
        if line and len(line) + len(word) > room:
            lines.append(line)
            line, room = "", columns
        line += word
    lines.append(line)
    return "\r\n".join(lines)
