"""The variables of an SMTP visit, phase by phase (HSL reference §2.2, §2.3).

A variable is a property; its annotation is its type, its docstring its sentence in the reference, the object it reads
from its life time: the connection, the transaction, or this recipient. Each phase inherits what was known before it.
"""

from typing import TYPE_CHECKING, Any

from flowengine.language.values import Array, Value, from_text, share

if TYPE_CHECKING:
    from flowengine.runtime.run import Run


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
    def transaction(self) -> Value:
        """What is known of the transaction: its id; from MAIL FROM on ts, sender, recipients and more."""
        return Array({"id": self._run.transaction.id})

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


class Proxy(Helo):
    """The variables of a look at one command line before it is carried out."""

    __slots__ = ()

    @variable
    def arguments(self) -> Value:
        """What this phase is about: ["command" => the line as the client sent it]."""
        return Array(self._run.arguments)

    @variable
    def transaction(self) -> Value:
        """What is known of the transaction so far: its id; once there is a sender all that mailfrom flows see."""
        if self._run.transaction.sender.null and not self._run.transaction.recipients:
            return Array({"id": self._run.transaction.id})
        return MailFrom(self._run).transaction


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
                        "address": address_parts(recipient.address),
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
                "senderaddress": address_parts(transaction.sender),
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


def address_parts(address: Any) -> Array:
    """An address as flows see it: its local part and its domain."""
    return Array({"localpart": from_text(address.local_part), "domain": from_text(address.domain)})
