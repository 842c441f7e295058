"""From a fresh connection to one that takes mail: greeting, EHLO, TLS, EHLO once more, authentication.

Nothing that was heard before TLS counts afterwards (RFC 3207 §4.2). What goes wrong is an answer; the pool decides
whether to try again without TLS.
"""

from flowengine.runtime.actions import Reply
from flowengine.services.relay.answers import Answer, Stage
from flowengine.services.relay.connection import Connection
from flowengine.services.relay.login import log_in
from flowengine.services.relay.settings import Encryption, RelaySettings

_EHLO = {"smtp": b"EHLO", "lmtp": b"LHLO"}


async def introduce(connection: Connection, settings: RelaySettings, encryption: Encryption | None) -> Answer | None:
    """Make a connection ready for mail. What went wrong, or None. encryption: None for a connection without TLS."""
    if encryption is not None and encryption.implicit:
        failure = await connection.encrypt(encryption)
        if failure is not None:
            return failure
    answer = await connection.greeting()
    if not answer.positive:
        return answer
    failure = await _greet(connection, settings)
    if failure is None and encryption is not None and not encryption.implicit:
        failure = await _start_tls(connection, settings, encryption)
    if failure is None and settings.login is not None:
        failure = await log_in(connection, settings, settings.login)
    return failure


async def _greet(connection: Connection, settings: RelaySettings) -> Answer | None:
    """EHLO, with HELO for old servers (RFC 5321 §3.2)."""
    patience = settings.patience.command
    name = settings.helo.encode("ascii", "replace")
    verb = _EHLO[settings.protocol]
    connection.extensions.clear()
    (answer,) = await connection.exchange(b"%s %s\r\n" % (verb, name), (Stage.EHLO,), patience)
    if answer.heard and 500 <= answer.reply.code <= 599 and verb == b"EHLO":
        (answer,) = await connection.exchange(b"HELO %s\r\n" % name, (Stage.EHLO,), patience)
    elif answer.positive:
        for line in answer.reply.text.split("\n")[1:]:
            keyword, _, parameters = line.strip().partition(" ")
            connection.extensions[keyword.upper()] = parameters
    return None if answer.positive else answer


async def _start_tls(connection: Connection, settings: RelaySettings, encryption: Encryption) -> Answer | None:
    """STARTTLS (RFC 3207), or on without it where that is allowed."""
    if "STARTTLS" not in connection.extensions:
        if encryption.required:
            return Answer(Reply(451, "4.7.10", f"{settings} offers no TLS"), Stage.TLS, heard=False)
        return None
    (answer,) = await connection.exchange(b"STARTTLS\r\n", (Stage.TLS,), settings.patience.command)
    if not answer.positive:
        return None if connection.usable and not encryption.required else answer
    failure = await connection.encrypt(encryption)
    return failure if failure is not None else await _greet(connection, settings)
