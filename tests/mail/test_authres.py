"""Authentication-Results: written safely, read whatever comes, and fields in our name are found."""

import re
import time

import authres
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail.authentication_results import (
    MethodResult,
    Property,
    of_signature,
    received_spf,
    write,
)
from flowengine.mail.dkim import SignatureResult
from flowengine.mail.edits import make_field
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.mail.results_reader import forged, places_of_forged, read

SPF = MethodResult("spf", "pass", properties=(Property("smtp", "mailfrom", "joe@example.org"),))
DKIM = MethodResult(
    "dkim", "fail", "body hash did not verify",
    (
        Property("header", "d", "example.org"), Property("header", "i", "@example.org"),
        Property("header", "b", "ab/c+d=="),
    ),
    "2048-bit key",
)  # fmt: skip


def test_results_as_they_are_written() -> None:
    assert write("mx.example.net", [SPF, DKIM]) == (
        "mx.example.net;\r\n\tspf=pass smtp.mailfrom=joe@example.org;\r\n"
        '\tdkim=fail (2048-bit key) reason="body hash did not verify"\r\n'
        '\t header.d=example.org header.i=@example.org header.b="ab/c+d=="'
    )
    assert write("mx.example.net", []) == "mx.example.net;\r\n\tnone"
    assert write("mx.example.net", [], fold=False) == "mx.example.net; none"


def test_the_text_is_that_of_authres() -> None:
    theirs = authres.AuthenticationResultsHeader(
        authserv_id="mx.example.net",
        results=[
            authres.AuthenticationResult(
                ours.method, result=ours.result, result_comment=ours.comment or None, reason=ours.reason or None,
                properties=[authres.AuthenticationResultProperty(*p) for p in ours.properties],
            )
            for ours in (SPF, DKIM)
        ],
    )  # fmt: skip
    assert write("mx.example.net", [SPF, DKIM], fold=False) == theirs.header_value()


EVIL = st.text('ab@.;="\\()\r\n\t\0 é\x85\xa0\u2028', max_size=30)


@settings(max_examples=300, deadline=None)
@given(EVIL, EVIL, EVIL, EVIL)
def test_what_is_written_stays_in_place_and_reads_back(authserv_id: str, reason: str, comment: str, value: str) -> None:
    result = MethodResult("dkim", "pass", reason, (Property("header", "i", value),), comment)
    for fold in (True, False):
        text = write(authserv_id, [SPF, result], fold=fold)
        make_field("Authentication-Results", text)  # raises if a line could leave the field
        found = read(text.replace("\r\n", ""))
        assert [(r.method, r.result) for r in found.results] == [("spf", "pass"), ("dkim", "pass")]
        plain = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", value)
        assert found.results[1].property("header", "i") == plain
        assert found.authserv_id == re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", authserv_id)


@pytest.mark.parametrize("word", ["", "a b", "pass\r\nX: y", "pass;", "é", "a=b", "-"])
def test_words_are_keywords_or_refused(word: str) -> None:
    with pytest.raises(MailError):
        write("mx", [MethodResult(word, "pass")])
    with pytest.raises(MailError):
        write("mx", [MethodResult("spf", word)])


@pytest.mark.parametrize(
    ("text", "authserv_id", "results"),
    [
        ("mx.example.org; none", "mx.example.org", []),
        ("mx.example.org 1; spf=pass", "mx.example.org", [("spf", "pass")]),
        ("(c (d) e) mx.example.org (x); dkim=pass (a; b=c)", "mx.example.org", [("dkim", "pass")]),
        (
            "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=a.example; dkim=none",
            "",
            [("spf", "pass"), ("dkim", "none")],
        ),
        ("mx; dkim/1 = pass header.i = @a", "mx", [("dkim", "pass")]),
        ("mx; dkim (c) / (c) 1 (c) = (c) pass", "mx", [("dkim", "pass")]),
        ("mx 1; none", "mx", []),
        (
            "mx;\r\n\tspf=pass\r\n\t smtp.mailfrom=a@b.example;\r\n\tdkim=pass",
            "mx",
            [("spf", "pass"), ("dkim", "pass")],
        ),
        ("mx; dkim=pass; dkim=fail; dkim=pass", "mx", [("dkim", "pass"), ("dkim", "fail"), ("dkim", "pass")]),
        ("mx; dkim=pass header.d=a.example. ; spf=fail", "mx", [("dkim", "pass"), ("spf", "fail")]),
        ("mx; iprev=pass policy.iprev=192.0.2.1 (a.example)", "mx", [("iprev", "pass")]),
        ("mx; dkim=pass (open", "mx", [("dkim", "pass")]),
        ('mx; dkim=pass reason="open; spf=fail', "mx", [("dkim", "pass")]),
        ("mx;;; dkim; =x; spf=PASS", "mx", [("spf", "pass")]),
        ('"mx.example.org"; spf=pass', "mx.example.org", [("spf", "pass")]),
        ("", "", []),
    ],
)
def test_results_as_they_are_read(text: str, authserv_id: str, results: list[tuple[str, str]]) -> None:
    found = read(text)
    assert found.authserv_id == authserv_id
    assert [(result.method, result.result) for result in found.results] == results


def test_properties_are_read_with_and_without_quotes() -> None:
    result = read('mx; bimi=pass header.x=https://a.example/?b=c&d (c) policy.p="a \\" b" reason="so; what"').results[0]
    assert result.property("header", "x") == "https://a.example/?b=c&d"
    assert result.property("policy", "p") == 'a " b'
    assert result.property("policy", "q") is None
    assert (result.reason, result.comment) == ("so; what", "c")
    result = read("mx; spf=pass smtp . mailfrom = joe@a.example. smtp (c) .(c) helo=h policy.x=1").results[0]
    assert [(p.kind, p.name, p.value) for p in result.properties] == [
        ("smtp", "mailfrom", "joe@a.example."), ("smtp", "helo", "h"), ("policy", "x", "1"),
    ]  # fmt: skip
    assert read("mx; spf=pass smtp.mailfrom=jö@é.example").results[0].property("smtp", "mailfrom") == "jö@é.example"
    assert read('mx; dkim=pass header.i="a b"@example.org').results[0].property("header", "i") == "a b@example.org"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=100) | EVIL)
def test_any_text_is_read(text: str) -> None:
    read(text)


@pytest.mark.parametrize("piece", ["(", '"', "\\", '"\\', "a=", "; a=b", "(a)", "a ", " \r\n"])
def test_hostile_results_are_read_in_linear_time(piece: str) -> None:
    read("mx; a=b " + piece * 50_001)


@pytest.mark.parametrize("start", ["", "mx.example.net; ", "other.example; "])
@pytest.mark.parametrize("piece", ["(x)", '"x"', "spf=pass x.y=z; ", "a . "])
def test_a_megabyte_of_results_is_judged_at_once(piece: str, start: str) -> None:
    field = Message(f"Authentication-Results: {start}{piece * (1_000_000 // len(piece))}\r\n\r\n".encode()).headers[0]
    began = time.process_time()
    assert forged(field, "mx.example.net") is start.startswith("mx")
    assert len(read(field.value.decode()).results) < 5000
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (b" mx.example.net; dkim=pass", True),
        (b" MX.Example.NET ; dkim=pass", True),
        (b" (hi) mx.example.net (there) 1; dkim=pass", True),
        (b' "mx.example.net"; dkim=pass', True),
        (b" mx.example.net.; dkim=pass", True),
        (b"\r\n\tmx.example.net;\r\n\tdkim=pass", True),
        (b" mx.example.net/1; dkim=pass", True),
        (b" mx.example.net", True),
        (b" (mx.example.net; dkim=pass", True),
        (b" mx.example.org; dkim=pass (mx.example.net)", False),
        (b" notmx.example.net; dkim=pass", False),
        (b" example.net; dkim=pass", False),
        (b" spf=pass smtp.mailfrom=a.example", False),
        (b"", False),
    ],
)
def test_fields_in_our_name_are_found(value: bytes, ours: bool) -> None:
    message = Message(b"Authentication-Results:" + value + b"\r\n\r\n")
    assert forged(message.headers[0], "mx.example.net") is ours
    assert places_of_forged(message.headers, "mx.example.net") == ([0] if ours else [])


def test_our_name_is_found_in_any_script() -> None:
    for value in ("münchen.example", "MÜNCHEN.example", "xn--mnchen-3ya.example"):
        field = Message(f"Authentication-Results: {value}; spf=pass\r\n\r\n".encode()).headers[0]
        assert forged(field, "München.example")
        assert forged(field, "xn--mnchen-3ya.example")
    assert not forged(Message(b"X-Other: mx.example.net; spf=pass\r\n\r\n").headers[0], "mx.example.net")


def test_a_signature_becomes_a_result() -> None:
    result = SignatureResult(
        "example.org", "s1", "joe@example.org", "rsa-sha256", "pass", "", 2048, True, tags={"b": "AbC\r\n dEfGhIjK"}
    )
    assert str(of_signature(result)) == (
        "dkim=pass (2048-bit key, testing) header.d=example.org header.i=joe@example.org header.s=s1"
        " header.a=rsa-sha256 header.b=AbCdEfGh"
    )
    broken = SignatureResult("", 'x"; spf=pass', "", "", "permerror", "d= is missing")
    assert [r.method for r in read(write("mx", [of_signature(broken)])).results] == ["dkim"]


def test_received_spf_as_it_is_written() -> None:
    text = received_spf(
        "pass", receiver="mx.example.net", client_ip="192.0.2.1", envelope_from="joe@example.org", helo="a b\r\nX: y",
        comment="mx.example.net: (ok)",
    )  # fmt: skip
    assert text == (
        "pass (mx.example.net: \\(ok\\)) receiver=mx.example.net; identity=mailfrom; client-ip=192.0.2.1; "
        'envelope-from="joe@example.org"; helo="a b X: y"'
    )
    assert received_spf("none", receiver="mx", client_ip="2001:db8::1", envelope_from="", helo="h") == (
        'none receiver=mx; identity=mailfrom; client-ip="2001:db8::1"; helo=h'
    )
