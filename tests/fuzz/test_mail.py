"""Every parser of the mail floor: any bytes parse or raise MailError, in time linear in their size."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail import (
    addresses,
    arc,
    dkim,
    dmarc,
    domainkeys,
    encoded_words,
    mime,
    names,
    policy_records,
    results_reader,
    spf,
)
from flowengine.mail.addresses.words import decode_words
from flowengine.mail.canonical import canonical_body, canonical_fields
from flowengine.mail.dkim.signature import parse_arc_seal
from flowengine.mail.dkim.tags import emptied, parse_tags
from flowengine.mail.dmarc.record import report_uri
from flowengine.mail.dns import Answer, DNSUnavailable, RecordType
from flowengine.mail.errors import MailError
from flowengine.mail.evaluation import Evaluation
from flowengine.mail.headers import Field, Headers, parse
from flowengine.mail.keys import PrivateKey, PublicKey
from flowengine.mail.message import Message
from flowengine.mail.mime import parameters
from flowengine.mail.mime.structure import Structure, index
from flowengine.mail.spf.macros import parse_domain_spec, parse_macro_string


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def structure(data: bytes) -> Structure:
    block = parse(data)
    return index(data, block, Headers(block.fields))


def field(name: bytes, data: bytes) -> Field:
    return Field(name, name + b":" + data)


def body(form: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        message = Message(b"A: b\r\n\r\n" + data)
        return list(canonical_body(message.body, "relaxed" if form == "relaxed" else "simple"))

    return read


PARSERS: dict[str, Callable[[bytes], object]] = {
    "header block": parse,
    "message": lambda data: Message(data).fields,
    "MIME structure": lambda data: list(structure(data).root.walk()),
    "MIME parameters": parameters.parse,
    "base64": lambda data: mime.encodings.decode(data, "base64"),
    "quoted-printable": lambda data: mime.encodings.decode(data, "quoted-printable"),
    "encoded words": encoded_words.decode,
    "encoded words of a name": lambda data: decode_words([f"=?utf-8?q?{text(data).replace('?', '')}?="]),
    "relaxed fields": lambda data: canonical_fields([field(b"a", data)], "relaxed"),
    "relaxed body": body("relaxed"),
    "simple body": body("simple"),
    "tag list": parse_tags,
    "emptied tag": emptied,
    "DKIM signature": lambda data: dkim.parse_signature(field(b"dkim-signature", data)),
    "ARC message signature": lambda data: dkim.parse_signature(field(b"arc-message-signature", data), arc=True),
    "ARC seal": lambda data: parse_arc_seal(field(b"arc-seal", data)),
    "ARC chain": lambda data: arc.collect([field(b"arc-authentication-results", data), field(b"arc-seal", data)]),
    "DKIM key record": dkim.parse_record,
    "DomainKeys": lambda data: domainkeys.prepare(Message(b"DomainKey-Signature: " + data + b"\r\n\r\n")),
    "DMARC record": dmarc.parse,
    "report address": lambda data: report_uri(text(data)),
    "SPF record": lambda data: spf.parse(b"v=spf1 " + data),
    "SPF macros": lambda data: parse_macro_string(text(data), explanation=True),
    "SPF domain": lambda data: parse_domain_spec(text(data)),
    "MTA-STS record": policy_records.parse_sts_record,
    "MTA-STS policy": policy_records.parse_sts_policy,
    "TLS-RPT record": lambda data: policy_records.parse_tls_report_record(b"v=TLSRPTv1; " + data),
    "BIMI record": lambda data: policy_records.parse_bimi(b"v=BIMI1; " + data),
    "Authentication-Results": lambda data: results_reader.read(text(data)),
    "forged results": lambda data: results_reader.forged(field(b"authentication-results", data), "mx.example.net"),
    "address list": addresses.parse_list,
    "addresses": addresses.extract,
    "author": lambda data: addresses.from_domain([data]),
    "path": addresses.parse_path,
    "mailbox": addresses.parse_mailbox,
    "domain name": lambda data: names.to_ascii(text(data)),
    "private key": PrivateKey.parse,
    "public key": lambda data: PublicKey.parse("rsa", data),
}
TOKENS = b"""
v=DKIM1 v=1 a=rsa-sha256 d=example.org s=s1 h=from bh= b= i=1 cv=none p= k=rsa t=y ; = : , < > ( ) [ ] " | \\ @ . % {
} %{ir} %{ include: ip4:1.2.3.4 / // redirect= all - _ * =?utf-8?q? ?= =?x?b? mailto: https:// !10m From: To: a@b.example
Content-Type:multipart/mixed;boundary=x --x -- charset*0*= -----BEGIN\x20RSA\x20PRIVATE\x20KEY----- AAAA mx.example.net;
spf=pass none reason= STSv1 version: mx: \xff \xc3\xa9 \0
""".split()
WORDS = st.sampled_from([*TOKENS, b" ", b"\t", b"\r\n", b"\r\n ", b"\r", b"\n"])
ANYTHING = st.binary(max_size=200) | st.lists(WORDS, max_size=40).map(b"".join)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=40, deadline=None)
@given(data=ANYTHING)
def test_any_bytes_parse_or_are_a_mail_error(name: str, data: bytes) -> None:
    try:
        PARSERS[name](data)
    except MailError as error:
        assert len(str(error)) < 1000


class Anybody:
    """A resolver whose every name has records, hostile ones among them; or, now and then, no answer."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0

    async def query(self, name: str, kind: RecordType) -> Answer:
        self.asked += 1
        if self.asked % 7 == 6:
            raise DNSUnavailable(name, kind, "time-out")
        if kind != "txt":
            return Answer(exists=False)
        return Answer((self.data, b"v=DMARC1; p=reject;" + self.data, b"v=spf1 " + self.data))


@settings(max_examples=100, deadline=None)
@given(ANYTHING, ANYTHING, ANYTHING)
def test_any_message_and_any_records_have_a_verdict(head: bytes, rest: bytes, record: bytes) -> None:
    message = Message(b"DKIM-Signature: " + head + b"\r\nFrom: a@example.org\r\nARC-Seal: i=1;" + head + b"\r\n" + rest)
    one = Evaluation(
        message, Anybody(record), hostname="mx.example.net", standard="rfc9989", now=lambda: 0.0, sample=lambda: 0.0
    )
    found = asyncio.run(one.results("192.0.2.7", text(rest), text(head)))
    assert {result.method for result in found} >= {"spf", "dkim", "dmarc"}


SIZE = 20_000
PIECES = [
    b" ", b"\t", b"\r\n ", b"\r\n", b"\n", b"(", b"()", b"\"", b"\\", b"<", b"a@b.example, ", b"@", b".", b"a.", b",", b";",
    b"=", b"a=b;", b":", b"%", b"%{i}", b"=?utf-8?q?a?= ", b"=?", b"--x\r\n", b"/", b"\xc3\xa9", b"a", b"0", b"-", b"!1,",
    b"x: y\r\n", b"include:a.example ", b"*0*=a; a",
]  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
def test_time_is_linear_in_the_size(name: str) -> None:
    slow = []
    for piece in PIECES:
        data = piece * (SIZE // len(piece))
        start = time.process_time()
        with contextlib.suppress(MailError):
            PARSERS[name](data)
        took = time.process_time() - start
        if took > 1:  # what grows with the square takes minutes
            slow.append((piece, took))
    assert slow == []
