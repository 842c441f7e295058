"""TLS of a listener: the context of its handshakes, renewed when the files change, and what came of each handshake.

A renewed certificate is taken up within seconds, without a restart; a broken one is told once, and the old one stays.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowengine.builtins.certificates import X509
from flowengine.language.values import Array
from flowengine.runtime.services import Clock, Counters, Log, Services
from flowengine.services.config.certificates import UnusableTLS, expiry, load_context
from flowengine.services.config.listeners import ListenerTLS
from flowengine.services.config.model import Config
from flowengine.services.config.problems import ConfigError

LOOK = 5.0
"""Seconds between two looks at the files, and only when somebody shakes hands."""
WARN = 86400.0
"""Seconds between two warnings of a certificate that is about to expire."""


class ServerTLS:
    """What one listener's door asks (`servers.smtp.encryption.Encryption`). time: seconds a handshake may take."""

    def __init__(
        self, listener: str, tls: ListenerTLS, time: float, clock: Clock, log: Log, counters: Counters
    ) -> None:
        """Raises UnusableTLS."""
        self._listener, self._tls, self._clock = listener, tls, clock
        self._log, self._counters = log, counters
        self.implicit, self.required, self.time = tls.implicit, tls.required, time
        self._seen = self._versions()
        self._context = load_context(tls)
        self._looked = clock.monotonic()
        self._warned = float("-inf")
        self._warn()

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        now = self._clock.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            if self._versions() != self._seen:
                self.reload()
            elif now - self._warned >= WARN:
                self._warn()
        return self._context

    def reload(self) -> bool:
        """Read the files again; whether they are good. Those that are not change nothing. Never raises."""
        self._seen = self._versions()
        try:
            self._context = load_context(self._tls)
        except UnusableTLS as error:
            self._log.event("error", "tls", listener=self._listener, problem=str(error), kept="the old certificate")
            return False
        self._log.event("info", "tls", listener=self._listener, renewed=str(self._tls.certificate))
        self._warn()
        return True

    def established(self, connection: ssl.SSLObject) -> Mapping[str, Any]:
        """What flows know of a connection under TLS: protocol, cipher, keysize, and peercert if the client has one."""
        name, _, bits = connection.cipher() or ("", "", 0)
        protocol = connection.version() or ""
        self._counters.increment("tls_handshakes", listener=self._listener, result=protocol)
        about: dict[str, Any] = {"protocol": protocol, "cipher": name, "keysize": bits}
        certificate = connection.getpeercert(binary_form=True)
        if certificate:
            # a handshake with a certificate that does not verify fails, so there is no error to tell
            about["peercert"] = Array({"x509": X509.read(certificate), "error": 0})
            about["peercert"].shared = True
        return about

    def failed(self, client: str, error: BaseException | None) -> None:
        """A handshake came to nothing. client: its address; error: why, None when the client went away."""
        slow = isinstance(error, ConnectionAbortedError)
        if slow:
            self._counters.increment("limits", limit="handshake_time")
        self._counters.increment("tls_handshakes", listener=self._listener, result="too slow" if slow else "failed")
        self._log.event("info", "tls", listener=self._listener, client=client, failed=_reason(error))

    def _warn(self) -> None:
        self._warned = self._clock.monotonic()
        try:
            soon = expiry(self._tls.certificate, self._clock.now())
        except UnusableTLS:  # being replaced at this moment: the next look will tell
            return
        if soon is not None:
            self._log.event("warning", "tls", listener=self._listener, certificate=soon)

    def _versions(self) -> tuple[object, ...]:
        """What tells these files from what will be in their places."""
        return tuple(map(_version, (self._tls.certificate, self._tls.key, self._tls.client_ca)))


def open_tls(config: Config, services: Services) -> dict[str, ServerTLS]:
    """TLS of every listener that speaks it. Raises ConfigError with all that is wrong."""
    found, problems = {}, []
    for name, listener in config.listeners.items():
        if listener.tls is None:
            continue
        try:
            found[name] = ServerTLS(
                name, listener.tls, config.limits.handshake_time, services.clock, services.log, services.counters
            )
        except UnusableTLS as error:
            problems.append(config.problem(("listeners", name, "tls", error.field), str(error), "unusable-tls"))
    if problems:
        raise ConfigError(problems)
    return found


def _version(path: Path | None) -> tuple[int, ...]:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return ()
    return () if found is None else (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)


def _reason(error: BaseException | None) -> str:
    """A handshake's failure in a few words."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return str(error) or type(error).__name__ if error is not None else "the client went away"
