"""Encoded words of display names (RFC 2047): what the reader of the message sees."""

import codecs
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_qp
from collections.abc import Iterable
from itertools import groupby

# Python codecs that are no charset of mail; decoding punycode takes the square of its length.
_NO_CHARSET = frozenset({"punycode", "idna", "unicode_escape", "raw-unicode-escape", "unicode-escape", "undefined"})


def decode_words(words: Iterable[str]) -> str:
    """The text of encoded words that follow each other. A character may be cut by the border of two words of the
    same charset, as many mailers do it. A word whose charset or encoding is not what it says stays as written."""
    pieces: list[str] = []
    for charset, group in groupby((_decode(word) for word in words), key=lambda decoded: decoded[0]):
        data = b"".join(raw for _, raw in group)
        pieces.append(data.decode(charset, "replace"))
    return "".join(pieces)


def _decode(word: str) -> tuple[str, bytes]:
    _, label, encoding, text, _ = word.split("?", 4)
    try:
        charset = codecs.lookup(label.split("*")[0]).name  # RFC 2231 §5: charset*language
        if charset in _NO_CHARSET:
            raise LookupError(charset)
        b"a".decode(charset, "replace")  # a codec from bytes to bytes is a LookupError here
        raw = text.encode("ascii")
        padded = raw + b"=" * (-len(raw) % 4)
        return charset, b64decode(padded) if encoding in "Bb" else a2b_qp(raw, header=True)
    except (Base64Error, LookupError, ValueError):
        return "utf-8", word.encode("utf-8", "replace")
