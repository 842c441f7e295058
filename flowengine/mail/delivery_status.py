"""Delivery status notifications: what a sender is told about a message (RFC 3461, 3462, 3464, 6533).

Values in, octets out. The report is 7-bit unless an address, or a field of what is returned, needs UTF-8.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal

Action = Literal["failed", "delayed", "relayed", "delivered"]
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_LONGEST = 900
"""Characters of a line."""

_TOLD: dict[Action, tuple[str, str]] = {
    "failed": (
        "Undelivered: your message was returned",
        "Your message could not be delivered to the recipients named below, and will not be tried again.",
    ),
    "delayed": (
        "Delayed: your message is still on its way",
        "Your message could not be delivered yet, and is tried again until the time below. You need not send it again.",
    ),
    "relayed": (
        "Relayed: your message was handed on",
        "Your message was handed on to a server that does not report about deliveries.",
    ),
    "delivered": ("Delivered: your message has arrived", "Your message was delivered to the recipients named below."),
}


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """One recipient of a report (RFC 3464 §2.3).

    reply: code, enhanced code and text as one line. heard: the next hop said it, and not we; host: its name, "" where
    that is nobody's business. original: the ORCPT parameter as it came, "" for none. until: when we give up, Unix time.
    """

    address: str
    status: str
    reply: str
    heard: bool = False
    host: str = ""
    original: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A report about one message. Times are Unix times in seconds.

    author: the From address; sender: whom it is for. envid: the ENVID parameter as it came. returned: the message that
    it is about, whole or its header only. boundary: a text that occurs nowhere in it.
    """

    action: Action
    hostname: str
    author: str
    sender: str
    recipients: Sequence[RecipientStatus]
    arrived: float
    now: float
    message_id: str
    boundary: str
    returned: bytes
    whole: bool
    envid: str = ""

    @property
    def utf8(self) -> bool:
        """Whether it can travel only with SMTPUTF8 (RFC 6533)."""
        addresses = (self.author, self.sender, *(one.address for one in self.recipients))
        return not all(map(str.isascii, addresses)) or not _header(self.returned).isascii()

    def render(self) -> bytes:
        """The message, with CRLF."""
        subject, text = _TOLD[self.action]
        kind = "global-delivery-status" if self.utf8 else "delivery-status"
        head = (
            f"From: Mail Delivery System <{self.author}>",
            f"To: <{self.sender}>",
            f"Subject: {subject}",
            f"Date: {_date(self.now)}",
            f"Message-ID: <{self.message_id}>",
            "Auto-Submitted: auto-replied",  # RFC 3834 §5
            "MIME-Version: 1.0",
            "Content-Type: multipart/report; report-type=delivery-status;",
            f'\tboundary="{self.boundary}"',
        )
        parts = (
            self._part("text/plain; charset=utf-8", [text, "", *self._explained()]),
            self._part(f"message/{kind}", self._fields()),
        )
        body = b"".join((*parts, self._returned(), f"--{self.boundary}--\r\n".encode()))
        return "\r\n".join((*head, "", "This is a report in MIME format.", "", "")).encode() + body

    def _part(self, kind: str, lines: Sequence[str]) -> bytes:
        text = "\r\n".join(lines).replace("\r\n", "\n").replace("\n", "\r\n").encode()
        encoding = "" if text.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
        return f"--{self.boundary}\r\nContent-Type: {kind}\r\n{encoding}\r\n".encode() + text + b"\r\n\r\n"

    def _explained(self) -> list[str]:
        found: list[str] = []
        for one in self.recipients:
            found.append(f"<{one.address}>")
            who = f"the server {one.host or 'behind us'} said: " if one.heard else ""
            found.append(f"    {who}{_line(one.reply)}")
            if one.until is not None:
                found.append(f"    tried until {_date(one.until)}")
        return [*found, "", f"This report comes from {self.hostname}."]

    def _fields(self) -> list[str]:
        """RFC 3464 §2.2 for the message, §2.3 for each recipient."""
        found = [f"Reporting-MTA: dns; {self.hostname}"]
        if self.envid:
            found.append(f"Original-Envelope-Id: {_line(_unxtext(self.envid))}")
        found += [f"Arrival-Date: {_date(self.arrived)}", ""]
        for one in self.recipients:
            kind = "rfc822" if one.address.isascii() else "utf-8"
            if one.original:
                found.append(f"Original-Recipient: {_original(one.original)}")
            found.append(f"Final-Recipient: {kind}; {_line(one.address)}")
            found += [f"Action: {self.action}", f"Status: {one.status}"]
            if one.host:
                found.append(f"Remote-MTA: dns; {_line(one.host)}")
            found.append(f"Diagnostic-Code: {'smtp' if one.heard else 'x-flowengine'}; {_line(one.reply)}")
            found.append(f"Last-Attempt-Date: {_date(self.now)}")
            if one.until is not None:
                found.append(f"Will-Retry-Until: {_date(one.until)}")
            found.append("")
        return found[:-1]

    def _returned(self) -> bytes:
        utf8 = not _header(self.returned).isascii()
        if self.whole:
            kind = "message/global" if utf8 else "message/rfc822"
        else:
            kind = "message/global-headers" if utf8 else "text/rfc822-headers"
        encoding = b"" if self.returned.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
        head = f"--{self.boundary}\r\nContent-Type: {kind}\r\n".encode() + encoding + b"\r\n"
        return head + self.returned + (b"" if self.returned.endswith(b"\n") else b"\r\n")


def _header(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[0]


def _line(text: str) -> str:
    """Text that stays on its line."""
    return _UNPRINTABLE.sub(" ", text)[:_LONGEST].strip()


def _unxtext(text: str) -> str:
    """xtext as what it stands for (RFC 3461 §4)."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), text)


def _original(parameter: str) -> str:
    """ORCPT, `type;xtext`, as a field has it (RFC 3464 §2.3.1)."""
    kind, _, address = parameter.partition(";")
    return f"{_line(kind)}; {_line(_unxtext(address))}"


def _date(moment: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(moment), UTC))
