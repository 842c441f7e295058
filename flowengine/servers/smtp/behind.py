"""The client behind the client: XCLIENT and XFORWARD as Postfix has them (XCLIENT_README, XFORWARD_README).

XCLIENT makes the connection another client's, and all that is decided from then on is decided about that client.
XFORWARD only tells, for one transaction, for flows and the log. Both are for the networks that the listener names.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import ClassVar

from flowengine.runtime.actions import Reply
from flowengine.runtime.places import text_of
from flowengine.servers.smtp.commands import Refused
from flowengine.servers.smtp.door import Client, Waiting
from flowengine.servers.smtp.mailing import IN_TRANSACTION, Mailing

XCLIENT = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
XFORWARD = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
NOT_TRUSTED = Reply(550, "5.7.0", "You may not do this")
NOTED = Reply(250, "2.0.0", "OK")

_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
_CODED = re.compile(rb"\+([0-9A-Fa-f]{2})")
_PRINTABLE = re.compile(rb"[ -~\x80-\xff]{1,255}").fullmatch
_NAME = re.compile(r"[!-~]{1,255}").fullmatch


@dataclass(slots=True)
class Trust:
    """What a client may say about another. client: as it is now. moved: hears of a new one, and may refuse it."""

    client: Client
    xclient: bool
    xforward: bool
    moved: Callable[[Client], Reply | None]


class Behind(Mailing):
    """The two commands."""

    __slots__ = ("trust",)

    trust: Trust | None
    """None: the client is not trusted, and hears nothing of these commands."""

    @abstractmethod
    def _greet_anew(self, reply: Reply, *, known: bool) -> None:
        """The connection is another client's and at its beginning. known: that one has authenticated."""

    def _offered(self) -> tuple[str, ...]:
        """The lines of EHLO."""
        trust = self.trust
        if trust is None:
            return ()
        xclient = (f"XCLIENT {' '.join(XCLIENT)}",) if trust.xclient else ()
        return (*xclient, f"XFORWARD {' '.join(XFORWARD)}") if trust.xforward else xclient

    def _xclient(self, argument: bytes) -> Waiting | None:
        trust = self.trust
        if trust is None or not trust.xclient:
            raise Refused(NOT_TRUSTED)
        if self._mail:
            raise Refused(IN_TRANSACTION)
        given = read_attributes("XCLIENT", argument, XCLIENT)
        client = _client(trust.client, given)
        refusal = trust.moved(client)
        if refusal is not None:
            self.end(refusal)
            return None
        trust.client = client
        name, helo, protocol, login = (given.get(key) for key in ("NAME", "HELO", "PROTO", "LOGIN"))

        def greet(reply: Reply) -> None:
            self._greet_anew(reply, known=login is not None)

        def come() -> Reply | Waiting:
            return self._session.impersonate(client, name=name, helo=helo, protocol=protocol, login=login)

        return self._ask(greet, come)

    def _xforward(self, argument: bytes) -> None:
        trust = self.trust
        if trust is None or not trust.xforward:
            raise Refused(NOT_TRUSTED)
        if self._mail:
            raise Refused(IN_TRANSACTION)
        self._session.forwarded(read_attributes("XFORWARD", argument, XFORWARD))
        self._without_message(NOTED)

    more_verbs: ClassVar[Mapping[bytes, tuple[str, Callable[["Behind", bytes], Waiting | None]]]] = {
        b"XCLIENT": ("XCLIENT", _xclient),
        b"XFORWARD": ("XFORWARD", _xforward),
    }
    """The commands of this module, by verb."""


def read_attributes(verb: str, argument: bytes, known: tuple[str, ...]) -> dict[str, str | None]:
    """`NAME=value …`, values in xtext; None for what the sender does not know. Raises Refused."""
    syntax = Refused(Reply(501, "5.5.4", f"Syntax: {verb} attribute=value, attributes are {' '.join(known)}"))
    found: dict[str, str | None] = {}
    for word in argument.split():
        name, equals, coded = word.partition(b"=")
        key = name.decode("latin-1").upper()
        value = _CODED.sub(lambda match: bytes((int(match[1], 16),)), coded)
        if key not in known or not equals or not _PRINTABLE(value):
            raise syntax
        text = value.decode("utf-8", "replace")
        found[key] = None if text.upper() in _UNKNOWN else text
    if not found:
        raise syntax
    for key, fits in _RULES.items():
        text_or_none = found.get(key)
        if text_or_none is not None and not fits(text_or_none):
            raise Refused(Reply(501, "5.5.4", f"{verb}: {key} cannot be this"))
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(_bare(text))
    except ValueError:
        return False
    return "%" not in text


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


_RULES: Mapping[str, Callable[[str], object]] = {
    "ADDR": _is_address,
    "DESTADDR": _is_address,
    "PORT": _is_port,
    "DESTPORT": _is_port,
    "NAME": _NAME,
    "HELO": _NAME,
    "PROTO": ("SMTP", "ESMTP").__contains__,
    "SOURCE": ("LOCAL", "REMOTE").__contains__,
}


def _bare(text: str) -> str:
    return text[5:] if text[:5].upper() == "IPV6:" else text


def _client(now: Client, given: Mapping[str, str | None]) -> Client:
    """The ends of the connection with what was said of them; "" and 0 for what is unknown."""
    changes: dict[str, str | int] = {}
    for key, field in (("ADDR", "ip"), ("DESTADDR", "server_ip")):
        if key in given:
            changes[field] = text_of(_bare(given[key] or ""))
    for key, field in (("PORT", "port"), ("DESTPORT", "server_port")):
        if key in given:
            changes[field] = int(given[key] or 0)
    return replace(now, **changes)  # type: ignore[arg-type]  # each field by its own kind of value
