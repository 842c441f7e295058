"""The server side of SASL (RFC 4954): the mechanisms PLAIN (RFC 4616) and LOGIN as dialogs without a socket.

Responses go in, challenges come out until there are credentials. Nothing here knows whether they are right.
"""

import binascii
from dataclasses import dataclass, field

from flowengine.mail.errors import MailError

CHALLENGES = {"PLAIN": (b"",), "LOGIN": (b"Username:", b"Password:")}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a client says it is."""

    mechanism: str
    username: str
    password: str = field(repr=False)


class Dialog:
    """One AUTH command and what follows it, until there are credentials. mechanism: a key of CHALLENGES."""

    __slots__ = ("_mechanism", "_responses")

    def __init__(self, mechanism: str) -> None:
        self._mechanism = mechanism
        self._responses: list[bytes] = []

    def respond(self, response: bytes | None) -> bytes | Credentials:
        """The next challenge, or what the client said. None: there is no response yet. Raises MailError."""
        if response is not None:
            self._responses.append(response)
        challenges = CHALLENGES[self._mechanism]
        if len(self._responses) < len(challenges):
            return challenges[len(self._responses)]
        if self._mechanism == "LOGIN":
            username, password = self._responses
        else:
            username, password = _plain(self._responses[0])
        return Credentials(self._mechanism, _text(username), _text(password))


def _plain(response: bytes) -> tuple[bytes, bytes]:
    """RFC 4616 §2: [authorization identity] NUL user NUL password."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise MailError("PLAIN takes three fields")
    if parts[0] not in (b"", parts[1]):
        raise MailError("acting for another user is not supported")
    return parts[1], parts[2]


def _text(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise MailError("not UTF-8") from None
    if not text or "\0" in text:
        raise MailError("empty, or with a NUL")
    return text


def decode(line: bytes) -> bytes:
    """A response line (RFC 4648 §4). Raises MailError."""
    try:
        return binascii.a2b_base64(line, strict_mode=True) if line else b""
    except binascii.Error:
        raise MailError("not base64") from None


def decode_initial(word: bytes) -> bytes | None:
    """The response behind the mechanism's name: none, or `=` for an empty one (RFC 4954 §4). Raises MailError."""
    return None if not word else b"" if word == b"=" else decode(word)


def encode(challenge: bytes) -> bytes:
    """A 334 line. The text may be empty, the space before it may not be missing (RFC 4954 §4)."""
    return b"334 " + binascii.b2a_base64(challenge, newline=False) + b"\r\n"
