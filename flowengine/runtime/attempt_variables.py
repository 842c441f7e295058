"""The variables of a message in the queue, before and after an attempt (HSL reference §2.2, §2.3)."""

from typing import TYPE_CHECKING

from flowengine.language.values import Array, Value, from_text, share
from flowengine.runtime.variables import address_parts, variable, writable

if TYPE_CHECKING:
    from flowengine.runtime.attempt_run import AttemptRun
    from flowengine.runtime.attempts import AttemptResult


class InQueue:
    """The variables known of a queued message whatever becomes of it."""

    __slots__ = ("_run",)

    def __init__(self, run: "AttemptRun") -> None:
        self._run = run

    @variable
    def senderip(self) -> str:
        """The address of the client that brought the message, "" for our own."""
        return self._run.attempt.message.client_ip

    @variable
    def saslusername(self) -> str:
        """The user who brought the message, "" for none."""
        return from_text(self._run.attempt.message.username)

    @variable
    def messageid(self) -> str:
        """The id of the transaction that brought the message."""
        return self._run.message_id

    @variable
    def sender(self) -> str:
        """The envelope sender in lower case, "" for the null sender."""
        return from_text(self._run.sender.address.lower())

    @variable
    def senderdomain(self) -> str:
        """The envelope sender's domain in lower case."""
        return from_text(self._run.sender.domain.lower())

    @variable
    def senderlocalpart(self) -> str:
        """The part of the envelope sender before the @, in lower case."""
        return from_text(self._run.sender.local_part.lower())

    @variable
    def recipient(self) -> str:
        """The recipient."""
        return from_text(self._run.addressee.address)

    @variable
    def recipientdomain(self) -> str:
        """The recipient's domain in lower case."""
        return from_text(self._run.addressee.domain.lower())

    @variable
    def recipientlocalpart(self) -> str:
        """The part of the recipient before the @."""
        return from_text(self._run.addressee.local_part)

    @variable
    def transportid(self) -> Value:
        """The transport of the message, none when there is none."""
        transport = self._run.attempt.message.transport
        return None if transport is None else from_text(transport)

    @variable
    def actionid(self) -> int:
        """The number of the delivery in its transaction, from 1."""
        return self._run.attempt.message.actionid

    @variable
    def queueid(self) -> int:
        """The message's number in the queue."""
        return self._run.attempt.message.queue

    @variable
    def retry(self) -> int:
        """How many attempts there were before this one."""
        return self._run.attempt.retry

    @variable
    def retries(self) -> int:
        """How many attempts there may be."""
        return self._run.attempt.retries

    @variable
    def receivedtime(self) -> float:
        """When the message was received, Unix time in seconds."""
        return self._run.attempt.message.received

    @variable
    def sourceip(self) -> str:
        """The address we connect from, "" when the system chooses."""
        result = self._run.attempt.result
        if result is not None:
            return result.local_ip
        return from_text(next((name for name, _ in self._run.sources()), ""))

    def _context(self) -> Value:
        """What the pre-delivery flow wants the post-delivery flow of the same attempt to know; none at first."""
        return share(self._run.context)

    def _remember(self, value: Value) -> None:
        self._run.context = value

    context = writable(_context, _remember)

    @variable
    def message(self) -> Value:
        """The message: id, ts, serverid, sender, senderaddress, recipient, recipientaddress, transportid, jobid,
        size, queueid."""
        message = self._run.attempt.message
        return Array(
            {
                "id": Array({"transaction": message.transaction, "queue": message.queue}),
                "ts": message.received,
                "serverid": from_text(message.listener),
                "sender": self.sender,
                "senderaddress": address_parts(self._run.sender),
                "recipient": self.recipient,
                "recipientaddress": address_parts(self._run.addressee),
                "transportid": self.transportid,
                "queueid": message.queue,
                "jobid": from_text(message.jobid),
                "size": message.size,
            }
        )


class PreDelivery(InQueue):
    """The variables before an attempt."""

    __slots__ = ()

    @variable
    def serverid(self) -> str:
        """The listener that took the message."""
        return from_text(self._run.attempt.message.listener)

    @variable
    def senderhelo(self) -> str:
        """The name that the client gave with HELO or EHLO."""
        return from_text(self._run.attempt.message.helo)

    @variable
    def destination(self) -> str:
        """The host that the attempt will go to, "" for the recipient domain's own. Changed by `SetDestination`."""
        return from_text(self._run.hop.host or self._run.attempt.destination)

    @variable
    def destinationport(self) -> int:
        """The port that the attempt will go to. Changed by `SetDestination`."""
        return self._run.hop.port or self._run.attempt.port

    @variable
    def arguments(self) -> Value:
        """What this phase is about: ["retry" => attempts before this one]."""
        return Array({"retry": self._run.attempt.retry})


class PostDelivery(InQueue):
    """The variables after an attempt, or when a message leaves the queue without one."""

    __slots__ = ()

    @property
    def _result(self) -> "AttemptResult | None":
        return self._run.attempt.result

    @variable
    def serverip(self) -> str:
        """The address of the next hop, "" without a connection."""
        return self._result.remote_ip if self._result else ""

    @variable
    def serverport(self) -> int:
        """The port of the next hop, 0 without a connection."""
        return self._result.remote_port if self._result else 0

    @variable
    def errormsg(self) -> str:
        """What the next hop said, or what went wrong."""
        result = self._result
        return "" if result is None else from_text("\n".join(result.reason) or result.error)

    @variable
    def errorcode(self) -> int:
        """The code of the next hop's reply, 0 for trouble on the network."""
        return self._result.code if self._result else 0

    @variable
    def errorndr(self) -> str:
        """The enhanced code of the next hop's reply, such as 5.1.1; "" without one."""
        return ".".join(map(str, self._result.enhanced)) if self._result else ""

    @variable
    def transfertime(self) -> float:
        """How long the attempt took, in seconds."""
        return self._result.duration if self._result else 0.0

    @variable
    def action(self) -> str:
        """What happens if the flow says nothing: DELETE, BOUNCE or RETRY; "" after a delivery."""
        return "RETRY" if self._run.attempt.action == "QUEUE" else self._run.attempt.action

    @variable
    def arguments(self) -> Value:
        """What this phase is about: retry, action (QUEUE, BOUNCE or DELETE; missing after a delivery), and attempt:
        result or error, connection, duration."""
        about = Array({"retry": self._run.attempt.retry})
        if self._run.attempt.action:
            about["action"] = self._run.attempt.action
        result = self._result
        if result is not None:
            about["attempt"] = _attempt(result)
        return about


def _attempt(result: "AttemptResult") -> Array:
    about = Array()
    if result.code:
        about["result"] = Array(
            {
                "code": result.code,
                "enhanced": Array.of(result.enhanced),
                "reason": Array.of(map(from_text, result.reason)),
                "state": result.state,
            }
        )
    else:
        message = from_text(result.error)
        about["error"] = Array({"temporary": result.temporary, "message": message, "reason": message})
    if result.remote_ip:
        connection = Array(
            {"localip": result.local_ip, "remoteip": result.remote_ip, "remotemx": from_text(result.remote_mx)}
        )
        if result.tls:
            connection["tls"] = Array({"started": True, **result.tls})
        about["connection"] = connection
    about["duration"] = result.duration
    return about
