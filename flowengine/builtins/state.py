"""What flows remember from one message to the next: rates over sliding windows, and memory that a process shares."""

from collections.abc import Callable

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import fingerprint
from flowengine.language.values import Secret, Value

Callback = Callable[..., Value]
MAX_COUNT = 1_000_000
ATTEMPTS = 10  # of a change that others overtake


def _public(name: str) -> str:
    """A name that may stand among the facts of a run."""
    return fingerprint(name) if type(name) is Secret else name


@builtin
def rate(run: Run, namespace: str, entry: str, count: int, interval: float, *, sync: bool = True) -> bool | int | None:
    """Count an entry, unless there were too many lately; or, with a count of 0, tell how many there were.

    namespace: what is counted, such as "outbound". entry: for whom, such as a user.
    count: how many there may be in the interval, at most 1000000. interval: seconds, a window that slides.
    sync: taken for old scripts; the workers of a machine always share their rates.

    Returns true when it was counted, false when the limit was reached; with count 0 the number. None for a negative
    count or an interval that is not above 0.

        rate("outbound", "alice", 1, 60);  // true
        rate("outbound", "bob", 0, 60);  // 0
        rate("outbound", "bob", 5, 0);  // none
    """
    if not 0 <= count <= MAX_COUNT or not 0 < interval < float("inf"):
        return None
    if count == 0:
        return run.world.rate_count(_public(namespace), _public(entry), interval)
    return run.world.rate_hit(_public(namespace), _public(entry), count, interval)


@builtin
def memory_store(run: Run, key: str, value: Value, callback: Callback | None = None) -> bool:
    """Keep a value under a key, for all flows of this machine; what was there is replaced.

    callback: called with the key and the value that is replaced, if there was one.

    Returns false when the store is full or the value larger than 1 MiB.

        memory_store("greeting", "hello");  // true
    """
    found = run.world.memory_get(_public(key))
    stored = run.world.memory_put(_public(key), value, -1)
    if stored and found is not None and callback is not None:
        callback(key, found[1])
    return stored


@builtin
def memory_add(run: Run, key: str, value: Value) -> bool:
    """Keep a value under a key that has none yet.

    Returns false when the key has one already, or the store is full.

        memory_add("once", 1);  // true
    """
    return run.world.memory_put(_public(key), value, None)


@builtin
def memory_fetch(run: Run, key: str, callback: Callback | None = None) -> Value:
    """The value under a key.

    callback: called with the key when there is none; what it returns is the result, and is not kept.

    Returns none when there is neither value nor callback.

        memory_fetch("nothing");  // none
        memory_fetch("nothing", function ($key) { return "default"; });  // "default"
    """
    found = run.world.memory_get(_public(key))
    if found is not None:
        return found[1]
    return None if callback is None else callback(key)


@builtin
def memory_exists(run: Run, key: str, callback: Callback | None = None) -> bool:
    """Whether a key has a value.

    callback: called with key and value when it has.

        memory_exists("nothing");  // false
    """
    found = run.world.memory_get(_public(key))
    if found is not None and callback is not None:
        callback(key, found[1])
    return found is not None


@builtin
def memory_delete(run: Run, key: str, callback: Callback | None = None) -> bool:
    """Forget a key. Whether it had a value.

    callback: called with key and value when it had.

        memory_delete("nothing");  // false
    """
    found = run.world.memory_get(_public(key))
    removed = run.world.memory_remove(_public(key))
    if removed and found is not None and callback is not None:
        callback(key, found[1])
    return removed


@builtin
def memory_inc(run: Run, key: str, offset: float = 1) -> float | None:
    """Add to the number under a key; without one it starts from 0.

    Returns the new number, or none when the value is no number or the store is full.

        memory_inc("counter", 5);  // 5
    """
    return _add(run, key, offset)


@builtin
def memory_dec(run: Run, key: str, offset: float = 1, remove_if_zero: bool = False) -> float | None:
    """Take from the number under a key; without one it starts from 0.

    remove_if_zero: forget the key when 0 is left.

    Returns the new number, or none when the value is no number or the store is full.

        memory_dec("counter", 2);  // -2
    """
    left = _add(run, key, -offset)
    if left == 0 and remove_if_zero:
        run.world.memory_remove(_public(key))
    return left


def _add(run: Run, key: str, amount: float) -> float | None:
    found = run.world.memory_get(_public(key))
    value = 0 if found is None else found[1]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    version = None if found is None else found[0]
    return value + amount if run.world.memory_put(_public(key), value + amount, version) else None


_NOT_GIVEN = object()


@builtin
def memory_update(run: Run, key: str, value: Value, callback: Callback, initial: Value = _NOT_GIVEN) -> bool:
    """Change the value under a key, if it has one, to what a function makes of it.

    callback: called with the key, the current value and the value given here; returns what is kept. It is called again
        when another message changed the value meanwhile.
    initial: what is kept when the key has no value.

    Returns whether something was kept.

        memory_update("sum", 5, function ($key, $old, $new) { return $old + $new; }, 1);  // true
        memory_update("nothing", 5, function ($key, $old, $new) { return $old + $new; });  // false
    """
    for _ in range(ATTEMPTS):
        found = run.world.memory_get(_public(key))
        if found is None:
            if initial is _NOT_GIVEN:
                return False
            if run.world.memory_put(_public(key), initial, None):
                return True
            if run.world.memory_get(_public(key)) is None:
                return False  # full
            continue
        version, old = found
        changed = callback(key, old, value)
        if run.world.memory_put(_public(key), changed, version):
            return True
        if (now := run.world.memory_get(_public(key))) is not None and now[0] == version:
            return False  # full, or too large
    raise FlowError(f"memory_update: others changed the value {ATTEMPTS} times while the callback worked")
