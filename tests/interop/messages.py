"""The messages that travel: each holds something that programs like to change on the way."""

from tests.interop.checks import Disagreement, expect

SENDER, RECIPIENT = "alice@example.net", "bob@example.org"

_HEAD = (
    b"From: Alice <alice@example.net>\r\nTo: Bob <bob@example.org>,\r\n\tCarol <carol@example.org>\r\n"
    b"Subject:  A  subject \t with\r\n  folds  \r\nDate: Mon, 05 Jan 2026 10:00:00 +0000\r\n"
    b"Message-ID: <interop@example.net>\r\nMIME-Version: 1.0\r\n"
)
_TEXT = b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
_EIGHT = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"

PLAIN = _HEAD + _TEXT + b"Shall we meet at noon?\r\n"

MESSAGES: dict[str, bytes] = {
    "plain": PLAIN,
    "white space": _HEAD + _TEXT + b"ends in spaces   \r\n\ttab \t in front\r\n  \r\nlast line\r\n\r\n\r\n",
    "dots": _HEAD + _TEXT + b".\r\n..\r\n.one\r\nmid.dle\r\n.\r\n",
    "no body": _HEAD + _TEXT,
    "empty lines only": _HEAD + _TEXT + b"\r\n\r\n\r\n",
    "long": _HEAD + _TEXT + (b"x" * 900 + b"\r\n") * 80,
    "eight bit": _HEAD + _EIGHT + "Grüße aus Köln — ☃\r\n".encode(),
    "fields twice": b"X-Twice: one\r\nX-Twice: two\r\n" + _HEAD + b"x-twice:three\r\n" + _TEXT + b"Hello.\r\n",
    "odd fields": _HEAD + b"X-Empty:\r\nX-Folded:\r\n one\r\n\ttwo\r\nX-Colon: a:b;c=d\r\n" + _TEXT + b"Hello.\r\n",
}
"""All of them in the form in which they travel, lines ended by CRLF."""

WIDE = (
    "From: Jörg <jörg@example.net>\r\nTo: <bób@example.org>\r\nSubject: Grüße\r\n"
    "Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <wide@example.net>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n"
).encode()
"""Addresses and fields in UTF-8 (RFC 6532), for SMTPUTF8."""

WIDE_SENDER, WIDE_RECIPIENT = "jörg@example.net", "bób@example.org"


def added(arrived: bytes, sent: bytes, allowed: frozenset[str]) -> list[str]:
    """The names of the fields that were put on top on the way, in lower case; every other byte must be as sent.

    Raises Disagreement at the first byte that differs, and for a new field that is not allowed.
    """
    if not arrived.endswith(sent):
        ends = zip(reversed(arrived), reversed(sent), strict=False)
        same = next((place for place, (one, other) in enumerate(ends) if one != other), min(len(arrived), len(sent)))
        there, here = len(arrived) - same, len(sent) - same
        raise Disagreement(
            f"the message changed on the way: sent    …{sent[max(0, here - 40) : here + 20]!r}\n"
            f"                               arrived …{arrived[max(0, there - 40) : there + 20]!r}"
        )
    top = arrived[: len(arrived) - len(sent)]
    names = [line.partition(b":")[0].decode("latin-1").lower() for line in top.split(b"\r\n") if line[:1] not in b" \t"]
    strange = [name for name in names if name not in allowed]
    expect(not strange, f"fields that nobody asked for: {', '.join(strange)}")
    return names


TRACE = frozenset({"received"})
SIGNED = frozenset({"received", "dkim-signature"})
