"""An SMTP dialogue of a script with a server: for `smtp_lookup_rcpt`, `smtp_lookup_auth` and `send`.

It runs over the same connections as `Socket`: within [network], in bounded time, every answer a fact of the run. What
goes wrong is a `Failure`: with the server's reply, or with our own words when there was none.
"""

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from flowengine.builtins.run import Run
from flowengine.mail.dns import DNSUnavailable
from flowengine.mail.names import to_ascii
from flowengine.runtime.attempts import TLSMode
from flowengine.runtime.services import TLSOptions, WireFailed, WireRequest
from flowengine.runtime.world import HeardWire

LINES, LONGEST = 100, 2000  # of one reply
ADDRESSES = 5  # that are tried
State = Literal["CONNECT", "BANNER", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "EOD", "QUIT"]


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to speak to, and how. host "" is the exchanger of the recipient's domain. timeout: seconds for one reply."""

    host: str = ""
    port: int = 25
    helo: str = ""
    protocol: Literal["smtp", "lmtp"] = "smtp"
    username: str | None = None
    password: str = field(default="", repr=False)
    tls: TLSMode = "disabled"
    tls_sni: str | bool = False
    tls_names: tuple[str, ...] = ()
    source: str | None = None
    timeout: float = 60.0
    connect_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Said:
    """One reply: its code, its lines without codes."""

    code: int
    lines: tuple[str, ...]

    @property
    def enhanced(self) -> tuple[int, ...]:
        """The enhanced code of the last line (RFC 3463), () without one."""
        first = self.lines[-1].partition(" ")[0].split(".") if self.lines else []
        fits = len(first) == 3 and all(part.isascii() and part.isdigit() and len(part) < 4 for part in first)
        return tuple(map(int, first)) if fits else ()


class Failure(Exception):
    """A dialogue that did not come to its end. said: the server's reply, None when it gave none."""

    def __init__(self, state: State, reason: str, said: Said | None = None, *, temporary: bool = True) -> None:
        super().__init__(reason)
        self.state, self.reason, self.said = state, reason, said
        self.temporary = temporary if said is None else said.code // 100 != 5


@dataclass
class Talk:
    """A dialogue that is ready for mail."""

    wire: HeardWire
    server: Server
    address: str
    name: str
    extensions: dict[str, str] = field(default_factory=dict)
    encrypted: bool = False
    _ahead: bytes = b""

    async def reply(self, state: State) -> Said:
        """The next reply. Raises Failure."""
        lines: list[str] = []
        while True:
            line = (await self._line(state)).decode("utf-8", "replace")
            code = line[:3]
            if len(code) < 3 or not code.isascii() or not code.isdigit():
                raise Failure(state, "the server does not speak SMTP")
            lines.append(line[4:])
            if line[3:4] != "-":
                return Said(int(code), tuple(lines))
            if len(lines) >= LINES:
                raise Failure(state, f"a reply of more than {LINES} lines")

    async def _line(self, state: State) -> bytes:
        while b"\n" not in self._ahead:
            if len(self._ahead) > LONGEST:
                raise Failure(state, f"a line of more than {LONGEST} octets")
            try:
                piece = await self.wire.receive(LONGEST, self.server.timeout)
            except WireFailed as failure:
                raise Failure(state, str(failure)) from None
            if not piece:
                raise Failure(state, "the server closed the connection")
            self._ahead += piece
        line, _, self._ahead = self._ahead.partition(b"\n")
        return line.rstrip(b"\r")

    async def send(self, state: State, data: bytes) -> None:
        """Send octets. Raises Failure."""
        try:
            await self.wire.send(data, self.server.timeout)
        except WireFailed as failure:
            raise Failure(state, str(failure)) from None

    async def ask(self, state: State, line: str, *wanted: int) -> Said:
        """Send a command; its reply. wanted: the first digit it must have. Raises Failure."""
        if any(c in line for c in "\r\n\0"):
            raise Failure(state, "a command is one line", temporary=False)
        await self.send(state, line.encode("utf-8", "surrogateescape") + b"\r\n")
        said = await self.reply(state)
        if wanted and said.code // 100 not in wanted:
            raise Failure(state, " ".join(said.lines), said)
        return said

    async def end(self) -> None:
        """QUIT, whatever comes of it."""
        with suppress(Failure):
            await self.ask("QUIT", "QUIT")
        self.wire.close()


async def talk(run: Run, server: Server, domain: str) -> Talk:
    """A dialogue from the greeting to authentication. domain: of the recipient, for its exchangers. Raises Failure."""
    failure = Failure("CONNECT", "no host")
    for name, address in await _addresses(run, server.host, domain):
        try:
            return await _opened(run, server, name, address)
        except Failure as one:
            failure = one
            if one.state not in ("CONNECT", "BANNER"):
                raise
    raise failure


async def _addresses(run: Run, host: str, domain: str) -> list[tuple[str, str]]:
    """Names and addresses to try, in order. Raises Failure."""
    names = [host.strip("[]")] if host and host != "lookup-mx" else await _exchangers(run, domain)
    found: list[tuple[str, str]] = []
    for name in names[:ADDRESSES]:
        try:
            found.append((name, str(ip_address(name))))
            continue
        except ValueError:
            pass
        try:
            for kind in ("a", "aaaa"):
                answer = await run.world.query(name, "a" if kind == "a" else "aaaa")
                found += [(name, address) for address in answer.names]
        except DNSUnavailable as error:
            if not found:
                raise Failure("CONNECT", f"DNS: {error}") from None
    if not found:
        raise Failure("CONNECT", f"no address of {host or domain}", temporary=False)
    return found[:ADDRESSES]


async def _exchangers(run: Run, domain: str) -> list[str]:
    ascii_domain = to_ascii(domain)
    if not ascii_domain:
        raise Failure("CONNECT", "the recipient has no domain, and no host is named", temporary=False)
    try:
        answer = await run.world.query(ascii_domain, "mx")
    except DNSUnavailable as error:
        raise Failure("CONNECT", f"DNS: {error}") from None
    hosts = [one.host for one in sorted(answer.exchangers)]
    if hosts == [""]:
        raise Failure("CONNECT", f"{domain} takes no mail (RFC 7505)", temporary=False)
    return [one for one in hosts if one] or [ascii_domain]


async def _opened(run: Run, server: Server, name: str, address: str) -> Talk:
    source = (server.source, 0) if server.source else None
    request = WireRequest("stream", address, server.port, source, server.connect_timeout)
    try:
        wire = await run.world.connect(request)
    except WireFailed as failure:
        raise Failure("CONNECT", str(failure)) from None
    opened = Talk(wire, server, address, name)
    try:
        said = await opened.reply("BANNER")
        if said.code // 100 != 2:
            raise Failure("BANNER", " ".join(said.lines), said)
        await _greet(run, opened)
        if server.tls != "disabled":
            await _encrypt(run, opened)
        if server.username is not None:
            await log_in(opened, server.username, server.password)
    except BaseException:
        wire.close()
        raise
    return opened


async def _greet(run: Run, opened: Talk) -> None:
    server = opened.server
    helo = server.helo or run.settings.hostname
    verb = "LHLO" if server.protocol == "lmtp" else "EHLO"
    said = await opened.ask("EHLO", f"{verb} {helo}")
    if said.code // 100 == 5 and verb == "EHLO":
        await opened.ask("EHLO", f"HELO {helo}", 2)
        return
    if said.code // 100 != 2:
        raise Failure("EHLO", " ".join(said.lines), said)
    opened.extensions = {
        word.upper(): rest for word, _, rest in (line.strip().partition(" ") for line in said.lines[1:])
    }


async def _encrypt(run: Run, opened: Talk) -> None:
    server = opened.server
    if server.tls in ("dane", "dane_require"):
        raise Failure("STARTTLS", "DANE is not spoken in lookups", temporary=False)
    required = server.tls.startswith("require")
    if "STARTTLS" not in opened.extensions:
        if required:
            raise Failure("STARTTLS", "the server offers no TLS")
        return
    await opened.ask("STARTTLS", "STARTTLS", 2)
    verify = server.tls.endswith("verify")
    sni = opened.name if server.tls_sni is True or verify else server.tls_sni or None
    names = server.tls_names or ((opened.name,) if verify else ())
    try:
        await opened.wire.encrypt(TLSOptions(sni=sni, names=names, verify=verify), server.timeout)
    except WireFailed as failure:
        raise Failure("STARTTLS", str(failure)) from None
    opened.encrypted = True
    opened._ahead = b""  # noqa: SLF001  # what came before TLS does not count (RFC 3207 §4.2)
    await _greet(run, opened)


async def log_in(opened: Talk, username: str, password: str) -> None:
    """AUTH PLAIN or LOGIN (RFC 4954), as the server offers. Raises Failure, with a reply when it was refused."""
    offered = opened.extensions.get("AUTH", "").upper().split()
    if "PLAIN" in offered:
        await opened.ask("AUTH", "AUTH PLAIN " + _base64(f"\0{username}\0{password}"), 2)
        return
    if "LOGIN" not in offered:
        raise Failure("AUTH", "the server offers no way to authenticate that we know", temporary=False)
    await opened.ask("AUTH", "AUTH LOGIN", 3)
    await opened.ask("AUTH", _base64(username), 3)
    await opened.ask("AUTH", _base64(password), 2)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")


async def hand_over(opened: Talk, sender: str, recipients: Sequence[str], data: bytes) -> Said:
    """Send a message; the reply after the dot, the last of those of LMTP. Raises Failure."""
    size = f" SIZE={len(data)}" if "SIZE" in opened.extensions else ""
    await opened.ask("MAIL", f"MAIL FROM:<{sender}>{size}", 2)
    for one in recipients:
        await opened.ask("RCPT", f"RCPT TO:<{one}>", 2)
    await opened.ask("DATA", "DATA", 3)
    lines = data if data.endswith(b"\r\n") else data + b"\r\n"
    stuffed = lines.replace(b"\r\n.", b"\r\n..")
    await opened.send("EOD", (b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
    replies = [await opened.reply("EOD") for _ in (recipients if opened.server.protocol == "lmtp" else recipients[:1])]
    worst = max(replies, key=lambda said: said.code)
    if worst.code // 100 != 2:
        raise Failure("EOD", " ".join(worst.lines), worst)
    return worst
