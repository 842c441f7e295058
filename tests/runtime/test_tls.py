"""TLS of the client as flows see it, and what a session forgets when it begins (RFC 3207 §4.2)."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from flowengine.builtins.certificates import X509
from flowengine.language.values import Array
from flowengine.mail.addresses import parse_path
from flowengine.runtime.session import Session
from flowengine.runtime.visit import Client, Connection, Transaction
from flowengine.services.received import received
from tests.runtime.stage import Stage, now


def certificate() -> X509:
    """One that nobody issued."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay.example.org")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(start).not_valid_after(start + timedelta(days=9999))
    return X509(builder.sign(key, hashes.SHA256()))


def tls(shown: X509 | None = None) -> dict[str, Any]:
    about: dict[str, Any] = {"protocol": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "keysize": 256}
    if shown is not None:
        about["peercert"] = Array({"x509": shown, "error": 0})
    return about


def heard(flow: str, about: dict[str, Any] | None, phase: str = "mailfrom") -> Any:
    """What a flow says with echo, as JSON."""

    async def main() -> Any:
        session = Stage().session({phase: flow})
        await now(session.helo("EHLO", "c"))
        if about is not None:
            session.encrypted(about)
            await now(session.helo("EHLO", "c"))
        await now(session.mail_from(parse_path("<a@example.org>"), {}))
        assert session.results[-1].error is None, session.results[-1].error
        return json.loads(session.results[-1].output[0])

    return asyncio.run(main())


def test_flows_see_protocol_cipher_and_certificate() -> None:
    assert heard('echo json_encode($connection["tls"] ?? "none");', None) == "none"
    assert heard('echo json_encode($connection["tls"]);', tls()) == tls()
    flow = '$c = $connection["tls"]["peercert"]; echo json_encode([$c["x509"]->subject(), $c["error"], $tlsstarted]);'
    assert heard(flow, tls(certificate())) == [{"CN": "relay.example.org"}, 0, True]


@pytest.mark.parametrize(("kind", "length"), [("md5", 32), ("sha1", 40), ("sha256", 64), ("sha512", 128)])
def test_a_certificate_is_known_by_its_fingerprint(kind: str, length: int) -> None:
    flow = f'$t = GetTLS(["fingerprint" => "{kind}"]); echo json_encode([$t["peer_cert"], $t["peer_cert_error"]]);'
    digest, error = heard(flow, tls(certificate()))
    assert len(digest) == length and set(digest) <= set("0123456789abcdef") and error == 0


def test_get_tls_says_what_there_is() -> None:
    assert heard("echo json_encode(GetTLS());", None) == {"started": False}
    cipher = tls()["cipher"]
    assert heard("echo json_encode(GetTLS());", tls()) == {**tls(), "started": True, "ciphers": cipher}
    assert heard('echo json_encode(GetTLS()["peer_cert"]->subject());', tls(certificate())) == {
        "CN": "relay.example.org"
    }


def test_what_was_said_before_tls_is_forgotten() -> None:
    flows = {
        "connect": '$context = ["came" => 1];',
        "helo": 'echo json_encode([$senderhelo, $context, $saslusername]); $context["said"] = $senderhelo;',
        "auth": "Accept();",
    }

    async def main() -> Session:
        session = Stage().session(flows)
        await now(session.connect())
        await now(session.helo("EHLO", "before"))
        await now(session.authenticate("PLAIN", "mallory", "x"))
        await now(session.helo("EHLO", "again"))
        session.encrypted(tls())
        assert session.connection.username is None and session.connection.helo is None
        await now(session.helo("EHLO", "after"))
        return session

    session = asyncio.run(main())
    said = [json.loads(run.output[0]) for run in session.results if run.phase == "helo"]
    assert said == [
        ["before", {"came": 1}, ""],
        ["again", {"came": 1, "said": "before"}, "mallory"],
        ["after", {"came": 1}, ""],
    ]


@pytest.mark.parametrize(
    ("secured", "user", "parameters", "word"),
    [
        (False, None, {}, "ESMTP"), (True, None, {}, "ESMTPS"), (False, "alice", {}, "ESMTPA"),
        (True, "alice", {}, "ESMTPSA"), (True, "alice", {"SMTPUTF8": ""}, "UTF8SMTPSA"),
    ],
)  # fmt: skip
def test_received_says_how_it_came(secured: bool, user: str | None, parameters: dict[str, str], word: str) -> None:
    connection = Connection(Client("192.0.2.7"), "inbound", "c", "EHLO", tls() if secured else None, user)
    transaction = Transaction("id", 0.0, None, parse_path("<a@example.org>"), parameters=parameters)  # type: ignore[arg-type]  # not asked
    field = received(connection, transaction, "mx", 0).decode()
    assert f" with {word} id " in field
    comment = "\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256 bits))\r\n"
    assert (comment in field) == secured
    assert all(line.startswith(("Received: ", "\t")) and len(line) < 100 for line in field.splitlines())
