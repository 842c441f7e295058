"""One visit, step by step, and the flows that speak about each step.

Every door (SMTP, the command line, later milter) drives one `Session` and translates. A step answers with a `Reply` at
once, or with a coroutine that the door awaits in a Task of its own. There is no socket here and no clock.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from flowengine.language.compiler import Program
from flowengine.language.values import Array, Secret, Value, from_text, share
from flowengine.mail.addresses import Path
from flowengine.mail.evaluation import Evaluation
from flowengine.mail.message import Message
from flowengine.runtime.actions import Action, Pass, Reply
from flowengine.runtime.authentication import Attempt
from flowengine.runtime.authentication import decide as decide_login
from flowengine.runtime.journal import SHOWN, record
from flowengine.runtime.outcome import Outcome, decide
from flowengine.runtime.phases import PHASES, Phase
from flowengine.runtime.policy import Policy
from flowengine.runtime.replies import LINE
from flowengine.runtime.run import Run, RunResult, carry_out
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Services
from flowengine.runtime.visit import Client, Connection, Recipient, Transaction
from flowengine.runtime.world import World

Step = Reply | Coroutine[Any, Any, Reply]
T = TypeVar("T")


NOTHING: Mapping[str, str | None] = MappingProxyType({})


class Outbox(Protocol):
    """Where a decided message goes. Promise 1 is kept here: a 2xx means delivered, or on disk."""

    async def commit(self, connection: Connection, outcome: Outcome) -> Reply:
        """Carry out what was decided; the reply the client may hear. Never raises."""
        ...


class Peer(Protocol):
    """Both ends of a connection, as a door knows them."""

    @property
    def ip(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def server_ip(self) -> str: ...
    @property
    def server_port(self) -> int: ...


class OutOfOrder(RuntimeError):
    """A door did not keep to the order of the protocol: our mistake, not the client's."""


class Session:
    """One connection to a listener."""

    __slots__ = (
        "_arrived",
        "_attempt",
        "_runner",
        "_services",
        "_visit",
        "connection",
        "outbox",
        "policy",
        "results",
        "transaction",
    )

    def __init__(self, services: Services, policy: Policy, client: Client, outbox: Outbox, runner: Runner) -> None:
        self._services, self._runner = services, runner
        self.policy, self.outbox = policy, outbox
        self.connection = Connection(client, policy.id)
        self.transaction: Transaction | None = None
        self._visit: Transaction | None = None
        self._arrived: Value = None
        self._attempt: Attempt | None = None
        self.results: deque[RunResult] = deque(maxlen=20)
        """The last runs of phases that only ask, for traces."""

    # -- steps ----------------------------------------------------------------------------------------------------

    def connect(self) -> Step:
        """The client is there."""
        client = self.connection.client
        arguments = {
            "remoteip": client.ip,
            "remoteport": client.port,
            "localip": client.server_ip,
            "localport": client.server_port,
            "serverid": self.policy.id,
        }
        if client.ptr:
            arguments["remoteptr"] = client.ptr
        return self._ask(Phase.CONNECT, arguments)

    def helo(self, verb: str, host: str, extensions: Sequence[str] = ()) -> Step:
        """HELO, EHLO or LHLO: the client says its name. An open transaction ends (RFC 5321 §4.1.4)."""
        self.reset()
        if self.connection.helo is None:
            self._arrived = share(self.connection.context)
        self.connection.helo, self.connection.helo_verb = host, verb
        if self._visit is not None:
            self._visit.helo = host
        return self._ask(Phase.HELO, {"verb": verb, "host": from_text(host), "extensions": Array.of(extensions)})

    def proxy(self, command: str) -> Action | Coroutine[Any, Any, Action]:
        """A command line before it is carried out: what the proxy flow says of it, Pass or Answer; Defer (421) for one
        that failed. At once, or with a coroutine; a Pass without a flow."""
        row = PHASES[Phase.PROXY]
        flow = self.policy.flows.get(Phase.PROXY)
        if flow is None:
            return Pass(reply=row.reply(Pass), implicit=True)
        transaction = self.transaction or self._before_mail()
        text = from_text(command)
        arguments = {"command": Secret(text) if command[:4].upper() == "AUTH" else text}
        run = Run(self._services, self.connection, Phase.PROXY, transaction, arguments=arguments)
        answer = self._judged(flow, run)
        return answer if flow.waits else _at_once(answer, Phase.PROXY)

    async def _judged(self, flow: Program, run: Run) -> Action:
        result = await carry_out(flow, run, self._runner)
        self.results.append(result)
        return result.verdict

    def encrypted(self, tls: Mapping[str, Value]) -> None:
        """The connection is under TLS now. What the client said before is forgotten (RFC 3207 §4.2).

        tls: protocol, cipher, keysize, and peercert when the client has a certificate. `$context` is again what it was
        before the first HELO.
        """
        self.reset()
        connection = self.connection
        if connection.helo is not None:
            connection.context = self._arrived
        connection.helo, connection.helo_verb = None, ""
        connection.username, connection.mechanism = None, ""
        if self._visit is not None:
            self._visit.helo = ""
        connection.tls = tls

    def authenticate(self, mechanism: str, username: str, password: str, response: bytes | None = None) -> Step:
        """What a client says of itself. The auth flow decides, else the users file; a 334 asks for more.

        password: a token for OAUTHBEARER and XOAUTH2. response: the client's own words, where they say more.
        """
        return self._decide(Attempt(mechanism, username, password, response))

    def exchange(self, mechanism: str, response: bytes | None, state: int) -> Step:
        """A response of another mechanism, or to the flow's own question, decoded; None for none yet.

        state: how many questions it has answered. A 334 asks for more: its text, an octet a character.
        """
        begun = self._attempt if state and self._attempt is not None else Attempt(mechanism)
        return self._decide(replace(begun, response=response, state=state))

    async def _decide(self, attempt: Attempt) -> Reply:
        self._attempt = None
        reply = await decide_login(attempt, self.policy, self._services, self.connection, self._ask_auth)
        self._attempt = attempt if reply.code == 334 else None
        return reply

    async def _ask_auth(self, arguments: Mapping[str, Value]) -> tuple[Reply, Action]:
        step = self._ask(Phase.AUTH, arguments)
        reply = step if isinstance(step, Reply) else await step
        return reply, self.results[-1].verdict

    def impersonate(
        self, client: Peer, *, name: str | None, helo: str | None, protocol: str | None, login: str | None
    ) -> Step:
        """XCLIENT: the connection is another client's, which has just come. None for what is not known of it.

        name: its host name, confirmed. protocol: SMTP or ESMTP. login: who it has authenticated as.
        """
        self.transaction = self._visit = None
        seen = Client(client.ip, client.port, client.server_ip, client.server_port, name)
        verb = {"SMTP": "HELO", "ESMTP": "EHLO"}.get(protocol or "", "")
        tls = self.connection.tls
        mechanism = "XCLIENT" if login else ""
        self.connection = Connection(seen, self.policy.id, helo, verb, tls, login, mechanism)
        return self.connect()

    def forwarded(self, attributes: Mapping[str, str | None]) -> None:
        """XFORWARD: what is known of the client of the next transaction, for flows and the log."""
        self.connection.forwarded = dict(attributes)

    def mail_from(self, sender: Path, parameters: Mapping[str, str]) -> Step:
        """The envelope sender: a transaction begins."""
        if self.policy.require_auth and self.connection.username is None:
            return self._turned_away(Phase.MAILFROM, Reply(530, "5.7.0", "Authentication required"), sender.address)
        self.transaction = self._begin(sender, parameters)
        if Phase.MAILFROM not in self.policy.flows:
            return _unasked(Phase.MAILFROM)
        arguments = {
            "sender": from_text(sender.address.lower()),
            "address": Array({"localpart": from_text(sender.local_part), "domain": from_text(sender.domain)}),
            "params": Array({from_text(k): from_text(v) for k, v in parameters.items()}),
        }
        return self._ask(Phase.MAILFROM, arguments, self._drop_transaction)

    def rcpt_to(self, address: Path, parameters: Mapping[str, str]) -> Step:
        """One recipient, if this listener takes it."""
        transaction = self._open()
        if len(transaction.recipients) >= self.policy.max_recipients:
            self._reached("recipients")
            full = Reply(452, "4.5.3", "Too many recipients")
            return self._turned_away(Phase.RCPTTO, full, transaction.sender.address, address.address)
        if not address.domain:  # RFC 5321 §4.5.1: <Postmaster>
            address = replace(address, domain=self.policy.own_domain)
        domain = address.domain.lower()
        policy, connection = self.policy, self.connection
        if connection.username is None and not policy.takes(domain) and not policy.relays_for(connection.client.ip):
            denied = Reply(550, "5.7.1", f"Relaying to <{domain}> is denied".replace("<>", "this address"))
            return self._turned_away(Phase.RCPTTO, denied, transaction.sender.address, address.address)
        route = self.policy.route(domain)
        transport = route.transport if route and route.transport else self.policy.transport
        data = (route.flows if route else {}).get(Phase.DATA) or self.policy.flows.get(Phase.DATA)
        recipient = Recipient(address, parameters, transport, data)
        transaction.recipients.append(recipient)
        flow = (route.flows if route else {}).get(Phase.RCPTTO) or self.policy.flows.get(Phase.RCPTTO)
        if flow is None:
            return _unasked(Phase.RCPTTO)
        arguments = {
            "recipient": from_text(address.address),
            "address": Array({"localpart": from_text(address.local_part), "domain": from_text(address.domain)}),
            "params": Array({from_text(k): from_text(v) for k, v in parameters.items()}),
            "transportid": transport,
        }
        return self._ask(Phase.RCPTTO, arguments, lambda: transaction.recipients.remove(recipient), recipient, flow)

    async def data(self, message: Message) -> Reply:
        """The message is there: every recipient's flow runs, the gravest verdict speaks, and a 2xx is carried out."""
        clock = self._services.clock
        deadline = clock.monotonic() + self._services.settings.limits.transaction_time
        self._open().deadline = deadline
        try:
            outcome = await self.judge(message)
            reply = await self.outbox.commit(self.connection, outcome)
        finally:
            self.reset()
        if clock.monotonic() > deadline:
            self._reached("transaction_time")
        try:
            record(self._services, self.connection, outcome, reply)
        except Exception as error:  # noqa: BLE001  # what was delivered stays delivered: a client told 4xx sends again
            problem = f"{type(error).__name__}: {error}"
            self._services.log.event("error", "no verdict line", id=outcome.transaction.id, error=problem)
        return _with_id(reply, outcome.transaction.id)

    async def judge(self, message: Message) -> Outcome:
        """What the flows decide about a message, before anything is carried out."""
        transaction = self._open()
        refusal = self._refuse(message)
        if refusal is not None:
            return Outcome(transaction, message, refusal, ())
        transaction.evaluation = Evaluation(
            message,
            transaction.world,
            hostname=self._services.settings.hostname,
            standard=self._services.settings.dmarc_standard,
            now=transaction.world.now,
            sample=transaction.world.random_number,
        )
        results: list[RunResult] = []
        if Phase.EOD in self.policy.flows:
            flow = self.policy.flows[Phase.EOD]
            arguments = {"mail": flow.classes["EODMailMessage"]()}  # the vocabulary's, which is handed to us
            run = Run(self._services, self.connection, Phase.EOD, transaction, message=message, arguments=arguments)
            results.append(await carry_out(flow, run, self._runner))
        else:
            view: Message | None = message
            for number, recipient in enumerate(transaction.recipients):
                transaction.actionid += 1 if number else 0
                run = Run(self._services, self.connection, Phase.DATA, transaction, recipient, view)
                results.append(await carry_out(recipient.flow, run, self._runner))
                if self._services.settings.shared_edits:
                    view = run.message
        return decide(transaction, message, results, self._services.settings.mixed_verdicts)

    def refused(self, reply: Reply) -> Reply:
        """The door has refused the content; no flow hears of it. A line for the log, and the reply that leads to it."""
        transaction = self._open()
        recipients = [one.address.address for one in transaction.recipients[:SHOWN]]
        self._turned_away("refused", reply, transaction.sender.address, recipients=recipients)
        return _with_id(reply, transaction.id)

    def reset(self) -> None:
        """RSET, or anything else that ends a transaction."""
        self.transaction = None
        self.connection.forwarded = NOTHING

    def disconnect(self) -> Coroutine[Any, Any, Reply] | None:
        """The connection is gone."""
        step = self._ask(Phase.DISCONNECT, {})
        return None if isinstance(step, Reply) else step

    # -- inside ---------------------------------------------------------------------------------------------------

    def _begin(self, sender: Path, parameters: Mapping[str, str]) -> Transaction:
        world = World(self._services)
        ip, helo = self.connection.client.ip, self.connection.helo or ""
        id_ = _new_id(world)
        self._services.log.began(id_, ip)
        return Transaction(id_, world.now(), world, sender, ip, helo, parameters)

    def _open(self) -> Transaction:
        if self.transaction is None:
            raise OutOfOrder("the door sent a step of a transaction that it never began")
        return self.transaction

    def _drop_transaction(self) -> None:
        self.transaction = None

    def _refuse(self, message: Message) -> Reply | None:
        """What no flow needs to be asked about: a loop, a header beyond all measure."""
        fields = message.headers
        if len(fields) > self.policy.max_header_fields:
            self._reached("header_count")
            return Reply(550, "5.6.0", f"More than {self.policy.max_header_fields} header fields")
        if message.received.block.body > self.policy.max_header_size:
            self._reached("header_size")
            return Reply(552, "5.3.4", f"Header larger than {self.policy.max_header_size} bytes")
        most = self.policy.max_hops
        if len(fields) > most and len(fields.places("received")) > most:  # RFC 5321 §6.3
            self._reached("hops")
            return Reply(554, "5.4.6", "Too many hops: this message is in a loop")
        return None

    def _reached(self, limit: str) -> None:
        self._services.counters.increment("limits", limit=limit)

    def _ask(
        self,
        phase: str,
        arguments: Mapping[str, Value],
        undo: Callable[[], object] | None = None,
        recipient: Recipient | None = None,
        flow: Program | None = None,
    ) -> Step:
        """Run the flow of a phase that only asks; `undo` when it says no."""
        flow = flow or self.policy.flows.get(phase)
        if flow is None:
            return _unasked(phase)
        transaction = self.transaction or self._before_mail()
        run = Run(self._services, self.connection, phase, transaction, recipient, arguments=arguments)
        answer = self._answer(flow, run, undo)
        if flow.waits:
            return answer
        return _at_once(answer, phase)  # a flow that cannot wait has its answer at once

    async def _answer(self, flow: Program, run: Run, undo: Callable[[], object] | None) -> Reply:
        result = await carry_out(flow, run, self._runner)
        self.results.append(result)
        reply = result.verdict.reply
        if not reply.positive and undo is not None:
            undo()
        if reply.code >= 400:
            self._count_refusal(run.phase, reply)
            self._services.log.event(
                "notice",
                run.phase,
                id=run.message_id,
                listener=self.policy.id,
                client=self.connection.client.ip,
                sender=run.transaction.sender.address if run.transaction is not self._visit else None,
                recipient=run.recipient_or_none.address.address if run.recipient_or_none is not None else None,
                verdict=result.verdict.name,
                reply=str(reply),
                error=str(result.error) if result.error else None,
            )
        return reply

    def _turned_away(
        self,
        event: str,
        reply: Reply,
        sender: str,
        recipient: str | None = None,
        recipients: Sequence[str] | None = None,
    ) -> Reply:
        """A refusal that no flow spoke, with its line in the log."""
        self._count_refusal(event, reply)
        self._services.log.event(
            "notice",
            event,
            id=self.transaction.id if self.transaction is not None else None,
            listener=self.policy.id,
            client=self.connection.client.ip,
            helo=self.connection.helo,
            user=self.connection.username,
            sender=sender,
            recipient=recipient,
            recipients=recipients,
            reply=str(reply),
        )
        return reply

    def _count_refusal(self, phase: str, reply: Reply) -> None:
        kind = "4xx" if reply.code < 500 else "5xx"
        self._services.counters.increment("refusals", listener=self.policy.id, phase=phase, reply=kind)

    def _before_mail(self) -> Transaction:
        """What runs before MAIL FROM live in: the connection's own facts and id."""
        if self._visit is None:
            self._visit = self._begin(Path("", ""), {})
        return self._visit


def _at_once(answer: Coroutine[Any, Any, T], phase: str) -> T:
    """The result of a run that cannot wait."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # the coroutine's own result
    raise OutOfOrder(f"the {phase} flow waited although the compiler said that it cannot")


def _unasked(phase: str) -> Reply:
    """What happens in a phase without a flow."""
    row = PHASES[phase]
    return row.reply(row.implicit)


def _with_id(reply: Reply, id_: str) -> Reply:
    """The last reply leads to the log: it carries the transaction's id, on a line of its own beside a long one."""
    if id_ in reply.text:
        return reply
    room = len(reply.text.rpartition("\n")[2]) + len(id_) < LINE - 3
    text = f"{reply.text}{' ' if room else chr(10)}({id_})"
    return Reply(reply.code, reply.enhanced, text, reply.disconnect)


def _new_id(world: World) -> str:
    """A transaction id: 24 hexadecimal digits, time first so that ids sort."""
    return f"{int(world.now() * 1000):012x}{world.random_octets(6).hex()}"
