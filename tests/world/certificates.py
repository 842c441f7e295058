"""An authority of its own and certificates of it, for next hops that speak TLS."""

import datetime
import ipaddress
import ssl
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates; its own is in `file`, all are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        own = self._certificate(self._name, self._key.public_key(), authority=True, names=())
        self.file = folder / "authority.pem"
        self.file.write_bytes(own)

    def issue(self, *names: str) -> tuple[Path, Path]:
        """A certificate for host names and addresses, and its key: two files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.common.example")])
        stem = "-".join(names).replace(":", "_").replace("*", "any")
        certificate, private = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        certificate.write_bytes(self._certificate(subject, key.public_key(), authority=False, names=names))
        form = serialization.PrivateFormat.PKCS8
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        private.chmod(0o600)
        return certificate, private

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server with such a certificate speaks."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names))
        return context

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool, names: tuple[str, ...]
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        found = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            found = found.add_extension(x509.SubjectAlternativeName(list(map(_name, names))), critical=False)
        return found.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@lru_cache(maxsize=4)
def authority(folder: Path) -> Authority:
    """One for all tests of a run."""
    return Authority(folder)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
