"""A small web server for tests on loopback: fixed answers by path, and misbehaviour on request.

Handlers get the request line and the header fields, and give status, fields and body, or raw octets; None closes.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Answer = tuple[int, dict[str, str], bytes] | bytes | None
Handler = Callable[[str, dict[str, str], bytes], Answer]


class WebServer:
    """What was asked, and where it listens."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def web_server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    web = WebServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        web.connections += 1
        try:
            while line := await reader.readline():
                fields: dict[str, str] = {}
                while (field := await reader.readline()).strip():
                    name, _, value = field.decode("latin-1").partition(":")
                    fields[name.lower()] = value.strip()
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                asked = line.decode("latin-1").rsplit(" ", 1)[0]
                web.requests.append((asked, fields, body))
                answer = handler(asked, fields, body)
                if answer is None:
                    return
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                    return
                status, extra, content = answer
                head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in extra.items())
                if "Transfer-Encoding" not in extra:
                    head += f"Content-Length: {len(content)}\r\n"
                writer.write(head.encode("latin-1") + b"\r\n" + content)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
