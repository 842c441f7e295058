"""The files that a configuration names: are they there, and can nobody else read those that hold secrets?"""

import re
import ssl
import time
from importlib.util import find_spec
from pathlib import Path

from flowengine.services.config.listeners import Flows, Listener, ListenerTLS, TransportTLS
from flowengine.services.config.model import Config
from flowengine.services.config.positions import Path as KeyPath
from flowengine.services.config.problems import Problems


def check_files(config: Config, document: dict[str, object], problems: Problems) -> None:
    """The files that the configuration names: there, readable, and not readable by others where they hold secrets."""
    for name, listener in config.listeners.items():
        path: KeyPath = ("listeners", name)
        _flows((*path, "flows"), listener.flows, problems)
        for index, route in enumerate(listener.routes):
            _flows((*path, "routes", index, "flows"), route.flows, problems)
        _listener_files(path, listener, problems)
    for name, key in config.pki.items():
        if key.file is not None:
            _secret_file(("pki", name, "file"), key.file, problems)
    for name, transport in config.transports.items():
        _transport_files(("transports", name, "tls"), transport.tls, problems)
    if config.storage.url and find_spec("psycopg") is None:
        told = "PostgreSQL needs the package psycopg, which is not installed: pip install 'flowengine[postgresql]'"
        problems.add(("storage",), told, id="missing-package")
    if config.scripts.root is not None and not config.scripts.root.is_dir():
        problems.add(("scripts", "root"), f"no such directory: {config.scripts.root}", id="missing-file")
    if config.path is not None and _others_read(config.path):
        _secrets_in_open(config, document, problems)


def _listener_files(path: KeyPath, listener: Listener, problems: Problems) -> None:
    if listener.tls is not None:
        _tls_files((*path, "tls"), listener.tls, problems)
    if listener.users is None:
        return
    if listener.users.exists():
        _secret_file((*path, "users"), listener.users, problems)
    else:
        told = f"no such file: {listener.users}; nobody can authenticate until `flowengine users add` makes it"
        problems.add((*path, "users"), told, id="missing-file", severity="warning")


def _transport_files(path: KeyPath, tls: TransportTLS, problems: Problems) -> None:
    if tls.authorities is not None and _present((*path, "authorities"), tls.authorities, problems):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(tls.authorities)
        except (ssl.SSLError, OSError, ValueError):
            problems.add((*path, "authorities"), f"no certificates in PEM: {tls.authorities}", id="bad-file")
    if tls.certificate is None or tls.key is None:
        return
    there = _present((*path, "certificate"), tls.certificate, problems)
    if _secret_file((*path, "key"), tls.key, problems) and there:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tls.certificate, tls.key, password="")
        except (ssl.SSLError, OSError, ValueError):
            problems.add((*path, "certificate"), f"no certificate that fits the key: {tls.certificate}", id="bad-file")


def _tls_files(path: KeyPath, tls: ListenerTLS, problems: Problems) -> None:
    """Certificate and key, and whether they are a pair."""
    good = _present((*path, "certificate"), tls.certificate, problems)
    if not (_secret_file((*path, "key"), tls.key, problems) and good):
        return
    from flowengine.services.config.certificates import UnusableTLS, expiry, load_context  # most commands need no x509

    try:
        load_context(tls)
        soon = expiry(tls.certificate, time.time())
    except UnusableTLS as error:
        problems.add((*path, error.field), str(error), id="unusable-tls")
    else:
        if soon is not None:
            problems.add((*path, "certificate"), soon, id="expires", severity="warning")


def _flows(path: KeyPath, flows: Flows, problems: Problems) -> None:
    for phase, file in flows.items():
        _present((*path, phase), file, problems)


def _present(path: KeyPath, file: Path, problems: Problems) -> bool:
    try:
        if not file.is_file():
            problems.add(path, f"no such file: {file}", id="missing-file")
            return False
        with file.open("rb"):
            return True
    except OSError as error:
        problems.add(path, f"cannot be read: {file}: {error.strerror}", id="missing-file")
        return False


def _secret_file(path: KeyPath, file: Path, problems: Problems) -> bool:
    """Whether the file is there and nobody else may read it."""
    if not _present(path, file, problems):
        return False
    if _others_read(file):
        mode = file.stat().st_mode & 0o777
        problems.add(
            path,
            f"{file} holds secrets and has mode {mode:o}; others must not read it",
            id="unsafe-mode",
            hint=f"chmod 600 {file}",
        )
        return False
    return True


def _secrets_in_open(config: Config, document: dict[str, object], problems: Problems) -> None:
    """Secrets that stand in the configuration itself, when others can read it."""
    told = f"a secret in a file that others can read; chmod 600 {config.path}"
    for name, key in config.pki.items():
        if key.data is not None:
            problems.add(("pki", name, "data"), told, id="unsafe-mode")
    for name, transport in config.transports.items():
        raw = _at(document, "transports", name, "sasl", "password")
        if transport.sasl is not None and isinstance(raw, str) and "${" not in raw:
            problems.add(("transports", name, "sasl", "password"), f"{told}, or write ${{NAME}}", id="unsafe-mode")
    for name in config.api.headers:
        raw = _at(document, "api", "headers", name)
        sounds_secret = re.search("auth|token|key|secret|cookie|pass", name, re.IGNORECASE)
        if sounds_secret and isinstance(raw, str) and "${" not in raw:
            # Only its name says that it is one, so this is no reason to refuse.
            problems.add(("api", "headers", name), f"{told}, or write ${{NAME}}", id="unsafe-mode", severity="warning")


def _at(document: object, *path: str) -> object:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _others_read(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & 0o077)
    except OSError:
        return False
