"""Strings as bytes: find, cut, split, replace, change case (HSL reference §2.7).

Lengths and positions count bytes, and only ASCII letters have a case. Every function is linear in its arguments and
pays for large results before it makes them.
"""

from flowengine.builtins.run import Run, worked
from flowengine.language.functions import builtin

BLANKS = " \t\r\n"


@builtin(aliases=("strpos",))
def str_find(run: Run, string: str, substring: str, offset: int = 0) -> int:
    """Where a text first occurs in a string.

    offset: where the search begins; a negative one counts from the end.

    Returns the position from 0, or -1 when it does not occur.

        str_find("how are you", "are");  // 4
        strpos("abc", "z");  // -1
        str_find("abcabc", "b", 2);  // 4
    """
    worked(run, len(string))
    return string.find(substring, offset)


@builtin(aliases=("strrpos",))
def str_rfind(run: Run, string: str, substring: str, offset: int = 0) -> int:
    """Where a text last occurs in a string.

    offset: how many bytes at the end are left out.

    Returns the position from 0, or -1 when it does not occur.

        str_rfind("a.b.c", ".");  // 3
        strrpos("a.b.c", ".", 2);  // 1
        str_rfind("abc", "z");  // -1
    """
    worked(run, len(string))
    end = max(0, len(string) - max(0, offset))
    return _last(string[:end], substring)


def _last(string: str, substring: str) -> int:
    """As `string.rfind`, which takes quadratic time on hostile input; a search from the front does not."""
    if len(substring) < 32:
        return string.rfind(substring)
    place = string[::-1].find(substring[::-1])
    return -1 if place < 0 else len(string) - place - len(substring)


@builtin(aliases=("strtolower",))
def str_lower(run: Run, string: str) -> str:
    """A string with its ASCII letters in lower case; other bytes stay.

    str_lower("ABC");  // "abc"
    strtolower("Örjan");  // "Örjan"
    """
    worked(run, len(string))
    return string.lower() if string.isascii() else string.encode("latin-1").lower().decode("latin-1")


@builtin(aliases=("strtoupper",))
def str_upper(run: Run, string: str) -> str:
    """A string with its ASCII letters in upper case; other bytes stay.

    str_upper("abc");  // "ABC"
    strtoupper("straße");  // "STRAßE"
    """
    worked(run, len(string))
    return string.upper() if string.isascii() else string.encode("latin-1").upper().decode("latin-1")


@builtin(aliases=("substr",))
def str_slice(run: Run, string: str, offset: int, length: int | None = None) -> str:
    """A part of a string.

    offset: where it begins; a negative one counts from the end.
    length: how many bytes at most; none for the rest. A negative one leaves that many out at the end.

        str_slice("abcdef", 2);  // "cdef"
        substr("abcdef", 1, 3);  // "bcd"
        str_slice("abcdef", -2);  // "ef"
        str_slice("abcdef", 1, -1);  // "bcde"
    """
    worked(run, len(string))
    start = max(0, offset + len(string)) if offset < 0 else offset
    if length is None:
        return string[start:]
    return string[start : start + length] if length >= 0 else string[start : max(0, len(string) + length)]


@builtin(aliases=("trim",))
def str_strip(run: Run, string: str, characters: str = BLANKS) -> str:
    r"""A string without the blanks at both ends.

    characters: what is taken off, by default space, tab, CR and LF.

        str_strip(" a b\r\n");  // "a b"
        trim("--a--", "-");  // "a"
    """
    worked(run, len(string))
    return string.strip(_once(characters))


@builtin
def str_lstrip(run: Run, string: str, characters: str = BLANKS) -> str:
    """A string without the blanks at its start.

    characters: what is taken off, by default space, tab, CR and LF.

        str_lstrip("  a ");  // "a "
    """
    worked(run, len(string))
    return string.lstrip(_once(characters))


@builtin
def str_rstrip(run: Run, string: str, characters: str = BLANKS) -> str:
    """A string without the blanks at its end.

    characters: what is taken off, by default space, tab, CR and LF.

        str_rstrip("  a ");  // "  a"
        str_rstrip("1.500", "0");  // "1.5"
    """
    worked(run, len(string))
    return string.rstrip(_once(characters))


def _once(characters: str) -> str:
    return characters if len(characters) < 256 else "".join(set(characters))


@builtin
def str_split(run: Run, string: str, delimiter: str, limit: int = 0) -> list[str] | None:
    """Split a string where a delimiter stands. `explode` is the same with the delimiter first.

    limit: how many parts at most, 0 for all; a negative one splits from the right.

    Returns the parts, or none for an empty delimiter.

        str_split("a,b,c", ",");  // ["a", "b", "c"]
        str_split("how are you", " ", 2);  // ["how", "are you"]
        str_split("how are you", " ", -2);  // ["how are", "you"]
        str_split("abc", "");  // none
    """
    return _split(run, string, delimiter, limit)


@builtin
def explode(run: Run, delimiter: str, string: str, limit: int = 0) -> list[str] | None:
    """Split a string where a delimiter stands: the classic `str_split`, with the delimiter first.

    limit: how many parts at most, 0 for all; a negative one splits from the right.

    Returns the parts, or none for an empty delimiter.

        explode("@", "alice@example.net");  // ["alice", "example.net"]
        explode("@", "alice");  // ["alice"]
        explode("", "abc");  // none
    """
    return _split(run, string, delimiter, limit)


def _split(run: Run, string: str, delimiter: str, limit: int) -> list[str] | None:
    if not delimiter:
        return None
    worked(run, len(string))
    most = string.count(delimiter)
    if limit:
        most = min(most, abs(limit) - 1)
    run.budget.grow_items(most + 1)
    if limit >= 0:
        return string.split(delimiter, most)
    if len(delimiter) < 32:
        return string.rsplit(delimiter, most)
    backwards = string[::-1].split(delimiter[::-1], most)  # rsplit takes quadratic time on hostile input
    return [part[::-1] for part in reversed(backwards)]


@builtin
def str_replace(run: Run, search: str, replace: str, subject: str) -> str:
    """A string with every occurrence of a text replaced by another.

    str_replace("a", "b", "banana");  // "bbnbnb"
    str_replace("", "x", "abc");  // "abc"
    """
    worked(run, len(subject))
    if not search:
        return subject
    if len(replace) > len(search):
        run.budget.grow(len(subject) + subject.count(search) * (len(replace) - len(search)))
    return subject.replace(search, replace)


@builtin
def str_repeat(run: Run, string: str, multiplier: int) -> str:
    """A string several times in a row. The operator * does the same.

    Returns "" when the multiplier is not above 0.

        str_repeat("ab", 3);  // "ababab"
        str_repeat("ab", 0);  // ""
    """
    if multiplier <= 0:
        return ""
    run.budget.grow(len(string) * multiplier)
    return string * multiplier


@builtin
def str_chunk(run: Run, string: str, length: int, firstlength: int | None = None) -> list[str] | None:
    """Cut a string into pieces of a length.

    firstlength: the length of the first piece when it differs.

    Returns the pieces, the last one shorter if need be; none for a length below 1.

        str_chunk("abcdefgh", 3);  // ["abc", "def", "gh"]
        str_chunk("abcdefgh", 3, 1);  // ["a", "bcd", "efg", "h"]
        str_chunk("abc", 0);  // none
    """
    first = length if firstlength is None else firstlength
    if length < 1 or first < 1:
        return None
    run.budget.grow_items(len(string) // length + 2)
    head = [string[:first]] if string else []
    return head + [string[at : at + length] for at in range(first, len(string), length)]


@builtin
def chr_(number: int) -> str | None:
    """The byte of a number.

    Returns none for what is not from 0 to 255.

        chr(65);  // "A"
        chr(256);  // none
    """
    return chr(number) if 0 <= number < 256 else None


@builtin
def ord_(character: str) -> int | None:
    """The number of a string's first byte.

    Returns none for the empty string.

        ord("A");  // 65
        ord("");  // none
    """
    return ord(character[0]) if character else None
