"""The public suffix list: where names may be registered, for the organizational domain of RFC 7489 §3.2.

The list takes some 45 ms to load, so it is loaded once, when first asked for, or before a fork by `load`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flowengine.mail import names

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


class SuffixList:
    """One list: that of the package, or a newer one from a file. Names are passed as `names.to_ascii` gives them."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @cached_property
    def _list(self) -> PublicSuffixList:
        from publicsuffixlist import PublicSuffixList

        if self._path is None:
            return PublicSuffixList()
        with self._path.open("rb") as file:
            return PublicSuffixList(file)

    def load(self) -> None:
        """Read the list now. Raises OSError or UnicodeDecodeError for a file that cannot be read."""
        _ = self._list

    def registered_domain(self, name: str) -> str | None:
        """The public suffix and one label more; None for a public suffix itself and for what is no name."""
        ascii_name = names.to_ascii(name)
        return None if ascii_name is None else self._list.privatesuffix(ascii_name)

    def public_suffix(self, name: str) -> str | None:
        """The suffix that the name ends in (its last label when the list does not know it); None for no name."""
        ascii_name = names.to_ascii(name)
        return None if ascii_name is None else self._list.publicsuffix(ascii_name)

    def organizational_domain(self, name: str) -> str:
        """RFC 7489 §3.2: the registered domain, or the name itself when it is a public suffix."""
        return self.registered_domain(name) or name.lower()


DEFAULT = SuffixList()
"""The list that comes with the package."""
