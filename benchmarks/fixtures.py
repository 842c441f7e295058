"""The messages and keys of the benchmarks: the same bytes on every machine, a new key each time."""

import random
from functools import cache

from flowengine.mail.dkim import Seal, sealed
from flowengine.mail.keys import PrivateKey
from flowengine.mail.message import Message

DOMAIN, SELECTOR = "example.com", "bench"
SENDER, RECIPIENT = f"sender@{DOMAIN}", "rcpt@dest.example.net"
NOW = 1_767_225_600.0
SIZES = {"2 KB": 2 << 10, "50 KB": 50 << 10, "1 MB": 1 << 20, "20 MB": 20 << 20}


@cache
def key() -> PrivateKey:
    """The RSA-2048 key of bench._domainkey.example.com."""
    return PrivateKey.generate("rsa", 2048)


@cache
def zone() -> dict[str, str]:
    """The TXT records of the sender's domain."""
    return {
        f"{SELECTOR}._domainkey.{DOMAIN}": key().record(),
        f"_dmarc.{DOMAIN}": "v=DMARC1; p=reject; adkim=s; aspf=s",
        DOMAIN: "v=spf1 ip4:127.0.0.0/8 -all",
    }


@cache
def plain(size: int) -> bytes:
    """A text message of about so many octets."""
    head = (
        f"From: Bench Sender <{SENDER}>\r\nTo: Bench Recipient <{RECIPIENT}>\r\nSubject: Quarterly figures\r\n"
        "Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <fixture@example.com>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    ).encode()
    block = _text(min(size, 1 << 16))
    body = block * ((size - len(head)) // len(block) + 1)
    return head + body[: size - len(head) - 2].rstrip() + b"\r\n"


def _text(size: int) -> bytes:
    chance = random.Random(size)  # noqa: S311 — the same text every time
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(800)]
    lines: list[str] = []
    length = 0
    while length < size:
        line = " ".join(chance.choices(words, k=10)).capitalize() + "." if chance.random() > 0.06 else ""
        lines.append(line)
        length += len(line) + 2
    return "\r\n".join(lines).encode() + b"\r\n"


def seal() -> Seal:
    """How the benchmarks sign: relaxed/relaxed, the recommended header fields."""
    return Seal(selector=SELECTOR, domain=DOMAIN, key=key())


@cache
def signed(size: int) -> bytes:
    """The same message with a signature."""
    return sealed(Message(plain(size)), seal(), NOW).render()
