"""LDAP: asking a directory from a script, over connections within [network].

A method that fails returns none, and `errno()` says why: a result code of RFC 4511, or below zero trouble of our own.
"""

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from flowengine.builtins import ldap_codec as codec
from flowengine.builtins.certificates import X509
from flowengine.builtins.run import Run
from flowengine.language.functions import Text
from flowengine.language.natives import method
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import Array, Value, from_bytes, to_text
from flowengine.mail.dns import DNSUnavailable
from flowengine.runtime.services import TLSOptions, WireFailed, WireRequest
from flowengine.runtime.world import HeardWire

SERVER_DOWN, DECODING, TIMEOUT, FILTER, PARAMETER, CONNECT = -1, -4, -5, -7, -9, -11
ENTRIES, OCTETS = 10_000, 16 << 20  # of one search
TEXTS = {
    0: "Success", 1: "Operations error", 2: "Protocol error", 3: "Time limit exceeded", 4: "Size limit exceeded",
    5: "Compare False", 6: "Compare True", 7: "Authentication method not supported",
    8: "Strong(er) authentication required", 10: "Referral", 11: "Administrative limit exceeded",
    12: "Critical extension is unavailable", 13: "Confidentiality required", 14: "SASL bind in progress",
    16: "No such attribute", 17: "Undefined attribute type", 18: "Inappropriate matching", 19: "Constraint violation",
    20: "Type or value exists", 21: "Invalid syntax", 32: "No such object", 33: "Alias problem",
    34: "Invalid DN syntax", 36: "Alias dereferencing problem", 48: "Inappropriate authentication",
    49: "Invalid credentials", 50: "Insufficient access", 51: "Server is busy", 52: "Server is unavailable",
    53: "Server is unwilling to perform", 54: "Loop detected", 64: "Naming violation", 65: "Object class violation",
    66: "Operation not allowed on non-leaf", 68: "Already exists", 80: "Internal (implementation specific) error",
    SERVER_DOWN: "Can't contact LDAP server", DECODING: "Decoding error", TIMEOUT: "Timed out",
    FILTER: "Bad search filter", PARAMETER: "Bad parameter to an ldap routine", CONNECT: "Connect error",
}  # fmt: skip
OPTIONS = {
    "protocol_version": 3, "referrals": False, "network_timeout": 0, "timeout": 0, "timelimit": 0,
    "tls_verify_peer": True, "tls_default_ca": False,
}  # fmt: skip


class Trouble(Exception):
    """An operation that failed with a code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class LDAP:
    """A connection to a directory: `LDAP("ldap://ldap.example.net")`. It connects with its first operation."""

    class_name: ClassVar[str] = "LDAP"

    @method
    def __init__(self, uri: Text) -> None:
        """uri: ldap:// or ldaps://, several with spaces between them; the first that answers is used."""
        self._places = [_place(one) for one in uri.split()[:5]]
        self._options: dict[str, Value] = dict(OPTIONS)
        self._wire: HeardWire | None = None
        self._host = ""
        self._ahead = b""
        self._number = 0
        self._code = 0
        self._said = ""
        self._certificate: bytes | None = None

    @method
    def setoption(self, name: str, value: Value) -> "LDAP | None":
        """Set an option: protocol_version, referrals, network_timeout, timeout, timelimit, tls_verify_peer,
        tls_default_ca. The object, or none for an option that there is not."""
        if name not in OPTIONS or isinstance(value, (str, Array)):
            self._code = PARAMETER
            return None
        self._options[name] = value
        return self

    @method
    def getoption(self, name: str) -> Value:
        """An option, or "diagnostic_message": what the server said last. None for one that there is not."""
        return self._said if name == "diagnostic_message" else self._options.get(name)

    @method
    async def starttls(self, run: Run) -> "LDAP | None":
        """Begin TLS on the connection. The object, or none."""
        try:
            answer = await self._ask(run, codec.starttls_request(self._next()), codec.EXTENDED)
            if answer.code:
                raise Trouble(answer.code)
            await self._encrypt()
        except Trouble as trouble:
            self._failed(trouble)
            return None
        return self

    @method
    async def bind(self, run: Run, dn: str = "", cred: str = "") -> "LDAP | None":
        """Say who we are, with a password; anonymous without a name. The object, or none."""
        if dn and not cred:  # RFC 4513 §5.1.2: many servers take this for anonymous and say success
            self._code = 53
            return None
        try:
            request = codec.bind_request(self._next(), to_text(str(dn)), to_text(str(cred)))
            answer = await self._ask(run, request, codec.BIND)
        except Trouble as trouble:
            self._failed(trouble)
            return None
        self._code, self._said = answer.code, answer.text
        return None if answer.code else self

    @method
    async def search(
        self,
        run: Run,
        basedn: str,
        *,
        scope: Literal["sub", "one", "base"] = "sub",
        filter_: str = "(objectclass=*)",
        attributes: Sequence[str] = (),
        pagesize: int = 0,
    ) -> "LDAPResult | None":
        """Search below a name. An LDAPResult, or none.

        scope: sub (all below), one (one level) or base. filter: as RFC 4515 has it; put values in with
        `LDAP::filter_escape`. attributes: these only. pagesize: entries of one page.
        """
        query = Query(to_text(shown(basedn)), scope, to_text(str(filter_)), [to_text(shown(a)) for a in attributes])
        query.page = max(0, min(pagesize, ENTRIES))
        try:
            await self._ready(run)
            return LDAPResult(self, query, await self.start(run, query, b""))
        except Trouble as trouble:
            self._failed(trouble)
            return None

    @method
    async def unbind(self, run: Run) -> "LDAP | None":
        """End the connection. The object, or none when there is none."""
        if self._wire is None:
            self._code = SERVER_DOWN
            return None
        with suppress(WireFailed):
            await self._wire.send(codec.unbind_request(self._next()), self._patience(run))
        self._close()
        return self

    @method
    def errno(self) -> int:
        """Why the last operation failed, 0 for none."""
        return self._code

    @method
    def getpeerx509(self) -> X509 | None:
        """The server's certificate; none without TLS."""
        return None if self._certificate is None else X509.read(self._certificate)

    @staticmethod
    @method
    def err2string(errno: int) -> str:
        """A code as text: `LDAP::err2string(49)` is "Invalid credentials"."""
        return TEXTS.get(errno, "Unknown error")

    @staticmethod
    @method
    def filter_escape(value: str) -> str:
        """A value for the inside of a filter: `LDAP::filter_escape("a*b")` is "a\\\\2ab"."""
        return codec.escaped(value)

    @staticmethod
    @method
    def str2dn(text: Text) -> Array | None:
        """The parts of a distinguished name as pairs: `LDAP::str2dn("cn=a,dc=b")` is [["cn", "a"], ["dc", "b"]]."""
        parts = codec.dn_parts(text) if len(text) <= 10_000 else None
        if parts is None:
            return None
        return Array.of(Array.of((from_bytes(n.encode()), from_bytes(v.encode()))) for n, v in parts)

    @staticmethod
    @method
    def dn2str(dn: Array) -> Text | None:
        """A distinguished name from its parts; none for what are no pairs of strings."""
        pairs: list[tuple[str, str]] = []
        for one in dn.values():
            name, value = (one.get(0), one.get(1)) if isinstance(one, Array) else (None, None)
            if not isinstance(name, str) or not isinstance(value, str):
                return None
            pairs.append((to_text(shown(name)), to_text(shown(value))))
        return Text(codec.dn_text(pairs))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _failed(self, trouble: Trouble) -> None:
        self._code = trouble.code

    def _close(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire, self._ahead = None, b""

    def _patience(self, run: Run) -> float:
        for name in ("timeout", "network_timeout"):
            value = self._options[name]
            if isinstance(value, (int, float)) and value > 0:
                return min(float(value), run.settings.limits.script_time)
        return min(30.0, run.settings.limits.script_time)

    async def start(self, run: Run, query: "Query", cookie: bytes) -> int:
        """Send a search, or ask for its next page; its number. Raises Trouble."""
        number = self._next()
        limit = self._options["timelimit"]
        seconds = int(limit) if isinstance(limit, (int, float)) and limit > 0 else 0
        try:
            request = codec.search_request(
                number, query.base, query.scope, query.filter, query.attributes, seconds, query.page, cookie
            )
        except ValueError:
            raise Trouble(FILTER) from None
        await self._send(run, request)
        return number

    async def answer(self, run: Run, number: int) -> codec.Message:
        """The next message to a request. Raises Trouble."""
        while True:
            message = await self._receive(run)
            if message.number == number:
                return message

    async def _ask(self, run: Run, request: bytes, kind: int) -> codec.Message:
        number = self._number
        await self._ready(run)
        await self._send(run, request)
        answer = await self.answer(run, number)
        if answer.kind != kind:
            raise Trouble(DECODING)
        self._said = answer.text
        return answer

    async def _send(self, run: Run, request: bytes) -> None:
        if self._wire is None:
            raise Trouble(SERVER_DOWN)
        try:
            await self._wire.send(request, self._patience(run))
        except WireFailed:
            self._close()
            raise Trouble(SERVER_DOWN) from None

    async def _receive(self, run: Run) -> codec.Message:
        while True:
            try:
                size = codec.whole(self._ahead)
                if size is not None and len(self._ahead) >= size:
                    data, self._ahead = self._ahead[:size], self._ahead[size:]
                    run.budget.spend(10 + size // 16)
                    return codec.decode(data)
                if self._wire is None:
                    raise Trouble(SERVER_DOWN)
                piece = await self._wire.receive(65536, self._patience(run))
            except codec.Unreadable:
                self._close()
                raise Trouble(DECODING) from None
            except WireFailed:
                self._close()
                raise Trouble(TIMEOUT) from None
            if not piece:
                self._close()
                raise Trouble(SERVER_DOWN)
            self._ahead += piece

    async def _ready(self, run: Run) -> None:
        """Connect, if need be. Raises Trouble."""
        if self._wire is not None:
            return
        for scheme, host, port in self._places:
            for address in await _addresses(run, host):
                try:
                    request = WireRequest("stream", address, port, None, self._patience(run))
                    self._wire, self._host = await run.world.connect(request), host
                    if scheme == "ldaps":
                        await self._encrypt()
                    return
                except (WireFailed, Trouble) as failure:
                    run.world.log("notice", "ldap", id=run.message_id, address=address, reason=str(failure))
                    self._close()
        raise Trouble(SERVER_DOWN)

    async def _encrypt(self) -> None:
        if self._wire is None:
            raise Trouble(SERVER_DOWN)
        verify = self._options["tls_verify_peer"] is not False
        options = TLSOptions(sni=self._host, names=(self._host,) if verify else (), verify=verify)
        self._ahead = b""
        try:
            self._certificate = await self._wire.encrypt(options, 30.0)
        except WireFailed:
            self._close()
            raise Trouble(CONNECT) from None


def _place(uri: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URI. Raises FlowError."""
    try:
        parts = urlsplit(uri)
        port = parts.port or (636 if parts.scheme == "ldaps" else 389)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
        raise FlowError(f'LDAP: "{shown(uri)[:60]}" is no ldap:// or ldaps:// address')
    return parts.scheme, parts.hostname, port


async def _addresses(run: Run, host: str) -> list[str]:
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    found: list[str] = []
    try:
        found += (await run.world.query(host, "a")).names
        found += (await run.world.query(host, "aaaa")).names
    except DNSUnavailable:
        if not found:
            raise Trouble(SERVER_DOWN) from None
    return found[:5]


class Query:
    """A search that may have several pages."""

    def __init__(self, base: str, scope: str, filter_: str, attributes: list[str]) -> None:
        self.base, self.scope, self.filter, self.attributes = base, scope, filter_, attributes
        self.page = 0


class LDAPResult:
    """What a search found, one entry after the other: `while ($entry = $result->next()) …`."""

    class_name: ClassVar[str] = "LDAPResult"

    def __init__(self, connection: LDAP, query: Query, number: int) -> None:
        self._connection, self._query, self._number = connection, query, number
        self._entries = self._octets = 0
        self._over = False

    @method
    async def next(self, run: Run) -> Array | bool | None:
        """The next entry: ["dn" => its name, attribute => [values, …], …]; false at the end, none on an error."""
        while not self._over:
            try:
                message = await self._connection.answer(run, self._number)
                if message.kind == codec.ENTRY:
                    return self._entry(run, message)
                if message.kind == codec.REFERENCE:
                    continue
                if message.kind != codec.DONE:
                    raise Trouble(DECODING)
                if message.code:
                    raise Trouble(message.code)
                self._over = not message.cookie
                if message.cookie:
                    self._number = await self._connection.start(run, self._query, message.cookie)
            except Trouble as trouble:
                self._over = True
                self._connection._code = trouble.code  # noqa: SLF001  # the two are one thing to a script
                return None
        return False

    def _entry(self, run: Run, message: codec.Message) -> Array:
        self._entries += 1
        self._octets += len(message.dn) + sum(len(value) for _, values in message.attributes for value in values)
        if self._entries > ENTRIES or self._octets > OCTETS:
            raise FlowError(f"LDAP: a search of more than {ENTRIES} entries or {OCTETS >> 20} MiB")
        run.budget.spend(1 + sum(len(values) for _, values in message.attributes))
        entry = Array({"dn": from_bytes(message.dn)})
        for name, values in message.attributes:
            entry.put(from_bytes(name), Array.of(map(from_bytes, values)))
        return entry
