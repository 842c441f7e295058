"""One execution of a flow for one recipient (or one question): what it sees, what it did, what it decided.

A builtin that ends a flow says `run.finish(...)`, one that does not says `run.act(...)`. A run is the list of its
actions; an error defers, so mail is not lost to a typo.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, NoReturn, TypeVar

from flowengine.language.budget import Budget
from flowengine.language.compiler import Program
from flowengine.language.host import Final
from flowengine.language.problems import FlowError, Span
from flowengine.language.texts import shown
from flowengine.language.thrown import place_of
from flowengine.language.values import Value
from flowengine.mail.edits import Edit
from flowengine.mail.message import Message
from flowengine.runtime.actions import Action, AnySeal, Defer, Deliver, Done, Kept, Quarantine
from flowengine.runtime.memory import resident
from flowengine.runtime.phases import PHASES, PhaseRow
from flowengine.runtime.replies import speak
from flowengine.runtime.runner import Place, Runner
from flowengine.runtime.services import Services, Settings
from flowengine.runtime.steps import rest
from flowengine.runtime.visit import Connection, Recipient, Transaction
from flowengine.runtime.world import ExpiredAgain, World

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a builtin, for a trace. Its values may be secret and of any size; servers/printing.py shows them."""

    span: Span
    name: str
    arguments: tuple[Value, ...] = field(repr=False)
    result: Value = field(repr=False)
    milliseconds: float


class RunResult(NamedTuple):
    """What came of a run. recipient: whom it was about, None when about the message or the visit as a whole."""

    phase: str
    recipient: str | None
    actions: tuple[Action, ...]
    verdict: Action
    error: FlowError | None = None
    output: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    trace: tuple[Call, ...] = ()
    warnings: tuple[str, ...] = ()
    unsigned: tuple[str, ...] = ()
    """Why signatures that the flow asked for were not made."""


@dataclass(slots=True)
class Notes:
    """What a run leaves behind beside its actions."""

    output: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    trace: list[Call] = field(default_factory=list)
    unsigned: list[str] = field(default_factory=list)


class Run:
    """The run as builtins see it, and the host of its compiled flow."""

    __slots__ = (
        "_place",
        "_size",
        "actions",
        "arguments",
        "budget",
        "caches",
        "connection",
        "deadline",
        "label",
        "message",
        "metadata",
        "notes",
        "phase",
        "received",
        "recipient_or_none",
        "row",
        "seals",
        "services",
        "settings",
        "started",
        "transaction",
        "variables",
        "world",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        connection: Connection,
        phase: str,
        transaction: Transaction,
        recipient: Recipient | None = None,
        message: Message | None = None,
        arguments: Mapping[str, Value] | None = None,
    ) -> None:
        self.services = services
        self.settings: Settings = services.settings
        self.caches = services.caches
        self.connection = connection
        self.transaction = transaction
        self.world: World = transaction.world
        self.recipient_or_none = recipient
        self.received = self.message = message
        self.phase = phase
        self.label = phase, "" if recipient is None else recipient.address.address
        """Phase and recipient as the run began: what tells it from the others of its transaction."""
        self.row: PhaseRow = PHASES[phase]
        self.arguments: Mapping[str, Value] = arguments or {}
        self.variables: object = self.row.variables(self)
        self.actions: list[Action] = []
        self.seals: tuple[AnySeal, ...] = ()
        self.metadata: dict[str, str] = dict(transaction.metadata)
        self.notes = Notes()
        limits = self.settings.limits
        self.started = services.clock.monotonic()
        """When the run began, in seconds of the monotonic clock."""
        self.deadline = self.started + limits.script_time
        """When it has to be over."""
        if transaction.deadline is not None and transaction.deadline < self.deadline:
            self.deadline = transaction.deadline
        sizes = (limits.script_steps, limits.script_depth, limits.script_value_size)
        self.budget = Budget(*sizes, self._overdue, resident, self._breathe)
        self._place = Place()
        self._size = 0

    def _overdue(self) -> bool:
        """Whether the deadline is over; a repeated run meets it after as many steps as the first time."""
        spent = self.settings.limits.script_steps - self.budget.left - self.budget.rest
        if self.world.repeats:
            steps = self.world.expires(self.label)
            return steps is not None and spent >= steps
        if self.services.clock.monotonic() <= self.deadline:
            return False
        self.world.expired(self.label, spent)
        return True

    @property
    def time_limit(self) -> str:
        """What the deadline comes from, for the operator."""
        limits = self.settings.limits
        if self.deadline < self.started + limits.script_time:
            return f"the {limits.transaction_time:g} s that its message has ([limits] transaction_time)"
        return f"{limits.script_time:g} s"

    def _breathe(self) -> None:
        """Let others go on, where this run can stop."""
        if self._place.here:
            self.wait(asyncio.sleep(0))

    # -- what compiled flows ask (language.host.Host) -------------------------------------------------------------

    def wait(self, awaitable: Awaitable[T]) -> T:
        """The result of an awaitable; other runs go on meanwhile."""
        self.budget.waited()
        return self._place.wait(awaitable)

    def now(self) -> float:
        """Unix time in seconds."""
        return self.world.now()

    def echo(self, text: str) -> None:
        """One line of output, bounded by [limits] script_output."""
        self._size += len(text)
        if self._size <= self.settings.limits.script_output:
            self.notes.output.append(text)
        self.world.log("debug", "echo", id=self.message_id, phase=self.phase, text=text)

    def warn(self, message: str) -> None:
        """Something odd that the flow's author should know, once a run."""
        if message not in self.notes.warnings and len(self.notes.warnings) < 100:
            self.notes.warnings.append(message)
            self.world.log("warning", "flow", id=self.message_id, phase=self.phase, text=message)

    def traced(self, span: Span, name: str, arguments: tuple[Value, ...], result: Value, milliseconds: float) -> None:
        """One finished call, when the flow was compiled with a trace."""
        if len(self.notes.trace) < self.settings.limits.script_facts:
            self.notes.trace.append(Call(span, name, arguments, result, milliseconds))

    def implicit_end(self) -> None:
        """The script came to its end without an action of its own."""
        if self.row.implicit is Deliver:
            self.finish(self.delivery(implicit=True))
        self.finish(self.row.implicit(reply=self.row.reply(self.row.implicit), implicit=True))

    # -- what builtins ask ----------------------------------------------------------------------------------------

    @property
    def message_id(self) -> str:
        """The transaction's id."""
        return self.transaction.id

    @property
    def recipient(self) -> Recipient:
        """The recipient this run is about."""
        if self.recipient_or_none is None:
            raise FlowError(f"there is no recipient in {self.phase}")
        return self.recipient_or_none

    @property
    def mail(self) -> Message:
        """The message with this run's edits."""
        if self.message is None:
            raise FlowError(f"there is no message in {self.phase}")
        return self.message

    @property
    def original(self) -> Message:
        """The message as received, which is what "get" functions read."""
        if self.received is None:
            raise FlowError(f"there is no message in {self.phase}")
        return self.received

    def edit(self, *edits: Edit) -> None:
        """Change the message as it will leave for this recipient. Raises MailError for an edit that does not fit."""
        mail = self.mail
        self.budget.spend(len(edits) * (1 + (len(mail.fields) + len(mail.edits) >> 5)))  # each writes both lists anew
        self.message = mail.edit(*edits)

    def seal(self, seal: AnySeal) -> None:
        """Have the message signed when it leaves. The same seal asked for twice is set once."""
        if seal not in self.seals:
            self.seals = (*self.seals, seal)

    def act(self, action: Action) -> None:
        """Decide something and go on."""
        self.actions.append(action)
        if isinstance(action, Kept) and not action.done:  # a copy; what ends the run is counted by the next recipient
            self.transaction.actionid += 1

    def finish(self, action: Action) -> NoReturn:
        """Decide something and end the script."""
        self.act(action)
        raise Final

    def delivery(self, **about: Any) -> Deliver:
        """A delivery of the message as it stands now; what is not said comes from the run."""
        return Deliver(**self._kept(about))

    def quarantine(self, **about: Any) -> Quarantine:
        """The message as it stands now, to be kept aside."""
        return Quarantine(**self._kept(about))

    def _kept(self, about: dict[str, Any]) -> dict[str, Any]:
        recipient = self.recipient_or_none
        about.setdefault("reply", self.row.reply(Deliver))
        about.setdefault("message", self.mail)
        about.setdefault("seals", self.seals)
        about.setdefault("sender", self.transaction.sender.address)
        about.setdefault("metadata", dict(self.metadata))
        if recipient is not None:
            about.setdefault("recipient", recipient.address.address)
            about.setdefault("transportid", recipient.transportid)
        return about

    def failed(self) -> Action:
        """What a run that failed has decided."""
        return Defer(reply=self.row.reply(Defer), implicit=True)

    def speak(self, action: type[Action], reason: Any, codes: Mapping[str, object], disconnect: bool) -> Any:
        """The reply for an action of this phase with the flow's own words."""
        try:
            limits = self.settings.limits
            default = self.row.reply(action)
            return speak(default, reason, codes, disconnect, limits.reply_lines, limits.reply_line_length)
        except ValueError as error:
            raise FlowError(f"reply_codes: {error}") from None


async def carry_out(flow: Program | None, run: Run, runner: Runner) -> RunResult:
    """Run a flow to its end, within its limits. Never raises but for cancellation."""
    error: FlowError | None = None
    try:
        if flow is None:
            run.implicit_end()
        elif flow.waits:
            steps = runner.execute(partial(flow.run, run), run._place)  # noqa: SLF001  # the run's own module
            try:
                pending = steps.send(None)
            except StopIteration:
                pass  # it waited for nothing, and needs no timer
            else:
                left = None if run.world.repeats else run.deadline - run.services.clock.monotonic()
                async with asyncio.timeout(left):
                    await rest(steps, pending)
        else:
            flow.run(run)
    except Final:
        pass
    except FlowError as failure:
        error = failure
    except (TimeoutError, ExpiredAgain) as failure:
        waiting = failure.__cause__ or failure  # the cancellation of the line that waited
        place = place_of(waiting.__traceback__)
        run.world.expired(run.label, None)
        error = FlowError(f"the script took longer than {run.time_limit}", place)
    except Exception as failure:  # noqa: BLE001  # a mistake of ours must not lose mail either
        error = FlowError(f"internal error: {type(failure).__name__}: {failure}")
        error.__cause__ = failure
    if error is not None and not run.world.repeats:
        run.services.counters.increment("flow_errors", phase=run.phase)
        run.world.log("error", "flow", id=run.message_id, phase=run.phase, text=shown(str(error)))
    return _result(run, error)


def _result(run: Run, error: FlowError | None) -> RunResult:
    edits = run.message.edits[len(run.received.edits) :] if run.message is not None and run.received is not None else ()
    return RunResult(
        phase=run.phase,
        recipient=run.label[1] if run.recipient_or_none is not None and run.phase == "data" else None,
        actions=tuple(run.actions),
        verdict=run.failed() if error else _verdict(run),
        error=error,
        output=tuple(run.notes.output),
        edits=edits,
        trace=tuple(run.notes.trace),
        warnings=tuple(run.notes.warnings),
        unsigned=tuple(run.notes.unsigned),
    )


def _verdict(run: Run) -> Action:
    """The action that ended the run. `Done()` alone, or no end at all, defers; after a copy it stands for the copy."""
    last = run.actions[-1] if run.actions else None
    if last is not None and not isinstance(last, Done) and getattr(last, "done", True):
        return last
    if isinstance(last, Done):
        copies = [action for action in run.actions if isinstance(action, Kept)]
        return copies[-1] if copies else run.failed()
    return run.failed()
