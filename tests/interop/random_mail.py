"""Random messages and random damage, the same for the same seed: what differential tests feed to both sides."""

import random
import re
from collections.abc import Iterator
from typing import NamedTuple

_NAMES = (b"To", b"cc", b"SUBJECT", b"Date", b"Message-ID", b"X-A", b"x-a", b"Received", b"List-Id", b"Reply-To")
_VALUE = (b"a", b"Word", b" ", b"  ", b"\t", b"\r\n ", b"\r\n\t ", b":", b";", b"=", b'"', b"<a@b.example>", b",", b"0")
_BODY = (
    *(b"text", b" ", b"  ", b"\t", b" \t ", b"\r\n", b"\r\n\r\n", b" \r\n", b"\t\r\n", b".", b"..", b"\r\n.", b"--x"),
    *("é".encode(), b"\xff\xfe", b"=20", b"x" * 200),
)
_DAMAGE = (b"", b" ", b"\t", b"x", b"A", b"0", b"=", b";", b":", b"\r\n ", b"\r\n", b"e", b"/")
_FIELD = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+\r\n")


def messages(seed: int, count: int) -> Iterator[bytes]:
    """Messages with a From field, folded and odd fields, and bodies full of white space."""
    chance = random.Random(seed)  # noqa: S311  # the same every time is what it is for
    for _ in range(count):
        fields = [b"From: Alice <alice@example.net>\r\n"]
        for _ in range(chance.randint(0, 8)):
            value = b"".join(chance.choices(_VALUE, k=chance.randint(1, 12)))
            # a line of blanks alone is obsolete, and where it ends the header is told differently
            value = re.sub(rb"(?:\r\n[ \t]+)+(?=\r\n|\Z)", b"", value)
            fields.insert(chance.randint(0, len(fields)), chance.choice(_NAMES) + b": v" + value + b"\r\n")
        body = b"".join(chance.choices(_BODY, k=chance.randint(0, 40)))
        yield b"".join(fields) + b"\r\n" + (body and body + b"\r\n")


class Damaged(NamedTuple):
    """A message after one change. what: for people."""

    data: bytes
    what: str


def damaged(message: bytes, seed: int, count: int) -> Iterator[Damaged]:
    """The message with one place changed: something inserted, replaced or removed. It stays a message that every program
    cuts into the same fields."""
    chance = random.Random(seed)  # noqa: S311
    while count:
        place, new, taken = chance.randrange(len(message)), chance.choice(_DAMAGE), chance.randint(0, 1)
        data = message[:place] + new + message[place + taken :]
        bare = re.search(rb"(?<!\r)\n|\r(?!\n)", data)
        if data != message and not bare and _FIELD.match(data):
            count -= 1
            was, now = message[max(0, place - 15) : place + 15], data[max(0, place - 15) : place + 15 + len(new)]
            yield Damaged(data, f"{was!r} is now {now!r}")
