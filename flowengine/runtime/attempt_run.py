"""Flows about a message in the queue: before an attempt to deliver it, and after.

`before` and `after` are what a queue calls; they give a `Decision` and never raise but for cancellation. A script that
fails never costs mail: before an attempt the message waits five minutes without counting one, after it the queue does
what it would have done.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flowengine.language.compiler import Program
from flowengine.language.values import Value, share
from flowengine.mail.addresses import Path
from flowengine.runtime.actions import Action
from flowengine.runtime.attempts import Attempt, AttemptAction, Decision, Default, Hop, Queue, Try
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run, carry_out
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Services
from flowengine.runtime.visit import Client, Connection, Recipient, Transaction
from flowengine.runtime.world import World

AFTER_A_FAILURE = 300.0
"""Seconds that a message waits whose pre-delivery flow failed (HSL reference §2.1)."""


class AttemptRun(Run):
    """One run of a flow about one attempt."""

    __slots__ = ("attempt", "context", "dsn", "hop", "tagged")

    def __init__(self, services: Services, phase: str, attempt: Attempt) -> None:
        queued = attempt.message
        connection = Connection(Client(ip=queued.client_ip), queued.listener, helo=queued.helo or None)
        connection.username = queued.username or None
        transaction = Transaction(
            queued.transaction,
            queued.received,
            World(services),
            queued.sender,
            queued.client_ip,
            queued.helo,
            metadata=dict(queued.metadata),
            actionid=queued.actionid,
        )
        self.attempt = attempt
        self.hop = Hop()
        self.dsn: dict[str, Any] = {}
        self.context: Value = share(attempt.context)
        self.tagged = False
        recipient = Recipient(queued.recipient, transportid=queued.transport)
        super().__init__(services, connection, phase, transaction, recipient, queued.content)

    @property
    def sender(self) -> Path:
        """The envelope sender of this attempt."""
        return self.hop.sender or self.attempt.message.sender

    @property
    def addressee(self) -> Path:
        """The envelope recipient of this attempt."""
        return self.hop.recipient or self.attempt.message.recipient

    def sources(self) -> tuple[tuple[str, str], ...]:
        """Where the attempt connects from, each with its HELO name or ""."""
        return self.hop.sources or tuple((address, "") for address in self.attempt.source_ips)

    def course(self, **about: Any) -> None:
        """Say something of this attempt."""
        self.hop = replace(self.hop, **about)

    def tag(self, metadata: Mapping[str, str]) -> None:
        """Change the message's metadata, for this and later attempts."""
        self.metadata, self.tagged = dict(metadata), True

    def implicit_end(self) -> None:
        """The script came to its end without an action of its own."""
        self.finish(Try(hop=self.hop, implicit=True) if self.phase == Phase.PREDELIVERY else Default(implicit=True))

    def failed(self) -> Action:
        """What a run that failed has decided."""
        if self.phase == Phase.PREDELIVERY:
            return Queue(delay=AFTER_A_FAILURE, increment_retry=False, reason="the script failed", implicit=True)
        return Default(implicit=True)


async def before(flow: Program | None, attempt: Attempt, services: Services, runner: Runner) -> Decision:
    """What the pre-delivery flow says of an attempt that is due; without a flow it is made."""
    return await _decide(flow, Phase.PREDELIVERY, attempt, services, runner)


async def after(flow: Program | None, attempt: Attempt, services: Services, runner: Runner) -> Decision:
    """What the post-delivery flow says after an attempt, a bounce or a removal; without a flow what is due anyway."""
    return await _decide(flow, Phase.POSTDELIVERY, attempt, services, runner)


async def _decide(flow: Program | None, phase: str, attempt: Attempt, services: Services, runner: Runner) -> Decision:
    if flow is None:
        action: AttemptAction = Try(implicit=True) if phase == Phase.PREDELIVERY else Default(implicit=True)
        return Decision(action, None, {}, attempt.context)
    run = AttemptRun(services, phase, attempt)
    result = await carry_out(flow, run, runner)
    verdict = result.verdict
    if not isinstance(verdict, AttemptAction):  # an action of a visit cannot be said here; be safe all the same
        verdict = Queue(delay=AFTER_A_FAILURE, increment_retry=False, implicit=True)
    return Decision(verdict, run.metadata if run.tagged else None, run.dsn, share(run.context), result)
