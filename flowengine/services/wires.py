"""Connections for scripts (`Socket`, `TLSSocket`): within [network], in bounded time and number, encrypted when asked.

Each operation runs in a Task of its own, so that its time-out is right whoever waits for it. A wire that nobody holds
any more closes itself.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import cache
from typing import Any, TypeVar

from flowengine.runtime.services import TLSOptions, WireFailed, WireRequest
from flowengine.services.network import NetworkGuard

T = TypeVar("T")
_PIECE = 65536
_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


class GuardedWires:
    """The `Wires` of a worker. most: connections open at a time."""

    def __init__(self, guard: NetworkGuard, most: int = 500) -> None:
        self._guard, self._left = guard, most

    async def connect(self, request: WireRequest) -> "OpenWire":
        """A connection. Raises WireFailed."""
        if not self._guard.allows(request.address, request.address):
            raise WireFailed(errno.EACCES, f"[network] does not allow {request.address}")
        if self._left <= 0:
            raise WireFailed(errno.EMFILE, "scripts have too many connections open")
        family = socket.AF_INET6 if ":" in request.address else socket.AF_INET
        kind = socket.SOCK_STREAM if request.kind == "stream" else socket.SOCK_DGRAM
        try:
            plain = socket.socket(family, kind)
        except OSError as error:
            raise WireFailed(error.errno or errno.EIO, error.strerror or "no socket") from None
        self._left -= 1
        wire = OpenWire(plain, self._closed)
        try:
            await _in_time(lambda: wire.open(request), request.timeout)
        except BaseException:
            wire.close()
            raise
        return wire

    def _closed(self) -> None:
        self._left += 1


async def _in_time(work: Callable[[], Awaitable[T]], seconds: float) -> T:
    """The result of an operation. Raises WireFailed for every failure and when time is over."""

    async def whole() -> T:
        async with asyncio.timeout(seconds):
            return await work()

    try:
        return await asyncio.get_running_loop().create_task(whole(), context=Context())
    except TimeoutError:
        raise WireFailed(errno.ETIMEDOUT if seconds > 0 else errno.EAGAIN, "the time is over") from None
    except ssl.SSLError as error:
        raise WireFailed(1, error.reason or "TLS failed") from None
    except OSError as error:
        raise WireFailed(error.errno or errno.EIO, error.strerror or "the connection failed") from None


class OpenWire:
    """One connection, plain or encrypted."""

    def __init__(self, plain: socket.socket, closed: Callable[[], None]) -> None:
        plain.setblocking(False)
        self._plain, self._closed = plain, closed
        self._ahead = bytearray()  # looked at, not yet taken
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._open = True

    async def open(self, request: WireRequest) -> None:
        """Connect. Raises OSError."""
        if request.source is not None:
            self._plain.bind(request.source)
        await asyncio.get_running_loop().sock_connect(self._plain, (request.address, request.port))

    async def send(self, data: bytes, timeout_: float) -> int:
        """Send all bytes; how many. Raises WireFailed."""
        self._check()
        await _in_time(lambda: self._send(data), timeout_)
        return len(data)

    async def receive(self, most: int, timeout_: float, *, peek: bool = False, whole: bool = False) -> bytes:
        """The next bytes, b"" at the end. Raises WireFailed."""
        self._check()

        async def work() -> bytes:
            wanted = most if whole else 1
            while len(self._ahead) < wanted:
                piece = await self._receive(max(1, most - len(self._ahead)))
                if not piece:
                    break
                self._ahead += piece
            return bytes(self._ahead[:most])

        data = await _in_time(work, timeout_) if most > 0 else b""
        if not peek:
            del self._ahead[: len(data)]
        return data

    async def encrypt(self, options: TLSOptions, timeout_: float) -> bytes | None:
        """Begin TLS; the server's certificate in DER. Raises WireFailed."""
        self._check()
        if self._tls is not None:
            raise WireFailed(errno.EISCONN, "the connection is encrypted already")
        context = _context(options.protocols, options.verify, options.ciphers)
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=options.sni)
        if self._ahead:  # what came before the handshake belongs to it
            self._incoming.write(bytes(self._ahead))
            self._ahead.clear()
        await _in_time(lambda: self._driven(tls, tls.do_handshake), timeout_)
        if options.names and not any(_named(tls.getpeercert(binary_form=True), name) for name in options.names):
            raise WireFailed(1, "the certificate has none of the names")
        self._tls = tls
        return tls.getpeercert(binary_form=True)

    def shutdown(self, reading: bool, writing: bool) -> None:
        """End one direction or both. Raises WireFailed."""
        how = socket.SHUT_RDWR if reading and writing else socket.SHUT_RD if reading else socket.SHUT_WR
        try:
            self._plain.shutdown(how)
        except OSError as error:
            raise WireFailed(error.errno or errno.EIO, error.strerror or "not connected") from None

    def close(self) -> None:
        """End the connection."""
        if self._open:
            self._open = False
            self._plain.close()
            self._closed()

    def __del__(self) -> None:
        self.close()

    def _check(self) -> None:
        if not self._open:
            raise WireFailed(errno.EBADF, "the connection is closed")

    async def _send(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            await asyncio.get_running_loop().sock_sendall(self._plain, data)
            return
        for at in range(0, len(data), _PIECE):
            piece = data[at : at + _PIECE]
            await self._driven(tls, lambda piece=piece: tls.write(piece))  # type: ignore[misc]  # mypy and defaults

    async def _receive(self, most: int) -> bytes:
        tls = self._tls
        if tls is None:
            return await asyncio.get_running_loop().sock_recv(self._plain, most)
        try:
            data: bytes = await self._driven(tls, lambda: tls.read(most))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return data

    async def _driven(self, tls: ssl.SSLObject, step: Callable[[], Any]) -> Any:
        """Carry a step of TLS through, moving what it writes and what it waits for."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush(loop)
                data = await loop.sock_recv(self._plain, _PIECE)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._flush(loop)
                return result

    async def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._outgoing.pending:
            await loop.sock_sendall(self._plain, self._outgoing.read())


@cache
def _context(protocols: frozenset[str], verify: bool, ciphers: str | None) -> ssl.SSLContext:
    """The settings of TLS. Raises WireFailed for those that OpenSSL does not have."""
    known = [_VERSIONS[name] for name in _VERSIONS if name in protocols]
    if not known:
        raise WireFailed(errno.EINVAL, "no version of TLS is left")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    try:
        context.minimum_version, context.maximum_version = known[0], known[-1]
        if ciphers is not None:
            context.set_ciphers(ciphers)
    except (ssl.SSLError, ValueError) as error:
        raise WireFailed(errno.EINVAL, f"OpenSSL does not take this: {error}") from None
    return context


def _named(certificate: bytes | None, name: str) -> bool:
    """Whether a certificate is for a host name: a DNS name of it, with one * for its first label (RFC 6125 §6.4.3)."""
    from cryptography import x509

    if certificate is None:
        return False
    try:
        found = x509.load_der_x509_certificate(certificate)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    wanted = name.lower().rstrip(".")
    parent = wanted.partition(".")[2]
    given = [one.lower() for one in names.get_values_for_type(x509.DNSName)]
    return wanted in given or (parent != "" and f"*.{parent}" in given)
