"""The commands of SMTP and the order they may come in (RFC 5321 §4.1, RFC 4954): lines in, steps of a session out.

The machine decides what belongs to the protocol; who may send what to whom is the session's business.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.runtime.actions import Reply
from flowengine.servers.smtp import sasl
from flowengine.servers.smtp.commands import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    Refused,
    check_parameters,
    read_address,
    read_host,
    read_path,
)
from flowengine.servers.smtp.content import Content
from flowengine.servers.smtp.door import Options, Report, Session, Waiting
from flowengine.servers.smtp.encryption import ENCRYPT_FIRST as TLS_FIRST
from flowengine.servers.smtp.encryption import ENCRYPTED, NO_TLS, NOT_NOW, READY, About
from flowengine.servers.smtp.framing import LINE_TOO_LONG, Framing
from flowengine.servers.smtp.replies import greeting

OK = Reply(250, "2.0.0", "OK")
SEND_CONTENT = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
GOODBYE = Reply(221, "2.0.0", "Goodbye", disconnect=True)
TOO_IDLE = Reply(421, "4.7.0", "Too many commands without a message, closing the connection", disconnect=True)
NO_STORAGE = Reply(452, "4.3.1", "Too much mail at once, try again later")
NO_AUTH = Reply(502, "5.5.1", "Authentication is not offered here")
ENCRYPT_FIRST = Reply(538, "5.7.11", "Encryption is needed before a password is sent")
AUTHENTICATED = Reply(503, "5.5.1", "Already authenticated")
OTHER_MECHANISM = Reply(504, "5.5.4", "Mechanism is not offered")
CHALLENGE = Reply(334, "", "")
CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")
VRFY_SYNTAX = Reply(501, "5.5.4", "Syntax: VRFY address")
CANNOT_VERIFY = Reply(252, "2.5.0", "Cannot say, send a message and see")  # RFC 5321 §3.5.3
NO_EXPN = Reply(502, "5.5.1", "EXPN is not offered here")
HELP = Reply(214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY STARTTLS AUTH, see RFC 5321")
UNKNOWN = Reply(500, "5.5.2", "Command not recognized")
NOT_HTTP = Reply(421, "4.7.0", "This is SMTP", disconnect=True)
HELO_FIRST = Reply(503, "5.5.1", "EHLO first")
MAIL_FIRST = Reply(503, "5.5.1", "MAIL first")
IN_TRANSACTION = Reply(503, "5.5.1", "Not within a transaction")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
NO_ARGUMENT = Reply(501, "5.5.4", "This command takes no argument")
BARE_NEWLINE = Reply(550, "5.5.2", "Message has a CR or LF that stands alone (RFC 5321 section 2.3.8)")
HIDDEN_END = Reply(550, "5.6.0", "Message has a NUL beside a lone dot")


class Machine(Framing):
    """The protocol of one connection.

    encrypt: begins a handshake, with a step that ends with it; None where none can be. report: hears every trouble of
    ours, with `trace` every command.
    """

    __slots__ = (
        "_asked",
        "_auth_failures",
        "_authenticated",
        "_dialog",
        "_encrypt",
        "_extended",
        "_greeted",
        "_handed",
        "_mail",
        "_options",
        "_quiet",
        "_recipients",
        "_session",
        "_utf8",
        "encrypted",
        "messages",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        options: Options,
        report: Report | None = None,
        *,
        encrypt: Callable[[], Waiting] | None = None,
    ) -> None:
        normalize = options.bare_newline == "normalize"
        super().__init__(options.limits, report, bare_newlines=normalize, trace=options.trace)
        self._session, self._options, self._encrypt = session, options, encrypt
        self._dialog: sasl.Dialog | None = None
        self._asked: sasl.Dialog | None = None
        self._authenticated = self._greeted = self._extended = self._mail = self._utf8 = False
        self._recipients = self._quiet = self._auth_failures = self._handed = 0
        self.encrypted = False
        """The connection is under TLS."""
        self.messages = 0
        """Messages answered with 2xx."""

    @property
    def held(self) -> int:
        """Octets in memory of the message that comes in, or that the session is deciding about."""
        return self._content.held if self._content is not None else self._handed

    @property
    def deciding(self) -> bool:
        """Whether the step under way is the one after the dot: it ends even if the client leaves."""
        return self._then == self._message_answered

    def start(self) -> Waiting | None:
        """The connection is there."""
        return self._ask(self._connected, self._session.connect)

    def _connected(self, reply: Reply) -> None:
        if reply.positive:
            self._write(reply, greeting(220, self._options.hostname, f"ESMTP {reply.text}"))
        else:
            self.end(reply)

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
                raise Refused(LINE_TOO_LONG)
            return command(self, argument)
        except Refused as refused:
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

    def _without_message(self, reply: Reply) -> None:
        """Answer a command that brings no message nearer."""
        if not self._only_idles():
            self._say(reply)

    def _only_idles(self) -> bool:
        """Count such a command; a client that sends nothing else is shown out."""
        self._quiet += 1
        if self._quiet > self._limits.idle_commands:
            self.end(TOO_IDLE)
        return self.closing

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
        found: tuple[str, ...] = (
            "PIPELINING",
            f"SIZE {self._limits.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        )
        if self._options.encryption is not None and not self.encrypted:
            found = (*found, "STARTTLS")
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
        self.closing = self.closing or self._auth_failures >= self._limits.auth_failures

    # -- MAIL, RCPT, DATA -----------------------------------------------------------------------------------------

    def _mail_from(self, argument: bytes) -> Waiting | None:
        if not self._greeted:
            raise Refused(HELO_FIRST)
        if self._mail:
            raise Refused(IN_TRANSACTION)
        if not self.encrypted and self._options.encryption is not None and self._options.encryption.required:
            raise Refused(TLS_FIRST)
        path, parameters = read_path(b"FROM:", argument)
        if parameters:
            check_parameters(parameters, MAIL_PARAMETERS, self._limits.message_size)
        self._utf8 = "SMTPUTF8" in parameters
        sender = read_address(path, utf8=self._utf8, sender=True)
        return self._ask(self._sender_answered, self._session.mail_from, sender, parameters)

    def _sender_answered(self, reply: Reply) -> None:
        self._mail = reply.positive
        self._say(reply)

    def _rcpt_to(self, argument: bytes) -> Waiting | None:
        if not self._mail:
            raise Refused(MAIL_FIRST)
        path, parameters = read_path(b"TO:", argument)
        if parameters:
            check_parameters(parameters, RCPT_PARAMETERS, 0)
        recipient = read_address(path, utf8=self._utf8, sender=False)
        return self._ask(self._recipient_answered, self._session.rcpt_to, recipient, parameters)

    def _recipient_answered(self, reply: Reply) -> None:
        self._recipients += reply.positive
        self._say(reply)

    def _data(self, argument: bytes) -> Waiting | None:
        if argument:
            raise Refused(NO_ARGUMENT)
        if not self._mail:
            raise Refused(MAIL_FIRST)
        if not self._recipients:  # RFC 5321 §3.3; no fault: a client that pipelines cannot know yet (RFC 2920 §3.1)
            self._say(NO_RECIPIENTS)
            return None
        self._content = Content(self._limits.message_size, normalize=self._bare_newlines)
        self._write(SEND_CONTENT, b"354 End data with <CR><LF>.<CR><LF>\r\n")
        return None

    def _end_of_content(self, content: Content) -> Waiting | None:
        """One reply for one message, whatever was wrong with it on the way."""
        self._verb = "."
        pieces = content.pieces()
        refusal = None
        if content.too_large:
            refusal = Reply(552, "5.3.4", f"Message too large, the limit is {self._limits.message_size} octets")
        elif content.refused_bare:
            refusal = BARE_NEWLINE
        elif content.was_shed:
            refusal = NO_STORAGE
        elif content.has_hidden_end(pieces):
            refusal = HIDDEN_END
        if refusal is not None:
            self._reset()
            self._say(refusal)
            return None
        self._handed = content.held
        message = Message(pieces[0] if len(pieces) == 1 else pieces)
        return self._ask(self._message_answered, self._session.data, message)

    def _message_answered(self, reply: Reply) -> None:
        self._mail, self._recipients, self._handed = False, 0, 0
        if reply.positive:
            self.messages += 1
            self._quiet = 0
        self._say(reply)

    # -- the others -----------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """The transaction ends without a message."""
        if self._mail:
            self._mail, self._recipients = False, 0
            try:
                self._session.reset()
            except Exception as error:  # noqa: BLE001  # RSET never fails for the client
                self.trouble(error)

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
        b"HELO": ("HELO", _helo),
        b"EHLO": ("EHLO", _ehlo),
        b"STARTTLS": ("STARTTLS", _starttls),
        b"AUTH": ("AUTH", _auth),
        b"MAIL": ("MAIL", _mail_from),
        b"RCPT": ("RCPT", _rcpt_to),
        b"DATA": ("DATA", _data),
        b"RSET": ("RSET", _rset),
        b"NOOP": ("NOOP", _noop),
        b"QUIT": ("QUIT", _quit),
        b"VRFY": ("VRFY", _vrfy),
        b"EXPN": ("EXPN", _expn),
        b"HELP": ("HELP", _help),
    }
    """BDAT and XCLIENT join here."""


def _nothing_more(_reply: Reply) -> None:
    """The step has said it all."""
