"""One message for one next hop, in two steps: all recipients first, then the content or none of it.

With CHUNKING (RFC 3030) the content goes in one BDAT: no 354 is waited for, and no dot is looked for.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flowengine.runtime.actions import Reply
from flowengine.services.relay.answers import ARRIVING, Answer, Stage
from flowengine.services.relay.commands import commands
from flowengine.services.relay.connection import Connection
from flowengine.services.relay.settings import Envelope
from flowengine.services.relay.stuffing import Buffer, counted, stuffed

if TYPE_CHECKING:
    from flowengine.services.relay.pool import Pool


class Transaction:
    """What a next hop said about the envelope. answers: one for each recipient, in their order."""

    def __init__(
        self, pool: "Pool", connection: Connection | None, envelope: Envelope, answers: Sequence[Answer], *, begun: bool
    ) -> None:
        self._pool, self._connection, self._begun = pool, connection, begun
        self.envelope = envelope
        self.tls = connection.tls if connection is not None else ""
        """Version and cipher when the connection is encrypted."""
        self.host = str(pool.settings)
        """The host that was asked."""
        self.reports = connection is not None and "DSN" in connection.extensions
        """Whether the host reports about deliveries itself (RFC 3461)."""
        self.answers = tuple(answers)

    @classmethod
    def failed(cls, pool: "Pool", envelope: Envelope, answer: Answer) -> "Transaction":
        """A transaction that never began."""
        return cls(pool, None, envelope, [answer] * len(envelope.recipients), begun=False)

    @property
    def accepted(self) -> bool:
        """Whether every recipient was accepted."""
        return all(answer.positive for answer in self.answers)

    @property
    def elsewhere(self) -> bool:
        """Whether another host of the same destination may do better: this one cannot be talked to."""
        if self._connection is not None:
            return False
        silent = (answer.closes and answer.stage is not Stage.ENVELOPE for answer in self.answers)
        return all(answer.stage in ARRIVING or closed for answer, closed in zip(self.answers, silent, strict=True))

    @property
    def broken_at_once(self) -> bool:
        """Whether the connection turned out to be dead before a word was said about this message."""
        return self._connection is None and all(answer.stage is Stage.MAIL and answer.closes for answer in self.answers)

    async def send(self, chunks: Iterable[Buffer]) -> tuple[Answer, ...]:
        """Send the message to the recipients that were accepted; an answer for each recipient. Call once."""
        connection, self._connection = self._connection, None
        count = sum(answer.positive for answer in self.answers)
        if connection is None:
            return self._final([_gone(self._pool)] * count)
        if not self._begun and _in_chunks(self._pool, connection):
            return self._final(await self._chunk(connection, chunks) * count)
        if not self._begun:
            patience = self._pool.settings.patience.data
            (answer,) = await connection.exchange(b"DATA\r\n", (Stage.DATA,), patience)
            if answer.reply.code != 354:
                await self._leave(connection)
                return self._final([not_begun(answer)] * count)
        connection.messages += 1
        lmtp = self._pool.settings.protocol == "lmtp"
        answers = await connection.content(stuffed(chunks), count if lmtp else 1)
        self._pool.release(connection)
        return self._final(answers if lmtp else answers * count)

    async def _chunk(self, connection: Connection, chunks: Iterable[Buffer]) -> list[Answer]:
        connection.messages += 1
        answers = await connection.content(counted(chunks), 1)
        if answers[0].positive:
            self._pool.release(connection)
        else:
            await self._leave(connection)  # RFC 3030 §2: after a BDAT that failed only RSET is certain
        return answers

    async def abort(self) -> None:
        """Send nothing. The next hop forgets the envelope."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._leave(connection)

    async def _leave(self, connection: Connection) -> None:
        """End the transaction on the wire without a message."""
        patience = self._pool.settings.patience.command
        if not connection.usable:
            pass
        elif not self._begun:
            (answer,) = await connection.exchange(b"RSET\r\n", (Stage.RESET,), patience)
            if not answer.positive:
                connection.abort()
        elif any(answer.positive for answer in self.answers):
            connection.abort()  # it waits for content; any end of it would be a message
        else:
            await connection.exchange(b".\r\n", (Stage.END,), patience)  # RFC 2920 §3.1: 354 without a recipient
        self._pool.release(connection)

    def _final(self, answers: Sequence[Answer]) -> tuple[Answer, ...]:
        fates = iter(answers)
        return tuple(next(fates) if answer.positive else answer for answer in self.answers)


async def ask(pool: "Pool", connection: Connection, envelope: Envelope, eager: bool) -> Transaction:
    """MAIL and every RCPT, in one write where the next hop allows it (RFC 2920)."""
    found = commands(connection, envelope)
    if isinstance(found, Answer):
        pool.release(connection)
        return Transaction.failed(pool, envelope, found)
    mail, recipients = found
    patience = pool.settings.patience.command
    begin: Answer | None = None
    eager = eager and not _in_chunks(pool, connection)
    if "PIPELINING" in connection.extensions:
        lines, stages = [mail, *recipients], [Stage.MAIL, *[Stage.RCPT] * len(recipients)]
        if eager:
            lines.append(b"DATA\r\n")
            stages.append(Stage.DATA)
        first, *answers = await connection.exchange(b"".join(lines), stages, patience)
        begin = answers.pop() if eager else None
    else:
        (first,) = await connection.exchange(mail, (Stage.MAIL,), patience)
        answers = []
        for recipient in recipients if first.positive else ():
            answers += await connection.exchange(recipient, (Stage.RCPT,), patience)
    return await _opened(pool, connection, envelope, first, answers, begin)


async def _opened(
    pool: "Pool", connection: Connection, envelope: Envelope, first: Answer, answers: list[Answer], begin: Answer | None
) -> Transaction:
    """The transaction as the answers leave it; one that cannot go on gives its connection back."""
    begun = begin is not None and begin.reply.code == 354
    if not first.positive:
        if begun:
            connection.abort()  # it takes content although it refused the sender: nobody knows for whom
        answers = [first] * len(envelope.recipients)
    elif begin is not None and not begun:
        answers = [not_begun(begin) if answer.positive else answer for answer in answers]
    if not connection.usable:
        answers = [connection.broken(Stage.RCPT) if answer.positive else answer for answer in answers]
    transaction = Transaction(pool, connection, envelope, answers, begun=begun)
    if not any(answer.positive for answer in answers):
        await transaction.abort()
    return transaction


def not_begun(answer: Answer) -> Answer:
    """The answer to DATA when it is not 354: a refusal of every recipient, whatever the code."""
    if answer.reply.code >= 400:
        return answer
    return Answer(Reply(451, "4.5.0", "the next hop answered DATA out of order"), answer.stage, heard=False)


def _in_chunks(pool: "Pool", connection: Connection) -> bool:
    """Whether the content goes by BDAT. With LMTP no RFC says how many answers that has."""
    settings = pool.settings
    return settings.chunking and settings.protocol == "smtp" and "CHUNKING" in connection.extensions


def _gone(pool: "Pool") -> Answer:
    return Answer(Reply(451, "4.4.2", f"the transaction with {pool.settings} is over"), Stage.RCPT, heard=False)
