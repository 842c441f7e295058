"""Socket and TLSSocket: connections of a script to a server, within [network].

A method that fails returns none, and `errno()` says why. What a server answers is a fact of the run; what is sent is
not, for it may hold a password.
"""

import errno as errors
from collections.abc import Sequence
from ipaddress import ip_address
from typing import ClassVar, Literal

from flowengine.builtins.certificates import X509
from flowengine.builtins.run import Run
from flowengine.language.functions import Text
from flowengine.language.natives import method
from flowengine.language.problems import FlowError
from flowengine.runtime.services import TLSOptions, WireFailed, WireRequest
from flowengine.runtime.world import HeardWire

TIMEOUT = 30.0  # seconds, unless settimeout says otherwise
MAX_RECEIVED = 1 << 20  # bytes of one recv
_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_OLD = ("SSLv2", "SSLv3")
Family = Literal["AF_INET", "AF_INET6", "AF_UNIX"]
Kind = Literal["SOCK_STREAM", "SOCK_DGRAM"]
Flag = Literal["MSG_PEEK", "MSG_WAITALL", "MSG_DONTWAIT"]


def _family(address: str) -> Family | None:
    try:
        return "AF_INET6" if ip_address(address).version == 6 else "AF_INET"
    except ValueError:
        return None


class Socket:
    """A connection: `Socket("AF_INET", "SOCK_STREAM")`."""

    class_name: ClassVar[str] = "Socket"

    @method
    def __init__(self, family: Family, type_: Kind) -> None:
        """A socket that is not connected yet. family: AF_INET, AF_INET6 or AF_UNIX. type: SOCK_STREAM or SOCK_DGRAM."""
        self._of, self._type = family, type_
        self._source: tuple[str, int] | None = None
        self._error = 0
        self.timeout = TIMEOUT
        self.wire: HeardWire | None = None

    @staticmethod
    @method(name="AF")
    def family_of(address: str) -> Family | None:
        """The family of an address, AF_INET or AF_INET6; none for what is no address."""
        return _family(address)

    @method
    def bind(self, address: str, port: int = 0, *, nonlocal_: bool = False) -> "Socket | None":
        """Say from which address and port to connect. The option nonlocal is not supported. The socket, or none."""
        if nonlocal_ or _family(address) != self._of or not 0 <= port < 65536:
            self._error = errors.EINVAL
            return None
        self._source = (address, port)
        return self

    @method
    async def connect(self, run: Run, address: str, port: int = 0) -> "Socket | None":
        """Connect to an address of this family and a port. The socket, or none.

        Sockets of this machine (AF_UNIX) lie outside what [network] can allow: they always give none, EACCES.
        """
        if self._of == "AF_UNIX":
            self._error = errors.EACCES
            return None
        if _family(address) != self._of or not 0 < port < 65536:
            self._error = errors.EINVAL
            return None
        kind: Literal["stream", "datagram"] = "stream" if self._type == "SOCK_STREAM" else "datagram"
        try:
            self.wire = await run.world.connect(WireRequest(kind, address, port, self._source, self.timeout))
        except WireFailed as failure:
            self._error = failure.code
            run.world.log("notice", "socket", id=run.message_id, address=address, port=port, reason=str(failure))
            return None
        return self

    @method
    async def send(self, run: Run, data: bytes) -> int | None:
        """Send data. How many bytes were sent, or none."""
        run.budget.grow(len(data))
        if self.wire is None:
            self._error = errors.ENOTCONN
            return None
        try:
            return await self.wire.send(data, self.timeout)
        except WireFailed as failure:
            self._error = failure.code
            return None

    @method
    async def recv(self, run: Run, length: int, flags: Flag | None = None) -> bytes | None:
        """Receive up to so many bytes, at most 1 MiB; "" when the server has closed. Data, or none.

        flags: MSG_PEEK leaves the data there, MSG_WAITALL waits for all of it, MSG_DONTWAIT does not wait.
        """
        if self.wire is None or length < 0:
            self._error = errors.ENOTCONN if self.wire is None else errors.EINVAL
            return None
        most = min(length, MAX_RECEIVED)
        seconds = 0.0 if flags == "MSG_DONTWAIT" else self.timeout
        run.budget.spend(1 + (most >> 8))
        try:
            return await self.wire.receive(most, seconds, peek=flags == "MSG_PEEK", whole=flags == "MSG_WAITALL")
        except WireFailed as failure:
            self._error = failure.code
            return None

    @method
    def settimeout(self, run: Run, timeout: float) -> "Socket":
        """How many seconds an operation may take, by default 30; at most [limits] script_time. The socket."""
        most = run.settings.limits.script_time
        self.timeout = min(timeout, most) if timeout > 0 else most
        return self

    @method
    def shutdown(self, how: Literal["SHUT_RD", "SHUT_WR", "SHUT_RDWR"]) -> "Socket | None":
        """End receiving (SHUT_RD), sending (SHUT_WR) or both (SHUT_RDWR). The socket, or none."""
        if self.wire is None:
            self._error = errors.ENOTCONN
            return None
        try:
            self.wire.shutdown(how != "SHUT_WR", how != "SHUT_RD")
        except WireFailed as failure:
            self._error = failure.code
            return None
        return self

    @method
    def close(self) -> "Socket":
        """End the connection. The socket."""
        if self.wire is not None:
            self.wire.close()
            self.wire = None
        return self

    @method
    def errno(self) -> int:
        """The number of the last error, as in errno.h: 13 not allowed, 110 time-out, 111 refused. 0 for none."""
        return self._error


class TLSSocket:
    """A connection with TLS over a connected Socket: `TLSSocket($socket, ["tls_sni" => "host"])`."""

    class_name: ClassVar[str] = "TLSSocket"

    @method
    def __init__(
        self,
        socket: Socket,
        *,
        tls_protocols: str = "!SSLv2,!SSLv3",
        tls_ciphers: str | None = None,
        tls_verify_name: Sequence[Text] = (),
        tls_verify_ca: bool = False,
        tls_default_ca: bool = False,
        tls_sni: Text | None = None,
        tls_client_cert: str | None = None,
    ) -> None:
        """Options: tls_protocols, tls_ciphers, tls_verify_name (names), tls_verify_ca, tls_sni. The system's
        authorities are always known (tls_default_ca); tls_client_cert is not supported.
        """
        if tls_client_cert is not None:
            raise FlowError("TLSSocket: the option tls_client_cert is not supported")
        self._socket = socket
        protocols = _protocols(tls_protocols)
        self._options = TLSOptions(tls_sni, tuple(tls_verify_name), tls_verify_ca, protocols, tls_ciphers)
        self._certificate: bytes | None = None
        self._ready = False
        self._error = 0

    @method
    async def handshake(self) -> "TLSSocket | None":
        """Begin TLS. The socket, or none when the server does not answer or its certificate is refused."""
        if self._ready:
            return self
        wire = self._socket.wire
        if wire is None:
            self._error = errors.ENOTCONN
            return None
        try:
            self._certificate = await wire.encrypt(self._options, self._socket.timeout)
        except WireFailed as failure:
            self._error = failure.code
            return None
        self._ready = True
        return self

    @method
    async def send(self, run: Run, data: bytes) -> int | None:
        """Send data, after a handshake if there was none. How many bytes were sent, or none."""
        run.budget.grow(len(data))
        wire = await self._encrypted()
        try:
            return None if wire is None else await wire.send(data, self._socket.timeout)
        except WireFailed as failure:
            self._error = failure.code
            return None

    @method
    async def recv(self, run: Run, length: int) -> bytes | None:
        """Receive up to so many bytes, at most 1 MiB, after a handshake if there was none. Data, or none."""
        most = min(max(0, length), MAX_RECEIVED)
        run.budget.spend(1 + (most >> 8))
        wire = await self._encrypted()
        try:
            return None if wire is None else await wire.receive(most, self._socket.timeout)
        except WireFailed as failure:
            self._error = failure.code
            return None

    async def _encrypted(self) -> HeardWire | None:
        return self._socket.wire if self._ready or await self.handshake() is not None else None

    @method
    def shutdown(self) -> int | None:
        """End the TLS connection. 1, or none when there is none."""
        if self._socket.wire is None or not self._ready:
            return None
        self._socket.close()
        return 1

    @method
    def errno(self) -> int:
        """The number of the last error: as for Socket, or 1 for what TLS refused. 0 for none."""
        return self._error

    @method
    def getpeerx509(self) -> X509 | None:
        """The certificate of the server, or none before the handshake."""
        return None if self._certificate is None else X509.read(self._certificate)


def _protocols(text: str) -> frozenset[str]:
    """The versions of TLS that a list such as "!SSLv3,!TLSv1" or "TLSv1.2,TLSv1.3" means."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word.removeprefix("!") not in (*_VERSIONS, *_OLD):
            raise FlowError(f'TLSSocket: there is no protocol "{word[:20]}"')
    wanted = {word for word in words if not word.startswith("!")} or {"TLSv1.2", "TLSv1.3"}
    return frozenset(wanted - {word[1:] for word in words if word.startswith("!")} - set(_OLD))
