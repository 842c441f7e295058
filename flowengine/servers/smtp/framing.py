"""Bytes of a client as lines and content, in order, and the replies as bytes: the machine without its commands.

`receive` works through what came, as far as the session answers at once. When a step has to wait, its coroutine is
returned; whoever holds the socket awaits it and calls `answer`. `take` gives the replies written meanwhile in one
piece: a client that pipelines gets one write for a whole group (RFC 2920). Input that comes in between waits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from flowengine.runtime.actions import Action, Reply
from flowengine.servers.smtp.chunks import Chunks
from flowengine.servers.smtp.content import Content
from flowengine.servers.smtp.door import Limits, Report, Step, Waiting
from flowengine.servers.smtp.replies import render

LOCAL_ERROR = Reply(451, "4.3.0", "Local error, try again later")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")
BARE_COMMAND = Reply(500, "5.5.2", "A command ends in CRLF and has no other line end in it")
LOST_COUNT = Reply(421, "4.5.0", "Cannot tell content from commands, closing the connection", disconnect=True)
SHUTTING_DOWN = Reply(421, "4.3.2", "Service is closing, try again later", disconnect=True)
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands in one session, come again", disconnect=True)
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing the connection", disconnect=True)


class Framing(ABC):
    """One connection. Feed it, write what `take` gives, await what it returns, close when it is `closing`."""

    __slots__ = (
        "_bare_newlines", "_buffer", "_content", "_errors", "_limits", "_output", "_report", "_skipping", "_then",
        "_trace", "_verb", "closing", "draining", "lines", "progress", "refusals",
    )  # fmt: skip

    def __init__(self, limits: Limits, report: Report | None, *, bare_newlines: bool, trace: bool) -> None:
        self._limits, self._report = limits, report
        self._bare_newlines, self._trace = bare_newlines, trace
        self._output: list[bytes] = []
        self._buffer = bytearray()
        self._content: Content | Chunks | None = None
        self._then: Callable[[Any], Waiting | None] | None = None
        self._skipping = b""  # how a line begins that is too long to be kept
        self._errors = 0
        self._verb = "CONNECT"
        self.closing = False
        """Nothing more is read; the connection ends once the replies are written."""
        self.draining = False
        self.progress = 0
        """Grows with everything the client brings to an end: whole lines, octets of content."""
        self.lines = 0
        """Command lines so far."""
        self.refusals = 0
        """Replies so far that were errors, and did not end the connection."""

    # -- for whoever holds the socket -----------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether a step is under way: `answer` comes next."""
        return self._then is not None

    @property
    def backlog(self) -> int:
        """Octets that wait until the step under way is answered."""
        return len(self._buffer) if self._then is not None else 0

    def take(self) -> bytes:
        """The replies since the last time, for one write; b"" for none."""
        output = self._output
        if not output:
            return b""
        replies = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return replies

    def receive(self, data: bytes) -> Waiting | None:
        """Bytes of the client."""
        if self._then is not None:
            self._buffer += data
            return None
        if self._buffer:
            self._buffer += data
            data = self._buffered()
        return self._advance(data)

    def answer(self, reply: Reply | Action) -> Waiting | None:
        """The step that was returned last has ended."""
        then, self._then = self._then, None
        if then is not None and not self.closing and (step := then(reply)) is not None:
            return step
        return self._advance(self._buffered())

    def drain(self) -> None:
        """Say goodbye: now when nothing is under way, else after this transaction."""
        self.draining = True
        if self._then is None:
            self._leave_if_idle()

    def end(self, reply: Reply) -> None:
        """Say this and close, whatever is under way."""
        if not self.closing:
            self._say(reply)
            self.closing = True

    def forget_input(self) -> None:
        """Drop what came in and was not worked through."""
        self._buffer.clear()

    # -- what the commands are built on ---------------------------------------------------------------------------

    @abstractmethod
    def _command(self, line: bytes) -> Waiting | None:
        """A line, without its line end."""

    @abstractmethod
    def _broken_line(self, reply: Reply, beginning: bytes) -> None:
        """A line that cannot be a command or a response, and what the client hears. beginning: five octets of it."""

    @abstractmethod
    def _end_of_content(self, content: Content | Chunks) -> Waiting | None:
        """The message is complete."""

    @abstractmethod
    def _idle(self) -> bool:
        """Whether no transaction and no dialog is open."""

    def _ask(
        self, then: Callable[[Any], Waiting | None], call: Callable[..., Step | Action], *arguments: object
    ) -> Waiting | None:
        """Take a step of the session: `then` gets its reply, now or when it is there, and may lead to a further one."""
        try:
            step = call(*arguments)
        except Exception as error:  # noqa: BLE001  # whatever goes wrong in there, the client hears 451
            self.trouble(error)
            step = LOCAL_ERROR
        if isinstance(step, (Reply, Action)):
            return then(step)
        self._then = then
        return step

    def _say(self, reply: Reply) -> None:
        self._write(reply, render(reply))

    def _write(self, reply: Reply, line: bytes) -> None:
        """Answer. A 421 always ends the connection (RFC 5321 §3.8)."""
        self._output.append(line)
        if self._trace and self._report is not None:
            self._report("smtp.command", {"verb": self._verb, "code": reply.code, "reply": str(reply)})
        if reply.disconnect or reply.code == 421:
            self.closing = True
        elif reply.code >= 400:
            self.refusals += 1

    def _fault(self, reply: Reply) -> None:
        """Answer a command that breaks the protocol. Too many of them, and the client is shown out."""
        self._errors += 1
        self._say(reply)
        if self._errors >= self._limits.errors:
            self._reached("session_errors")
            self.end(TOO_MANY_ERRORS)

    def _reached(self, limit: str) -> None:
        """The client has come to a limit, by its name in the configuration."""
        if self._report is not None:
            self._report("smtp.limit", {"verb": self._verb, "limit": limit})

    def trouble(self, error: BaseException) -> None:
        """An error of ours, for the log."""
        if self._report is not None:
            self._report("smtp.trouble", {"verb": self._verb, "error": f"{type(error).__name__}: {error}"})

    # -- the flow of bytes ----------------------------------------------------------------------------------------

    def _buffered(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def _advance(self, data: bytes) -> Waiting | None:
        """Work through the input until it is used up or a step has to wait."""
        position = 0
        while not self.closing:
            if self._content is not None:
                self.progress += len(data) - position
                end = self._content.feed(data, position) if position < len(data) else -1
                if end < 0:
                    return None
                content, self._content = self._content, None
                position, step = end, self._end_of_content(content)
            else:
                if self.draining:
                    self._leave_if_idle()
                end = data.find(b"\n", position)
                if end < 0:
                    self._keep_line(data, position)
                    return None
                start, position = position, end + 1
                step = None if self.closing else self._line(data, start, end)
            if step is not None:
                self._buffer += data[position:]
                return step
        return None

    def _leave_if_idle(self) -> None:
        if self._content is None and self._idle():
            self.end(SHUTTING_DOWN)

    def _keep_line(self, data: bytes, position: int) -> None:
        """The start of a line whose end is still to come."""
        if not self._skipping and len(data) - position > self._limits.auth_line:
            self._skipping = data[position : position + 5]
        elif not self._skipping and position < len(data):
            self._buffer += data[position:]

    def _line(self, data: bytes, start: int, end: int) -> Waiting | None:
        """One line, whose LF is at `end`."""
        self.progress += 1
        self.lines += 1
        if self.lines > self._limits.session_commands:
            self._reached("session_commands")
            self.end(TOO_MANY_COMMANDS)
            return None
        if self._skipping or end - start >= self._limits.auth_line:
            beginning, self._skipping = self._skipping or data[start : start + 5], b""
            self._reached("auth_line")
            self._broken(LINE_TOO_LONG, beginning)
            return None
        if end > start and data[end - 1] == 13:
            line = data[start : end - 1]
        elif self._bare_newlines:
            line = data[start:end]
        else:
            # A relay that let an LF through in an address or a name must not get its second half carried out here.
            self._broken(BARE_COMMAND, data[start : start + 5])
            return None
        if b"\r" in line:
            self._broken(BARE_COMMAND, line[:5])
            return None
        return self._command(line)

    def _broken(self, reply: Reply, beginning: bytes) -> None:
        beginning = beginning.upper()
        self._broken_line(reply, beginning)
        if beginning == b"BDAT ":  # what follows is content, and must not be carried out
            self.end(LOST_COUNT)
