"""`DKIMSign` and keys: every form a key comes in, told at once when it cannot be used, and never shown.

What leaves is in tests/runtime/test_seals.py.
"""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from flowengine.services.keys import KeyRing
from tests.runtime.stage import Stage, key

RSA = load_pem_private_key(key("forms").pem(), None)
ED = key("forms", "ed25519")
assert isinstance(RSA, rsa.RSAPrivateKey)


def pem(form: PrivateFormat) -> str:
    assert isinstance(RSA, rsa.RSAPrivateKey)
    return RSA.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


SEED = load_pem_private_key(ED.pem(), None).private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())  # type: ignore[call-arg]  # Ed25519
USABLE = {
    "PKCS#1": pem(PrivateFormat.TraditionalOpenSSL),
    "PKCS#8": pem(PrivateFormat.PKCS8),
    "line ends as environment variables have them": pem(PrivateFormat.PKCS8).replace("\n", "\\n"),
    "space around": f"\n  {pem(PrivateFormat.PKCS8)}\n\n",
    "DER in base64": base64.b64encode(RSA.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode(),
    "Ed25519": ED.pem().decode(),
    "Ed25519 seed in base64": base64.b64encode(SEED).decode(),
}
UNUSABLE = {
    "empty": "",
    "text": "no key at all",
    "half": pem(PrivateFormat.PKCS8)[:400],
    "another curve": ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    "encrypted": RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode(),
    "512 bits": "MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEA",
    "huge": "A" * 100_000,
    "no configuration key": "pki:nosuch",
    "nothing behind the prefix": "pki:",
}  # fmt: skip


def sign(text: str) -> tuple[Stage, tuple[str, ...], tuple[str, ...]]:
    """What DKIMSign says of a key, and why not."""
    on = Stage(parts={}, settings={})
    on.keys = {}
    quoted = text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    run = on.one(f'echo DKIMSign("s1", "example.org", "{quoted}");')
    assert run.error is None, run.error
    return on, run.output, run.unsigned


@pytest.mark.parametrize("text", USABLE.values(), ids=USABLE)
def test_a_key_is_known_in_every_form(text):
    on, output, unsigned = sign(text)
    assert (output, unsigned) == (("true",), ())
    assert b"DKIM-Signature: v=1; a=" in on.outbox.left[0][1]


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_key_is_false_with_a_reason_that_quotes_nothing(text):
    on, output, (reason,) = sign(text)
    assert output == ("false",) and reason.startswith("example.org: ")
    for line in text.split("\n"):
        assert len(line) < 20 or line[:20] not in reason
    assert b"DKIM-Signature" not in on.outbox.left[0][1]


def test_a_text_is_read_once():
    class Counting(KeyRing):
        read = 0

        def parse(self, text: str):  # type: ignore[no-untyped-def]  # as KeyRing
            type(self).read += 1
            return super().parse(text)

    from dataclasses import replace

    on = Stage()
    on.made = replace(on.services, keys=Counting())
    text = USABLE["Ed25519"].replace("\n", "\\n")
    on.data(f'DKIMSign("s1", "example.org", "{text}");', recipients=[f"{n}@example.net" for n in range(5)])
    assert Counting.read == 1 and len(on.outbox.left) == 5


@pytest.mark.parametrize(
    ("selector", "domain"),
    [("", "example.org"), ("s 1", "example.org"), ("s1", ""), ("s1", "example..org"), ("s1", "exa;mple.org"),
     ("s1\\r\\nX: y", "example.org"), ("a" * 64, "example.org"), ("s1", "@example.org")],
)  # fmt: skip
def test_names_that_cannot_stand_in_a_signature_are_refused_at_once(selector, domain):
    on = Stage(keys={"k": ED})
    run = on.one(f'echo DKIMSign("{selector}", "{domain}", "pki:k");')
    assert run.output == ("false",) and len(run.unsigned) == 1


def test_u_labels_become_a_labels():
    on = Stage(keys={"k": ED})
    on.data('DKIMSign("s1", "B\u00fccher.example", "pki:k");')
    assert b"d=xn--bcher-kva.example; s=s1;" in on.outbox.left[0][1]


def test_the_message_of_a_null_sender_is_signed_too():
    on = Stage(keys={"k": ED})
    on.data('DKIMSign("s1", FromDomain(), "pki:k");', sender="")
    assert on.outbox.left[0][1].startswith(b"DKIM-Signature")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("", "subject:to:from:from"),
        ('["profile" => "minimal"]', "from:from"),
        ('["profile" => "lists"]', "subject:to:from:from"),
        (
            '["profile" => "strict"]',
            "subject:to:from:from:to:cc:subject:date:message-id:reply-to:mime-version:content-type:content-transfer-encoding",
        ),
        ('["profile" => "strict", "oversign_headers" => ["from"]]', "subject:to:from:from"),
        ('["profile" => "minimal", "additional_headers" => ["Subject"]]', "subject:from:from"),
        ('["profile" => "minimal", "headers" => ["From", "To"]]', "from:to:from"),
    ],
)
def test_a_profile_says_what_is_signed(options, names):
    on = Stage(keys={"example": key("example")})
    extra = ', ["return_header" => true, ' + options[1:] if options else ', ["return_header" => true]'
    (shown,) = on.echoed(f'echo DKIMSign("s1", "example.org", "pki:example"{extra});')
    assert "".join(shown.split()).partition("h=")[2].partition(";")[0] == names
