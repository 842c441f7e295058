"""Signature fields written by hand: every blank, fold and tag as a test wants it, signed by code that is not ours.

Canonicalization is relaxed and spelled out with regular expressions, so what is tested does not test itself. The text
of a field holds `{bh}` where the hash of the body belongs, and `{b}` where the signature does.
"""

import base64
import hashlib
import re

from flowengine.mail.keys import PrivateKey


def relaxed_field(raw: bytes) -> bytes:
    """One field (RFC 6376 §3.4.2), without its line end."""
    name, _, value = raw.partition(b":")
    return name.strip().lower() + b":" + re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" \t")


def relaxed_body(body: bytes) -> bytes:
    """§3.4.4."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def fields_of(mail: bytes) -> list[bytes]:
    """The header fields as they stand."""
    return re.split(rb"\r\n(?![ \t])", mail.partition(b"\r\n\r\n")[0])


def body_hash(mail: bytes, length: int | None = None) -> str:
    """The text of bh=."""
    body = relaxed_body(mail.partition(b"\r\n\r\n")[2])
    return base64.b64encode(hashlib.sha256(body[:length]).digest()).decode()


def signed(template: str, mail: bytes, key: PrivateKey, names: str, *, length: int | None = None) -> bytes:
    """The mail with the field on top. names: what is signed, with colons, as h= says it."""
    text = template.replace("{bh}", body_hash(mail, length))
    left = fields_of(mail)
    chosen = []
    for name in names.lower().split(":"):
        place = next((at for at in reversed(range(len(left))) if left[at].lower().startswith(name.encode() + b":")), -1)
        if place >= 0:
            chosen.append(left.pop(place))
    return filled(text, [*chosen, text.replace("{b}", "").encode()], key) + b"\r\n" + mail


def filled(text: str, scope: list[bytes], key: PrivateKey) -> bytes:
    """The field's text with the signature over these fields, of which the last is the field itself without one."""
    digest = hashlib.sha256(b"\r\n".join(map(relaxed_field, scope))).digest()
    value = base64.b64encode(key.sign(digest)).decode()
    folds = "\r\n\t".join(value[at : at + 72] for at in range(0, len(value), 72))
    return text.replace("{b}", folds).encode()
