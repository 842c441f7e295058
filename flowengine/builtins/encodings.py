"""Bytes as text that travels: base64, base32, URLs, xtext, MIME words, zlib.

Decoding refuses what is not the encoding (none), except where mail lives with less: MIME words stay as they are, and a
lone % in a URL is a %.
"""

import base64
import binascii
import re
import zlib
from urllib.parse import quote_from_bytes, unquote_to_bytes

from flowengine.builtins.run import Run, grown, worked
from flowengine.language.functions import Text, builtin
from flowengine.mail import encoded_words

_BLANKS = bytes.maketrans(b"", b"")
WindowBits = int


@builtin
def base64_encode(run: Run, string: bytes) -> str:
    """A string in base64 (RFC 4648 §4), on one line.

    base64_encode("flow");  // "Zmxvdw=="
    """
    run.budget.grow(len(string) * 4 // 3 + 4)
    return base64.b64encode(string).decode("ascii")


@builtin
def base64_decode(run: Run, string: bytes) -> bytes | None:
    """What base64 stands for. White space is skipped, missing padding is added.

    Returns none for what is no base64.

        base64_decode("Zmxvdw==");  // "flow"
        base64_decode("?");  // none
    """
    worked(run, len(string))
    return _decoded(string.translate(_BLANKS, b" \t\r\n"))


def _decoded(digits: bytes) -> bytes | None:
    try:
        return base64.b64decode(digits.rstrip(b"=") + b"=" * (-len(digits.rstrip(b"=")) % 4), validate=True)
    except binascii.Error:
        return None


@builtin
def base64url_encode(run: Run, string: bytes) -> str:
    """A string in base64 for URLs and file names (RFC 4648 §5), without padding.

    base64url_encode("??>");  // "Pz8-"
    """
    run.budget.grow(len(string) * 4 // 3 + 4)
    return base64.urlsafe_b64encode(string).decode("ascii").rstrip("=")


@builtin
def base64url_decode(run: Run, string: bytes) -> bytes | None:
    """What base64 for URLs stands for; padding may be there or not.

    Returns none for what is no base64url.

        base64url_decode("Pz8-");  // "??>"
        base64url_decode("Pz8+");  // none
    """
    worked(run, len(string))
    if b"+" in string or b"/" in string:
        return None
    return _decoded(string.replace(b"-", b"+").replace(b"_", b"/"))


@builtin
def base32_encode(run: Run, string: bytes) -> str:
    """A string in base32 (RFC 4648 §6).

    base32_encode("flow");  // "MZWG65Y="
    """
    run.budget.grow(len(string) * 8 // 5 + 8)
    return base64.b32encode(string).decode("ascii")


@builtin
def base32_decode(run: Run, string: bytes) -> bytes | None:
    """What base32 stands for; case does not matter, padding may be missing.

    Returns none for what is no base32.

        base32_decode("MZWG65Y=");  // "flow"
        base32_decode("1");  // none
    """
    worked(run, len(string))
    digits = string.rstrip(b"=")
    try:
        return base64.b32decode(digits + b"=" * (-len(digits) % 8), casefold=True)
    except binascii.Error:
        return None


@builtin
def url_encode(run: Run, string: bytes) -> str:
    """A string for use in a URL: all but letters, digits and -._~ as %XX (RFC 3986 §2.1).

    url_encode("a b/ö");  // "a%20b%2F%C3%B6"
    """
    run.budget.grow(len(string) * 3)
    return quote_from_bytes(string, safe="")


@builtin
def url_decode(run: Run, string: bytes) -> bytes:
    """A string with every %XX as the byte it stands for (RFC 3986 §2.1); + stays +.

    url_decode("a%20b%2F");  // "a b/"
    url_decode("100%");  // "100%"
    """
    worked(run, len(string) * 16)  # every %XX is a step of its own
    return unquote_to_bytes(string)


_XTEXT_UNSAFE = re.compile(rb"[^!-*,-<>-~]")  # RFC 3461 §4: printable, but not + and =
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*+")
_XTEXT_BYTE = re.compile(rb"\+([0-9A-F]{2})")


@builtin
def xtext_encode(run: Run, text: bytes) -> bytes:
    """A string as xtext, the form of ORCPT and ENVID (RFC 3461 §4).

    xtext_encode("a+b=c");  // "a+2Bb+3Dc"
    """
    run.budget.grow(len(text) * 3)
    worked(run, len(text) * 16)
    return _XTEXT_UNSAFE.sub(lambda found: b"+%02X" % found[0][0], text)


@builtin
def xtext_decode(run: Run, text: bytes) -> bytes | None:
    """What xtext stands for (RFC 3461 §4).

    Returns none for what is no xtext.

        xtext_decode("a+2Bb+3Dc");  // "a+b=c"
        xtext_decode("a+2");  // none
    """
    worked(run, len(text) * 16)
    if not _XTEXT.fullmatch(text):
        return None
    return _XTEXT_BYTE.sub(lambda found: bytes([int(found[1], 16)]), text)


@builtin
def mimeword_encode(run: Run, string: Text) -> str:
    """Text for a header field: what is not ASCII becomes MIME words in UTF-8 (RFC 2047).

    mimeword_encode("Grüße");  // "=?utf-8?B?R3LDvMOfZQ==?="
    mimeword_encode("plain");  // "plain"
    """
    run.budget.grow(len(string) * 8)
    return encoded_words.encode(string)


@builtin
def mimeword_decode(run: Run, string: bytes) -> Text:
    """The text of a header value, MIME words decoded (RFC 2047). What cannot be decoded stays.

    mimeword_decode("=?utf-8?Q?Gr=C3=BC=C3=9Fe?=");  // "Grüße"
    mimeword_decode("=?nonsense?Q?x?=");  // "=?nonsense?Q?x?="
    """
    run.budget.grow(len(string) * 3)
    return Text(encoded_words.decode(string))


@builtin
def zlib_compress(run: Run, string: bytes, compression: int = -1, windowbits: WindowBits = 15) -> bytes | None:
    """A string compressed with zlib (RFC 1950).

    compression: 0 to 9, -1 for the usual one.
    windowbits: 9 to 15 for zlib, -9 to -15 for raw deflate (RFC 1951), 25 to 31 for gzip (RFC 1952).

    Returns none for numbers outside these.

        zlib_uncompress(zlib_compress("flow"));  // "flow"
        zlib_compress("flow", 10);  // none
    """
    if not -1 <= compression <= 9 or not _known(windowbits):
        return None
    worked(run, len(string) * 8)
    compressor = zlib.compressobj(compression, zlib.DEFLATED, windowbits)
    return compressor.compress(string) + compressor.flush()


@builtin
def zlib_uncompress(run: Run, string: bytes, windowbits: WindowBits = 15) -> bytes | None:
    """What was compressed with zlib. The result may be as large as one value may be, and is paid for as it grows.

    windowbits: as for `zlib_compress`; 40 to 47 takes zlib and gzip.

    Returns none for what is not whole and undamaged.

        zlib_uncompress("no zlib");  // none
    """
    if not _known(windowbits) and not 40 <= windowbits <= 47:
        return None
    return _inflated(run, zlib.decompressobj(windowbits), string)


def _known(windowbits: int) -> bool:
    return 9 <= windowbits <= 15 or -15 <= windowbits <= -9 or 25 <= windowbits <= 31


_PIECE = 1 << 20  # bytes between two payments


def _inflated(run: Run, inflater: "zlib._Decompress", rest: bytes) -> bytes | None:
    made = bytearray()
    try:
        while not inflater.eof:
            piece = inflater.decompress(rest, _PIECE)
            grown(run, len(made), len(piece))
            made += piece
            rest = inflater.unconsumed_tail
            if not piece and not rest and not inflater.eof:
                return None
    except zlib.error:
        return None
    return bytes(made)
