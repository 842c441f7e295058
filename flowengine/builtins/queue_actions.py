"""The actions of pre-delivery and post-delivery flows: what becomes of a message in the queue (HSL reference §2.5)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from flowengine.builtins.actions import envelope_address, known_transport, seconds, texts
from flowengine.language.functions import builtin, options_of
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import Array, Value, to_text
from flowengine.runtime.attempt_run import AttemptRun
from flowengine.runtime.attempts import Bounce, Default, Discard, Queue, TLSMode, Try
from flowengine.runtime.phases import QUEUE, Phase

Source = str | Sequence[Value]
PRE, POST = Phase.PREDELIVERY, Phase.POSTDELIVERY


def encryption(
    *,
    tls: TLSMode | None = None,
    tls_sni: str | bool | None = None,
    tls_protocols: str | None = None,
    tls_ciphers: str | None = None,
    tls_verify_host: bool | None = None,
    tls_verify_name: Sequence[str] | None = None,
    tls_default_ca: bool | None = None,
    tls_client_cert: str | None = None,
) -> dict[str, Any]:
    """What an attempt's options say of its TLS, for `AttemptRun.course`; the options of `Try` and `SetTLS`."""
    return {
        "tls": tls,
        "tls_sni": text(tls_sni) if isinstance(tls_sni, str) else tls_sni,
        "tls_protocols": tls_protocols and text(tls_protocols),
        "tls_ciphers": tls_ciphers and text(tls_ciphers),
        "tls_verify_host": tls_verify_host,
        "tls_verify_name": None if tls_verify_name is None else tuple(map(text, tls_verify_name)),
        "tls_default_ca": tls_default_ca,
        "tls_client_cert": tls_client_cert and text(tls_client_cert),
    }


@builtin(PRE, final=True, name="Try")
@options_of(encryption)
def try_(
    run: AttemptRun,
    *,
    host: str | None = None,
    port: int | None = None,
    protocol: Literal["smtp", "lmtp"] | None = None,
    sender: str | Array | None = None,
    recipient: str | Array | None = None,
    helo: str | None = None,
    sourceip: Source | None = None,
    sourceip_random: bool | None = None,
    nonlocal_source: bool = False,
    saslusername: str | None = None,
    saslpassword: str | None = None,
    xclient: Mapping[str, str] | None = None,
    mx_include: Sequence[str] | None = None,
    mx_exclude: Sequence[str] | None = None,
    jobid: str | None = None,
    timeout: Value = None,
    connect_timeout: float | None = None,
    dsn: Mapping[str, Value] | None = None,
    **tls: Any,
) -> NoReturn:
    """Try to deliver the message now, and end the script. This is what happens anyway.

    What an option says counts for this attempt only, in place of what the transport says.
    host: a name or address, or "lookup-mx" for the recipient domain's exchangers. port, protocol (smtp or lmtp).
    sender, recipient: text, or an array with localpart, domain and params. helo: our name.
    sourceip: names or addresses to connect from, or arrays with id or address, and helo. sourceip_random: any of them.
    nonlocal_source: also addresses that are not this machine's. saslusername, saslpassword: authenticate.
    tls: disabled, optional, optional_verify, dane, dane_require, require or require_verify; with tls_sni,
        tls_protocols, tls_ciphers, tls_verify_host, tls_verify_name, tls_default_ca, tls_client_cert.
    xclient: attributes to send. mx_include, mx_exclude: patterns for the exchangers. jobid: a name for policies.
    timeout: seconds, or an array of them by SMTP state. connect_timeout: seconds.
    dsn: what is asked of the next hop about reports.

        Try(["host" => "192.0.2.25", "tls" => "require"]);  // ends: Try
    """
    about: dict[str, Any] = {
        "host": host and text(host),
        "port": port,
        "protocol": protocol,
        "helo": helo and text(helo),
        "username": saslusername and text(saslusername),
        "password": saslpassword and to_text(str(saslpassword)),
        "source_random": sourceip_random,
        **encryption(**tls),
        "xclient": None if xclient is None else texts(xclient),
        "mx_include": None if mx_include is None else tuple(map(text, mx_include)),
        "mx_exclude": None if mx_exclude is None else tuple(map(text, mx_exclude)),
        "jobid": jobid and text(jobid),
        "timeout": _timeouts(timeout),
        "connect_timeout": None if connect_timeout is None else seconds(connect_timeout),
    }
    if nonlocal_source:
        about["nonlocal_source"] = True
    if sourceip is not None:
        about["sources"] = sources(sourceip)
    for name, value in (("sender", sender), ("recipient", recipient)):
        if value is not None:
            about[name] = envelope_address(value)
            if isinstance(value, Array) and isinstance(value.get("params"), Array):
                about[f"{name}_params"] = texts(dict(value["params"]))
    if dsn:
        run.warn("Try: delivery status options are not passed on to the next hop")
    run.course(**{name: value for name, value in about.items() if value is not None})
    run.finish(Try(hop=run.hop))


def text(value: str) -> str:
    """A flow's string as text for a setting; secrets hidden."""
    return to_text(shown(value))


def sources(given: Source) -> tuple[tuple[str, str], ...]:
    """Where to connect from: names or addresses, each with its HELO name or "". Raises FlowError."""
    found: list[tuple[str, str]] = []
    for one in [given] if isinstance(given, str) else given:
        if isinstance(one, str):
            found.append((text(one), ""))
            continue
        name = (one.get("address") or one.get("id")) if isinstance(one, Array) else None
        if not isinstance(name, str) or not isinstance(one, Array):
            raise FlowError("a source is text, or an array with id or address, and helo")
        helo = one.get("helo")
        found.append((text(name), text(helo) if isinstance(helo, str) else ""))
    return tuple(found)


def _timeouts(value: Value) -> dict[str, float] | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"": seconds(value)}
    if isinstance(value, Array):
        times = {str(state): limit for state, limit in value.items()}
        if all(isinstance(limit, (int, float)) for limit in times.values()):
            return {state: seconds(float(limit)) for state, limit in times.items()}
    raise FlowError("timeout is a number of seconds, or an array of them by SMTP state")


def _again(
    run: AttemptRun,
    delay: float | None,
    hold: bool = False,
    *,
    reason: str = "",
    increment_retry: bool = True,
    reset_retry: bool = False,
    transportid: str | None = None,
) -> Queue:
    """The action behind `Queue` and its older words, which share these options."""
    return Queue(
        delay=None if delay is None else seconds(delay),
        hold=hold,
        reason=text(reason),
        increment_retry=increment_retry,
        reset_retry=reset_retry,
        transport=None if transportid is None else known_transport(run, transportid),
    )


@builtin(*QUEUE, final=True, name="Queue")
@options_of(_again)
def queue(run: AttemptRun, *, hold: bool = False, delay: float | None = None, **options: Any) -> NoReturn:
    """Try again later, and end the script.

    hold: not before somebody releases the message. delay: seconds; by default what the transport says.
    reason: for the log. increment_retry: this counts as an attempt. reset_retry: begin to count anew.
    transportid: another transport from now on.

    After a delivery there is nothing to queue: a script error.

        Queue(["delay" => 60, "increment_retry" => false]);  // ends: Queue
    """
    _still_there(run, "Queue")
    run.finish(_again(run, delay, hold, **options))


def _still_there(run: AttemptRun, word: str) -> None:
    if run.phase == POST and not run.attempt.action:
        raise FlowError(f'{word}: the message was delivered; test isset($arguments["action"])')


@builtin(PRE, final=True, name="Reschedule", deprecated="Queue")
@options_of(_again)
def reschedule(run: AttemptRun, delay: float, **options: Any) -> NoReturn:
    """Try again after so many seconds, and end the script (until 5.1). Options as for `Queue`.

    Options: reason, increment_retry, reset_retry, transportid.

        Reschedule(30, ["increment_retry" => false]);  // ends: Queue
    """
    run.finish(_again(run, delay, **options))


@builtin(POST, final=True, name="Retry", deprecated="Queue")
@options_of(_again)
def retry(run: AttemptRun, *, delay: float | None = None, **options: Any) -> NoReturn:
    """Try again later, and end the script (until 5.1). Options as for `Queue`.

    Options: delay, reason, increment_retry, reset_retry, transportid.

        Retry(["delay" => 600]);  // ends: Queue
    """
    _still_there(run, "Retry")
    run.finish(_again(run, delay, **options))


@builtin(*QUEUE, final=True, name="Bounce", aliases=("GenerateDSN",))
def bounce(run: AttemptRun, *, dsn: Mapping[str, Value] | None = None, reason: str = "") -> NoReturn:
    """Give up: take the message out of the queue, tell its sender, and end the script.

    dsn: about the report: subject, from, from_name, headers, recipient, transportid, metadata, dkim.
    reason: for the report and the log.

    After a delivery there is nothing to bounce: a script error.

        Bounce(["reason" => "no such customer"]);  // ends: Bounce
    """
    _still_there(run, "Bounce")
    run.dsn.update(report(run, dsn or {}))
    run.finish(Bounce(reason=text(reason)))


@builtin(*QUEUE, final=True, name="Delete")
def discard(run: AttemptRun, *, reason: str = "") -> NoReturn:
    """Take the message out of the queue without telling anybody, and end the script.

    reason: for the log.

    After a delivery there is nothing to delete: a script error.

        Delete();  // ends: Delete
    """
    _still_there(run, "Delete")
    run.finish(Discard(reason=text(reason)))


@builtin(POST, final=True, name="Default")
def default(run: AttemptRun) -> NoReturn:
    """Let the queue do what it does anyway after such an attempt, and end the script.

    Default();  // ends: Default
    """
    run.finish(Default())


@builtin(*QUEUE, name="SetDSN")
def set_dsn(
    run: AttemptRun,
    *,
    transportid: str | None = None,
    recipient: str | None = None,
    metadata: Mapping[str, Value] | None = None,
    from_: str | None = None,
    from_name: str | None = None,
    subject: str | None = None,
    headers: Sequence[str] | None = None,
    dkim: Mapping[str, Value] | None = None,
) -> None:
    """Say what the report looks like, should this attempt end in one.

    transportid, recipient: its way; by default to the sender. metadata: texts that travel with it.
    from, from_name, subject, headers: of the report. dkim: selector, domain and key, and options as for `DKIMSign`.

        SetDSN(["from_name" => "Postmaster"]);  // none
    """
    about = {
        "transportid": transportid, "recipient": recipient, "metadata": metadata, "from": from_,
        "from_name": from_name, "subject": subject, "headers": headers, "dkim": dkim,
    }  # fmt: skip
    run.dsn.update(report(run, {name: value for name, value in about.items() if value is not None}))


_TEXTS = ("subject", "from", "from_name")


def report(run: AttemptRun, about: Mapping[str, Any]) -> dict[str, Any]:
    """What a flow says of a report, as plain data; a key for dkim stays secret. Raises FlowError."""
    said: dict[str, Any] = {}
    for name, value in about.items():
        if name in _TEXTS and isinstance(value, str):
            said[name] = text(value)
        elif name == "recipient":
            said[name] = envelope_address(value).address
        elif name == "transportid" and isinstance(value, str):
            said[name] = known_transport(run, value)
        elif name == "metadata" and isinstance(value, (Array, Mapping)):
            said[name] = texts(dict(value))
        elif name == "headers" and isinstance(value, (Array, list)):
            lines = list(value.values()) if isinstance(value, Array) else value
            said[name] = [text(line) for line in lines if isinstance(line, str)]
        elif name == "dkim" and isinstance(value, (Array, Mapping)):
            said[name] = dict(value)
        else:
            raise FlowError(f'a report has no "{name}" of this kind; it has {", ".join((*_TEXTS, "headers", "dkim"))}')
    return said
