"""Calling web servers: what is sent, what comes back, what may be seen of it."""

import pytest
from standing import Standing, Words

from flowengine.builtins import http
from flowengine.language.problems import BudgetExceeded, FlowError
from flowengine.language.values import Array, Function, Secret
from flowengine.runtime.services import HTTPResponse

API = "http://api.example.net"


@pytest.fixture
def run():
    return Standing()


@pytest.fixture
def words(run):
    return Words(http, run=run)


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ((f"{API}/",), "hello"),
        ((f"{API}/", {}, [], None), "hello"),
        ((f"{API}/", 15), "hello"),
        ((f"{API}/", 15, [], None), "hello"),
        ((f"{API}/absent",), None),
        ((f"{API}/nothing",), None),
        ((f"{API}/nothing", {"extended_result": True}), None),
        ((f"{API}/absent", {"extended_result": True}), {"status": 404, "content": "not here"}),
        ((f"{API}/absent", {"response_headers": True}), "HTTP/1.1 404\r\nX-Why: gone\r\n\r\nnot here"),
        ((f"{API}/form", {"method": "POST"}), "made"),
        ((f"{API}/form", {"method": "P OST"}), None),
        ((f"{API}/form", {}, [], "raw"), "made"),
        ((f"{API}/", {"background": True}), True),
        ((f"{API}/absent", {"background": True, "background_retry_count": 2}), None),
    ],
)
def test_a_call_gives(words, arguments, result):
    assert words.http(*arguments) == result


@pytest.mark.parametrize(
    ("url", "get", "asked"),
    [
        ("/?a=$1&b=$2", ["x y", "\xc3\xbc&"], "/?a=x%20y&b=%C3%BC%26"),
        ("/$2/$1/$1", ["a", "b"], "/b/a/a"),
        ("/$1$3$0", ["a"], "/a$3$0"),
        ("/$12", ["a"], "/$12"),
        ("/?a=$1", ["$2", "x"], "/?a=%242"),
        ("/a b\xfc\r\n", [], "/a%20b%FC%0D%0A"),
        ("/$1", [5], "/5"),
        ("/$1", {"user": "a"}, "/a"),
    ],
)
def test_placeholders_are_encoded_once(run, words, url, get, asked):
    words.http(API + url, {}, get)
    assert run.web.requests[0].url == API + asked


def test_a_form_is_sent_as_one(run, words):
    words.http(f"{API}/form", {"headers": ["X-A: 1", "x-b:2"]}, [], {"a b": "\xc3\xbc", "n": 1})
    request = run.web.requests[0]
    assert (request.method, request.body) == ("POST", b"a%20b=%C3%BC&n=1")
    form = ("Content-Type", "application/x-www-form-urlencoded")
    assert request.headers == (("X-A", "1"), ("x-b", "2"), form)
    words.http(f"{API}/form", {"headers": ["content-type: application/json"]}, [], "{}")
    assert run.web.requests[1].headers == (("content-type", "application/json"),)


def test_a_function_gives_the_body_piece_by_piece(run, words):
    pieces = ["a", "b", ""]
    words.http(f"{API}/form", {}, [], Function("next", lambda size: pieces.pop(0)))
    assert run.web.requests[0].body == b"ab"
    with pytest.raises(BudgetExceeded):
        words.http(f"{API}/form", {}, [], Function("endless", lambda size: "x" * size))
    with pytest.raises(FlowError, match="strings"):
        words.http(f"{API}/form", {}, [], Function("odd", lambda size: 1))


@pytest.mark.parametrize("header", ["no colon", "A: b\r\nBcc: c", "A: b\n\tc", "A b: c", ": c", "A: \x00"])
def test_a_header_that_is_more_than_one_is_not_sent(run, words, header):
    assert words.http(f"{API}/", {"headers": [header]}) is None
    assert run.web.requests == []
    assert run.warnings


def test_options_become_the_request(run, words):
    options = {
        "connect_timeout": 2,
        "timeout": 3,
        "max_file_size": 10,
        "redirects": -1,
        "sourceip": "192.0.2.1",
        "ssl_verify_peer": False,
        "ssl_verify_host": True,
        "tls_default_ca": True,
        "method": "put",
    }
    words.http(f"{API}/", options)
    request = run.web.requests[0]
    assert (request.method, request.connect_timeout, request.timeout) == ("PUT", 2, 3)
    assert (request.max_size, request.redirects, request.source_address) == (10, 20, "192.0.2.1")
    assert (request.verify_peer, request.verify_host) == (False, True)


def test_limits_hold_whatever_the_options_say(run, words):
    words.http(f"{API}/", {"timeout": 1e9, "connect_timeout": -1, "max_file_size": 1e15, "redirects": 10**6})
    request = run.web.requests[0]
    assert (request.timeout, request.connect_timeout, request.redirects) == (30, 10, 20)
    assert request.max_size == run.settings.limits.script_value_size


@pytest.mark.parametrize("option", ["sourceipid", "tls_client_cert", "proxy", "unix_socket_path"])
def test_what_is_not_supported_says_so(words, option):
    with pytest.raises(FlowError, match=option):
        words.http(f"{API}/", {option: "x"})


def test_an_option_that_does_not_exist_is_an_error(words):
    with pytest.raises(FlowError, match='did you mean "timeout"'):
        words.http(f"{API}/", {"time_out": 3})


@pytest.mark.parametrize(
    ("url", "get"),
    [
        (f"{API}/login?u=$1&p=$2", ["alice", Secret("hunter2")]),
        (Secret(f"{API}/login?u=alice&p=hunter2"), []),
        (Secret("http://alice:hunter2@api.example.net/login"), []),
    ],
)
def test_a_secret_in_a_url_reaches_the_server_and_nobody_else(run, words, url, get):
    words.http(url, {}, get)
    assert "hunter2" in run.web.requests[0].url
    assert not any("hunter2" in repr(fact) for fact in run.facts)
    assert run.lines.lines  # the call failed, and was logged
    assert not any("hunter2" in repr(line) for line in run.lines.lines)
    assert not any("hunter2" in warning for warning in run.warnings)


def test_secrets_may_stand_in_header_and_body(run, words):
    headers = Array.of([Secret("Authorization: Bearer hunter2")])
    words.http(f"{API}/form", {"headers": headers}, [], Secret("hunter2"))
    request = run.web.requests[0]
    assert request.headers[0] == ("Authorization", "Bearer hunter2")
    assert request.body == b"hunter2"
    assert not any("hunter2" in repr(fact) for fact in run.facts)


def test_a_repeated_run_calls_nobody(run, words):
    first = [words.http(f"{API}/"), words.http(f"{API}/nothing"), words.http(Secret(f"{API}/?t=1"))]
    again = run.again()
    there = Words(http, run=again)
    assert [there.http(f"{API}/"), there.http(f"{API}/nothing"), there.http(Secret(f"{API}/?t=1"))] == first
    assert again.web.requests == []


def test_a_large_answer_is_paid_for(run, words):
    run.web.pages[f"GET {API}/large"] = HTTPResponse(200, (), bytes(17 << 20))
    with pytest.raises(BudgetExceeded):
        words.http(f"{API}/large")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (
            "https://u:p@Example.net:8080/a/b?q=1&r#top",
            {
                "schema": "https", "username": "u", "password": "p", "hostname": "example.net", "port": 8080,
                "path": "/a/b", "query": "q=1&r", "fragment": "top",
            },
        ),
        ("mailto:a@example.net", {"schema": "mailto", "path": "a@example.net"}),
        ("http://[2001:db8::1]/", {"schema": "http", "hostname": "2001:db8::1", "path": "/"}),
        ("http://a:99999/", None),
        ("http://a b/", None),
        ("", []),
    ],
)  # fmt: skip
def test_the_parts_of_a_url(words, url, parts):
    assert words.url_parse(url) == parts
