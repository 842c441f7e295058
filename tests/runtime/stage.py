"""A visit on a stage: flows from text, a world of fakes, and an outbox that keeps what would have left.

`Stage().data(flow)` plays one message through one flow for each recipient and gives the `Outcome`.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from flowengine.builtins.vocabulary import vocabulary
from flowengine.language.compiler import Program, compile_flow
from flowengine.language.loader import Loader, Source
from flowengine.language.values import Array
from flowengine.mail.addresses import parse_path
from flowengine.mail.evaluation import Evaluation
from flowengine.mail.keys import KeyKind, PrivateKey
from flowengine.mail.message import Message
from flowengine.runtime.actions import Reply
from flowengine.runtime.attempt_run import AttemptRun
from flowengine.runtime.attempts import Attempt, AttemptResult, QueuedMessage
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.phases import QUEUE, Phase
from flowengine.runtime.policy import Policy
from flowengine.runtime.run import Run, RunResult, carry_out
from flowengine.runtime.runner import Runner
from flowengine.runtime.sealing import Sealer
from flowengine.runtime.services import APISettings, RunLimits, Services, Settings
from flowengine.runtime.session import Session
from flowengine.runtime.visit import Client, Connection, Recipient, Transaction
from flowengine.runtime.world import Fact, World
from flowengine.servers.case_keys import case_key
from flowengine.services import resources
from flowengine.services.fakes import (
    FakeClock,
    FakeCounters,
    FakeHTTP,
    FakeKeys,
    FakeLog,
    FakeResolver,
    fake_services,
)

T = TypeVar("T")
MAIL = b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: Lunch?\r\n\r\nAt noon?\r\n"


@cache
def program(text: str, phase: str = "data", trace: bool = False) -> Program:
    """A flow from its text."""
    loader = Loader(stdlib=resources.find("stdlib"))
    return compile_flow(Source("flow.hsl", text), vocabulary(), phase, loader, trace=trace)


def key(name: str, kind: KeyKind = "rsa") -> PrivateKey:
    """A test key that is the same on every machine."""
    return case_key(name, kind)


class Kept:
    """An outbox that seals as the real one does, and keeps."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self.outcomes: list[Outcome] = []
        self.left: list[tuple[str, bytes]] = []
        self.now = now
        self.reply: Reply | None = None
        """Another reply than the outcome's: what the next hop made of it."""

    async def commit(self, connection: Connection, outcome: Outcome) -> Reply:
        self.outcomes.append(outcome)
        sealer = Sealer(self.now)
        self.left += [(kept.recipient, (await sealer.seal(kept)).render()) for kept in outcome.kept]
        return self.reply or outcome.reply


@dataclass
class Stage:
    """A listener with its world. limits, keys, api and so on are said before the first session."""

    dns: FakeResolver = field(default_factory=FakeResolver)
    http: FakeHTTP = field(default_factory=FakeHTTP)
    clock: FakeClock = field(default_factory=FakeClock)
    log: FakeLog = field(default_factory=FakeLog)
    counters: FakeCounters = field(default_factory=FakeCounters)
    keys: Mapping[str, PrivateKey] = field(default_factory=dict)
    limits: RunLimits = field(default_factory=RunLimits)
    quarantines: Sequence[str] = ("spam",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    client: Client = field(default_factory=lambda: Client("192.0.2.7", 4711, "198.51.100.1", 25, "mx.example.org"))
    outbox: Kept = field(default_factory=Kept)
    parts: Mapping[str, Any] = field(default_factory=dict)
    made: Services | None = None

    @property
    def services(self) -> Services:
        if self.made is None:
            settings = Settings(
                hostname="mx.example.net",
                limits=self.limits,
                quarantines=frozenset(self.quarantines),
                **{"api": APISettings(url="https://api.example/"), **self.settings},
            )
            self.made = fake_services(
                dns=self.dns, http=self.http, clock=self.clock, log=self.log, counters=self.counters,
                keys=FakeKeys(self.keys), settings=settings, **self.parts,
            )  # fmt: skip
        return self.made

    def session(self, flows: Mapping[str, str], **policy: Any) -> Session:
        """A new visitor to a listener with these flows (phase → text)."""
        programs = {phase: program(text, phase) for phase, text in flows.items()}
        about = {"recipient_domains": ("example.net", "example.org"), "transport": "out", **self.policy, **policy}
        return Session(self.services, Policy("inbound", programs, **about), self.client, self.outbox, Runner())

    def data(
        self,
        flow: str,
        message: bytes | Message = MAIL,
        recipients: Sequence[str] = ("bob@example.net",),
        sender: str = "alice@example.org",
        helo: str = "mx.example.org",
        user: str | None = None,
        phase: str = "data",
        **policy: Any,
    ) -> Outcome:
        """One message, from EHLO to the reply after the dot."""

        async def visit() -> Outcome:
            session = self.session({phase: flow} if flow else {}, **policy)
            await now(session.helo("EHLO", helo))
            session.connection.username = user
            await now(session.mail_from(parse_path(f"<{sender}>"), {}))
            for recipient in recipients:
                assert (await now(session.rcpt_to(parse_path(f"<{recipient}>"), {}))).positive
            await session.data(message if isinstance(message, Message) else Message(message))
            return self.outbox.outcomes[-1]

        return asyncio.run(visit())

    def one(self, flow: str, **about: Any) -> RunResult:
        """The run of the only recipient."""
        (run,) = self.data(flow, **about).runs
        return run

    def echoed(self, flow: str, **about: Any) -> list[str]:
        """What the run of the only recipient said with echo; it must not fail."""
        run = self.one(flow, **about)
        assert run.error is None, run.error
        return list(run.output)

    def transaction(self, recorded: Sequence[Fact] | None = None) -> Transaction:
        """A transaction for runs without a session."""
        world = World(self.services, recorded)
        return Transaction(
            "id", 0.0, world, parse_path("<alice@example.org>"), self.client.ip, "mx.example.org",
            recipients=[Recipient(parse_path("<bob@example.net>"), transportid="out")],
        )  # fmt: skip

    async def run(
        self, flow: str | Program, transaction: Transaction | None = None, runner: Runner | None = None
    ) -> RunResult:
        """A run of phase data without a session."""
        transaction = transaction or self.transaction()
        flow = program(flow) if isinstance(flow, str) else flow
        connection = Connection(self.client, "inbound")
        run = Run(self.services, connection, "data", transaction, transaction.recipients[0], Message(MAIL))
        return await carry_out(flow, run, runner or Runner())


def run_in(phase: str, services: Services, program: Program, message: bytes = MAIL) -> Run:
    """A run of any phase without a session, as it is in the middle of a visit or an attempt."""
    sender, recipient, mail = parse_path("<alice@example.org>"), parse_path("<bob@example.net>"), Message(message)
    if phase in QUEUE:
        queued = QueuedMessage("id", 1, 0.0, sender, recipient, "out", content=mail)
        result = AttemptResult(451, (4, 7, 1), ("busy",), "RCPT") if phase == Phase.POSTDELIVERY else None
        return AttemptRun(services, phase, Attempt(queued, action="QUEUE" if result else "", result=result))
    whom = Recipient(recipient, transportid="out")
    world = World(services)
    transaction = Transaction("id", 0.0, world, sender, "192.0.2.7", "mx.example.org", recipients=[whom])
    about = mail if phase in (Phase.DATA, Phase.EOD) else None
    if about is not None:
        transaction.evaluation = Evaluation(
            about, world, hostname="mx.example.net", standard="rfc9989", now=world.now, sample=world.random_number
        )
    arguments: dict[str, Any] = {"mail": program.classes["EODMailMessage"]()} if phase == Phase.EOD else {}
    if phase == Phase.HELO:
        arguments = {"extensions": Array.of(["SIZE"])}
    who = whom if phase in (Phase.RCPTTO, Phase.DATA) else None
    return Run(services, Connection(Client("192.0.2.7"), "in"), phase, transaction, who, about, arguments)


async def now(step: Reply | Coroutine[Any, Any, Reply]) -> Reply:
    """A step's reply, at once or later."""
    return step if isinstance(step, Reply) else await step
