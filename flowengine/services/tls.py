"""What our listeners show their clients: certificates and keys, checked before anything runs."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from flowengine.services.config.listeners import ListenerTLS

SOON = 14
"""Days before its end from which a certificate is worth a warning."""
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class UnusableTLS(ValueError):
    """A certificate, or its key, that nobody can be shown. The text is for the operator."""


def server_context(tls: "ListenerTLS") -> ssl.SSLContext:
    """What a listener shows its clients. Raises UnusableTLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.minimum]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UnusableTLS(f"{tls.key} is not the key of {tls.certificate}") from None
        raise UnusableTLS(
            f"{tls.certificate} and {tls.key} are no certificate and key: {error.reason or error}"
        ) from None
    except (OSError, ValueError) as error:
        raise UnusableTLS(f"{tls.certificate}, {tls.key}: {error}") from None
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; a server has nobody to ask for its password")


def days_left(certificate: Path, now: datetime | None = None) -> float | None:
    """Days until a certificate ends, below 0 when it has; None for a file that holds none."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return None
    return (found.not_valid_after_utc - (now or datetime.now(UTC))).total_seconds() / 86400
