"""The trace field that we put on top of every message we hand on (RFC 5321 §4.4)."""

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from flowengine.runtime.visit import Connection, Transaction

_NAME = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}").fullmatch


def received(connection: Connection, transaction: Transaction, hostname: str, now: float) -> bytes:
    """The Received field with its CRLF. now: Unix time in seconds."""
    helo = connection.helo or ""
    name = helo if _NAME(helo) else "unknown"
    ip = connection.client.ip
    client = f" ([{'IPv6:' if ':' in ip else ''}{ip}])" if ip else ""
    lines = (
        f"Received: from {name}{client}{_tls(connection)}",
        f"\tby {hostname} with {_protocol(connection, transaction)} id {transaction.id};",
        f"\t{_date(int(now))}",
    )
    return "\r\n".join(lines).encode("ascii", "replace") + b"\r\n"


def _tls(connection: Connection) -> str:
    """Version and cipher, as a comment that people read."""
    if connection.tls is None:
        return ""
    about = connection.tls
    return f"\r\n\t(using {about.get('protocol')} with cipher {about.get('cipher')} ({about.get('keysize')} bits))"


@lru_cache(maxsize=8)
def _date(now: int) -> str:
    return format_datetime(datetime.fromtimestamp(now, UTC))


def _protocol(connection: Connection, transaction: Transaction) -> str:
    """RFC 3848, RFC 6531 §4.3."""
    if connection.helo_verb == "HELO":
        return "SMTP"
    word = "UTF8SMTP" if "SMTPUTF8" in transaction.parameters else "ESMTP"
    return word + ("S" if connection.tls else "") + ("A" if connection.username is not None else "")
