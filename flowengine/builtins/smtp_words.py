"""Asking other mail servers from a script: does a recipient exist there, is a password right there; sending at once."""

from collections.abc import Sequence

from flowengine.builtins.actions import envelope_address
from flowengine.builtins.run import Run
from flowengine.builtins.smtp_dialogue import Failure, Said, Server, Talk, hand_over, log_in, talk
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import Array, Value, from_text, to_text
from flowengine.mail.addresses import Path

_MODES = ("disabled", "optional", "optional_verify", "dane", "dane_require", "require", "require_verify")
_TAKEN = frozenset({
    "sourceipid", "nonlocal_source", "tls_protocols", "tls_ciphers", "tls_verify_host", "tls_default_ca",
    "tls_client_cert", "tls_capture_peer_cert", "xclient", "mx_include", "mx_exclude",
})  # fmt: skip
"""Settings of old scripts that change nothing here."""


def server_of(run: Run, given: str | Array) -> Server:
    """The `server` argument: a transport, or an array of settings (HSL reference §2.7). Raises FlowError."""
    if isinstance(given, str):
        return _transport(run, to_text(shown(given)))
    about: dict[str, object] = {}
    for name, value in given.items():
        word = str(name)
        match word:
            case "host" | "helo":
                about[word] = _text(word, value)
            case "port":
                about["port"] = int(_number(word, value))
            case "protocol" if value in ("smtp", "lmtp"):
                about["protocol"] = value
            case "saslusername" | "sasl_username" | "sasl_user":
                about["username"] = _text(word, value)
            case "saslpassword" | "sasl_password":
                about["password"] = to_text(str(value))
            case "tls" if value in _MODES:
                about["tls"] = value
            case "tls_sni":
                about["tls_sni"] = _text(word, value) if isinstance(value, str) else bool(value)
            case "tls_verify_name" if isinstance(value, Array):
                about["tls_names"] = tuple(_text(word, one) for one in value.values())
            case "sourceip":
                about["source"] = _text(word, value)
            case "connect_timeout":
                about["connect_timeout"] = _number(word, value)
            case "timeout":
                times = (
                    [one for one in value.values() if isinstance(one, (int, float))]
                    if isinstance(value, Array)
                    else [value]
                )
                about["timeout"] = max((_number(word, one) for one in times), default=60.0)
            case _ if word in _TAKEN:
                continue
            case _:
                raise FlowError(f'a server has no setting "{shown(word)[:40]}" of this kind')
    return Server(**about)  # type: ignore[arg-type]  # each was looked at above


def _text(word: str, value: Value) -> str:
    if not isinstance(value, str):
        raise FlowError(f"{word} of a server is a string")
    return to_text(shown(value))


def _number(word: str, value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 65535:
        raise FlowError(f"{word} of a server is a number above 0")
    return float(value)


def _transport(run: Run, name: str) -> Server:
    transports = run.settings.transports or {}
    found = transports.get(name, transports.get(name.removeprefix("mailtransport:")))
    if found is None:
        known = ", ".join(sorted(transports)) or "none"
        raise FlowError(f'there is no transport "{name}"; known: {known}')
    hosts = getattr(found, "host", ())
    host = str(hosts[0]) if hosts else ""
    if host.startswith("unix:"):
        raise FlowError(f'the transport "{name}" is a socket of this machine, which scripts do not reach')
    address, _, port = host.rpartition(":") if hosts else ("", "", str(getattr(found, "port", 25)))
    sasl = getattr(found, "sasl", None)
    mode = {"off": "disabled", "may": "optional", "require": "require", "verify": "require_verify"}
    return Server(
        host=address.strip("[]"),
        port=int(port),
        helo=getattr(found, "helo", None) or "",
        protocol=getattr(found, "protocol", "smtp"),
        username=None if sasl is None else sasl.username,
        password="" if sasl is None else sasl.password,
        tls=mode[getattr(getattr(found, "tls", None), "mode", "off")],  # type: ignore[arg-type]  # words of TLSMode
    )


def _domain(recipient: Path | None) -> str:
    return "" if recipient is None else recipient.domain


@builtin
async def smtp_lookup_rcpt(
    run: Run,
    server: str | Array,
    sender: str | Array,
    recipient: str | Array,
    *,
    extended_result: bool = False,
    error_code: bool = False,
) -> int | Array:
    """Ask another mail server whether it takes mail for a recipient: RCPT TO, and no message. Obeys [network].

    server: the name of a transport, or an array: host (default: the exchangers of the recipient's domain), port (25),
        helo, sourceip, saslusername, saslpassword, tls (disabled, optional, require, require_verify), tls_sni,
        tls_verify_name, protocol, timeout, connect_timeout.
    sender, recipient: text, or an array with localpart and domain.
    extended_result: an array instead: error_code, error_message, on_rcptto (it was the RCPT that was answered), tls.
    error_code: the code of the reply instead of 0.

    Returns 1 when it does, 0 when it does not, -1 when it could not be asked.

        smtp_lookup_rcpt(["host" => "192.0.2.25"], "", "alice@example.net");  // -1
    """
    wanted = server_of(run, server)
    by, to = envelope_address(sender), envelope_address(recipient)
    try:
        opened = await talk(run, wanted, _domain(to))
        try:
            await opened.ask("MAIL", f"MAIL FROM:<{by.address}>", 2)
            said = await opened.ask("RCPT", f"RCPT TO:<{to.address}>", 2)
        finally:
            await opened.end()
    except Failure as failure:
        return _answer(failure, extended_result, error_code)
    if extended_result:
        return Array(
            {"error_code": said.code, "error_message": _words(said), "on_rcptto": True, "tls": opened.encrypted}
        )
    return said.code if error_code else 1


def _words(said: Said) -> str:
    return from_text("\n".join(said.lines))


def _answer(failure: Failure, extended: bool, code: bool) -> int | Array:
    said = failure.said
    number = 0 if said is None else said.code
    if extended:
        words = from_text(failure.reason) if said is None else _words(said)
        return Array(
            {"error_code": number, "error_message": words, "on_rcptto": failure.state == "RCPT" and said is not None,
             "tls": False}
        )  # fmt: skip
    if said is None or said.code // 100 == 4:
        return -1
    return number if code else 0


@builtin
async def smtp_lookup_auth(run: Run, server: str | Array, username: str, password: str) -> int:
    """Ask another mail server whether a password is right. Obeys [network].

    server: as for `smtp_lookup_rcpt`.

    Returns 1 when it is, 0 when it is not, -1 when it could not be asked.

        smtp_lookup_auth(["host" => "192.0.2.25", "port" => 587], "alice", "secret");  // -1
    """
    wanted = server_of(run, server)
    try:
        opened = await talk(run, wanted, username.rpartition("@")[2])
        try:
            await log_in(opened, to_text(str(username)), to_text(str(password)))
        finally:
            await opened.end()
    except Failure as failure:
        refused = failure.state == "AUTH" and failure.said is not None and failure.said.code // 100 == 5
        return 0 if refused else -1
    return 1


def recipients_of(given: Value) -> list[str]:
    """One recipient or several: text, or arrays with localpart and domain. Raises FlowError."""
    several = isinstance(given, Array) and "localpart" not in given
    listed: Sequence[Value] = list(given.values()) if several and isinstance(given, Array) else [given]
    if not 0 < len(listed) <= 1000:
        raise FlowError("send: from 1 to 1000 recipients")
    found: list[str] = []
    for one in listed:
        if isinstance(one, Array) and isinstance(one.get("recipient"), (str, Array)):
            one = one["recipient"]
        if not isinstance(one, (str, Array)):
            raise FlowError("send: a recipient is text, or an array with localpart and domain")
        found.append(envelope_address(one).address)
    return found


async def send_at_once(run: Run, data: bytes, sender: str | Array, recipients: Value, server: Value) -> Array:
    """Send a message in the middle of a script; what `send` returns (HSL reference §2.4)."""
    if server is not None and not isinstance(server, (str, Array)):
        raise FlowError("send: the server is the name of a transport, or an array of settings")
    wanted = Server() if server is None else server_of(run, server)
    to, by = recipients_of(recipients), envelope_address(sender).address
    run.world.log("info", "send", id=run.message_id, sender=by, recipients=len(to), host=wanted.host or "lookup-mx")
    opened: Talk | None = None
    about = Array()
    try:
        if not run.settings.sends:
            raise Failure("CONNECT", "this is a play: nothing is sent")
        opened = await talk(run, wanted, to[0].rpartition("@")[2])
        said = await hand_over(opened, by, to, data)
        about["result"] = _result("EOD", said)
    except Failure as failure:
        if failure.said is not None:
            about["result"] = _result(failure.state, failure.said)
        else:
            reason = from_text(failure.reason)
            about["error"] = Array({"temporary": failure.temporary, "reason": reason, "message": reason})
    if opened is not None:
        await opened.end()
        about["connection"] = Array({"localip": "", "remoteip": opened.address, "remotemx": from_text(opened.name)})
        about["tls"] = Array({"started": opened.encrypted})
    return about


def _result(state: str, said: Said) -> Array:
    lines = Array.of(map(from_text, said.lines))
    return Array({"state": state, "code": said.code, "enhanced": Array.of(said.enhanced), "reason": lines})
