"""The commands of SMTP beside the transaction (RFC 5321 §4.1, RFC 4954): lines in, steps of a session out.

The machine decides what belongs to the protocol; who may send what to whom is the session's business.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from flowengine.mail.errors import MailError
from flowengine.runtime.actions import Reply
from flowengine.servers.smtp import sasl
from flowengine.servers.smtp.behind import Behind
from flowengine.servers.smtp.commands import Refused, read_host
from flowengine.servers.smtp.door import Options, Report, Session, Waiting
from flowengine.servers.smtp.encryption import ENCRYPTED, NO_TLS, NOT_NOW, READY, About
from flowengine.servers.smtp.framing import LINE_TOO_LONG
from flowengine.servers.smtp.mailing import HELO_FIRST, IN_TRANSACTION, NO_ARGUMENT
from flowengine.servers.smtp.mirror import mirrored
from flowengine.servers.smtp.replies import greeting

OK = Reply(250, "2.0.0", "OK")
GOODBYE = Reply(221, "2.0.0", "Goodbye", disconnect=True)
NO_AUTH = Reply(502, "5.5.1", "Authentication is not offered here")
ENCRYPT_FIRST = Reply(538, "5.7.11", "Encryption is needed before a password is sent")
AUTHENTICATED = Reply(503, "5.5.1", "Already authenticated")
OTHER_MECHANISM = Reply(504, "5.5.4", "Mechanism is not offered")
CHALLENGE = Reply(334, "", "")
CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")
VRFY_SYNTAX = Reply(501, "5.5.4", "Syntax: VRFY address")
CANNOT_VERIFY = Reply(252, "2.5.0", "Cannot say, send a message and see")  # RFC 5321 §3.5.3
NO_EXPN = Reply(502, "5.5.1", "EXPN is not offered here")
HELP = Reply(214, "2.0.0", "EHLO HELO STARTTLS MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY AUTH, see RFC 5321")
UNKNOWN = Reply(500, "5.5.2", "Command not recognized")
NOT_HTTP = Reply(421, "4.7.0", "This is SMTP", disconnect=True)


class Machine(Behind):
    """The protocol of one connection.

    encrypt: begins a handshake, with a step that ends with it; None where none can be. report: hears every trouble of
    ours, with `trace` every command.
    """

    __slots__ = ("_asked", "_auth_failures", "_authenticated", "_dialog", "_encrypt", "_extended")

    def __init__(
        self,
        session: Session,
        options: Options,
        report: Report | None = None,
        *,
        encrypt: Callable[[], Waiting] | None = None,
    ) -> None:
        super().__init__(session, options, report)
        self._encrypt = encrypt
        self._dialog: sasl.Dialog | None = None
        self._asked: sasl.Dialog | None = None
        self._authenticated = self._extended = False
        self._auth_failures = 0
        self.trust = None

    def start(self) -> Waiting | None:
        """The connection is there."""
        return self._ask(self._connected, self._session.connect)

    def _connected(self, reply: Reply) -> None:
        if reply.positive:
            self._write(reply, greeting(220, self._options.hostname, f"ESMTP {reply.text}"))
        else:
            self.end(reply)

    def _greet_anew(self, reply: Reply, *, known: bool) -> None:
        self._greeted = self._extended = False
        self._authenticated = known
        self._connected(reply)

    def _idle(self) -> bool:
        return not self._mail and self._dialog is None

    def _command(self, line: bytes) -> Waiting | None:
        if self._dialog is not None:
            return self._response(line)
        verb, _, argument = line.partition(b" ")
        if argument:
            argument = argument.rstrip(b" \t")  # RFC 5321 §4.1.1: trailing white space is tolerated
        known = self._commands.get(verb) or self._commands.get(verb.upper())
        if known is None:
            self._unknown(verb.upper())
            return None
        self._verb, command = known
        try:
            if len(line) + 2 > self._limits.command_line and self._verb != "AUTH":
                raise Refused(LINE_TOO_LONG, "command_line")
            return command(self, argument)
        except Refused as refused:
            if refused.limit:
                self._reached(refused.limit)
            self._fault(refused.reply)
            return None

    def _broken_line(self, reply: Reply) -> None:
        self._verb, self._dialog = "", None
        self._fault(reply)

    def _unknown(self, name: bytes) -> None:
        self._verb = ""
        if name in (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT"):  # a browser made to talk to us
            self.end(NOT_HTTP)
        else:
            self._fault(UNKNOWN)

    # -- HELO, EHLO -----------------------------------------------------------------------------------------------

    def _helo(self, argument: bytes) -> Waiting | None:
        return self._hello("HELO", argument)

    def _ehlo(self, argument: bytes) -> Waiting | None:
        return self._hello("EHLO", argument)

    def _hello(self, verb: str, argument: bytes) -> Waiting | None:
        host = read_host(argument)
        self._reset()  # RFC 5321 §4.1.4
        offered = self._extensions() if verb == "EHLO" else ()

        def greeted(reply: Reply) -> None:
            if self._only_idles():
                return
            if not reply.positive:
                self._say(reply)
                return
            self._greeted, self._extended = True, verb == "EHLO"
            self._write(reply, greeting(250, self._options.hostname, reply.text, offered))

        return self._ask(greeted, self._session.helo, verb, host, offered)

    def _extensions(self) -> tuple[str, ...]:
        found = self._options.extensions
        if self.encrypted:
            found = (*found, "REQUIRETLS")  # RFC 8689 §3
        elif self._options.encryption is not None:
            found = (*found, "STARTTLS")
        if (next_hop := self._options.next_hop()) is not None:
            found = mirrored(found, next_hop)
        if self.trust is not None:
            found = (*found, *self._offered())
        return (*found, f"AUTH {' '.join(self._options.auth)}") if self._offers_auth() else found

    # -- STARTTLS -------------------------------------------------------------------------------------------------

    def _starttls(self, argument: bytes) -> Waiting | None:
        """RFC 3207 §4. What the client sends before the handshake has begun is not for us: nobody protects it."""
        if argument:
            raise Refused(NO_ARGUMENT)
        if self._options.encryption is None or self._encrypt is None:
            raise Refused(NO_TLS)
        if self.encrypted:
            raise Refused(ENCRYPTED)
        if self._mail:
            raise Refused(IN_TRANSACTION)
        if self._only_idles():
            return None
        try:
            step = self._encrypt()
        except Exception as error:  # noqa: BLE001  # the connection is as good as it was
            self.trouble(error)
            self._say(NOT_NOW)
            return None
        self._say(READY)
        self._then = _nothing_more
        return step

    def begin_again(self, tls: About) -> None:
        """The handshake is done: the client is a new one of whom only this is known (RFC 3207 §4.2)."""
        self.encrypted, self._dialog = True, None
        self._authenticated = self._greeted = self._extended = self._utf8 = False
        self._session.encrypted(tls)

    # -- AUTH -----------------------------------------------------------------------------------------------------

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
            self.closing = True

    # -- the others -----------------------------------------------------------------------------------------------

    def _rset(self, argument: bytes) -> None:
        if argument:
            raise Refused(NO_ARGUMENT)
        self._reset()
        self._without_message(OK)

    def _noop(self, _argument: bytes) -> None:
        self._without_message(OK)

    def _quit(self, argument: bytes) -> None:
        if argument:
            raise Refused(NO_ARGUMENT)
        self.end(GOODBYE)

    def _vrfy(self, argument: bytes) -> None:
        if not argument:
            raise Refused(VRFY_SYNTAX)
        self._without_message(CANNOT_VERIFY)

    def _expn(self, _argument: bytes) -> None:
        raise Refused(NO_EXPN)

    def _help(self, _argument: bytes) -> None:
        self._without_message(HELP)

    _commands: ClassVar[Mapping[bytes, tuple[str, Callable[["Machine", bytes], Waiting | None]]]] = {
        **Behind.verbs,
        **Behind.more_verbs,
        b"HELO": ("HELO", _helo),
        b"EHLO": ("EHLO", _ehlo),
        b"STARTTLS": ("STARTTLS", _starttls),
        b"AUTH": ("AUTH", _auth),
        b"RSET": ("RSET", _rset),
        b"NOOP": ("NOOP", _noop),
        b"QUIT": ("QUIT", _quit),
        b"VRFY": ("VRFY", _vrfy),
        b"EXPN": ("EXPN", _expn),
        b"HELP": ("HELP", _help),
    }


def _nothing_more(_reply: Reply) -> None:
    """The step has said it all."""
