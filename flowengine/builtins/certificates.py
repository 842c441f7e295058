"""X509: what a certificate says. Reading only; whether to trust it was decided in the handshake."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import ClassVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from flowengine.builtins.cms_reader import trust
from flowengine.builtins.run import Run
from flowengine.language.conversion import got
from flowengine.language.natives import method
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Value, from_text, to_bytes

MAX_CERTIFICATE = 65536
LARGEST = 1 << 20  # octets of PEM with several
MOST = 50  # of one call
_SHORT = {
    x509.NameOID.COMMON_NAME: "CN",
    x509.NameOID.COUNTRY_NAME: "C",
    x509.NameOID.STATE_OR_PROVINCE_NAME: "ST",
    x509.NameOID.LOCALITY_NAME: "L",
    x509.NameOID.ORGANIZATION_NAME: "O",
    x509.NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    x509.NameOID.EMAIL_ADDRESS: "emailAddress",
}
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.UnsupportedGeneralNameType,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)


class X509:
    """A certificate: from `TLSSocket->getpeerx509()`, or from PEM with `X509::String($pem)`."""

    class_name: ClassVar[str] = "X509"

    def __init__(self, certificate: x509.Certificate) -> None:
        self.certificate = certificate

    @staticmethod
    @method
    def constructor(resource: Value) -> "X509":
        """The certificate of a resource, such as `$connection["tls"]["peercert"]["x509"]`, or of PEM or DER."""
        made = X509.read(to_bytes(resource)) if isinstance(resource, str) else resource
        if not isinstance(made, X509):
            raise FlowError(f"X509: $resource is a certificate, got {got(resource)}")
        return made

    @staticmethod
    @method(name="String")
    def of_string(data: bytes) -> "X509 | None":
        """The first certificate in a PEM text, or one in DER. None for what is no certificate."""
        return X509.read(data)

    @staticmethod
    def read(data: bytes) -> "X509 | None":
        """As `X509::String`, for other words."""
        if len(data) > MAX_CERTIFICATE:
            return None
        try:
            pem = b"-----BEGIN" in data
            return X509(x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data))
        except _UNREADABLE:
            return None

    def digest(self, algorithm: hashes.HashAlgorithm) -> str:
        """The digest of the whole certificate in hex, by which people list certificates."""
        return self.certificate.fingerprint(algorithm).hex()

    @method
    def subject(self) -> Array:
        """Whom it is about: CN, O, C, …; an attribute that occurs several times is a list."""
        return _name(self.certificate.subject)

    @method
    def issuer(self) -> Array:
        """Who issued it, as in `subject`."""
        return _name(self.certificate.issuer)

    @method
    def subject_alt_name(self) -> Array:
        """Under which names it is valid: DNS => a list of host names, IP => addresses, email => addresses."""
        try:
            names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, *_UNREADABLE):
            return Array()
        kinds = {
            "DNS": names.get_values_for_type(x509.DNSName),
            "IP": map(str, names.get_values_for_type(x509.IPAddress)),
            "email": names.get_values_for_type(x509.RFC822Name),
        }
        listed = {kind: Array.of(map(from_text, values)) for kind, values in kinds.items()}
        return Array({kind: values for kind, values in listed.items() if values})

    @method
    def version(self) -> int:
        """The version of the format as it is written: 2 means X.509 version 3."""
        return self.certificate.version.value

    @method
    def serial_number(self) -> str:
        """The serial number in hex."""
        return f"{self.certificate.serial_number:x}"

    @method
    def not_valid_before(self) -> float:
        """From when it is valid, Unix time in seconds."""
        return self.certificate.not_valid_before_utc.timestamp()

    @method
    def not_valid_after(self) -> float:
        """Until when it is valid, Unix time in seconds."""
        return self.certificate.not_valid_after_utc.timestamp()

    @method
    def public_key(self) -> bytes | None:
        """The public key as SubjectPublicKeyInfo in DER; none for a kind of key that is not known."""
        try:
            return self.certificate.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        except _UNREADABLE:
            return None

    @method
    def verify(self, run: Run, authorities: Value) -> bool:
        """Whether the certificate is one of these, or was issued by one, through at most 5 others of them, and all are
        valid now. authorities: PEM, X509, or an array of these."""
        run.budget.spend(2000)
        listed = certificates(authorities)
        return trust(self.certificate, (), listed, datetime.fromtimestamp(run.world.now(), UTC))

    @method
    def export(self) -> str:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _name(name: Iterable[x509.NameAttribute[str | bytes]]) -> Array:
    found: dict[str, list[Value]] = {}
    for attribute in name:
        kind = _SHORT.get(attribute.oid, attribute.oid.dotted_string)
        value = attribute.value
        found.setdefault(kind, []).append(from_text(value) if isinstance(value, str) else value.decode("latin-1"))
    return Array({kind: values[0] if len(values) == 1 else Array.of(values) for kind, values in found.items()})


def certificates(given: Value) -> list[x509.Certificate]:
    """Certificates from PEM, DER, an X509 object, or an array of these. What is none is left out."""
    found: list[x509.Certificate] = []
    for one in given.values() if isinstance(given, Array) else [given]:
        if isinstance(one, X509):
            found.append(one.certificate)
        elif isinstance(one, str) and len(one) <= LARGEST:
            data = to_bytes(str(one))
            try:
                if b"-----BEGIN" in data:
                    found += x509.load_pem_x509_certificates(data)
                else:
                    found.append(x509.load_der_x509_certificate(data))
            except _UNREADABLE:
                continue
    return found[:MOST]
