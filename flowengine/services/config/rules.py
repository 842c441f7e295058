"""What a configuration must fulfil beyond the types of its keys: names that exist, phases that fit, no open relay.

Each rule is one function that notes problems; none of them stops the others.
"""

import re
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from flowengine.mail.names import to_ascii
from flowengine.services.config.listeners import Transport
from flowengine.services.config.model import Config
from flowengine.services.config.positions import Path as KeyPath
from flowengine.services.config.problems import Problems, listed, nearest

EARLY = ("connect", "proxy", "helo", "auth", "mailfrom", "disconnect")
"""Phases in which no recipient is known, so that no row of the relay table can hold."""


def check_rules(config: Config, problems: Problems) -> None:
    """Every rule that needs nothing but the configuration."""
    for rule in RULES:
        rule(config, problems)


def _greetings(config: Config, problems: Problems) -> None:
    for name, listener in config.listeners.items():
        if listener.banner is not None and not _printable(listener.banner):
            problems.add(("listeners", name, "banner"), "only printable ASCII can stand in a greeting")
    for name, transport in config.transports.items():
        if transport.helo is not None and to_ascii(transport.helo.strip("[]")) is None:
            problems.add(("transports", name, "helo"), f'"{transport.helo[:100]}" is not a host name')


def _transports(config: Config, problems: Problems) -> None:
    for name, one in config.transports.items():
        path = ("transports", name)
        ways = [key for key in ("host", "mx", "sink") if getattr(one, key)]
        if len(ways) != 1:
            told = f"not {' and '.join(ways)} together" if ways else "there is none of them"
            problems.add(path, f"exactly one of host, mx = true and sink says where mail goes; {told}", at="table")
        if one.protocol == "lmtp" and one.mx:
            problems.add((*path, "protocol"), "LMTP is not spoken to mail exchangers (RFC 2033 §5)")
        _transport_safety(path, one, problems)
    for listener, one_listener in config.listeners.items():
        wanted: list[tuple[KeyPath, str | None]] = [(("listeners", listener, "transport"), one_listener.transport)]
        for index, route in enumerate(one_listener.routes):
            wanted.append((("listeners", listener, "routes", index, "transport"), route.transport))
        for at, transport in wanted:
            if transport is not None:
                _reference(at, transport, config.transports, problems)


def _transport_safety(path: KeyPath, one: Transport, problems: Problems) -> None:
    near = bool(one.host) and all(hop.loopback for hop in one.host)
    if one.tls.implicit and one.tls.mode == "off":
        problems.add((*path, "tls"), "implicit TLS and no TLS (mode = off) do not go together")
    if one.tls.mta_sts and not one.mx:
        problems.add((*path, "tls"), "mta_sts is about mail exchangers; it goes with mx = true")
    if one.tls.mode == "verify" and any(hop.path for hop in one.host):
        problems.add((*path, "tls"), "a Unix socket has no name that a certificate could be for")
    if (one.tls.certificate is None) != (one.tls.key is None):
        problems.add((*path, "tls"), "certificate and key stand together")
    if one.sasl is None:
        return
    if one.mx:
        problems.add((*path, "sasl"), "the password would go to whatever DNS names; it needs a host")
    elif one.sasl.allow_plaintext and not near and one.tls.mode in ("off", "may"):
        told = "the password may travel in clear text; set tls.mode to require or verify"
        problems.add((*path, "sasl"), told, id="unsafe-password", severity="warning")
    elif one.tls.mode == "off" and not near:
        told = "the password never travels without TLS; set tls.mode to require or verify, or sasl.allow_plaintext"
        problems.add((*path, "sasl"), told)


def _phases(config: Config, problems: Problems) -> None:
    for name, listener in config.listeners.items():
        path: KeyPath = ("listeners", name)
        used = set(listener.flows).union(*(route.flows for route in listener.routes))
        if {"data", "eod"} <= used:
            problems.add((*path, "flows"), "data and eod cannot be on one listener: one of them speaks for the message")
        for index, route in enumerate(listener.routes):
            for phase in route.flows:
                if phase in EARLY:
                    told = f"{phase} runs before a recipient is known; it belongs to the listener"
                    problems.add((*path, "routes", index, "flows", phase), told)


def _relay(config: Config, problems: Problems) -> None:
    for name, listener in config.listeners.items():
        if listener.protocol not in ("smtp", "lmtp") or "rcptto" in listener.flows:
            continue
        transports = {listener.transport, *(route.transport for route in listener.routes)} - {None}
        guarded = listener.recipient_domains or listener.require_auth or listener.relay_from
        unread = any(
            problems.under(("listeners", name, key)) for key in ("recipient_domains", "require_auth", "relay_from")
        )
        if transports and not guarded and not unread and not config.takes_all(listener):
            told = (
                "an open relay: it forwards mail and does not say for whom; "
                "set recipient_domains, require_auth or relay_from, or an rcptto flow"
            )
            problems.add(("listeners", name), told, id="open-relay", at="table")
        for network in listener.relay_from:
            if network.prefixlen == 0:
                problems.add(
                    ("listeners", name, "relay_from"), f"an open relay: {network} is everybody", id="open-relay"
                )
        if not transports and not listener.flows:
            told = "no transport and no flow: all mail will be deferred"
            problems.add(("listeners", name), told, severity="warning", at="table")


def _authentication(config: Config, problems: Problems) -> None:
    for name, listener in config.listeners.items():
        path = ("listeners", name)
        known = listener.users is not None or "auth" in listener.flows
        if listener.require_auth and not known:
            problems.add((*path, "require_auth"), "nobody can authenticate: set users, or an auth flow")
        if known and listener.tls is None and not listener.allow_plaintext_auth:
            told = "AUTH is never offered: it needs tls, or allow_plaintext_auth on loopback"
            problems.add(path, told, id="no-auth", severity="warning", at="table")
        if listener.allow_plaintext_auth and not listener.address.loopback:
            told = "passwords will travel in clear text over the network"
            problems.add((*path, "allow_plaintext_auth"), told, id="unsafe-password", severity="warning")
        foreign = [one for one in listener.auth_mechanisms if one not in ("PLAIN", "LOGIN")]
        if foreign and "auth" not in listener.flows:
            told = f"{', '.join(foreign)} {'is' if len(foreign) == 1 else 'are'} decided by an auth flow; there is none"
            problems.add((*path, "auth_mechanisms"), told)
        if listener.tls is not None and listener.tls.client == "require" and listener.tls.client_ca is None:
            told = "client_ca says whose certificates are good; it is missing"
            problems.add((*path, "tls", "client"), told)
        if listener.proxy and listener.tls is not None and listener.tls.implicit:
            told = "a PROXY header cannot stand before implicit TLS here; use STARTTLS, or end TLS at the balancer"
            problems.add((*path, "proxy"), told)


def _addresses(config: Config, problems: Problems) -> None:
    seen: dict[object, str] = {}
    for name, listener in config.listeners.items():
        if listener.address.port == 0 and listener.address.path is None:
            continue  # the system picks one
        if (other := seen.setdefault(listener.address, name)) != name:
            problems.add(("listeners", name, "address"), f"{listener.address} is taken by [listeners.{other}]")


def _keys(config: Config, problems: Problems) -> None:
    for name, key in config.pki.items():
        if key.file is not None and key.data is not None:
            problems.add(("pki", name, "data"), "file and data cannot stand together")
    if config.dsn is None:
        return
    if (
        "@" not in config.dsn.from_
        or to_ascii(config.dsn.from_.rpartition("@")[2]) is None
        or not _printable(config.dsn.from_)
    ):
        problems.add(("dsn", "from"), "not a mail address")
    if config.dsn.transport is not None:
        _reference(("dsn", "transport"), config.dsn.transport, config.transports, problems)
    if config.dsn.key is not None:
        name = config.dsn.key.removeprefix("pki:")
        if _reference(("dsn", "key"), name, config.pki, problems):
            signer = config.pki[name]
            if signer.selector is None or signer.domain is None:
                problems.add(("dsn", "key"), f"[pki.{name}] needs selector and domain to sign bounces")


def _api(config: Config, problems: Problems) -> None:
    if config.api.url is not None:
        try:
            url = urlsplit(config.api.url)
            good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            good, url = False, None
        if not good or not _printable(config.api.url) or " " in config.api.url:
            problems.add(("api", "url"), "not an http:// or https:// address")
        elif url is not None and url.username is not None:
            problems.add(("api", "url"), "credentials belong into headers, where they are kept secret")
    for name, value in config.api.headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            problems.add(("api", "headers", name), "not the name of a header field", at="key")
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            problems.add(("api", "headers", name), "a header field cannot hold control characters")


def _sizes(config: Config, problems: Problems) -> None:
    limits, dns = config.limits, config.dns
    if min(limits.message_size, limits.spool_above) > limits.in_flight_bytes:  # what is spooled is not in memory
        told = (
            f"a message up to spool_above is larger than in_flight_bytes ({limits.in_flight_bytes}): it would never fit"
        )
        problems.add(("limits", "message_size"), told)
    if limits.header_size > limits.message_size:
        problems.add(("limits", "header_size"), f"larger than message_size ({limits.message_size})")
    if dns.minimum_ttl > dns.maximum_ttl:
        problems.add(("dns", "minimum_ttl"), f"larger than maximum_ttl ({dns.maximum_ttl:g})")


def _reference(path: KeyPath, name: str, known: Iterable[str], problems: Problems) -> bool:
    known = list(known)
    if name in known:
        return True
    problems.add(path, f'none called "{name}"; known: {listed(known)}', id="unknown-name", hint=nearest(name, known))
    return False


def _printable(text: str) -> bool:
    return re.fullmatch(r"[\x20-\x7e]*", text) is not None


RULES: tuple[Callable[[Config, Problems], None], ...] = (
    _greetings,
    _transports,
    _phases,
    _relay,
    _authentication,
    _addresses,
    _keys,
    _api,
    _sizes,
)
