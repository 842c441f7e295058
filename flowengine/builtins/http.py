"""Calling web servers, and taking URLs apart.

A call goes through the world and so obeys [network], limits and time-outs. Secrets may stand in the URL, the header
and the body; facts and log show only their fingerprints.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote_from_bytes, urlsplit

from flowengine.builtins.run import Run, grown
from flowengine.language.functions import Builtin, builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import fingerprint, shown_string, text
from flowengine.language.values import Array, Function, Value, from_bytes, from_text, to_bytes, truth
from flowengine.runtime.services import HTTPRequest, HTTPResponse, HTTPUnavailable

MAX_REDIRECTS = 20
MAX_RETRIES = 5
TIMEOUT = 30.0  # HSL waits for ever unless told otherwise; a message cannot
_METHOD = re.compile(r"[A-Za-z]{1,20}")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")  # RFC 9110 §5
_PLACEHOLDER = re.compile(r"\$([1-9][0-9]?)")
_UNSAFE = re.compile(r"[^!-~]")
_FORM = ("Content-Type", "application/x-www-form-urlencoded")
Post = str | Array | Function | None


@builtin(options_at=1, reveals=True)
async def http(
    run: Run,
    url: str,
    get: Sequence[Value] = (),
    post: Post = None,
    *,
    extended_result: bool = False,
    response_headers: bool = False,
    method: str = "",
    headers: Sequence[str] = (),
    connect_timeout: float = 10,
    timeout_: float = TIMEOUT,
    max_file_size: float | None = None,
    redirects: int = 0,
    sourceip: str | None = None,
    tls_verify_peer: bool = True,
    tls_verify_host: bool = False,
    tls_default_ca: bool = False,
    ssl_verify_peer: bool | None = None,
    ssl_verify_host: bool | None = None,
    ssl_default_ca: bool | None = None,
    background: bool = False,
    background_hash: int = 0,
    background_retry_count: int = 0,
    background_retry_delay: float = 0,
    sourceipid: str | None = None,
    tls_client_cert: str | None = None,
    proxy: str | None = None,
    unix_socket_path: str | None = None,
) -> str | bool | dict[str, Value] | None:
    """Call a web server. The options come second; `http(url, 15, get, post)` with a time-out is understood as well.

    url: http or https; $1, $2, … stand for the items of get, URL-encoded.
    get: values for the URL.
    post: an array is sent as a form, a string as it is, a function is called until it returns "".
    extended_result: result with status and content, whatever the status.
    response_headers: content begins with the header of the response, whatever the status.
    method: GET, or POST with a body, unless said otherwise. headers: a list of "Name: value".
    connect_timeout, timeout: seconds. max_file_size: bytes of the response; a longer one is a failure.
    redirects: how many are followed, -1 for 20.
    sourceip: the address to call from.
    tls_verify_peer: check the certificate. tls_verify_host: and its name. ssl_…: older names of the tls_… options.
    background: the result says only whether the call was made; with background_retry_count up to 5 further attempts,
        background_retry_delay seconds apart.
    tls_default_ca, background_hash: taken for old scripts. The system's authorities are always known.
    sourceipid, tls_client_cert, proxy, unix_socket_path: not supported, an error.

    Returns the content when the status is 2xx, else none; none also when there is no answer.

        http("http://api.example.net/");  // "hello"
        http("http://api.example.net/?user=$1", [], ["alice@example.net"]);  // "{\\"allowed\\":true}"
        http("http://api.example.net/absent");  // none
        http("http://api.example.net/absent", ["extended_result" => true])["status"];  // 404
        http("http://api.example.net/form", [], [], ["a" => "b"]);  // "made"
    """
    _refuse(sourceipid=sourceipid, tls_client_cert=tls_client_cert, proxy=proxy, unix_socket_path=unix_socket_path)
    body = _body(run, post)
    fields = _fields(run, headers)
    if fields is None or not _METHOD.fullmatch(method or "GET"):
        return None
    if body is not None and not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(_FORM)
    address, shown_address = _address(url, get)
    limit = run.settings.limits.script_value_size
    request = HTTPRequest(
        method=method.upper() or ("GET" if body is None else "POST"),
        url=address,
        headers=tuple(fields),
        body=body,
        connect_timeout=_seconds(connect_timeout, 10.0),
        timeout=_seconds(timeout_, TIMEOUT),
        max_size=limit if max_file_size is None or not 0 <= max_file_size < limit else int(max_file_size),
        redirects=MAX_REDIRECTS if redirects < 0 else min(redirects, MAX_REDIRECTS),
        verify_peer=tls_verify_peer if ssl_verify_peer is None else ssl_verify_peer,
        verify_host=tls_verify_host if ssl_verify_host is None else ssl_verify_host,
        source_address=sourceip,
        shown_url=shown_address,
    )
    if background:
        retries = min(max(0, background_retry_count), MAX_RETRIES)
        return await _in_background(run, request, retries, _seconds(background_retry_delay, 0.0))
    response = await _response(run, request)
    return None if response is None else _result(run, response, extended_result, response_headers)


def _with_time_out(plain: Builtin) -> None:
    """Let a number stand in the place of the options, which in dialect A is the time-out."""
    call = plain.call

    def either(run: Run, url: Value, options: Value = None, *rest: Value) -> Value:
        if isinstance(options, (int, float)) and not isinstance(options, bool):
            options = Array({"timeout": options})
        return call(run, url, options, *rest)

    plain.__dict__["call"] = either


_with_time_out(http.__dict__["builtins"][0])


def _refuse(**unsupported: str | None) -> None:
    for name, value in unsupported.items():
        if value is not None:
            raise FlowError(f"http: the option {name} is not supported")


async def _response(run: Run, request: HTTPRequest) -> HTTPResponse | None:
    try:
        return await run.world.request(request)
    except HTTPUnavailable as error:
        address = request.shown_url or request.url.partition("?")[0]
        run.world.log("notice", "http", id=run.message_id, url=address, reason=str(error))
        return None


async def _in_background(run: Run, request: HTTPRequest, retries: int, delay: float) -> bool | None:
    """Make the call for its effect. It is made before the script goes on: nothing may outlive the run's record."""
    for attempt in range(retries + 1):
        if attempt and delay:
            await run.world.sleep(delay)
        response = await _response(run, request)
        if response is not None and 200 <= response.status < 300:
            return True
    return None


def _result(run: Run, response: HTTPResponse, extended: bool, with_header: bool) -> str | dict[str, Value] | None:
    run.budget.grow(len(response.body))
    content = from_bytes(response.body)
    if with_header:
        lines = [f"HTTP/1.1 {response.status}", *(f"{name}: {value}" for name, value in response.headers)]
        content = from_text("\r\n".join(lines)) + "\r\n\r\n" + content
    if extended:
        return {"status": response.status, "content": content}
    return content if with_header or 200 <= response.status < 300 else None


def _seconds(value: float, default: float) -> float:
    return float(value) if 0 < value < 3600 else default


def _address(url: str, get: Sequence[Value]) -> tuple[str, str]:
    """The URL with its values, and what may be shown of it: "" when it holds no secret."""
    values = [text(value) for value in get]
    hidden = [shown_string(value) is not value for value in values]

    def filled(encoded: Sequence[str], pattern: str) -> str:
        def one(place: re.Match[str]) -> str:
            index = int(place[1]) - 1
            return encoded[index] if index < len(encoded) else place[0]

        return _UNSAFE.sub(lambda found: f"%{ord(found[0]) & 255:02X}", _PLACEHOLDER.sub(one, pattern))

    complete = filled([_encoded(value) for value in values], str(url))
    if shown_string(url) is not url:
        return complete, fingerprint(url)  # the secret may be any part of it
    if not any(hidden):
        return complete, ""
    return complete, filled([fingerprint(v) if h else _encoded(v) for v, h in zip(values, hidden, strict=True)], url)


def _encoded(value: str) -> str:
    return quote_from_bytes(to_bytes(value), safe="")


def _fields(run: Run, headers: Sequence[str]) -> list[tuple[str, str]] | None:
    fields = []
    for header in headers:
        found = _HEADER.fullmatch(header.rstrip("\r\n"))
        if found is None:
            run.warn('http: a header that is not "Name: value" on one line; the call was not made')
            return None
        fields.append((found[1], found[2]))
    return fields


_PIECE = 65536  # bytes that a body function is asked for


def _body(run: Run, post: Post) -> bytes | None:
    if post is None or isinstance(post, str):
        return None if post is None else to_bytes(post)
    if isinstance(post, Array):
        pairs = (f"{_encoded(text(name))}={_encoded(text(value))}" for name, value in post.items())
        body = "&".join(pairs)
        run.budget.grow(len(body))
        return body.encode("ascii")
    made = bytearray()
    while truth(piece := post(_PIECE)):
        if not isinstance(piece, str):
            raise FlowError("http: the function that gives the body returns strings")
        grown(run, len(made), len(piece))
        made += to_bytes(piece)
    return bytes(made)


@builtin
def url_parse(url: str) -> Mapping[str, str | int] | None:
    """The parts of a URL: schema, username, password, hostname, port, path, query, fragment. What it lacks is left out.

    Returns none for what is no URL.

        url_parse("https://example.net:80/v1?q=1")["port"];  // 80
        url_parse("/v1#top");  // ["path" => "/v1", "fragment" => "top"]
        url_parse("http://[");  // none
    """
    if len(url) > 65536 or _UNSAFE.search(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    found: dict[str, str | int | None] = {
        "schema": parts.scheme,
        "username": parts.username,
        "password": parts.password,
        "hostname": parts.hostname,
        "port": port,
        "path": parts.path,
        "query": parts.query,
        "fragment": parts.fragment,
    }
    return {name: value for name, value in found.items() if value is not None and value != ""}
