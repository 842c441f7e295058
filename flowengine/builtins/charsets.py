"""Iconv: text from one character set to another."""

import codecs
import errno as errors
from typing import ClassVar

from flowengine.builtins.run import Run
from flowengine.language.functions import Text
from flowengine.language.natives import method
from flowengine.language.problems import FlowError

# no character sets, or quadratic in time
_REFUSED = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7", "mbcs", "oem"})
_IGNORE, _TRANSLITERATE = "//ignore", "//translit"


class Iconv:
    """A conversion between character sets: `Iconv("ISO-8859-1", "UTF-8")`."""

    class_name: ClassVar[str] = "Iconv"

    @method
    def __init__(self, fromcharset: Text, tocharset: Text) -> None:
        """A conversion. tocharset: may end in //TRANSLIT (what it lacks becomes ?) or //IGNORE (that is left out)."""
        target = tocharset.lower()
        self._errors = "ignore" if _IGNORE in target else "replace" if _TRANSLITERATE in target else "strict"
        self._from = _codec(fromcharset.lower().partition("//")[0])
        self._to = _codec(target.partition("//")[0])
        self._errno = 0
        self._open = True

    @method
    def convert(self, run: Run, text: bytes) -> bytes | None:
        """The text in the other character set, or none; `errno` then says why."""
        if not self._open:
            self._errno = errors.EBADF
            return None
        run.budget.grow(len(text) * 4)
        try:
            made = text.decode(self._from, "strict" if self._errors == "strict" else self._errors)
            self._errno = 0
            return made.encode(self._to, self._errors)
        except UnicodeError:
            self._errno = errors.EILSEQ
            return None

    @method
    def errno(self) -> int:
        """Why the last conversion failed: 84 for a character that cannot be read or said; 0 when it did not."""
        return self._errno

    @method
    def close(self) -> None:
        """End the use of the object."""
        self._open = False


def _codec(name: str) -> str:
    try:
        found = codecs.lookup(name[:40])
    except (LookupError, ValueError):
        raise FlowError(f'Iconv: there is no character set "{name[:40]}"') from None
    text = getattr(found, "_is_text_encoding", True)
    if not text or found.name.replace("_", "-") in _REFUSED:
        raise FlowError(f'Iconv: "{name[:40]}" is no character set')
    return found.name
