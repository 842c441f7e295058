"""What flows ask about the connection of the client."""

from typing import Literal

from cryptography.hazmat.primitives import hashes

from flowengine.builtins.certificates import X509
from flowengine.language.functions import builtin
from flowengine.language.values import Array, Value
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "md5": hashes.MD5(),  # noqa: S303  # to recognize a certificate that somebody listed by it
    "sha1": hashes.SHA1(),  # noqa: S303  # as above
    "sha256": hashes.SHA256(),
    "sha512": hashes.SHA512(),
}


@builtin(Phase.HELO, Phase.AUTH, Phase.MAILFROM, Phase.RCPTTO, Phase.DATA, Phase.EOD, name="GetTLS")
def get_tls(run: Run, *, fingerprint: Literal["md5", "sha1", "sha256", "sha512"] | None = None) -> Array:
    """The TLS of the connection: started; when it is, also protocol, cipher (and ciphers, its old name), keysize.

    A client that showed a certificate adds peer_cert, an `X509`, and peer_cert_error, 0: one that an authority of the
    listener does not vouch for ends the handshake.
    fingerprint: peer_cert is this digest of the certificate, in hex, in place of the object.

        GetTLS()["started"];  // false
    """
    tls = run.connection.tls
    if tls is None:
        return Array({"started": False})
    cipher = tls.get("cipher")
    about: dict[str, Value] = {
        "started": True,
        "protocol": tls.get("protocol"),
        "cipher": cipher,
        "ciphers": cipher,
        "keysize": tls.get("keysize"),
    }
    shown = tls.get("peercert")
    if isinstance(shown, Array):
        certificate = shown.get("x509")
        if fingerprint is not None and isinstance(certificate, X509):
            certificate = certificate.digest(_HASHES[fingerprint])
        about |= {"peer_cert": certificate, "peer_cert_error": shown.get("error")}
    return Array(about)
