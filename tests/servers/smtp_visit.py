"""A session that answers as it is told and remembers what it heard, and ways to drive a machine with it."""

import types
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flowengine.mail.addresses import Path
from flowengine.mail.message import Message
from flowengine.runtime.actions import Reply
from flowengine.servers.smtp import Client, Machine, Options
from flowengine.servers.smtp.door import Step

YES = Reply(250, "2.1.0", "OK")


@dataclass
class Visit:
    """A `Session`. answers: replies by step and argument, such as ("rcpt", "bob@example.net").

    later: makes a step's answer a coroutine; None answers at once.
    """

    answers: Mapping[tuple[str, str], Reply | Exception] = field(default_factory=dict)
    later: Callable[[Reply], Coroutine[Any, Any, Reply]] | None = None
    events: list[tuple[str, ...]] = field(default_factory=list)
    messages: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)
    parameters: list[Mapping[str, str]] = field(default_factory=list)
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    refusals: list[Reply] = field(default_factory=list)
    gone: int = 0
    tls: Mapping[str, Any] = field(default_factory=dict)

    def _answer(self, step: str, argument: str, default: Reply = YES) -> Step:
        self.events.append((step, argument))
        reply = self.answers.get((step, argument)) or self.answers.get((step, "*")) or default
        if isinstance(reply, Exception):
            raise reply
        return reply if self.later is None else self.later(reply)

    def connect(self) -> Step:
        return self._answer("connect", "", Reply(220, "", ""))

    def helo(self, verb: str, host: str, extensions: Sequence[str] = ()) -> Step:
        return self._answer(verb.lower(), host, Reply(250, "", ""))

    def encrypted(self, tls: Mapping[str, Any]) -> None:
        self.tls = tls
        self.events.append(("tls", ""))

    def authenticate(self, mechanism: str, username: str, password: str, response: bytes | None = None) -> Step:
        default = Reply(235, "2.7.0", "Welcome") if password == "secret" else Reply(535, "5.7.8", "Wrong")  # noqa: S105  # a test's
        return self._answer("auth", f"{mechanism} {username} {password}", default)

    def exchange(self, mechanism: str, response: bytes | None, state: int) -> Step:
        default = Reply(535, "5.7.8", "Wrong")
        said = "-" if response is None else response.decode("latin-1")
        return self._answer("exchange", f"{mechanism},{state},{said}", default)

    def impersonate(self, client: Client, **about: str | None) -> Step:
        known = " ".join(f"{name}={value}" for name, value in about.items() if value is not None)
        return self._answer(
            "xclient", f"{client.ip} {client.port} {client.server_ip} {known}".strip(), Reply(220, "", "")
        )

    def forwarded(self, attributes: Mapping[str, str | None]) -> None:
        self.events.append(("xforward", " ".join(f"{name}={value}" for name, value in attributes.items())))

    def mail_from(self, sender: Path, parameters: Mapping[str, str]) -> Step:
        self.sender, self.recipients = sender.address, []
        self.parameters.append(dict(parameters))
        return self._answer("mail", sender.address)

    def rcpt_to(self, address: Path, parameters: Mapping[str, str]) -> Step:
        known = self.answers.get(("rcpt", address.address), YES)
        if isinstance(known, Reply) and known.positive:
            self.recipients.append(address.address)
        return self._answer("rcpt", address.address, Reply(250, "2.1.5", "OK"))

    def data(self, message: Message) -> Step:
        assert self.sender is not None
        self.messages.append((self.sender, tuple(self.recipients), message.render()))
        return self._answer("data", "", Reply(250, "2.0.0", "Taken"))

    def refused(self, reply: Reply) -> Reply:
        self.refusals.append(reply)
        return reply

    def reset(self) -> None:
        self.events.append(("reset", ""))

    def disconnect(self) -> Coroutine[Any, Any, object] | None:
        self.gone += 1
        return None


OPTIONS = Options(hostname="mx.example.net")


@types.coroutine
def _once() -> Generator[None, None, None]:
    yield


async def after_a_moment(reply: Reply) -> Reply:
    """An answer that is there only when the loop comes round again."""
    await _once()
    return reply


def drive(machine: Machine, chunks: Iterable[bytes], *, late: int = 0) -> list[bytes]:
    """Feed a machine, and answer its steps after `late` more chunks have come in. What it wrote, chunk by chunk."""
    written: list[bytes] = []
    step, waited = machine.start(), 0
    for chunk in chunks:
        while step is not None and waited >= late:
            step, waited = machine.answer(_finished(step)), 0
        if machine.closing:
            break
        further = machine.receive(chunk)
        assert further is None or step is None, "a step was asked for while another was under way"
        step, waited = further or step, waited + 1
        written.append(machine.take())
    while step is not None:
        step = machine.answer(_finished(step))
    written.append(machine.take())
    return written


def _finished(step: Coroutine[Any, Any, Reply]) -> Reply:
    while True:
        try:
            step.send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # a step returns a reply


def talk(data: bytes, options: Options = OPTIONS, visit: Visit | None = None) -> tuple[list[str], Visit, Machine]:
    """Everything in one chunk: the reply lines, what the session heard, the machine."""
    visit = visit or Visit()
    machine = Machine(visit, options)
    lines = b"".join(drive(machine, [data])).decode("ascii").split("\r\n")
    assert lines.pop() == ""
    return lines, visit, machine


def with_limits(options: Options = OPTIONS, **limits: Any) -> Options:
    """The options with some limits changed: those of a message by the names of the configuration."""
    of_message = {"message_size": "size", "line_length": "line", "spool_above": "spool_above", "spool": "spool"}
    bounds = {of_message[name]: limits.pop(name) for name in tuple(limits) if name in of_message}
    message = replace(options.limits.message, **bounds)
    return replace(options, limits=replace(options.limits, message=message, **limits))
