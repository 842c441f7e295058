"""strftime and strptime with one meaning on every machine: the directives of POSIX and FreeBSD in the C locale.

The system's own would follow the locale of the process, and take field widths that cost memory. Reading goes from left
to right once; nothing here knows what time it is.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

MAX_LENGTH = 100
"""Characters of a result (HSL reference §2.7) and of what is read."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_WHOLE = {"T": "%H:%M:%S", "D": "%m/%d/%y", "F": "%Y-%m-%d", "R": "%H:%M", "r": "%I:%M:%S %p"} | {
    "c": "%a %b %e %H:%M:%S %Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
    "v": "%e-%b-%Y",
    "+": "%a %b %e %H:%M:%S %Z %Y",
}
_DIRECTIVE = re.compile(r"%([-_]?)[EO]?(.)", re.DOTALL)


def _hour12(moment: datetime) -> int:
    return moment.hour % 12 or 12


def _offset(moment: datetime) -> str:
    seconds = int((moment.utcoffset() or timedelta()).total_seconds())
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{abs(seconds) // 3600:02}{abs(seconds) // 60 % 60:02}"


# directive: width and padding of a number
_NUMBERS: dict[str, tuple[int, str, Callable[[datetime], int]]] = {
    "C": (2, "0", lambda m: m.year // 100),
    "d": (2, "0", lambda m: m.day),
    "e": (2, " ", lambda m: m.day),
    "G": (4, "0", lambda m: m.isocalendar()[0]),
    "g": (2, "0", lambda m: m.isocalendar()[0] % 100),
    "H": (2, "0", lambda m: m.hour),
    "I": (2, "0", _hour12),
    "j": (3, "0", lambda m: m.timetuple().tm_yday),
    "k": (2, " ", lambda m: m.hour),
    "l": (2, " ", _hour12),
    "M": (2, "0", lambda m: m.minute),
    "m": (2, "0", lambda m: m.month),
    "S": (2, "0", lambda m: m.second),
    "s": (1, "0", lambda m: int(m.timestamp() // 1)),
    "U": (2, "0", lambda m: (m.timetuple().tm_yday + 6 - m.isoweekday() % 7) // 7),
    "u": (1, "0", lambda m: m.isoweekday()),
    "V": (2, "0", lambda m: m.isocalendar()[1]),
    "W": (2, "0", lambda m: (m.timetuple().tm_yday + 6 - m.weekday()) // 7),
    "w": (1, "0", lambda m: m.isoweekday() % 7),
    "Y": (4, "0", lambda m: m.year),
    "y": (2, "0", lambda m: m.year % 100),
}
_WORDS: dict[str, Callable[[datetime], str]] = {
    "A": lambda m: _DAYS[m.weekday()],
    "a": lambda m: _DAYS[m.weekday()][:3],
    "B": lambda m: _MONTHS[m.month - 1],
    "b": lambda m: _MONTHS[m.month - 1][:3],
    "h": lambda m: _MONTHS[m.month - 1][:3],
    "n": lambda m: "\n",
    "P": lambda m: "pm" if m.hour >= 12 else "am",
    "p": lambda m: "PM" if m.hour >= 12 else "AM",
    "t": lambda m: "\t",
    "Z": lambda m: m.tzname() or "UTC",
    "z": _offset,
    "%": lambda m: "%",
}


def write(format_: str, moment: datetime) -> str:
    """The moment in its own zone as text. A directive that does not exist stays as it stands."""

    def one(directive: re.Match[str]) -> str:
        flag, letter = directive.groups()
        if letter in _NUMBERS:
            width, pad, value = _NUMBERS[letter]
            pad = " " if flag == "_" else pad
            text = str(value(moment))
            return text if flag == "-" else text.rjust(width, pad)
        if letter in _WORDS:
            return _WORDS[letter](moment)
        if letter in _WHOLE:
            return _DIRECTIVE.sub(one, _WHOLE[letter])
        return directive[0]

    if len(format_) > 10 * MAX_LENGTH:
        raise ValueError("a format that long gives no text of 100 characters")
    return _DIRECTIVE.sub(one, format_)


# directive: most digits, lowest, highest, what it says
_FIELDS = {
    "d": (2, 1, 31, "day"),
    "e": (2, 1, 31, "day"),
    "H": (2, 0, 23, "hour"),
    "k": (2, 0, 23, "hour"),
    "I": (2, 1, 12, "hour12"),
    "l": (2, 1, 12, "hour12"),
    "j": (3, 1, 366, "yearday"),
    "M": (2, 0, 59, "minute"),
    "m": (2, 1, 12, "month"),
    "S": (2, 0, 60, "second"),
    "s": (12, 0, 253402300799, "stamp"),
    "Y": (4, 1, 9999, "year"),
    "y": (2, 0, 99, "year2"),
}
_READ_ZONE = re.compile(r"(?:UTC|GMT|Z)|([+-])(\d\d):?(\d\d)", re.ASCII)
_READ_DIGITS = {most: re.compile(rf"\d{{1,{most}}}", re.ASCII) for most, *_ in _FIELDS.values()}


def read(text: str, format_: str, today: datetime) -> datetime | None:
    """The moment that a text means; None when it does not fit the format or is no date.

    today: gives the date where the text has none, and the zone where it has none.
    """
    if len(text) > MAX_LENGTH or len(format_) > MAX_LENGTH:
        return None
    format_ = _DIRECTIVE.sub(lambda found: _WHOLE.get(found[2], found[0]), format_)
    reader = _Reader(text)
    place = 0
    while place < len(format_):
        character = format_[place]
        directive = _DIRECTIVE.match(format_, place)
        if directive is not None:
            if not reader.field(directive[2]):
                return None
            place = directive.end()
        elif character.isspace():
            reader.blanks()
            place += 1
        elif reader.literal(character):
            place += 1
        else:
            return None
    reader.blanks()
    try:
        return reader.moment(today) if reader.ended else None
    except (ValueError, OverflowError):
        return None


class _Reader:
    """Reads fields from a text and puts them together."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._found: dict[str, int] = {}
        self._zone: timezone | None = None

    @property
    def ended(self) -> bool:
        return self._at == len(self._text)

    def blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def literal(self, character: str) -> bool:
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        return True

    def field(self, letter: str) -> bool:
        """Read what one directive stands for; whether it was there."""
        if letter in "nt":
            self.blanks()
            return True
        if letter == "%":
            return self.literal("%")
        if letter == "z" or letter == "Z":
            return self._read_zone()
        if letter in "aA":
            return self._read_name(_DAYS) is not None
        if letter in "bBh":
            month = self._read_name(_MONTHS)
            self._found["month"] = 0 if month is None else month + 1
            return month is not None
        if letter in "pP":
            half = self._read_name(("AM", "PM"))
            self._found["half"] = half or 0
            return half is not None
        return letter in _FIELDS and self._read_number(*_FIELDS[letter])

    def _read_number(self, most: int, lowest: int, highest: int, name: str) -> bool:
        self.blanks()
        digits = _READ_DIGITS[most].match(self._text, self._at)
        if digits is None or not lowest <= int(digits[0]) <= highest:
            return False
        self._at, self._found[name] = digits.end(), int(digits[0])
        return True

    def _read_name(self, names: tuple[str, ...]) -> int | None:
        rest = self._text[self._at : self._at + 9].lower()
        for index, name in enumerate(names):
            for form in (name, name[:3]):
                if rest.startswith(form.lower()):
                    self._at += len(form)
                    return index
        return None

    def _read_zone(self) -> bool:
        zone = _READ_ZONE.match(self._text, self._at)
        if zone is None:
            return False
        self._at = zone.end()
        minutes = int(zone[2]) * 60 + int(zone[3]) if zone[1] else 0
        if minutes >= 1440:
            return False
        self._zone = timezone(timedelta(minutes=-minutes if zone[1] == "-" else minutes))
        return True

    def moment(self, today: datetime) -> datetime:
        """What was read as one moment. Raises ValueError for a day that does not exist."""
        found = self._found
        if "stamp" in found:
            return datetime.fromtimestamp(found["stamp"], UTC)
        hour = found.get("hour", 0)
        if "hour12" in found:
            hour = found["hour12"] % 12 + 12 * found.get("half", 0)
        leap = found.get("second", 0) == 60
        clock = timedelta(hours=hour, minutes=found.get("minute", 0), seconds=found.get("second", 0) - leap)
        midnight = datetime(*self._day(today), tzinfo=self._zone or today.tzinfo)
        return midnight + clock + timedelta(seconds=leap)

    def _day(self, today: datetime) -> tuple[int, int, int]:
        found = self._found
        if not found.keys() & {"year", "year2", "month", "day", "yearday"}:
            return today.year, today.month, today.day
        year = found.get("year", today.year)
        if "year2" in found and "year" not in found:
            year = found["year2"] + (1900 if found["year2"] >= 69 else 2000)  # POSIX strptime
        if "yearday" in found:
            day = date(year, 1, 1) + timedelta(days=found["yearday"] - 1)
            return day.year, day.month, day.day
        return year, found.get("month", 1), found.get("day", 1)
