"""HTTP for flows: answers, bounds, [network], and errors that keep secrets."""

import asyncio
import datetime
import ssl
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from flowengine.runtime.services import HTTPRequest, HTTPResponse, HTTPUnavailable
from flowengine.services import http_transport
from flowengine.services.fakes import FakeCounters
from flowengine.services.http import GuardedHTTP
from flowengine.services.network import NetworkGuard
from tests.services.web_server import Answer, web_server

pytestmark = pytest.mark.anyio

LOOPBACK = [ip_network("127.0.0.0/8")]


def client(allow: list = LOOPBACK, **options: object) -> GuardedHTTP:  # type: ignore[type-arg]  # networks and names
    return GuardedHTTP(NetworkGuard(allow), int(options.get("in_flight", 10)), FakeCounters())  # type: ignore[call-overload]  # an int


async def get(http: GuardedHTTP, url: str, method: str = "GET", **options: object) -> HTTPResponse:
    return await http.request(HTTPRequest(method, url, **options))  # type: ignore[arg-type]  # the options of the request


async def refusal(http: GuardedHTTP, url: str, **options: object) -> str:
    with pytest.raises(HTTPUnavailable) as caught:
        await get(http, url, **options)
    return str(caught.value)


def ok(asked: str, fields: dict[str, str], body: bytes) -> Answer:
    return 200, {"X-Asked": asked}, body or b"hello"


async def test_an_answer_is_status_fields_and_body() -> None:
    async with web_server(ok) as web:
        http = client()
        found = await get(
            http, web.url("/a?b=c%20d"), "POST", body=b"\x00x", headers=(("X-A", "1"), ("Host", "k.example"))
        )
        assert found.status == 200 and found.body == b"\x00x"
        assert ("X-Asked", "POST /a?b=c%20d") in found.headers
        _, fields, _ = web.requests[0]
        assert (fields["x-a"], fields["host"], fields["accept-encoding"]) == ("1", "k.example", "identity")
        await http.close()


async def test_connections_are_kept() -> None:
    async with web_server(ok) as web:
        http = client()
        for _ in range(5):
            await get(http, web.url())
        assert web.connections == 1
        await http.close()


@pytest.mark.parametrize("status", [204, 301, 404, 500])
async def test_every_status_is_an_answer(status: int) -> None:
    async with web_server(lambda *_: (status, {"Location": "/x"}, b"")) as web:
        assert (await get(client(), web.url())).status == status


@pytest.mark.parametrize(
    "answer, told",
    [
        (None, "the answer is not HTTP"),
        (b"220 smtp.example ESMTP\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n", "more than 1000"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, "more than 1000 octets"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000, "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer is not HTTP"),
    ],
)
async def test_what_is_no_answer(answer: bytes | None, told: str) -> None:
    async with web_server(lambda *_: answer) as web:
        assert told in await refusal(client(), web.url(), max_size=1000)


async def test_a_compressed_answer_is_not_opened() -> None:
    async with web_server(lambda *_: (200, {"Content-Encoding": "gzip"}, b"not gzip")) as web:
        assert (await get(client(), web.url())).body == b"not gzip"


async def test_a_slow_answer_is_given_up() -> None:
    never = asyncio.Event()
    server = await asyncio.start_server(lambda r, w: never.wait(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    http = client(in_flight=1)
    told = await refusal(http, f"http://127.0.0.1:{port}/", timeout=0.1)
    assert told == f"GET http://127.0.0.1:{port}: no answer within 0.1 s"
    waiting = [asyncio.create_task(refusal(http, f"http://127.0.0.1:{port}/", timeout=0.2)) for _ in range(3)]
    assert all("no answer within" in one for one in await asyncio.gather(*waiting))
    server.close()
    never.set()


async def test_a_refused_connection_is_told() -> None:
    async with web_server(ok) as web:
        pass
    await asyncio.sleep(0)
    assert "no connection: " in await refusal(client(), web.url())


async def test_who_goes_away_takes_the_call_with_him() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100_000)
        asked.set()
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    http = client()
    call = asyncio.create_task(get(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
    await asyncio.wait_for(asked.wait(), 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(gone.wait(), 10)
    server.close()


# -- redirects --------------------------------------------------------------------------------------------------------


async def test_redirects_are_followed_as_far_as_asked() -> None:
    def hop(asked: str, fields: dict[str, str], body: bytes) -> Answer:
        number = int(asked.rsplit("/", 1)[1])
        return (302, {"Location": f"/{number - 1}"}, b"") if number else (200, {}, asked.encode())

    async with web_server(hop) as web:
        http = client()
        assert (await get(http, web.url("/3"))).status == 302
        assert (await get(http, web.url("/3"), redirects=3)).body == b"GET /0"
        assert "more than 2 redirects" in await refusal(http, web.url("/3"), redirects=2)
        assert "more than 20 redirects" in await refusal(http, web.url("/99"), redirects=-1)
        assert (await get(http, web.url("/1"), "POST", body=b"x", redirects=1)).body == b"GET /0"


async def test_a_redirect_keeps_method_and_body_when_it_says_so() -> None:
    def hop(asked: str, fields: dict[str, str], body: bytes) -> Answer:
        return (308, {"Location": "/b"}, b"") if asked.endswith("/a") else (200, {}, asked.encode() + body)

    async with web_server(hop) as web:
        assert (await get(client(), web.url("/a"), "POST", body=b"!", redirects=1)).body == b"POST /b!"


async def test_secrets_do_not_follow_a_redirect_to_another_origin() -> None:
    async with web_server(ok) as other:
        async with web_server(lambda *_: (302, {"Location": other.url()}, b"")) as web:
            secret = (("Authorization", "Bearer s"), ("X-Api-Key", "s"), ("Accept", "a/b"))
            await get(client(), web.url(), redirects=1, headers=secret)
        _, fields, _ = other.requests[0]
        assert "authorization" not in fields and "x-api-key" not in fields and fields["accept"] == "a/b"


async def test_a_redirect_to_a_place_that_is_not_allowed_is_refused() -> None:
    async with web_server(lambda *_: (302, {"Location": "http://169.254.169.254/latest/"}, b"")) as web:
        told = await refusal(client(), web.url(), redirects=5)
        assert "[network] does not allow 169.254.169.254" in told


# -- [network] --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])  # noqa: S104  # nothing is bound
async def test_this_machine_is_out_of_reach_by_every_name(host: str) -> None:
    async with web_server(ok) as web:
        assert "[network] does not allow" in await refusal(client(allow=[]), web.url(host=host))
        assert web.requests == []


@pytest.mark.parametrize(
    "address, allowed",
    [
        ("192.0.2.1", True),
        ("10.0.0.1", True),
        ("2001:db8::1", True),
        ("fd00::1", True),
        ("127.8.8.8", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("0.0.0.0", False),  # noqa: S104  # nothing is bound
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:192.0.2.1", True),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::c000:201", True),
        ("2002:7f00:1::", False),
        ("no address", False),
    ],
)
async def test_where_scripts_may_connect(address: str, allowed: bool) -> None:
    assert NetworkGuard().allows("host.example", address) is allowed


async def test_what_the_configuration_names_is_allowed() -> None:
    guard = NetworkGuard([ip_network("127.0.0.1/32"), "intra.example"], ["https://API.example:8443/x", None])
    assert guard.allows("x.example", "127.0.0.1") and not guard.allows("x.example", "127.0.0.2")
    assert guard.allows("Intra.Example", "127.0.0.2") and guard.allows("api.example", "::1")
    assert NetworkGuard(urls=["http://[::1]:80/"]).allows("::1", "::1")


async def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that says one thing when asked first and another when asked again gains nothing."""
    asked: list[str] = []
    async with web_server(ok) as web:

        def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            asked.append(host)
            address = "203.0.113.9" if len(asked) == 1 else "127.0.0.1"
            return [(0, 0, 0, "", (address, port))]

        monkeypatch.setattr(http_transport.socket, "getaddrinfo", getaddrinfo)
        told = await refusal(client(allow=[]), web.url(host="rebind.example"), timeout=0.3, connect_timeout=0.3)
        assert "no answer" in told or "no connection" in told
        assert asked == ["rebind.example"] and web.requests == []


async def test_a_name_keeps_its_place_in_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web_server(ok) as web:
        addresses = [(0, 0, 0, "", ("127.0.0.1", web.port))]
        monkeypatch.setattr(http_transport.socket, "getaddrinfo", lambda *_, **__: addresses)
        await get(client(allow=["keys.example"]), web.url(host="keys.example"))
        assert web.requests[0][1]["host"] == f"keys.example:{web.port}"


# -- TLS --------------------------------------------------------------------------------------------------------------


def certificate(directory: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = directory / "tls.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + built.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    (directory / "ca.pem").write_bytes(built.public_bytes(pem))
    return context, directory / "ca.pem"


async def test_certificates_are_checked_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, authority = certificate(tmp_path, "keys.example")
    async with web_server(ok, server) as web:
        addresses = [(0, 0, 0, "", ("127.0.0.1", web.port))]
        monkeypatch.setattr(http_transport.socket, "getaddrinfo", lambda *_, **__: addresses)
        good, bad = web.url(host="keys.example", scheme="https"), web.url(host="other.example", scheme="https")
        assert "the certificate is not good: self-signed" in await refusal(client(), good)
        assert (await get(client(), good, verify_peer=False)).status == 200
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert (await get(client(), good)).status == 200
        assert "the certificate is not good: Hostname mismatch" in await refusal(client(), bad)
        assert (await get(client(), bad, verify_host=False)).status == 200


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, headers",
    [
        ("http://user:s3cret@127.0.0.1:1/s3cret?key=s3cret", ()),
        ("http://127.0.0.1:1/", (("Authorization", "Bearer s3cret\r\nX: y"),)),
        ("http://127.0.0.1:1/", (("Authorization s3cret", "x"),)),
        ("ftp://s3cret@127.0.0.1/", ()),
        ("http://[s3cret/", ()),
        ("http://127.0.0.1:99999/s3cret", ()),
        ("s3cret", ()),
        ("http:///s3cret", ()),
        ("http://é/s3cret", ()),
        ("http://127.0.0.1:1/", (("A", "s3cret\u20ac"),)),
    ],
)
async def test_no_error_shows_more_than_the_origin(url: str, headers: tuple[tuple[str, str], ...]) -> None:
    assert "s3cret" not in await refusal(client(), url, headers=headers)


async def test_calls_are_counted() -> None:
    counters = FakeCounters()
    http = GuardedHTTP(NetworkGuard(LOOPBACK), 10, counters)
    async with web_server(ok) as web:
        await get(http, web.url())
    await refusal(http, "ftp://x/")
    assert counters.sums == {
        ("http_calls", (("result", "answered"),)): 1,
        ("http_calls", (("result", "unavailable"),)): 1,
    }


async def test_a_call_from_an_address_of_its_own() -> None:
    async with web_server(ok) as web:
        http = client()
        assert (await get(http, web.url(), source_address="127.0.0.1")).status == 200
        assert "no connection" in await refusal(http, web.url(), source_address="192.0.2.77", timeout=1)
