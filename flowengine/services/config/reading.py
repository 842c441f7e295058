"""From the document that `tomllib` made to the dataclasses of model.py, by their annotations.

Every problem is noted and reading goes on with the default, so that an operator sees all of them at once. `None` stands
for what could not be read.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from flowengine.services.config.positions import Path as KeyPath
from flowengine.services.config.problems import Problems, listed, nearest
from flowengine.services.config.values import PARSERS, Storage, Word

# Annotations have no common type: a value called `hint` here is whatever may stand behind the colon of a field.

T = TypeVar("T")

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
MISSING_VARIABLE = "?"
"""Stands for a value whose variable is missing, so that this is not reported twice."""

_WORDS = ("ge", "le", "min_length", "max_length", "pattern", "description", "examples", "extra")
"""What a field of ours may say in its `Meta`."""


class Reader:
    """Reads one document; relative paths are taken from `base`."""

    def __init__(self, problems: Problems, base: Path, environment: Mapping[str, str]) -> None:
        self._problems = problems
        self._base = base
        self._environment = environment

    def table(self, kind: type[T], document: object, path: KeyPath) -> T | None:
        """A table as a dataclass; None when a required key is missing or cannot be read."""
        if not isinstance(document, dict):
            self._problems.add(path, f"a table is wanted, not {_told(document)}")
            return None
        known = keys(kind)
        for name in document:
            if name not in known:
                self._unknown(path, name, known)
        values: dict[str, object] = {}
        complete = True
        for key, (attribute, hint) in known.items():
            required, default = _default(kind, attribute)
            if key in document:
                value = self.value(hint, document[key], (*path, key))
                if value is None:
                    complete = (not required or self._stand_in(hint, attribute, values)) and complete
                else:
                    values[attribute] = value
            elif required:
                self._problems.add(path, f"{key} is missing: {about(hint).description}", id="missing-key", at="table")
                complete = self._stand_in(hint, attribute, values) and complete
            elif (moved := self._based(default)) is not default:
                values[attribute] = moved
        return kind(**values) if complete else None

    def _stand_in(self, hint: Any, attribute: str, values: dict[str, object]) -> bool:
        """Put in what stands for a required value that could not be read, so that the rest is checked all the same."""
        stand_in = (about(hint).extra or {}).get("stand-in")
        if stand_in is not None:
            values[attribute] = stand_in
        return stand_in is not None

    def value(self, hint: Any, value: object, path: KeyPath) -> Any:
        """One value by its annotation; None when it is not one, which has then been noted."""
        meta, kind = about(hint), core(hint)
        if (meta.extra or {}).get("environment"):
            value = self._expanded(value, path)
        if kind in PARSERS:
            return self._parsed(kind, value, path)
        if is_dataclass(kind):
            return self.table(cast("type", kind), value, path)
        if get_origin(kind) is tuple:
            return self._list(kind, meta, value, path)
        if get_origin(kind) is Mapping:
            return self._mapping(kind, value, path)
        return self._plain(hint, value, path)

    def _list(self, kind: Any, meta: Meta, value: object, path: KeyPath) -> Any:
        item = get_args(kind)[0]
        if not isinstance(value, list):
            if not (meta.extra or {}).get("or one"):
                self._problems.add(path, f"a list is wanted, not {_told(value)}")
                return None
            value = [value]
        least, most = meta.min_length or 0, meta.max_length or 10_000
        if not least <= len(value) <= most:
            self._problems.add(path, f"{len(value)} items; {least} to {most} are allowed")
            return None
        found = [self.value(item, one, (*path, index)) for index, one in enumerate(value)]
        return None if any(one is None for one in found) else tuple(found)

    def _mapping(self, kind: Any, value: object, path: KeyPath) -> Any:
        if not isinstance(value, dict):
            self._problems.add(path, f"a table is wanted, not {_told(value)}")
            return None
        name_hint, item = get_args(kind)
        found = {}
        for name, one in value.items():
            if get_origin(name_hint) is Literal and name not in get_args(name_hint):
                self._unknown(path, name, get_args(name_hint))
                continue
            if is_dataclass(core(item)) and self._parsed(Word, name, (*path, name)) is None:
                continue
            read = self.value(item, one, (*path, name))
            if read is not None:
                found[name] = read
        return found

    def _parsed(self, kind: Any, value: object, path: KeyPath) -> Any:
        if not isinstance(value, str):
            self._problems.add(path, f"a string is wanted, not {_told(value)}")
            return None
        try:
            return PARSERS[kind](value, self._base)
        except ValueError as error:
            self._problems.add(path, str(error))
            return None

    def _plain(self, hint: Any, value: object, path: KeyPath) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            self._problems.add(path, f"{value} is no number to count with")
            return None
        try:
            return msgspec.convert(value, Annotated[core(hint), about(hint)], strict=True)
        except msgspec.ValidationError as error:
            allowed = [str(word) for word in get_args(core(hint))] if get_origin(core(hint)) is Literal else []
            if allowed:
                known = f"{_shown(value)} is not allowed; known: {', '.join(allowed)}"
                self._problems.add(path, known, hint=nearest(value, allowed))
            else:
                self._problems.add(path, _sentence(str(error), about(hint)))
            return None

    def _expanded(self, value: object, path: KeyPath) -> object:
        """The value with each `${NAME}` replaced by the environment. Never shows what it holds."""
        if isinstance(value, dict):
            return {name: self._expanded(one, (*path, name)) for name, one in value.items()}
        if not isinstance(value, str):
            return value
        if missing := [name for name in VARIABLE.findall(value) if name not in self._environment]:
            self._problems.add(path, f"the environment has no {', '.join(missing)}", id="missing-variable")
            return MISSING_VARIABLE
        return VARIABLE.sub(lambda match: self._environment[match[1]], value)

    def _unknown(self, path: KeyPath, name: str, known: Any) -> None:
        message = f"there is no such key; known: {listed(known)}"
        self._problems.add((*path, name), message, id="unknown-key", hint=nearest(name, known), at="key")

    def _based(self, default: object) -> object:
        """A default that is a path, taken from the base like those of the file."""
        if isinstance(default, Path):
            return self._base / default
        if isinstance(default, Storage):
            return Storage(default.kind, self._base / default.path)
        return default


def keys(kind: type) -> dict[str, tuple[str, Any]]:
    """The keys of a table: key → attribute and annotation. A field without a description is no key."""
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for field in fields(kind):
        hint = hints[field.name]
        if about(hint).description is not None:
            found[field.name.rstrip("_")] = (field.name, hint)
    return found


def about(hint: Any) -> Meta:
    """What an annotation says beside the type; the outermost word wins."""
    hint = _without_none(hint)
    if get_origin(hint) is not Annotated:
        return Meta()
    inner, *metas = get_args(hint)
    words = [about(inner), *(one for one in metas if isinstance(one, Meta))]
    return Meta(**{name: value for meta in words for name in _WORDS if (value := getattr(meta, name)) is not None})


def core(hint: Any) -> Any:
    """The type itself: no description, no `| None`."""
    hint = _without_none(hint)
    return core(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def _without_none(hint: Any) -> Any:
    if get_origin(hint) not in (Union, UnionType) or hint in PARSERS:
        return hint
    inner = [one for one in get_args(hint) if one is not NoneType]
    return inner[0] if len(inner) == 1 else hint


def _default(kind: type, attribute: str) -> tuple[bool, object]:
    field = next(one for one in fields(kind) if one.name == attribute)
    if field.default is not MISSING:
        return False, field.default
    if field.default_factory is not MISSING:
        return False, field.default_factory()
    return True, None


def _told(value: object) -> str:
    kinds: dict[type, str] = {str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(
        type(value), "a list" if isinstance(value, list) else "a table" if isinstance(value, dict) else "a date"
    )


def _shown(value: object) -> str:
    return f'"{value[:100]}"' if isinstance(value, str) else _told(value) if not isinstance(value, int) else str(value)


def _sentence(text: str, meta: Meta) -> str:
    if meta.pattern is not None and "regex" in text:
        return f"wanted is something like {meta.examples[0] if meta.examples else meta.pattern}"
    words = text.split(" - at `")[0].replace("`str`", "a string").replace("`int`", "a whole number")
    words = words.replace("`float`", "a number").replace("`bool`", "true or false").replace("`array`", "a list")
    words = words.replace("`object`", "a table")
    return words[:1].lower() + words[1:]
