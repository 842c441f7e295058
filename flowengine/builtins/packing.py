"""pack and unpack: numbers and strings as the bytes of a protocol, and back (HSL reference §2.7).

A format is a row of codes, each with a count or `*`: a C c e E H n N v V x Z, as in Perl and PHP.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from flowengine.builtins.run import Run, grown
from flowengine.language.budget import BYTES_AN_ITEM
from flowengine.language.functions import builtin
from flowengine.language.values import Array, Value, from_bytes, normal, to_bytes, to_number

_CODE = re.compile(r"\s*([acCeEHnNvVxZ])(\*|\d{1,9})?\s*", re.ASCII)
_NUMBERS = {
    "c": struct.Struct("b"),
    "C": struct.Struct("B"),
    "n": struct.Struct(">H"),
    "N": struct.Struct(">I"),
    "v": struct.Struct("<H"),
    "V": struct.Struct("<I"),
    "e": struct.Struct("<d"),
    "E": struct.Struct(">d"),
}
_EVERY = -1  # the count that `*` stands for


class _UnfitError(Exception):
    """The format does not fit the arguments or the data."""


@dataclass(frozen=True, slots=True)
class _Code:
    letter: str
    count: int | None

    @property
    def times(self) -> int:
        return 1 if self.count is None else self.count


def _codes(format_: str) -> Iterator[_Code]:
    place = 0
    while place < len(format_):
        found = _CODE.match(format_, place)
        if found is None:
            raise _UnfitError
        count = found[2]
        yield _Code(found[1], None if count is None else _EVERY if count == "*" else int(count))
        place = found.end()


@builtin
def pack(run: Run, format_: str, *args: Value) -> bytes | None:
    """Numbers and strings as bytes, as a format says.

    format: codes with a count, or * for all the rest.
        a: string, filled up with NUL · Z: string that ends in NUL · H: hex digits · x: NUL bytes
        c C: 8 bits · n N: 16 and 32 bits, big end first · v V: little end first · e E: double, little and big end first

    Returns none when arguments are missing, left over or do not fit.

        base64_encode(pack("nC*", 258, 3, 4));  // "AQIDBA=="
        length(pack("a8", "abc"));  // 8
        pack("H*", "666c6f77");  // "flow"
        pack("C");  // none
    """
    given = list(reversed(args))
    made = bytearray()
    try:
        for code in _codes(format_):
            piece = _packed(run, code, given)
            grown(run, len(made), len(piece))
            made += piece
    except _UnfitError:
        return None
    return None if given else bytes(made)


def _packed(run: Run, code: _Code, given: list[Value]) -> bytes:
    if code.letter == "x":
        if code.count == _EVERY:
            raise _UnfitError
        run.budget.grow(code.times)
        return bytes(code.times)
    if code.letter in "aZH":
        if not given or not isinstance(given[-1], str):
            raise _UnfitError
        return _packed_string(run, code, to_bytes(given.pop()))
    times = len(given) if code.count == _EVERY else code.times
    if times > len(given):
        raise _UnfitError
    run.budget.spend(times)
    return b"".join(_packed_number(code.letter, given.pop()) for _ in range(times))


def _packed_string(run: Run, code: _Code, string: bytes) -> bytes:
    if code.letter == "H":
        digits = string if code.count == _EVERY else string[: code.times]
        if code.times > len(string) or len(digits) % 2:
            raise _UnfitError
        try:
            return bytes.fromhex(digits.decode("ascii"))
        except ValueError:
            raise _UnfitError from None
    if code.count == _EVERY:
        return string + (b"\0" if code.letter == "Z" else b"")
    run.budget.grow(code.times)
    room = code.times - (code.letter == "Z")
    return string[: max(0, room)].ljust(code.times, b"\0")


def _packed_number(letter: str, value: Value) -> bytes:
    if isinstance(value, (str, Array)) or value is None:
        if not isinstance(value, str) or (to_number(value) == 0 and value.strip("0.") != ""):
            raise _UnfitError
        value = to_number(value)
    form = _NUMBERS[letter]
    try:
        if letter in "eE":
            return form.pack(float(value))
        return form.pack(int(value) & (1 << 8 * form.size) - 1 if letter != "c" else (int(value) + 128) % 256 - 128)
    except (struct.error, ValueError, OverflowError, TypeError):
        raise _UnfitError from None


@builtin
def unpack(run: Run, format_: str, data: bytes, offset: int = 0) -> Array | None:
    """The numbers and strings in bytes, as a format says. The codes are those of `pack`; x skips.

    offset: where in the data to begin.

    Returns a list, or none when the data is too short for the format.

        unpack("nC*", base64_decode("AQIDBA=="));  // [258, 3, 4]
        unpack("Z*C", "flow" . chr(0) . "A");  // ["flow", 65]
        unpack("H*", "flow");  // ["666c6f77"]
        unpack("N", "abc");  // none
    """
    if not 0 <= offset <= len(data):
        return None
    found = Array()
    try:
        for code in _codes(format_):
            offset = _unpacked(run, code, data, offset, found)
    except _UnfitError:
        return None
    return found


def _unpacked(run: Run, code: _Code, data: bytes, at: int, found: Array) -> int:
    """Read one code at a place; the place after it."""
    rest = len(data) - at
    if code.letter == "x":
        size = rest if code.count == _EVERY else code.times
    elif code.letter == "H":
        size = rest if code.count == _EVERY else (code.times + 1) // 2
    elif code.letter == "Z" and code.count == _EVERY:
        end = data.find(b"\0", at)
        size = rest if end < 0 else end + 1 - at
    elif code.letter in "aZ":
        size = rest if code.count == _EVERY else code.times
    else:
        form = _NUMBERS[code.letter]
        times = rest // form.size if code.count == _EVERY else code.times
        if times * form.size > rest:
            raise _UnfitError
        grown(run, len(found) * BYTES_AN_ITEM, times * BYTES_AN_ITEM)
        for index in range(times):
            found.append(normal(form.unpack_from(data, at + index * form.size)[0]))
        return at + times * form.size
    if size > rest:
        raise _UnfitError
    piece = data[at : at + size]
    grown(run, len(found) * BYTES_AN_ITEM, len(piece) * 2 + BYTES_AN_ITEM)
    if code.letter == "H":
        found.append(piece.hex() if code.count == _EVERY else piece.hex()[: code.times])
    elif code.letter == "Z":
        found.append(from_bytes(piece.partition(b"\0")[0]))
    elif code.letter == "a":
        found.append(from_bytes(piece))
    return at + size
