"""The server side of SASL (RFC 4954) as dialogs without a socket: PLAIN, LOGIN, OAUTHBEARER (RFC 7628), XOAUTH2.

Responses go in, challenges come out until there are credentials. Nothing here knows whether they are right. What other
mechanisms mean is the session's business: their responses are handed on, its questions handed back.
"""

import binascii
import re
from dataclasses import dataclass, field

from flowengine.mail.errors import MailError
from flowengine.runtime.actions import Reply

CHALLENGES = {"PLAIN": (b"",), "LOGIN": (b"Username:", b"Password:"), "OAUTHBEARER": (b"",), "XOAUTH2": (b"",)}
FAILURES = {
    "OAUTHBEARER": b'{"status":"invalid_token"}',
    "XOAUTH2": b'{"status":"401","schemes":"bearer","scope":""}',
}
"""What a refused client hears before it is refused (RFC 7628 §3.2.2); it answers with a dummy."""
MOST_QUESTIONS = 20
"""Questions of the session within one AUTH command."""
TOO_MANY_QUESTIONS = Reply(535, "5.7.8", "Authentication came to no end")
NO_TOKEN = "a bearer token is wanted"  # noqa: S105  # a sentence about one


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a client says it is. response: its own words where they say more."""

    mechanism: str
    username: str
    password: str = field(repr=False)
    response: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What the session has to make sense of. state: how many questions of its own were answered."""

    mechanism: str
    octets: bytes | None = field(repr=False)
    state: int


class NotAllowed(MailError):
    """Well written, but nobody may do it here: the client is not authenticated (RFC 4616 §2)."""


class Dialog:
    """One AUTH command and what follows it."""

    __slots__ = ("_mechanism", "_responses", "_state", "refusal")

    def __init__(self, mechanism: str) -> None:
        self._mechanism = mechanism
        self._responses: list[bytes] = []
        self._state = 0
        self.refusal: Reply | None = None
        """How it ends when the client has answered once more, whatever it says."""

    def respond(self, response: bytes | None) -> bytes | Credentials | Response:
        """The next challenge, or what the client said. None: no response yet. Raises MailError, NotAllowed."""
        challenges = CHALLENGES.get(self._mechanism)
        if self._state or challenges is None:
            return Response(self._mechanism, response, self._state)
        if response is not None:
            self._responses.append(response)
        if len(self._responses) < len(challenges):
            return challenges[len(self._responses)]
        return self._credentials()

    def hear(self, reply: Reply) -> bytes | Reply:
        """What the session made of it: the next challenge, or how it ends."""
        if reply.code == 334:
            self._state += 1
            return reply.text.encode("latin-1") if self._state <= MOST_QUESTIONS else TOO_MANY_QUESTIONS
        if reply.code >= 500 and not self._state and self._mechanism in FAILURES:
            self.refusal = reply
            return FAILURES[self._mechanism]
        return reply

    def _credentials(self) -> Credentials:
        last = self._responses[-1]
        match self._mechanism:
            case "LOGIN":
                username, password = self._responses
            case "PLAIN":
                username, password = _plain(last)
            case "XOAUTH2":
                username, password = _xoauth2(last)
            case _:
                username, password = _bearer(last)
        words = last if self._mechanism in FAILURES else None
        name = _text(username) if username or self._mechanism != "OAUTHBEARER" else ""  # the token may name the user
        return Credentials(self._mechanism, name, _text(password), words)


def _plain(response: bytes) -> tuple[bytes, bytes]:
    """RFC 4616 §2: [authorization identity] NUL user NUL password."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise MailError("PLAIN takes three fields")
    if parts[0] not in (b"", parts[1]):
        raise NotAllowed("acting for another user is not supported")
    return parts[1], parts[2]


def _xoauth2(response: bytes) -> tuple[bytes, bytes]:
    """`user=` name, `auth=Bearer` token, each with a ^A behind it, and one more."""
    found = re.fullmatch(rb"user=([^\x01]*)\x01auth=Bearer +([!-~]+)\x01\x01", response, re.IGNORECASE)
    if found is None:
        raise MailError(NO_TOKEN)
    return found[1], found[2]


def _bearer(response: bytes) -> tuple[bytes, bytes]:
    """RFC 7628 §3.1: a GS2 header with the user, ^A, then key=value pairs with a ^A behind each, and one more."""
    found = re.fullmatch(rb"[nyp][^,\x01]*,(?:a=([^,\x01]*))?,\x01((?:[A-Za-z]+=[^\0\x01]*\x01)*)\x01", response)
    if found is None or response[:1] == b"p":  # no channel binding is offered
        raise MailError(NO_TOKEN)
    pairs = dict(pair.split(b"=", 1) for pair in found[2].split(b"\x01") if pair)
    token = re.fullmatch(rb"Bearer +([!-~]+)", pairs.get(b"auth", b""), re.IGNORECASE)
    if token is None:
        raise MailError(NO_TOKEN)
    return (found[1] or b"").replace(b"=2C", b",").replace(b"=3D", b"="), token[1]


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
