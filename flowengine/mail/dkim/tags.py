"""Tag lists: `name=value; name=value`, the form of DKIM signatures, key records and ARC fields (RFC 6376 §3.2)."""

import base64
import binascii
import re

from flowengine.mail.errors import MailError

_SPACE = b" \t\r\n"
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_ALLOWED = b"\t\n\r" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_FOLDS = bytes.maketrans(b"", b"")


def parse_tags(text: bytes) -> dict[str, bytes]:
    """The tags by name, values without the white space around them. Raises MailError for what is no tag list:
    an empty or nameless element, a tag that occurs twice, a control character. Octets beyond ASCII are taken
    (RFC 8616 §2)."""
    if control := text.translate(None, _ALLOWED):
        raise MailError(f"a control character at {text.index(control[:1])}")
    tags: dict[str, bytes] = {}
    elements = text.split(b";")
    if not elements[-1].strip(_SPACE):
        elements.pop()  # one semicolon may end the list
    for element in elements:
        name, equals, value = element.partition(b"=")
        name = name.strip(_SPACE)
        if not equals or _NAME.fullmatch(name) is None:
            raise MailError(f"{_shown(element)} is no tag")
        key = name.decode("ascii")
        if key in tags:
            raise MailError(f"the tag {key}= occurs twice")
        tags[key] = value.strip(_SPACE)
    return tags


def require(tags: dict[str, bytes], *names: str) -> None:
    """Raises MailError when one of these tags is missing or empty."""
    for name in names:
        if not tags.get(name):
            raise MailError(f"{name}= is missing")


def without_space(value: bytes) -> bytes:
    """A value whose inner white space means nothing (base64)."""
    return value.translate(_FOLDS, _SPACE)


def words(value: bytes) -> tuple[bytes, ...]:
    """The words of a list with colons. White space may stand around a colon and nowhere else, so a word with some in
    it, like an empty one, is the caller's to refuse."""
    return tuple(word.strip(_SPACE) for word in value.split(b":"))


def base64_value(tags: dict[str, bytes], name: str) -> bytes:
    """The octets of a base64 tag. Raises MailError."""
    try:
        return base64.b64decode(without_space(tags[name]), validate=True)
    except binascii.Error as error:
        raise MailError(f"{name}= is not base64") from error


def number_value(tags: dict[str, bytes], name: str, digits: int = 12) -> int | None:
    """The number of a tag, None without it. Raises MailError for anything but 1 to `digits` digits."""
    value = tags.get(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > digits:
        raise MailError(f"{name}= is no number")
    return int(value)


def emptied(value: bytes, tag: bytes = b"b") -> bytes:
    """A field value with this tag's value taken out, white space around it included (RFC 6376 §3.7)."""
    elements = value.split(b";")
    for index, element in enumerate(elements):
        name, equals, _ = element.partition(b"=")
        if equals and name.strip(_SPACE) == tag:
            elements[index] = name + equals
    return b";".join(elements)


def _shown(element: bytes) -> str:
    return repr(element.strip(_SPACE)[:30].decode("ascii", "replace"))
