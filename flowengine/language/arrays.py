"""Reading and writing inside values: subscripts, paths, slices (HSL reference §1.6, §1.7).

Writing copies an array first when somebody shares it (`Array.own`), and creates the levels on the way.
"""

from collections.abc import Sequence
from typing import Any

from flowengine.language.budget import Running
from flowengine.language.conversion import got
from flowengine.language.objects import get_member, has_member, is_object, remove_member, set_member
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Secret, Value, key, share, to_number

UNSET: Any = type("Unset", (), {"__repr__": lambda self: "unset", "__bool__": lambda self: False})()
"""The content of a variable that has none."""
APPEND: Any = type("Append", (), {"__repr__": lambda self: "[]"})()
"""The index in `$a[] = …`."""


def cast(index: Value) -> Any:
    """An index as an array key. Raises FlowError for an array."""
    try:
        return key(index)
    except TypeError:
        raise FlowError("an array cannot be a key") from None


def read(run: Running, base: Value, index: Value, inside: Any = None) -> Value:
    """`base[index]`: none where nothing is. inside: the class in whose code this stands."""
    if type(base) is Array:
        return base.get(cast(index))
    if base is None:
        return None
    if isinstance(base, str):
        return character(base, index)
    if is_object(base):
        return get_member(run, base, index, inside)
    raise FlowError(f"{got(base)} has no subscripts")


def character(base: str, index: Value) -> str | None:
    """One character of a string; none outside it."""
    if type(index) is not int:
        if isinstance(index, str):
            index = cast(index)
            if type(index) is not int:
                return None
        elif type(index) not in (bool, float):
            raise FlowError(f"{got(index)} is no position in a string")
        else:
            index = cast(index)
    if not 0 <= index < len(base):
        return None
    return Secret(base[index]) if type(base) is Secret else base[index]


def read_path(run: Running, base: Value, path: Value, inside: Any = None) -> Value:
    """`base[...path]`."""
    for index in steps(path):
        base = read(run, base, index, inside)
    return base


def steps(path: Value) -> list[Value]:
    """The keys of a path. Raises FlowError when it is no array."""
    if type(path) is not Array:
        raise FlowError(f"`...` in a subscript takes an array, got {got(path)}")
    return list(path.values())


def present(run: Running, base: Value, keys: Sequence[Value], inside: Any = None) -> bool:
    """isset: whether the whole path is there; the last value may be none."""
    for index in keys:
        if type(base) is Array:
            name = cast(index)
            if name not in base:
                return False
            base = base[name]
        elif isinstance(base, str):
            base = character(base, index)
            if base is None:
                return False
        elif is_object(base):
            if not has_member(base, index, inside):
                return False
            base = get_member(run, base, index, inside)
        else:
            return False
    return base is not UNSET


def soft(run: Running, base: Value, keys: Sequence[Value], inside: Any = None) -> Value:
    """The left side of `??`: none where anything on the path is missing."""
    for index in keys:
        if base is UNSET or base is None:
            return None
        if is_object(base):
            base = get_member(run, base, index, inside) if has_member(base, index, inside) else None
        elif type(base) is Array:
            base = base.get(cast(index))
        elif isinstance(base, str):
            base = character(base, index)
        else:
            return None
    return None if base is UNSET else base


def write(run: Running, keys: Sequence[Value], value: Value, base: Value, inside: Any = None) -> Value:
    """`base[k1][k2]… = value`: the base with the value in it, for the variable to hold."""
    if base is UNSET or base is None:
        base = Array()
    elif is_object(base):
        _write_object(run, base, keys, value, inside)
        return base
    root = here = _writable(run, base)
    for position, index in enumerate(keys[:-1]):
        if index is APPEND:
            inner: Value = Array()
            here.append(inner)
            _grown(run, here)
        else:
            name = cast(index)
            inner = here.get(name)
            if is_object(inner):
                _write_object(run, inner, keys[position + 1 :], value, inside)
                return root
            inner = Array() if inner is None else _writable(run, inner)
            here.put(name, inner)
        here = inner
    last = keys[-1]
    if type(value) is Array:
        value.shared = True
    if last is APPEND:
        here.append(value)
    else:
        here.put(last if type(last) is str and not last[:1].isdigit() and last[:1] != "-" else cast(last), value)
    _grown(run, here)
    return root


def put(run: Running, name: str, value: Value, base: Value) -> Value:
    """`$base["name"] = value` outside classes; name stays text as a key."""
    if type(base) is Array and not base.shared:
        if type(value) is Array:
            value.shared = True
        base[name] = value
        if not len(base) & 1023:
            _grown(run, base)
        return base
    return write(run, (name,), value, base)


def _write_object(run: Running, base: Value, keys: Sequence[Value], value: Value, inside: Any) -> None:
    """Write into an object, or into what one of its members holds."""
    if len(keys) == 1:
        set_member(run, base, keys[0], share(value), inside)
        return
    held = get_member(run, base, keys[0], inside) if has_member(base, keys[0], inside) else UNSET
    changed = write(run, keys[1:], value, held, inside)
    if changed is not held or type(changed) is Array:
        set_member(run, base, keys[0], changed, inside)


def _writable(run: Running, value: Value) -> Array:
    if type(value) is not Array:
        raise FlowError(f"cannot write into {got(value)}")
    if value.shared:
        run.budget.grow_items(len(value))
        return value.own()
    return value


def _grown(run: Running, array: Array) -> None:
    if not len(array) & 1023:
        run.budget.grow_items(len(array))
        run.budget.spend(4096)  # an entry may hold a small array or an object of its own


def remove(run: Running, keys: Sequence[Value], base: Value, inside: Any = None) -> tuple[Value, bool]:
    """unset of a path: the base without it, and whether it was there."""
    if not present(run, base, keys, inside):
        return base, False
    if is_object(base):
        if len(keys) == 1:
            return base, remove_member(base, keys[0], inside)
        held, done = remove(run, keys[1:], get_member(run, base, keys[0], inside), inside)
        set_member(run, base, keys[0], held, inside)
        return base, done
    root = here = _writable(run, base)
    for position, index in enumerate(keys[:-1]):
        name = cast(index)
        inner = here[name]
        if is_object(inner):
            return root, remove(run, keys[position + 1 :], inner, inside)[1]
        inner = _writable(run, inner)
        here[name] = inner
        here = inner
    return root, here.remove(cast(keys[-1]))


def bounds(length: int, first: Value, last: Value, step: Value) -> slice:
    """The positions of a slice; the last one is exclusive, negatives count from the end."""
    numbers = [None if one is None else int(_position(one)) for one in (first, last, step)]
    if numbers[2] == 0:
        raise FlowError("the step of a slice cannot be 0")
    return slice(*numbers)


def _position(value: Value) -> int | float:
    if type(value) is Array or is_object(value):
        raise FlowError(f"a slice takes numbers, got {got(value)}")
    return max(-(2**53), min(2**53, to_number(value)))


def cut(run: Running, base: Value, first: Value, last: Value, step: Value) -> Value:
    """`base[first:last:step]`; of none it is none."""
    if base is None:
        return None
    if isinstance(base, str):
        part = str(base)[bounds(len(base), first, last, step)]
        run.budget.grow(len(part))
        return Secret(part) if type(base) is Secret else part
    if type(base) is Array:
        run.budget.spend(len(base) // 16)
        return Array.of(share(value) for value in list(base.values())[bounds(len(base), first, last, step)])
    raise FlowError(f"{got(base)} has no slices")


def replace_slice(run: Running, base: Value, place: tuple[Value, Value, Value], value: Value) -> Array:
    """`base[first:last] = value`: the list with that part replaced; keys are counted anew."""
    if base is UNSET or base is None:
        base = Array()
    if type(base) is not Array:
        raise FlowError(f"cannot write a slice into {got(base)}")
    items = [share(one) for one in base.values()]
    new = [share(one) for one in value.values()] if type(value) is Array else [value]
    run.budget.grow_items(len(items) + len(new))
    part = bounds(len(items), *place)
    if part.step not in (None, 1) and len(items[part]) != len(new):
        raise FlowError(f"the slice has {len(items[part])} values, the array {len(new)}")
    items[part] = new
    return Array.of(items)


def remove_slice(run: Running, base: Value, place: tuple[Value, Value, Value]) -> tuple[Value, bool]:
    """unset of a slice: the rest, counted anew, and whether anything was there."""
    if type(base) is not Array:
        return base, False
    items = [share(one) for one in base.values()]
    run.budget.grow_items(len(items))
    part = bounds(len(items), *place)
    found = len(items[part]) > 0
    del items[part]
    return Array.of(items), found


def make(*pairs: tuple[Any, Value]) -> Array:
    """An array literal whose keys are cast already; APPEND as key counts on."""
    array = Array()
    for name, value in pairs:
        if type(value) is Array:
            value.shared = True
        if name is APPEND:
            array.append(value)
        else:
            array.put(name, value)
    return array


def spread_into(run: Running, array: Array, more: Value) -> Array:
    """`[..., ...more]`."""
    if type(more) is not Array:
        raise FlowError(f"`...` takes an array, got {got(more)}")
    run.budget.grow_items(len(array) + len(more))
    for name, value in more.items():
        if type(name) is int:
            array.append(share(value))
        else:
            array.put(name, share(value))
    return array


def arguments(value: Value) -> list[Value]:
    """`f(...value)`."""
    if type(value) is not Array:
        raise FlowError(f"`...` takes an array, got {got(value)}")
    return list(value.values())
