"""The phases of an SMTP visit as data: their variables, how they end, and the codes the client hears by default.

A variable is a property; its annotation is its type, its docstring its sentence in the reference, the object it reads
from its life time: the connection, the transaction, or this recipient. Each phase inherits what was known before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowengine.language.functions import PhaseSpec, Variable
from flowengine.language.values import Array, Value, from_text, share
from flowengine.runtime.actions import Accept, Action, Defer, Deliver, Pass, Reject, Reply

if TYPE_CHECKING:
    from flowengine.runtime.run import Run


class Phase:
    """The words for the phases, as in `flows` of the configuration."""

    CONNECT = "connect"
    HELO = "helo"
    AUTH = "auth"
    MAILFROM = "mailfrom"
    RCPTTO = "rcptto"
    DATA = "data"
    EOD = "eod"
    DISCONNECT = "disconnect"


ASKING = (Phase.CONNECT, Phase.HELO, Phase.AUTH, Phase.MAILFROM, Phase.RCPTTO)
"""Phases that only ask whether the visit may go on."""


class variable(property):  # noqa: N801  # used as a decorator, like property
    """A predefined variable of HSL."""


class writable(variable):  # noqa: N801  # used as a decorator, like property
    """A predefined variable that flows may assign."""


class Connect:
    """The variables known from the first packet on."""

    __slots__ = ("_run",)

    def __init__(self, run: "Run") -> None:
        self._run = run

    @variable
    def senderip(self) -> str:
        """The client's address."""
        return self._run.transaction.ip

    @variable
    def senderport(self) -> int:
        """The client's TCP port."""
        return self._run.connection.client.port

    @variable
    def serverip(self) -> str:
        """Our address on this connection."""
        return self._run.connection.client.server_ip

    @variable
    def serverport(self) -> int:
        """Our TCP port on this connection."""
        return self._run.connection.client.server_port

    @variable
    def serverid(self) -> str:
        """The listener's name in the configuration."""
        return self._run.connection.listener

    @variable
    def messageid(self) -> str:
        """The transaction's id, as it stands in the log and in our last reply."""
        return self._run.message_id

    def _context(self) -> Value:
        """Whatever the flows of this connection want to remember; none at first."""
        return share(self._run.connection.context)

    def _remember(self, value: Value) -> None:
        self._run.connection.context = value

    context = writable(_context, _remember)

    @variable
    def connection(self) -> Value:
        """What is known of the connection: remoteip, remoteport, localip, localport, serverid, helo, tls, auth,
        xforward."""
        connection = self._run.connection
        about = Array(
            {
                "remoteip": connection.client.ip,
                "remoteport": connection.client.port,
                "localip": connection.client.server_ip,
                "localport": connection.client.server_port,
                "serverid": connection.listener,
            }
        )
        if connection.client.ptr:
            about["remoteptr"] = connection.client.ptr
        if connection.helo is not None:
            about["helo"] = Array({"verb": connection.helo_verb, "host": from_text(connection.helo)})
        if connection.tls is not None:
            about["tls"] = Array(dict(connection.tls))
        if connection.username is not None:
            about["auth"] = Array({"mechanism": connection.mechanism, "username": from_text(connection.username)})
        if connection.forwarded:
            known = {name.lower(): from_text(value) for name, value in connection.forwarded.items() if value}
            about["xforward"] = Array(known)
        return about

    @variable
    def arguments(self) -> Value:
        """What this phase is about."""
        return Array(self._run.arguments)


class Helo(Connect):
    """The variables known once the client said its name."""

    __slots__ = ()

    @variable
    def senderhelo(self) -> str:
        """The name the client gave with HELO or EHLO, "" before."""
        return from_text(self._run.transaction.helo)

    @variable
    def senderhelotype(self) -> str:
        """HELO or EHLO."""
        return self._run.connection.helo_verb

    @variable
    def tlsstarted(self) -> bool:
        """Whether the connection is encrypted."""
        return self._run.connection.tls is not None

    @variable
    def saslauthed(self) -> bool:
        """Whether the client has authenticated."""
        return self._run.connection.username is not None

    @variable
    def saslusername(self) -> str:
        """The user who authenticated, "" for none."""
        return from_text(self._run.connection.username or "")


class Auth(Helo):
    """The variables of an authentication."""

    __slots__ = ()

    @variable
    def saslusername(self) -> str:
        """The user who wants to authenticate."""
        value = self._run.arguments.get("username", "")
        return value if isinstance(value, str) else ""

    @variable
    def saslpassword(self) -> str:
        """The password, a secret."""
        value = self._run.arguments.get("password", "")
        return value if isinstance(value, str) else ""

    @variable
    def saslmechanism(self) -> str:
        """The mechanism, in upper case."""
        return str(self._run.arguments.get("mechanism", ""))

    @variable
    def saslstate(self) -> int:
        """How many times the flow has asked with `Reply` before."""
        state = self._run.arguments.get("state", 0)
        return state if isinstance(state, int) else 0

    @variable
    def saslresponse(self) -> str:
        """The client's answer to the last `Reply`, decoded."""
        value = self._run.arguments.get("response", "")
        return value if isinstance(value, str) else ""


class MailFrom(Helo):
    """The variables known from the envelope sender on."""

    __slots__ = ()

    @variable
    def sender(self) -> str:
        """The envelope sender in lower case, "" for the null sender."""
        return from_text(self._run.transaction.sender.address.lower())

    @variable
    def senderdomain(self) -> str:
        """The envelope sender's domain in lower case, "" for the null sender."""
        return from_text(self._run.transaction.sender.domain.lower())

    @variable
    def senderlocalpart(self) -> str:
        """The part of the envelope sender before the @, in lower case."""
        return from_text(self._run.transaction.sender.local_part.lower())

    @variable
    def senderparams(self) -> Value:
        """The ESMTP parameters of MAIL FROM, such as ["SIZE" => "2048"]."""
        return Array({from_text(k): from_text(v) for k, v in self._run.transaction.parameters.items()})

    @variable
    def transaction(self) -> Value:
        """What is known of the transaction: id, ts, sender, senderaddress, senderparams, recipients."""
        transaction = self._run.transaction
        recipients = []
        for recipient in transaction.recipients:
            params = Array({from_text(k): from_text(v) for k, v in recipient.parameters.items()})
            params.shared = True
            recipients.append(
                Array(
                    {
                        "recipient": from_text(recipient.address.address),
                        "address": _address(recipient.address),
                        "recipientparams": params,
                        "params": params,
                        "transportid": recipient.transportid,
                    }
                )
            )
        return Array(
            {
                "id": transaction.id,
                "ts": transaction.started,
                "sender": self.sender,
                "senderaddress": _address(transaction.sender),
                "senderparams": self.senderparams,
                "recipients": Array.of(recipients),
            }
        )


class RcptTo(MailFrom):
    """The variables known once there is a recipient."""

    __slots__ = ()

    @variable
    def recipient(self) -> str:
        """The recipient this run is about."""
        return from_text(self._run.recipient.address.address)

    @variable
    def recipientdomain(self) -> str:
        """The recipient's domain in lower case."""
        return from_text(self._run.recipient.address.domain.lower())

    @variable
    def recipientlocalpart(self) -> str:
        """The part of the recipient before the @."""
        return from_text(self._run.recipient.address.local_part)

    @variable
    def recipientparams(self) -> Value:
        """The ESMTP parameters of RCPT TO."""
        return Array({from_text(k): from_text(v) for k, v in self._run.recipient.parameters.items()})

    @variable
    def recipients(self) -> Value:
        """All recipients accepted so far, in the order they came."""
        return Array.of(from_text(one.address.address) for one in self._run.transaction.recipients)

    @variable
    def recipientdomains(self) -> Value:
        """The domains of all recipients accepted so far, in the order they came."""
        return Array.of(from_text(one.address.domain.lower()) for one in self._run.transaction.recipients)

    @variable
    def transportid(self) -> Value:
        """The transport the message will take, none when there is none."""
        transport = self._run.recipient.transportid
        return None if transport is None else from_text(transport)


class Data(RcptTo):
    """The variables of a run over the message for one recipient."""

    __slots__ = ()

    @variable
    def actionid(self) -> int:
        """Counts recipients and deliveries of the transaction, from 1."""
        return self._run.transaction.actionid


class Eod(MailFrom):
    """The variables of a run over the message as a whole."""

    __slots__ = ()

    @variable
    def recipients(self) -> Value:
        """All recipients, in the order they came."""
        return Array.of(from_text(one.address.address) for one in self._run.transaction.recipients)

    @variable
    def recipientdomains(self) -> Value:
        """The domains of all recipients, in the order they came."""
        return Array.of(from_text(one.address.domain.lower()) for one in self._run.transaction.recipients)


def _address(address: Any) -> Array:
    return Array({"localpart": from_text(address.local_part), "domain": from_text(address.domain)})


@dataclass(frozen=True)
class PhaseRow:
    """One phase: its variables, its implicit end, the action of a failed script, and the default replies.

    implicit: what a script that came to its end without an action has decided.
    """

    name: str
    variables: type[Connect]
    implicit: type[Action]
    replies: Mapping[type[Action], Reply]
    override: str | None = None

    def reply(self, action: type[Action]) -> Reply:
        """What the client hears by default when a flow of this phase decides so."""
        return self.replies[action]


def _asking(reject: int, defer: int, accepted: str, refused: str = "5.7.1") -> dict[type[Action], Reply]:
    return {
        Accept: Reply(250, "2.0.0", accepted),
        Reject: Reply(reject, refused, "Refused"),
        Defer: Reply(defer, "4.7.1", "Try again later"),
    }


_MESSAGE: dict[type[Action], Reply] = {
    Deliver: Reply(250, "2.0.0", "Ok"),
    Accept: Reply(250, "2.0.0", "Ok"),
    Reject: Reply(550, "5.7.1", "Message refused"),
    Defer: Reply(451, "4.7.1", "Try again later"),
}

PHASES: Mapping[str, PhaseRow] = {
    row.name: row
    for row in (
        PhaseRow(Phase.CONNECT, Connect, Accept, _asking(521, 421, "Welcome", "5.3.2")),
        PhaseRow(Phase.HELO, Helo, Accept, _asking(554, 450, "Hello")),
        PhaseRow(
            Phase.AUTH,
            Auth,
            Reject,
            {
                Accept: Reply(235, "2.7.0", "Authentication succeeded"),
                Reject: Reply(535, "5.7.8", "Authentication failed"),
                Defer: Reply(454, "4.7.0", "Cannot authenticate now"),
            },
        ),
        PhaseRow(Phase.MAILFROM, MailFrom, Accept, _asking(554, 450, "Sender ok")),
        PhaseRow(Phase.RCPTTO, RcptTo, Accept, _asking(554, 450, "Recipient ok")),
        PhaseRow(Phase.DATA, Data, Deliver, _MESSAGE, override="Deliver"),
        PhaseRow(Phase.EOD, Eod, Defer, _MESSAGE),
        PhaseRow(
            Phase.DISCONNECT,
            Helo,
            Pass,
            {Pass: Reply(250, "2.0.0", "Bye"), Defer: Reply(450, "4.7.1", "Try again later")},
        ),
    )
}


def specification(row: PhaseRow) -> PhaseSpec:
    """A phase as checker, compiler and reference see it."""
    variables: dict[str, Variable] = {}
    for owner in reversed(row.variables.__mro__):
        for name, member in vars(owner).items():
            if isinstance(member, variable):
                getter = member.fget
                page = (getter.__doc__ or "") if getter else ""
                returns = getter.__annotations__.get("return", Any) if getter else Any
                variables[name] = Variable(name, returns, page, isinstance(member, writable))
    return PhaseSpec(row.name, variables, row.override)
