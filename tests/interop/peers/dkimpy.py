"""dkimpy: another DKIM in Python, with RSA and Ed25519 of its own."""

import base64
from collections.abc import Callable, Mapping

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from flowengine.mail.canonical import Canonicalization
from tests.interop.checks import Peer, expect
from tests.interop.dkim_keys import (
    DOMAIN,
    ED25519,
    PAIRS,
    RSA,
    ed25519_key,
    passes_ours,
    records,
    rsa_key,
    signed_by_us,
)
from tests.interop.messages import MESSAGES
from tests.interop.world import World

PEER = Peer("dkimpy")
_KINDS = [(selector, *pair) for selector in (RSA, ED25519) for pair in PAIRS]


@PEER.check("{0} {1}/{2}: our signatures verify in it", _KINDS)
def ours(world: World, selector: str, head: Canonicalization, body: Canonicalization) -> None:
    for name, message in MESSAGES.items():
        signed = signed_by_us(message, selector, head, body)
        expect(verified(signed, records()), f"{name}: it refuses our signature\n{signed[:800].decode('latin-1')}")
        expect(not verified(signed + b"More.\r\n", records()), f"{name}: it takes a changed message")


@PEER.check("{0} {1}/{2}: its signatures verify in ours", _KINDS)
def theirs(world: World, selector: str, head: Canonicalization, body: Canonicalization) -> None:
    for name, message in MESSAGES.items():
        passes_ours(signed_by_it(message, selector, head, body) + message, records(), name)


def signed_by_it(message: bytes, selector: str, head: Canonicalization, body: Canonicalization) -> bytes:
    """The signature field that dkimpy makes."""
    rsa = selector == RSA
    field: bytes = dkim.sign(
        message,
        selector.encode(),
        DOMAIN.encode(),
        rsa_key().pem() if rsa else _seed(),
        canonicalize=(head.encode(), body.encode()),
        signature_algorithm=b"rsa-sha256" if rsa else b"ed25519-sha256",
        include_headers=[
            b"from",
            b"to",
            b"subject",
            b"date",
            b"message-id",
            b"x-twice",
            b"x-twice",
            b"x-empty",
            b"from",
        ],
    )
    return field


def verified(message: bytes, texts: Mapping[str, str]) -> bool:
    """dkimpy's word on the first signature of a message."""
    return bool(dkim.verify(message, dnsfunc=_lookup(texts)))


def _seed() -> bytes:
    """The Ed25519 key in dkimpy's form: its seed in base64."""
    key = load_pem_private_key(ed25519_key().pem(), None)
    return base64.b64encode(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))


def _lookup(texts: Mapping[str, str]) -> Callable[..., bytes | None]:
    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        text = texts.get(name.decode().rstrip("."))
        return None if text is None else text.encode()

    return txt
