"""One mail transaction of a connection: MAIL, RCPT, and the message by DATA or BDAT (RFC 5321 §4.1, RFC 3030).

Whatever is wrong with a message, it is read to its end and answered once. A chunk that comes out of order is read, too:
its octets are never taken for commands.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from flowengine.mail.message import Message
from flowengine.runtime.actions import Reply
from flowengine.servers.smtp.chunks import Chunks, read_argument
from flowengine.servers.smtp.commands import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    TLS_PARAMETERS,
    Refused,
    check_parameters,
    read_address,
    read_path,
)
from flowengine.servers.smtp.content import Content
from flowengine.servers.smtp.door import Options, Report, Session, Waiting
from flowengine.servers.smtp.encryption import ENCRYPT_FIRST
from flowengine.servers.smtp.framing import LOST_COUNT, Framing
from flowengine.servers.smtp.intake import Intake

SEND_CONTENT = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
NO_STORAGE = Reply(452, "4.3.1", "Too much mail at once, try again later")
DISK_FULL = Reply(452, "4.3.1", "No room for the message, try again later")
HELO_FIRST = Reply(503, "5.5.1", "EHLO first")
MAIL_FIRST = Reply(503, "5.5.1", "MAIL first")
IN_TRANSACTION = Reply(503, "5.5.1", "Not within a transaction")
CHUNKS_FIRST = Reply(503, "5.5.1", "The last BDAT first")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
NO_ARGUMENT = Reply(501, "5.5.4", "This command takes no argument")
BDAT_SYNTAX = Reply(501, "5.5.4", "Syntax: BDAT octets [LAST]")
BARE_NEWLINE = Reply(550, "5.5.2", "Message has a CR or LF that stands alone (RFC 5321 section 2.3.8)")
HIDDEN_END = Reply(550, "5.6.0", "Message has a NUL beside a lone dot")
TOO_IDLE = Reply(421, "4.7.0", "Too many commands without a message, closing the connection", disconnect=True)
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Too many messages in one session, come again", disconnect=True)


class Mailing(Framing):
    """The transactions of one connection."""

    __slots__ = (
        "_chunks", "_greeted", "_handed", "_mail", "_options", "_out_of_order", "_quiet", "_recipients", "_senders",
        "_session", "_utf8", "encrypted", "messages",
    )  # fmt: skip

    def __init__(self, session: Session, options: Options, report: Report | None = None):
        normalize = options.bare_newline == "normalize"
        super().__init__(options.limits, report, bare_newlines=normalize, trace=options.trace)
        self._session, self._options = session, options
        self._greeted = self._mail = self._utf8 = False
        self._recipients = self._quiet = self._handed = self._senders = 0
        self._chunks: Chunks | None = None
        self._out_of_order: Reply | None = None
        self.encrypted = False
        """The connection is under TLS."""
        self.messages = 0
        """Messages answered with 2xx."""

    @property
    def held(self) -> int:
        """Octets in memory of the message that comes in, or that the session is deciding about."""
        content = self._content or self._chunks
        return content.intake.held if content is not None else self._handed

    @property
    def receiving(self) -> bool:
        """Whether the client is sending content, or is between two chunks of one message."""
        return self._content is not None or self._chunks is not None

    @property
    def deciding(self) -> bool:
        """Whether the step under way is the one after the last octet: it ends even if the client leaves."""
        return self._then == self._message_answered

    @property
    def _must_encrypt(self) -> bool:
        """Whether nothing is done here before TLS."""
        return not self.encrypted and self._options.encryption is not None and self._options.encryption.required

    def shed(self) -> None:
        """There is no memory for the message under way: forget it, read on to its end and answer 452."""
        content = self._content or self._chunks
        if content is not None:
            content.intake.shed()

    def _without_message(self, reply: Reply) -> None:
        """Answer a command that brings no message nearer."""
        if not self._only_idles():
            self._say(reply)

    def _only_idles(self) -> bool:
        """Count such a command; a client that sends nothing else is shown out."""
        self._quiet += 1
        if self._quiet > self._limits.idle_commands:
            self._reached("idle_commands")
            self.end(TOO_IDLE)
        return self.closing

    # -- the envelope ---------------------------------------------------------------------------------------------

    def _mail_from(self, argument: bytes) -> Waiting | None:
        if not self._greeted:
            raise Refused(HELO_FIRST)
        if self._mail:
            raise Refused(IN_TRANSACTION)
        path, parameters = read_path(b"FROM:", argument)
        if parameters:
            known = TLS_PARAMETERS if self.encrypted else MAIL_PARAMETERS
            check_parameters(parameters, known, self._limits.message.size)
        self._utf8 = "SMTPUTF8" in parameters
        sender = read_address(path, utf8=self._utf8, sender=True)
        self._senders += 1
        if self._senders > self._limits.session_messages:
            self._reached("session_messages")
            self.end(TOO_MANY_MESSAGES)
            return None
        return self._ask(self._sender_answered, self._session.mail_from, sender, parameters)

    def _sender_answered(self, reply: Reply) -> None:
        self._mail = reply.positive
        self._say(reply)

    def _rcpt_to(self, argument: bytes) -> Waiting | None:
        if not self._mail:
            raise Refused(MAIL_FIRST)
        if self._chunks is not None:
            raise Refused(CHUNKS_FIRST)
        path, parameters = read_path(b"TO:", argument)
        if parameters:
            check_parameters(parameters, RCPT_PARAMETERS, 0)
        recipient = read_address(path, utf8=self._utf8, sender=False)
        return self._ask(self._recipient_answered, self._session.rcpt_to, recipient, parameters)

    def _recipient_answered(self, reply: Reply) -> None:
        self._recipients += reply.positive
        self._say(reply)

    def _reset(self) -> None:
        """The transaction ends without a message."""
        self._chunks = None
        if self._mail:
            self._mail, self._recipients = False, 0
            try:
                self._session.reset()
            except Exception as error:  # noqa: BLE001  # RSET never fails for the client
                self.trouble(error)

    # -- the message ----------------------------------------------------------------------------------------------

    def _data(self, argument: bytes) -> Waiting | None:
        if argument:
            raise Refused(NO_ARGUMENT)
        if not self._mail:
            raise Refused(MAIL_FIRST)
        if self._chunks is not None:  # RFC 3030 §2: DATA and BDAT do not mix
            raise Refused(CHUNKS_FIRST)
        if not self._recipients:  # RFC 5321 §3.3; no fault: a client that pipelines cannot know yet (RFC 2920 §3.1)
            self._say(NO_RECIPIENTS)
            return None
        self._content = Content(Intake(self._limits.message), normalize=self._bare_newlines)
        self._write(SEND_CONTENT, b"354 End data with <CR><LF>.<CR><LF>\r\n")
        return None

    def _bdat(self, argument: bytes) -> Waiting | None:
        found = read_argument(argument)
        if found is None:
            self._fault(BDAT_SYNTAX)
            self.end(LOST_COUNT)
            return None
        octets, last = found
        chunks = self._chunks
        if self._mail:
            self._out_of_order = None if self._recipients else NO_RECIPIENTS
        else:
            self._out_of_order = ENCRYPT_FIRST if self._must_encrypt else MAIL_FIRST
        if chunks is None:
            chunks = Chunks(Intake(self._limits.message), normalize=self._bare_newlines)
        if self._out_of_order is None:
            self._chunks = chunks
        else:
            chunks.intake.drop()
        if not octets and not last and self._only_idles():
            return None
        chunks.begin(octets, last=last)
        if not octets:
            return self._end_of_content(chunks)
        self._content = chunks
        return None

    def _end_of_content(self, content: Content | Chunks) -> Waiting | None:
        """One reply for one message, whatever was wrong with it on the way."""
        if isinstance(content, Chunks):
            return self._end_of_chunk(content)
        self._verb = "."
        return self._complete(content)

    def _end_of_chunk(self, chunks: Chunks) -> Waiting | None:
        self._verb = "BDAT"
        if self._out_of_order is not None:
            # a message must not begin in the middle: what was refused once is refused until the next MAIL.
            late, self._out_of_order = self._out_of_order, None
            self._reset()
            self._say(late)
            return None
        if chunks.last:
            chunks.finish()
            self._chunks = None
            return self._complete(chunks)
        refusal = self._spoilt(chunks)
        if refusal is not None:
            self._turn_away(refusal)
        else:
            self._say(Reply(250, "2.0.0", f"{chunks.octets} octets received"))
        return None

    def _complete(self, content: Content | Chunks) -> Waiting | None:
        intake = content.intake
        octets = intake.octets()
        refusal = None
        if intake.dropped:
            refusal = self._spoilt(content)
        elif intake.has_hidden_end(octets):
            refusal = HIDDEN_END
        elif intake.has_long_line(octets):
            self._reached("line_length")
            refusal = Reply(550, "5.6.0", f"Message has a line of more than {self._limits.message.line} octets")
        if refusal is not None:
            self._turn_away(refusal)
            return None
        self._handed = intake.held
        return self._ask(self._message_answered, self._session.data, Message(octets))

    def _turn_away(self, refusal: Reply) -> None:
        """Refuse the message: the session, which knows whose it is, has it in the log and gives the reply its id."""
        try:
            refusal = self._session.refused(refusal)
        except Exception as error:  # noqa: BLE001  # the client hears why all the same
            self.trouble(error)
        self._reset()
        self._say(refusal)

    def _spoilt(self, content: Content | Chunks) -> Reply | None:
        """Why a message is refused that need not be looked at any more."""
        intake = content.intake
        if intake.too_large:
            self._reached("message_size")
            return Reply(552, "5.3.4", f"Message too large, the limit is {self._limits.message.size} octets")
        if content.refused_bare:
            return BARE_NEWLINE
        if intake.was_shed:
            self._reached("in_flight_bytes")
            return NO_STORAGE
        if intake.disk_full:
            self._reached("spool")
            return DISK_FULL
        return None

    def _message_answered(self, reply: Reply) -> None:
        self._mail, self._recipients, self._handed = False, 0, 0
        if reply.positive:
            self.messages += 1
            self._quiet = 0
        self._say(reply)

    verbs: ClassVar[Mapping[bytes, tuple[str, Callable[["Mailing", bytes], Waiting | None]]]] = {
        b"MAIL": ("MAIL", _mail_from),
        b"RCPT": ("RCPT", _rcpt_to),
        b"DATA": ("DATA", _data),
        b"BDAT": ("BDAT", _bdat),
    }
    """The commands of this module, by verb."""
