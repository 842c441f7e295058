"""AUTH (RFC 4954): the dialogs of one connection, and who it is afterwards.

What the lines of a dialog mean is `sasl`'s business, whether a password is right the session's.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from flowengine.mail.errors import MailError
from flowengine.runtime.actions import Reply
from flowengine.servers.smtp import sasl
from flowengine.servers.smtp.behind import Behind
from flowengine.servers.smtp.commands import Refused
from flowengine.servers.smtp.door import Options, Report, Session, Waiting
from flowengine.servers.smtp.mailing import HELO_FIRST, IN_TRANSACTION

NO_AUTH = Reply(502, "5.5.1", "Authentication is not offered here")
AUTH_SYNTAX = Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
ENCRYPT_FIRST = Reply(538, "5.7.11", "Encryption is needed before a password is sent")
AUTHENTICATED = Reply(503, "5.5.1", "Already authenticated")
OTHER_MECHANISM = Reply(504, "5.5.4", "Mechanism is not offered")
CHALLENGE = Reply(334, "", "")
CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")
TOO_MANY_FAILURES = Reply(421, "4.7.0", "Too many failures, closing the connection", disconnect=True)
RESPONSE_TOO_LONG = Reply(500, "5.5.6", "Line of authentication too long")


class Login(Behind):
    """The command and its dialog."""

    __slots__ = ("_asked", "_auth_failures", "_authenticated", "_dialog", "_extended")

    def __init__(self, session: Session, options: Options, report: Report | None = None) -> None:
        super().__init__(session, options, report)
        self._dialog: sasl.Dialog | None = None
        self._asked: sasl.Dialog | None = None
        self._authenticated = self._extended = False
        self._auth_failures = 0

    def _offers_auth(self) -> bool:
        return bool(self._options.auth) and (self.encrypted or self._options.allow_plaintext_auth)

    def _auth(self, argument: bytes) -> Waiting | None:
        if not self._options.auth:
            raise Refused(NO_AUTH)
        if not self._extended:
            raise Refused(HELO_FIRST)
        if not self._offers_auth():
            raise Refused(ENCRYPT_FIRST)
        if self._authenticated:
            raise Refused(AUTHENTICATED)
        if self._mail:
            raise Refused(IN_TRANSACTION)
        name, _, initial = argument.partition(b" ")
        if not name:
            raise Refused(AUTH_SYNTAX)
        mechanism = name.decode("latin-1").upper()
        if mechanism not in self._options.auth:
            raise Refused(OTHER_MECHANISM)
        self._dialog = sasl.Dialog(mechanism)
        return self._respond(initial, sasl.decode_initial)

    def _response(self, line: bytes) -> Waiting | None:
        """A line within a dialog."""
        self._verb = "AUTH"
        refusal = self._dialog.refusal if self._dialog is not None else None
        if refusal is not None:  # whatever the client answers to it
            self._dialog = None
            self._end_login(refusal)
            return None
        if line == b"*":
            self._dialog = None
            self._fault(CANCELLED)
            return None
        return self._respond(line, sasl.decode)

    def _respond(self, line: bytes, decode: Callable[[bytes], bytes | None]) -> Waiting | None:
        dialog, self._dialog = self._dialog, None
        assert dialog is not None  # noqa: S101  # only called within a dialog
        try:
            found = dialog.respond(decode(line))
        except sasl.NotAllowed as error:
            self._auth_failures += 1
            self._end_login(Reply(535, "5.7.8", f"Authentication: {error}"))
            return None
        except MailError as error:
            self._fault(Reply(501, "5.5.2", f"Authentication: {error}"))
            return None
        if isinstance(found, bytes):
            self._challenge(dialog, found)
            return None
        self._asked = dialog
        if isinstance(found, sasl.Response):
            step = self._session.exchange
            return self._ask(self._login_answered, step, found.mechanism, found.octets, found.state)
        about = found.mechanism, found.username, found.password, found.response
        return self._ask(self._login_answered, self._session.authenticate, *about)

    def _challenge(self, dialog: sasl.Dialog, octets: bytes) -> None:
        self._dialog = dialog
        self._write(CHALLENGE, sasl.encode(octets))

    def _login_answered(self, reply: Reply) -> None:
        dialog, self._asked = self._asked, None
        assert dialog is not None  # noqa: S101  # it is its step that ended
        self._authenticated = reply.positive
        self._auth_failures += reply.code >= 500
        found = dialog.hear(reply)
        if isinstance(found, Reply):
            self._end_login(found)
        elif self._auth_failures >= self._limits.auth_failures:
            self._end_login(reply)
        else:
            self._challenge(dialog, found)

    def _end_login(self, reply: Reply) -> None:
        """The last word of an AUTH command."""
        self._say(reply)
        if self._auth_failures >= self._limits.auth_failures:
            self._reached("session_auth_failures")
            self.end(TOO_MANY_FAILURES)

    login_verbs: ClassVar[Mapping[bytes, tuple[str, Callable[["Login", bytes], Waiting | None]]]] = {
        b"AUTH": ("AUTH", _auth),
    }
    """The command of this module, by verb."""
