"""The commands of SMTP beside the transaction and AUTH (RFC 5321 §4.1): lines in, steps of a session out.

The machine decides what belongs to the protocol; who may send what to whom is the session's business.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from flowengine.runtime.actions import Action, Answer, Pass, Reply
from flowengine.servers.smtp.commands import Refused, read_host
from flowengine.servers.smtp.door import Options, Report, Session, Waiting
from flowengine.servers.smtp.encryption import ENCRYPT_FIRST, ENCRYPTED, NO_TLS, NOT_NOW, READY, About
from flowengine.servers.smtp.framing import LINE_TOO_LONG, LOST_COUNT
from flowengine.servers.smtp.login import RESPONSE_TOO_LONG, Login
from flowengine.servers.smtp.mailing import IN_TRANSACTION, NO_ARGUMENT
from flowengine.servers.smtp.mirror import mirrored
from flowengine.servers.smtp.replies import greeting

OK = Reply(250, "2.0.0", "OK")
GOODBYE = Reply(221, "2.0.0", "Goodbye", disconnect=True)
VRFY_SYNTAX = Reply(501, "5.5.4", "Syntax: VRFY address")
CANNOT_VERIFY = Reply(252, "2.5.0", "Cannot say, send a message and see")  # RFC 5321 §3.5.3
NO_EXPN = Reply(502, "5.5.1", "EXPN is not offered here")
HELP = Reply(214, "2.0.0", "EHLO HELO STARTTLS MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY AUTH, see RFC 5321")
UNKNOWN = Reply(500, "5.5.2", "Command not recognized")
NOT_HTTP = Reply(421, "4.7.0", "This is SMTP", disconnect=True)


class Machine(Login):
    """The protocol of one connection.

    encrypt: begins a handshake, with a step that ends with it; None where none can be. report: hears every trouble of
    ours, with `trace` every command.
    """

    __slots__ = ("_encrypt", "_known", "_wants_next")

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
        self._known = _GUARDED if self._must_encrypt else self.commands
        self._wants_next = False
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
        if self._options.proxied and (self._dialog is None or self._wants_next):
            return self._show(line)
        return self._carry_out(line)

    def _show(self, line: bytes) -> Waiting | None:
        """The session sees the line first, and may answer in our place."""
        self._wants_next = False
        counted = line[:5].upper() == b"BDAT "

        def shown(found: Action | Reply) -> Waiting | None:
            if isinstance(found, Reply):  # trouble of ours
                self._say(found)
                return None
            self._wants_next = isinstance(found, (Pass, Answer)) and found.next
            if isinstance(found, Pass):
                if found.command is None:
                    return self._carry_out(line)
                if not counted:
                    return self._carry_out(found.command.encode("utf-8", "surrogateescape"))
            if counted:  # octets follow that nobody would count
                self.end(LOST_COUNT)
            else:
                self._say(found.reply)
            return None

        return self._ask(shown, self._session.proxy, line.decode("utf-8", "surrogateescape"))

    def _carry_out(self, line: bytes) -> Waiting | None:
        if self._dialog is not None:
            return self._response(line)
        verb, _, argument = line.partition(b" ")
        if argument:
            argument = argument.rstrip(b" \t")  # RFC 5321 §4.1.1: trailing white space is tolerated
        known = self._known.get(verb) or self._known.get((verb if argument else verb.rstrip(b"\t")).upper())
        if known is None:
            self._unknown(verb.upper())
            return None
        self._verb, command = known
        if len(line) + 2 > self._limits.command_line and self._verb != "AUTH":
            self._reached("command_line")
            self._broken(LINE_TOO_LONG, line[:5])
            return None
        try:
            return command(self, argument)
        except Refused as refused:
            if refused.limit:
                self._reached(refused.limit)
            self._fault(refused.reply)
            return None

    def _broken_line(self, reply: Reply, beginning: bytes) -> None:
        if reply is LINE_TOO_LONG and (self._dialog is not None or beginning == b"AUTH "):
            reply = RESPONSE_TOO_LONG  # RFC 4954 §4
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
        self.encrypted, self._dialog, self._known = True, None, self.commands
        self._authenticated = self._greeted = self._extended = self._utf8 = False
        self._session.encrypted(tls)

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

    commands: ClassVar[Mapping[bytes, "Known"]] = {
        **Login.verbs,
        **Login.more_verbs,
        **Login.login_verbs,
        b"HELO": ("HELO", _helo),
        b"EHLO": ("EHLO", _ehlo),
        b"STARTTLS": ("STARTTLS", _starttls),
        b"RSET": ("RSET", _rset),
        b"NOOP": ("NOOP", _noop),
        b"QUIT": ("QUIT", _quit),
        b"VRFY": ("VRFY", _vrfy),
        b"EXPN": ("EXPN", _expn),
        b"HELP": ("HELP", _help),
    }
    """All of them, by verb."""


Known = tuple[str, Callable[[Machine, bytes], Waiting | None]]
"""A command: its name for the log, and what it does."""


def _nothing_before_tls(_machine: Machine, _argument: bytes) -> None:
    raise Refused(ENCRYPT_FIRST)


_GOOD_WITHOUT_TLS = (b"EHLO", b"STARTTLS", b"NOOP", b"QUIT", b"XCLIENT", b"BDAT")
_GUARDED: Mapping[bytes, Known] = {
    verb: known if verb in _GOOD_WITHOUT_TLS else (known[0], _nothing_before_tls)
    for verb, known in Machine.commands.items()
}
"""The commands where TLS is required and is not there yet (RFC 3207 §4). A chunk is read before it is refused."""


def _nothing_more(_reply: Reply) -> None:
    """The step has said it all."""
