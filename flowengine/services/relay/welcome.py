"""From the greeting of a next hop to the first envelope: EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954).

What goes wrong here is our trouble, never our client's: it becomes a 4xx.
"""

from base64 import b64encode
from ssl import SSLContext

from flowengine.runtime.actions import Reply
from flowengine.services.relay.answers import Answer, Stage
from flowengine.services.relay.connection import Connection
from flowengine.services.relay.settings import RelaySettings

_EHLO = {"smtp": b"EHLO", "lmtp": b"LHLO"}


class Welcome:
    """One connection being opened. plain: without STARTTLS although it may be offered."""

    def __init__(self, settings: RelaySettings, connection: Connection, *, plain: bool = False) -> None:
        self._settings, self._connection, self._plain = settings, connection, plain
        self.handshake_failed = False
        """Another connection, in clear text, may do better."""

    async def pass_(self) -> Answer | None:
        """What went wrong, or None."""
        answer = await self._connection.greeting()
        failure = None if answer.positive else answer
        return failure or await self._hello() or await self._encrypt() or await self._log_in()

    async def _hello(self) -> Answer | None:
        """EHLO, with HELO for old servers (RFC 5321 §3.2)."""
        connection, patience = self._connection, self._settings.patience.command
        name = self._settings.helo.encode("ascii", "replace")
        verb = _EHLO[self._settings.protocol]
        connection.extensions.clear()
        (answer,) = await connection.exchange(b"%s %s\r\n" % (verb, name), (Stage.EHLO,), patience)
        if answer.heard and 500 <= answer.reply.code <= 599 and verb == b"EHLO":
            (answer,) = await connection.exchange(b"HELO %s\r\n" % name, (Stage.EHLO,), patience)
        elif answer.positive:
            for line in answer.reply.text.split("\n")[1:]:
                keyword, _, parameters = line.strip().partition(" ")
                connection.extensions[keyword.upper()] = parameters
        return None if answer.positive else answer

    async def _encrypt(self) -> Answer | None:
        settings, connection = self._settings, self._connection
        context = settings.context
        if settings.tls == "off" or context is None or connection.encrypted or self._plain or settings.path:
            return None
        if "STARTTLS" not in connection.extensions:
            return None if settings.tls == "may" else self._ours("4.7.10", "does not offer STARTTLS")
        patience = settings.patience.command
        (answer,) = await connection.exchange(b"STARTTLS\r\n", (Stage.TLS,), patience)
        if not answer.positive:
            return None if settings.tls == "may" and answer.heard and answer.reply.code != 421 else answer
        problem = await self._handshake(context)
        if problem:
            self.handshake_failed = True
            return self._ours("4.7.5", problem)
        return await self._hello()  # RFC 3207 §4.2: nothing that was said before counts

    async def _handshake(self, context: SSLContext) -> str:
        return await self._connection.encrypt(context, self._settings.host, self._settings.patience.command)

    async def _log_in(self) -> Answer | None:
        settings, connection = self._settings, self._connection
        login = settings.login
        if login is None:
            return None
        if not (connection.encrypted or settings.local):
            return self._ours("4.7.10", "is not told our password in clear text")
        offered = connection.extensions.get("AUTH", "").upper().split()
        patience = settings.patience.command
        if "PLAIN" in offered:
            response = b64encode(f"\0{login.username}\0{login.password}".encode())
            (answer,) = await connection.exchange(b"AUTH PLAIN %s\r\n" % response, (Stage.AUTH,), patience)
        elif "LOGIN" in offered:
            for line in (b"AUTH LOGIN", b64encode(login.username.encode()), b64encode(login.password.encode())):
                (answer,) = await connection.exchange(line + b"\r\n", (Stage.AUTH,), patience)
                if answer.reply.code != 334:
                    break
        else:
            return self._ours("4.7.9", "offers neither AUTH PLAIN nor AUTH LOGIN")
        return None if answer.positive else answer

    def _ours(self, enhanced: str, why: str) -> Answer:
        return Answer(Reply(451, enhanced, f"{self._settings} {why}"), Stage.TLS, heard=False)
