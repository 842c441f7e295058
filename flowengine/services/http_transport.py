"""The connections behind http.py: names are resolved here, and only addresses that [network] allows are connected to.

TLS still asks for the name that the flow gave and checks certificates against it. Imported with the first call.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpcore
import httpx

from flowengine.runtime.services import HTTPUnavailable
from flowengine.services.network import NetworkGuard

_RESOLVERS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="getaddrinfo")


class GuardedTransport(httpx.AsyncBaseTransport):
    """A pool of connections of one kind."""

    def __init__(self, guard: NetworkGuard, context: ssl.SSLContext, source_address: str | None, keep: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=keep,
            keepalive_expiry=15.0,
            retries=0,
            local_address=source_address,
            network_backend=_GuardedBackend(guard),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises what httpcore raises, and HTTPUnavailable for a place that is not allowed."""
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101  # an AsyncClient makes no other
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=dict(answer.extensions)
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, guard: NetworkGuard) -> None:
        self._guard = guard
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await _resolved(host, port)
        except TimeoutError:
            raise HTTPUnavailable(f"the address of {host} could not be found in time") from None
        allowed = [address for address in addresses if self._guard.allows(host, address)]
        if not allowed:
            raise HTTPUnavailable(f"[network] does not allow {host} ({', '.join(addresses[:3])})")
        for last in (index == len(allowed) - 1 for index in range(len(allowed))):
            address = allowed.pop(0)
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if last:
                    raise
        raise HTTPUnavailable(f"no address of {host} answers")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _resolved(host: str, port: int) -> list[str]:
    """The addresses of a host: its own, else what the system finds in its hosts file and in DNS, each once."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(
            _RESOLVERS, lambda: socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        )
    except (OSError, UnicodeError):
        raise HTTPUnavailable(f"the address of {host} is not known") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def tls_context(verify_peer: bool, verify_host: bool) -> ssl.SSLContext:
    """The TLS rules of a call. Reads the system's certificates for tens of milliseconds: call it in a thread."""
    places = ssl.get_default_verify_paths()
    cafile = None
    if not (places.cafile or (places.capath and any(Path(places.capath).iterdir()))):
        import certifi  # comes with httpx; a machine without certificates of its own gets Mozilla's

        cafile = certifi.where()
    context = ssl.create_default_context(cafile=cafile)
    context.check_hostname = verify_peer and verify_host
    if not verify_peer:
        context.verify_mode = ssl.CERT_NONE
    return context
