"""The files of a listener's TLS made into what OpenSSL speaks with, and what is wrong with them in words.

`check` and the start read them here, and so does the server when they change: what was checked is what is served.
"""

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from flowengine.services.config.listeners import ListenerTLS

EXPIRES_SOON = 14
"""Days before its end from which a certificate is warned of."""
_LARGEST = 1 << 20


class UnusableTLS(Exception):
    """Files that cannot serve. field: the key of `tls` that is to blame."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def load_context(tls: ListenerTLS) -> ssl.SSLContext:
    """What the handshakes of a listener use, made of its files. Raises UnusableTLS for the first that is wrong.

    No compression, no renegotiation (RFC 9325 §3.3, §3.5), our order of ciphers, which OpenSSL restricts to those with
    forward secrecy. Session tickets stay on.
    """
    _readable("certificate", tls.certificate, secret=False)
    _readable("key", tls.key, secret=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion[f"TLSv{tls.minimum.replace('.', '_')}"]
    context.options |= (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
    )
    leaf(tls.certificate)
    try:
        # without a password of its own, OpenSSL would ask the terminal for the one of an encrypted key
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except ssl.SSLError as error:
        raise _blamed(tls, error) from None
    except (OSError, ValueError) as error:
        raise UnusableTLS("key", f"{tls.key} cannot be used: {error}") from None
    if tls.client_ca is not None:
        _readable("client_ca", tls.client_ca, secret=False)
        try:
            context.load_verify_locations(tls.client_ca)
        except (ssl.SSLError, OSError):
            raise UnusableTLS("client_ca", f"{tls.client_ca} holds no certificate in PEM") from None
        context.verify_mode = ssl.CERT_REQUIRED if tls.client == "require" else ssl.CERT_OPTIONAL
    return context


def leaf(certificate: Path) -> x509.Certificate:
    """The first certificate of a chain in PEM. Raises UnusableTLS."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes())
    except (ValueError, OSError):
        raise UnusableTLS("certificate", f"{certificate} holds no certificate in PEM") from None


def expiry(certificate: Path, now: float) -> str | None:
    """A sentence when the certificate has expired or will within EXPIRES_SOON days. now: Unix time in seconds.

    Raises UnusableTLS.
    """
    end = leaf(certificate).not_valid_after_utc
    days = (end - datetime.fromtimestamp(now, UTC)).total_seconds() / 86400
    if days >= EXPIRES_SOON:
        return None
    return f"{certificate} {'expired' if days < 0 else 'expires'} on {end:%Y-%m-%d} at {end:%H:%M} UTC"


def _readable(field: str, path: Path, *, secret: bool) -> None:
    try:
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
    except FileNotFoundError:
        raise UnusableTLS(field, f"no such file: {path}") from None
    except OSError as error:
        raise UnusableTLS(field, f"cannot be read: {path}: {error.strerror}") from None
    if found.st_size > _LARGEST:
        raise UnusableTLS(field, f"{path} is larger than {_LARGEST} octets")
    if secret and found.st_mode & 0o077:
        mode = found.st_mode & 0o777
        raise UnusableTLS(field, f"{path} holds secrets and has mode {mode:o}; others must not read it")


def _blamed(tls: ListenerTLS, error: ssl.SSLError) -> UnusableTLS:
    """Which file OpenSSL did not like."""
    reason = (error.reason or "").replace("_", " ").lower()
    if "mismatch" in reason:
        return UnusableTLS("key", f"{tls.key} is not the key of {tls.certificate}")
    if "too small" in reason or "too weak" in reason:
        return UnusableTLS("certificate", f"{tls.certificate} is too weak for TLS today: {reason}")
    return UnusableTLS("key", f"{tls.key} holds no private key in PEM that can be read without a password")
