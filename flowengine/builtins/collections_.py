"""Map and Set: collections with a fixed type of keys and values. Unlike arrays they are objects, not values."""

from collections.abc import Iterator
from typing import ClassVar

from flowengine.builtins.run import Run
from flowengine.language.natives import method
from flowengine.language.operators import add
from flowengine.language.problems import FlowError
from flowengine.language.values import Function, Secret, Value, share, type_name

_KEYS = ("string", "number", "boolean")
_TYPES = (*_KEYS, "array", "function", "object", "any")


def _checked(kind: str, known: tuple[str, ...], what: str) -> str:
    if kind not in known:
        raise FlowError(f'{what} "{kind[:40]}" is none of {", ".join(known)}')
    return kind


def _fits(value: Value, kind: str) -> bool:
    if kind == "any":
        return True
    if kind == "function":
        return isinstance(value, Function)
    return type_name(value).partition(" ")[0] == kind


def _mark(value: Value) -> Value:
    """A key as Python keeps it apart from others: true is not 1."""
    return (bool, value) if isinstance(value, bool) else str(value) if type(value) is Secret else value


def _paid(run: Run, entries: int) -> None:
    """Collections grow entry by entry; their size is looked at now and then."""
    if not entries & 255:
        run.budget.grow_items(entries)


class Walk:
    """What `entries` and `values` give to foreach: the collection as it was when asked."""

    class_name: ClassVar[str] = "Iterator"

    def __init__(self, entries: list[tuple[Value, Value]]) -> None:
        self._entries = entries

    def pairs(self) -> Iterator[tuple[Value, Value]]:
        """Keys and values for foreach."""
        return iter(self._entries)


class Map:
    """A map from keys to values: `Map("string", "number")`."""

    class_name: ClassVar[str] = "Map"

    @method
    def __init__(self, keytype: str, valuetype: str) -> None:
        """A new map. keytype: string, number or boolean. valuetype: these, array, function, object or any."""
        self._key = _checked(keytype, _KEYS, "Map: the type of keys")
        self._type = _checked(valuetype, _TYPES, "Map: the type of values")
        self._entries: dict[Value, tuple[Value, Value]] = {}

    def _fit(self, key: Value) -> Value:
        if not _fits(key, self._key):
            raise FlowError(f"Map: a key is a {self._key}, got {type_name(key)}")
        return _mark(key)

    @method
    def set_(self, run: Run, key: Value, value: Value) -> bool:
        """Give a key a value, in place of the one it has. Always true."""
        mark = self._fit(key)
        if not _fits(value, self._type):
            raise FlowError(f"Map: a value is of type {self._type}, got {type_name(value)}")
        self._entries[mark] = (key, share(value))
        _paid(run, len(self._entries))
        return True

    @method
    def has(self, key: Value) -> bool:
        """Whether a key has a value."""
        return self._fit(key) in self._entries

    @method
    def get(self, key: Value) -> Value:
        """The value of a key, none when it has none."""
        found = self._entries.get(self._fit(key))
        return None if found is None else share(found[1])

    @method
    def delete(self, key: Value) -> bool:
        """Take a key out. Whether it was there."""
        return self._entries.pop(self._fit(key), None) is not None

    @method
    def merge(self, run: Run, key: Value, value: Value) -> bool:
        """Add to the value of a key with +, or set it. Always true."""
        found = self._entries.get(self._fit(key))
        self.set_(run, key, value if found is None else add(run, share(found[1]), value))
        return True

    @method
    def size(self) -> int:
        """How many keys there are."""
        return len(self._entries)

    @method
    def clear(self) -> None:
        """Take all keys out."""
        self._entries.clear()

    @method
    def entries(self) -> Walk:
        """Keys and values, for foreach."""
        return Walk(list(self._entries.values()))

    def pairs(self) -> Iterator[tuple[Value, Value]]:
        """Keys and values for foreach."""
        return iter(list(self._entries.values()))


class Set:
    """A set of keys: `Set("string")`."""

    class_name: ClassVar[str] = "Set"

    @method
    def __init__(self, keytype: str) -> None:
        """A new set. keytype: string, number or boolean."""
        self._key = _checked(keytype, _KEYS, "Set: the type of keys")
        self._keys: dict[Value, Value] = {}

    def _fit(self, key: Value) -> Value:
        if not _fits(key, self._key):
            raise FlowError(f"Set: a key is a {self._key}, got {type_name(key)}")
        return _mark(key)

    @method
    def add(self, run: Run, key: Value) -> bool:
        """Put a key in. Whether it is new."""
        mark = self._fit(key)
        new = mark not in self._keys
        self._keys.setdefault(mark, key)
        _paid(run, len(self._keys))
        return new

    @method
    def has(self, key: Value) -> bool:
        """Whether a key is in the set."""
        return self._fit(key) in self._keys

    @method
    def delete(self, key: Value) -> bool:
        """Take a key out. Whether it was there."""
        return self._keys.pop(self._fit(key), None) is not None

    @method
    def size(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    @method
    def clear(self) -> None:
        """Take all keys out."""
        self._keys.clear()

    @method
    def values(self) -> Walk:
        """The keys, for foreach."""
        return Walk(list(enumerate(self._keys.values())))

    def pairs(self) -> Iterator[tuple[Value, Value]]:
        """Places and keys for foreach."""
        return iter(list(enumerate(self._keys.values())))
