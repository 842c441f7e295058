"""SASLprep (RFC 4013): names and passwords that look the same are the same, whatever keyboard they were typed on.

The tables are those of the standard library's `stringprep`, so Unicode 3.2; younger characters pass as they are
(RFC 3454 §7 allows that for questions), since passwords hold them.
"""

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
    stringprep.in_table_c9,
)  # fmt: skip
"""RFC 4013 §2.3."""


def saslprep(text: str) -> str:
    """The prepared form of a name or a password. Raises ValueError for what cannot be one; never quotes it."""
    if text.isascii():
        if text.isprintable():
            return text
        raise ValueError("a control character")
    mapped = "".join(" " if stringprep.in_table_c12(one) else one for one in text if not stringprep.in_table_b1(one))
    found = unicodedata.normalize("NFKC", mapped)
    if any(table(one) for one in found for table in _PROHIBITED):
        raise ValueError("a character that RFC 4013 prohibits")
    if any(map(stringprep.in_table_d1, found)):  # RFC 3454 §6: right to left, all of it
        ends = stringprep.in_table_d1(found[0]) and stringprep.in_table_d1(found[-1])
        if not ends or any(map(stringprep.in_table_d2, found)):
            raise ValueError("left-to-right and right-to-left characters together")
    return found


def prepared_or(text: str) -> str:
    """The prepared form, or NFC for what has none: such a password was good before and stays so."""
    try:
        return saslprep(text)
    except ValueError:
        return unicodedata.normalize("NFC", text)
