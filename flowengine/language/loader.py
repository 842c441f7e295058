"""Where includes and imports come from (DESIGN §5): beside the importing file, the script root, the standard library.

What is found must lie under one of these; a path that leads elsewhere, also by a symbolic link, is refused.
"""

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowengine.language.parser import LARGEST, Parsed, decode, parse

LARGEST_DATA = 16_000_000  # bytes of a data import
MOST_FILES = 1000
KNOWN = {"api_call": "stdlib/api-call"}
PROVIDED: Mapping[str, frozenset[str]] = {
    "extras://rate": frozenset({"rate"}),
    "extras://ldap": frozenset({"LDAP"}),
}
"""Modules of which everything is a builtin or a native class here."""


class Unresolved(Exception):  # named by what it says
    """A name of a file that leads nowhere. message and hint are for the flow's author."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True, slots=True)
class Source:
    """A flow's text. name: as its author called the file; path: where it lies, None for text without a file."""

    name: str
    text: str
    path: Path | None = None

    @classmethod
    def read(cls, path: Path, name: str | None = None) -> "Source":
        """The source in a file. Raises OSError."""
        with path.open("rb") as file:
            data = file.read(4 * LARGEST + 1)
        return cls(name or str(path), decode(data), path)


@dataclass
class Loader:
    """Finds and reads files; parses each only once.

    root: the script root. stdlib: the directory that `stdlib/NAME` and `extras://NAME` mean. known: functions that
    exist without an import, with the module that defines each.
    """

    root: Path | None = None
    stdlib: Path | None = None
    known: Mapping[str, str] = field(default_factory=lambda: dict(KNOWN))
    _parsed: dict[tuple[str, str], Parsed] = field(default_factory=dict, repr=False)
    _sources: dict[Path, Source] = field(default_factory=dict, repr=False)

    def parse(self, source: Source) -> Parsed:
        """The tree of a source. Raises FlowProblems."""
        place = (source.name, source.text)
        if place not in self._parsed:
            self._parsed[place] = parse(source.text, source.name)
        return self._parsed[place]

    def module(self, name: str, importer: Source) -> Source:
        """The source that an include or import of code names. Raises Unresolved."""
        path = self.find(name, importer, ("", ".hsl", "/main.hsl"))
        if path not in self._sources:
            try:
                self._sources[path] = Source.read(path, self.called(path, importer))
            except OSError as error:
                raise Unresolved(f'cannot read "{name}": {error.strerror or error}') from None
        return self._sources[path]

    def called(self, path: Path, importer: Source) -> str:
        """What a found file is called: in the way its importer was named, when it lies beside it."""
        if importer.path is not None:
            base = importer.path.resolve().parent
            if path.is_relative_to(base):
                return str(Path(importer.name).parent / path.relative_to(base))
        if self.stdlib is not None and path.is_relative_to(self.stdlib.resolve()):
            return str(Path("stdlib") / path.relative_to(self.stdlib.resolve()))
        return str(path)

    def find(self, name: str, importer: Source, endings: tuple[str, ...]) -> Path:
        """The file that a name means. Raises Unresolved."""
        plain, places = self.places(name, importer)
        escaped = False
        for place in places:
            base = place.resolve()
            for ending in endings:
                try:
                    path = (base / (plain + ending)).resolve()
                    found = path.is_file()
                except (OSError, ValueError, RuntimeError):
                    continue
                if found and any(path.is_relative_to(other.resolve()) for other in places):
                    return path
                escaped = escaped or found
        if escaped:
            raise Unresolved(f'"{name}" lies outside the scripts', "move it beside the flow or under the script root")
        looked = ", ".join(str(place) for place in places)
        raise Unresolved(
            f'cannot find "{name}"', f"looked in {looked}" if looked else "there is no directory to look in"
        )

    def places(self, name: str, importer: Source) -> tuple[str, list[Path]]:
        """A name without its scheme, and the directories to look in. Raises Unresolved."""
        if name.startswith(("extras://", "stdlib/")):
            plain = name.removeprefix("extras://").removeprefix("stdlib/")
            if self.stdlib is None:
                raise Unresolved(f'there is no standard library to find "{name}" in')
            return plain, [self.stdlib]
        plain = name
        for scheme in ("file://", "file:"):
            if plain.startswith(scheme):
                plain = plain.removeprefix(scheme)
                break
        if "\0" in plain or not plain or len(plain) > 1000:
            raise Unresolved("this is no name of a file")
        places = [importer.path.parent] if importer.path is not None else []
        if self.root is not None:
            places.append(self.root)
        return plain, places

    def data(self, name: str, importer: Source) -> list[tuple[str, bytes]]:
        """The files that a data import names, each with the name that the flow knows it by. Raises Unresolved."""
        if any(one in name for one in "*?["):
            return self.matching(name, importer)
        return [(name, self.read_data(self.find(name, importer, ("",)), name))]

    def matching(self, pattern: str, importer: Source) -> list[tuple[str, bytes]]:
        """The files that a glob names, in the order of their names; the first place that has any decides."""
        plain, places = self.places(pattern, importer)
        if Path(plain).is_absolute() or ".." in Path(plain).parts:
            raise Unresolved(f'"{pattern}" lies outside the scripts')
        for place in places:
            names = sorted(glob.glob(plain, root_dir=place, recursive=True))[: MOST_FILES + 1]  # noqa: PTH207  # Path.glob has no root_dir
            found = [
                (one, (place / one).resolve())
                for one in names
                if (place / one).is_file() and (place / one).resolve().is_relative_to(place.resolve())
            ]
            if len(found) > MOST_FILES:
                raise Unresolved(f'"{pattern}" names more than {MOST_FILES} files')
            if found:
                return [(one, self.read_data(path, one)) for one, path in found]
        return []

    def read_data(self, path: Path, name: str) -> bytes:
        """The bytes of a data file. Raises Unresolved."""
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_DATA + 1)
        except OSError as error:
            raise Unresolved(f'cannot read "{name}": {error.strerror or error}') from None
        if len(data) > LARGEST_DATA:
            raise Unresolved(f'"{name}" is larger than {LARGEST_DATA} bytes')
        return data
