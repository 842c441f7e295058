"""Authorities of the tests' own, and the certificates that they issue."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates, and vouches for them."""

    def __init__(self, name: str = "Test Authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self._key.public_key(), 3650, (), ca=True)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float, names: tuple[str, ...], ca: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3650))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_name, names))), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def write(self, path: Path) -> Path:
        """The authority's own certificate as a file."""
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(
        self, folder: Path, *names: str, common: str = "mx.common.example", days: float = 90, password: str = ""
    ) -> tuple[Path, Path]:
        """A certificate for host names and addresses, and its key: files that are called after the first name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        certificate = self._sign(subject, key.public_key(), days, names, ca=False)
        stem = names[0].replace(":", "_").replace("*", "any")
        chain, secret = folder / f"{stem}.pem", folder / f"{stem}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret.touch(mode=0o600)
        locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
        return chain, secret

    def trusting(self) -> ssl.SSLContext:
        """What a client of this authority's servers uses."""
        context = ssl.create_default_context(cadata=self.certificate.public_bytes(serialization.Encoding.PEM).decode())
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


class Office:
    """An authority whose files are all in `folder`; its own certificate is `file`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.authority = folder, Authority()
        self.file = self.authority.write(folder / "authority.pem")

    def issue(self, *names: str) -> tuple[Path, Path]:
        """A certificate for host names and addresses, and its key: two files."""
        return self.authority.issue(self.folder, *names)

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server with such a certificate speaks."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names))
        return context


@lru_cache(maxsize=4)
def office(folder: Path) -> Office:
    """One for all tests of a run."""
    return Office(folder)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
