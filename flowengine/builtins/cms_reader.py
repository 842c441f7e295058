"""Signed data of CMS (RFC 5652 §5), read and verified. Any octets give a result or raise Unreadable; time is bounded.

`cryptography` makes CMS and decrypts it, but does not verify it; what is here is the reading and the order of checks,
the cryptography itself is that library's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

DEEPEST, MOST = 30, 5000  # of the values in one message
SIGNERS, CERTIFICATES, LINKS = 10, 50, 5
DATA, SIGNED, ENVELOPED = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2", "1.2.840.113549.1.7.3"
TYPES = {DATA: "pkcs7-data", SIGNED: "pkcs7-signedData", ENVELOPED: "pkcs7-envelopedData"}
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "1.3.14.3.2.26": hashes.SHA1(),  # noqa: S303  # old signatures are told apart by who trusts them
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"


class Unreadable(Exception):
    """Octets that are no CMS, or more deeply nested or larger in number than any that is."""


@dataclass(frozen=True, slots=True)
class Node:
    """One value of BER. tag: its first octet. raw: all of it. value: what is inside. parts: of a constructed one."""

    tag: int
    raw: bytes
    value: bytes
    parts: tuple["Node", ...] = ()

    @property
    def octets(self) -> bytes:
        """An octet string, also one in pieces."""
        return b"".join(part.octets for part in self.parts) if self.tag & 0x20 else self.value

    @property
    def oid(self) -> str:
        """An object identifier."""
        if self.tag != 6 or not self.value:
            raise Unreadable("no identifier")
        numbers, current = [], 0
        for octet in self.value[:64]:
            current = current << 7 | octet & 0x7F
            if not octet & 0x80:
                numbers.append(current)
                current = 0
        first = min(numbers[0] // 40, 2)
        return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


def read(data: bytes) -> Node:
    """The first value in some octets. Raises Unreadable."""
    return _Reader(data).node(0, len(data), 0)[0]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.count = data, 0

    def node(self, at: int, end: int, depth: int) -> tuple[Node, int]:
        """A value and where it ends."""
        self.count += 1
        if depth > DEEPEST or self.count > MOST or end - at < 2:
            raise Unreadable("too deep, too many, or too short")
        data, start = self.data, at
        tag, length = data[at], data[at + 1]
        if tag & 0x1F == 0x1F:
            raise Unreadable("a tag of several octets")
        at += 2
        if length == 0x80:
            return self._open(tag, start, at, end, depth)
        if length & 0x80:
            size = length & 0x7F
            if size > 4 or end - at < size:
                raise Unreadable("no length")
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if length > end - at:
            raise Unreadable("longer than what is there")
        stop, parts = at + length, []
        if tag & 0x20:
            inside = at
            while inside < stop:
                part, inside = self.node(inside, stop, depth + 1)
                parts.append(part)
        return Node(tag, data[start:stop], data[at:stop], tuple(parts)), stop

    def _open(self, tag: int, start: int, at: int, end: int, depth: int) -> tuple[Node, int]:
        """A value whose end is marked (X.690 §8.1.3.6)."""
        if not tag & 0x20:
            raise Unreadable("no length")
        parts, inside = [], at
        while self.data[inside : inside + 2] != b"\0\0":
            part, inside = self.node(inside, end, depth + 1)
            parts.append(part)
        return Node(tag, self.data[start : inside + 2], self.data[at:inside], tuple(parts)), inside + 2


def content_type(data: bytes) -> str | None:
    """The OID of what a ContentInfo holds; None for what is none."""
    try:
        outer = read(data)
        return outer.parts[0].oid if outer.tag == 0x30 and outer.parts else None
    except Unreadable:
        return None


@dataclass(frozen=True, slots=True)
class Verified:
    """Signed data whose signatures are right and whose signers are trusted."""

    content: bytes
    signers: tuple[x509.Certificate, ...]


def verify(data: bytes, detached: bytes | None, trusted: Sequence[x509.Certificate], now: float) -> Verified | None:
    """Verify signed data; None when a signature is wrong or a signer is not trusted. Raises Unreadable.

    detached: the content, when it is not inside. trusted: authorities, or signers themselves. now: Unix time.
    """
    try:
        return _verify(data, detached, trusted, datetime.fromtimestamp(now, UTC))
    except (IndexError, ValueError, TypeError, UnsupportedAlgorithm, OverflowError) as error:
        raise Unreadable(f"no signed data: {type(error).__name__}") from None


def _verify(data: bytes, detached: bytes | None, trusted: Sequence[x509.Certificate], now: datetime) -> Verified | None:
    outer = read(data)
    if outer.parts[0].oid != SIGNED:
        raise Unreadable("no signed data")
    signed = outer.parts[1].parts[0]
    inner = signed.parts[2]
    content = detached if detached is not None else inner.parts[1].parts[0].octets if len(inner.parts) > 1 else None
    if content is None:
        return None
    included = [
        _certificate(one.raw)
        for part in signed.parts[3:-1]
        if part.tag == 0xA0
        for one in part.parts[:CERTIFICATES]
        if one.tag == 0x30
    ]
    infos = signed.parts[-1].parts
    if not 0 < len(infos) <= SIGNERS:
        return None
    signers = []
    for info in infos:
        signer = _signer(info, [*included, *trusted])
        if signer is None or not _right(info, signer, content) or not trust(signer, included, trusted, now):
            return None
        signers.append(signer)
    return Verified(content, tuple(signers))


def _certificate(data: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except x509.InvalidVersion as error:  # not one of the library's ValueErrors
        raise Unreadable(str(error)) from None


def _signer(info: Node, known: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """The certificate that a SignerInfo names, by issuer and number or by key identifier."""
    name = info.parts[1]
    for one in known:
        if name.tag == 0x30:
            number = int.from_bytes(name.parts[1].value, "big", signed=True)
            if one.serial_number == number and one.issuer.public_bytes() == name.parts[0].raw:
                return one
        elif name.tag == 0x80:
            try:
                found = one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            except x509.ExtensionNotFound:
                continue
            if found.digest == name.value:
                return one
    return None


def _right(info: Node, signer: x509.Certificate, content: bytes) -> bool:
    """Whether a SignerInfo's signature is its signer's over the content (RFC 5652 §5.4, §5.6)."""
    rest = list(info.parts[2:])
    digest = _DIGESTS.get(rest.pop(0).parts[0].oid)
    if digest is None:
        return False
    covered = content
    if rest[0].tag == 0xA0:
        attributes = rest.pop(0)
        made = hashes.Hash(digest)
        made.update(content)
        claims = [one.parts[1].parts[0].octets for one in attributes.parts if one.parts[0].oid == _MESSAGE_DIGEST]
        if claims != [made.finalize()]:
            return False
        covered = b"\x31" + attributes.raw[1:]  # signed as the SET that it is, not as the field that it stands in
    signature = rest[1].octets
    key = signer.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, covered, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, covered, ec.ECDSA(digest))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, covered)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def trust(
    one: x509.Certificate, between: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate], now: datetime
) -> bool:
    """Whether a certificate is trusted, or issued by one that is through at most LINKS others, all valid now."""
    for _ in range(LINKS + 1):
        if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
            return False
        if one in trusted:
            return True
        above = next((each for each in (*trusted, *between) if each != one and _issued(one, each)), None)
        if above is None:
            return False
        one = above
    return False


def _issued(one: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        if not by.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        one.verify_directly_issued_by(by)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
