"""Content-Transfer-Encoding both ways (RFC 2045 §6).

Reading takes any bytes in linear time and never raises: what is no base64 is passed over, as §6.8 says. Writing gives
lines that every server takes.
"""

import base64
import binascii
import re
from typing import Literal

TransferEncoding = Literal["7bit", "quoted-printable", "base64"]

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_PADDING = re.compile(rb"=[=\s]*")
_RUNS = 1000  # of base64 put behind one another, each with its padding
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LONG_LINE = re.compile(rb"[^\r\n]{999}")  # RFC 5322 §2.1.1
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_UNPRINTABLE = re.compile(rb"[^\t\r\n\x20-\x7e]|=")


def decode(data: bytes, encoding: str) -> bytes:
    """The octets that a body stands for. encoding: in lower case; one that is not known leaves them as they are."""
    if encoding == "base64":
        return b"".join(map(_run, _PADDING.split(data, _RUNS)))
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data)
    return data


def _run(data: bytes) -> bytes:
    """The octets of base64 up to its padding."""
    digits = _NOT_BASE64.sub(b"", data)
    usable = len(digits) - (len(digits) % 4 == 1)  # one digit alone holds no whole octet
    return base64.b64decode(digits[:usable] + b"=" * (-usable % 4))


def encode(data: bytes, encoding: str) -> bytes:
    """Octets as a body of this encoding; one that is not base64 or quoted-printable leaves them as they are."""
    if encoding == "base64":
        return base64.encodebytes(data).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        lines = data.split(b"\r\n")
        # line by line as binary data, so that a bare CR or LF is encoded and only CRLF ends a line
        return b"\r\n".join(binascii.b2a_qp(line, istext=False).replace(b"\n", b"\r\n") for line in lines)
    return data


def choose(data: bytes, *, text: bool) -> TransferEncoding:
    """The plainest encoding in which every server passes the octets on unchanged.

    text: mostly readable, so quoted-printable where that is not longer than base64.
    """
    if data.isascii() and b"\0" not in data and _BARE.search(data) is None and _LONG_LINE.search(data) is None:
        return "7bit"
    unreadable = len(_UNPRINTABLE.findall(data))
    return "quoted-printable" if text and unreadable * 6 <= len(data) else "base64"


def text_lines(data: bytes) -> bytes:
    """Text with the line ends of mail: CRLF for CRLF, CR and LF (RFC 2046 §4.1.1)."""
    return _LINE_END.sub(b"\r\n", data)
