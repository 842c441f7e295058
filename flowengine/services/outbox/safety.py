"""TLS and authentication of a transport, as its configuration says."""

import ssl
from functools import lru_cache
from typing import TYPE_CHECKING

from flowengine.services.relay import Encryption, Login

if TYPE_CHECKING:
    from flowengine.services.config import SASL, TransportTLS


def encryption(tls: "TransportTLS", name: str, *, verified: bool = False) -> Encryption | None:
    """TLS towards a host; None without. verified: whatever the mode says, its certificate must be right (RFC 8689).

    Raises OSError for files that cannot be read or hold no certificate.
    """
    if tls.mode == "off" and not verified:
        return None
    verified = verified or tls.mode == "verify"
    required = verified or tls.implicit or tls.mode == "require"
    return Encryption(_context(tls, verified), name, required, tls.implicit, verified)


@lru_cache(maxsize=64)
def _context(tls: "TransportTLS", verified: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = verified
    context.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
    context.hostname_checks_common_name = False  # RFC 6125 §6.4.4
    context.minimum_version = ssl.TLSVersion[f"TLSv{tls.minimum.replace('.', '_')}"]
    if verified and tls.authorities is not None:
        context.load_verify_locations(tls.authorities)
    elif verified:
        context.load_default_certs()
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key, password="")  # else OpenSSL asks the terminal
    return context


def login(sasl: "SASL | None") -> Login | None:
    """How we authenticate."""
    if sasl is None:
        return None
    mechanisms = ("PLAIN", "LOGIN") if sasl.mechanism is None else (sasl.mechanism.upper(),)
    return Login(sasl.username, sasl.password, mechanisms, sasl.allow_plaintext)
