"""HTTP for flows: within [network], in bounded time and size, and with errors that show no secret.

Each call runs in a Task of its own, because httpx wants one and a run may have none. Redirects are ours: each new place
is checked like the first, and what was meant for one origin is not sent to another.
"""

import asyncio
import ssl
from contextvars import Context
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from flowengine.runtime.services import Counters, HTTPRequest, HTTPResponse, HTTPUnavailable
from flowengine.services.network import NetworkGuard

if TYPE_CHECKING:
    import httpx

MOST_REDIRECTS = 20
_KEPT = 20  # idle connections of one kind
_OPEN_FIELDS = {"accept", "accept-language", "content-type", "user-agent"}
"""Header fields that may go with a redirect to another origin; whatever else a flow sets may be a secret."""

_Kind = tuple[bool, bool]


class GuardedHTTP:
    """The `HTTPClient` of a worker. in_flight: calls at a time; further ones wait, within their time-out."""

    def __init__(self, guard: NetworkGuard, in_flight: int, counters: Counters) -> None:
        self._guard = guard
        self._places = asyncio.Semaphore(in_flight)
        self._counters = counters
        self._clients: dict[_Kind, httpx.AsyncClient] = {}
        self._contexts: dict[_Kind, ssl.SSLContext] = {}

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        """The answer, whatever its status. Raises HTTPUnavailable."""
        call = asyncio.get_running_loop().create_task(self._call(request), context=Context())
        outcome = await call
        self._counters.increment(
            "http_calls", result="answered" if isinstance(outcome, HTTPResponse) else "unavailable"
        )
        if isinstance(outcome, HTTPResponse):
            return outcome
        raise HTTPUnavailable(outcome)

    async def close(self) -> None:
        """Close the connections that are kept."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.aclose()

    async def _call(self, request: HTTPRequest) -> HTTPResponse | str:
        """The answer, or why there is none."""
        told = f"{request.method[:20]} {_origin(request.url)}"
        import httpcore
        import httpx

        try:
            async with asyncio.timeout(request.timeout):
                async with self._places:
                    return await self._followed(request)
        except TimeoutError:
            return f"{told}: no answer within {request.timeout:g} s"
        except HTTPUnavailable as error:
            return f"{told}: {error}"
        except (httpx.ConnectTimeout, httpcore.ConnectTimeout):
            return f"{told}: no connection within {request.connect_timeout:g} s"
        except (httpx.ConnectError, httpcore.ConnectError) as error:
            return f"{told}: no connection: {_reason(error)}"
        except (httpx.RemoteProtocolError, httpcore.RemoteProtocolError):
            return f"{told}: the answer is not HTTP"
        except (httpx.LocalProtocolError, httpcore.LocalProtocolError):
            return f"{told}: a header field or the method is not allowed in HTTP"  # its text would show the value
        except Exception as error:  # noqa: BLE001  # the flow hears "not now" whatever the library makes of a hostile answer
            return f"{told}: {type(error).__name__}"

    async def _followed(self, request: HTTPRequest) -> HTTPResponse:
        """The answer at the end of the redirects."""
        method, url, body = request.method, request.url, request.body
        headers = list(request.headers)
        most = MOST_REDIRECTS if request.redirects < 0 else min(request.redirects, MOST_REDIRECTS)
        for left in range(most, -1, -1):
            answer = await self._once(request, method, url, headers, body)
            location = next((value for name, value in answer.headers if name.lower() == "location"), None)
            if answer.status not in (301, 302, 303, 307, 308) or location is None or most == 0:
                return answer
            if left == 0:
                break
            target = urljoin(url, location)
            if _origin(target) != _origin(url):
                headers = [(name, value) for name, value in headers if name.lower() in _OPEN_FIELDS]
            if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):  # RFC 9110 §15.4
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
                headers = [(name, value) for name, value in headers if not name.lower().startswith("content-")]
            url = target
        raise HTTPUnavailable(f"more than {most} redirects")

    async def _once(
        self, request: HTTPRequest, method: str, url: str, headers: list[tuple[str, str]], body: bytes | None
    ) -> HTTPResponse:
        import httpx

        if not url.isascii() or urlsplit(url).scheme not in ("http", "https"):
            raise HTTPUnavailable("not an http:// or https:// address")
        client = await self._client(request)
        try:
            fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            # Compressed answers could grow beyond every bound in one step: none is asked for, none is opened.
            fields += [(b"Accept-Encoding", b"identity")]
            timeout = httpx.Timeout(request.timeout, connect=request.connect_timeout)
            asked = client.build_request(method, url, headers=fields, content=body, timeout=timeout)
            answer = await client.send(asked, stream=True)
            try:
                return HTTPResponse(answer.status_code, _fields(answer), await _body(answer, request.max_size))
            finally:
                await answer.aclose()
        except httpx.InvalidURL:
            raise HTTPUnavailable("not an address") from None
        except UnicodeError:
            raise HTTPUnavailable("a header field is not bytes") from None
        finally:
            if request.source_address is not None:
                await client.aclose()

    async def _client(self, request: HTTPRequest) -> "httpx.AsyncClient":
        """The client for the TLS rules of a call; one of its own when it comes from an address of its own."""
        import httpx

        from flowengine.services.http_transport import GuardedTransport, tls_context

        kind = request.verify_peer, request.verify_peer and request.verify_host
        if request.source_address is None and (known := self._clients.get(kind)) is not None:
            return known
        context = self._contexts.get(kind)
        if context is None:
            context = self._contexts.setdefault(kind, await asyncio.to_thread(tls_context, *kind))
        transport = GuardedTransport(self._guard, context, request.source_address, _KEPT)
        client = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
        client.headers = httpx.Headers({"User-Agent": "flowengine", "Accept": "*/*"})
        return client if request.source_address is not None else self._clients.setdefault(kind, client)


async def _body(answer: "httpx.Response", most: int) -> bytes:
    """The body, of `most` octets at most. Raises HTTPUnavailable."""
    declared = answer.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > most and answer.request.method != "HEAD":
        raise HTTPUnavailable(f"the answer has {declared} octets, more than {most}")
    parts, size = [], 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > most:
            raise HTTPUnavailable(f"the answer has more than {most} octets")
        parts.append(part)
    return b"".join(parts)


def _fields(answer: "httpx.Response") -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers.raw)


def _origin(url: str) -> str:
    """Scheme, host and port of an address: what may be shown of it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "a broken address"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}"[:200]


def _reason(error: BaseException) -> str:
    """What the system says about a connection that failed; certificates get their own word."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"the certificate is not good: {seen.verify_message}"
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return str(error)[:200] or type(error).__name__
