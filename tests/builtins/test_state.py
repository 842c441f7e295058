"""Rates, shared memory, the log, unique names."""

import pytest
from standing import Standing, Words

from flowengine.builtins import state, system
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Function, Secret
from flowengine.runtime.memory import SharedMemory


@pytest.fixture
def run():
    return Standing()


@pytest.fixture
def words(run):
    return Words(state, system, run=run)


def test_a_rate_counts_up_to_its_limit_and_slides(run, words):
    assert [words.rate("out", "alice", 2, 60) for _ in range(3)] == [True, True, False]
    assert words.rate("out", "alice", 0, 60) == 2
    assert words.rate("out", "bob", 0, 60) == 0
    assert words.rate("in", "alice", 0, 60) == 0
    run.clock.slept += 61
    assert words.rate("out", "alice", 0, 60) == 0
    assert words.rate("out", "alice", 2, 60, {"sync": False}) is True


@pytest.mark.parametrize(
    "call", [("n", "e", -1, 60), ("n", "e", 1, 0), ("n", "e", 1, float("nan")), ("n", "e", 1e9, 60)]
)
def test_a_rate_that_makes_no_sense_is_none(words, call):
    assert words.rate(*call) is None


def test_memory_is_shared_by_runs_of_one_process(run, words):
    assert words.memory_store("k", {"a": [1]})
    other = Words(state, run=Standing())
    other.run.world._services = run.services  # noqa: SLF001  # another run of the same process
    assert other.memory_fetch("k") == {"a": [1]}
    assert other.memory_delete("k")
    assert words.memory_fetch("k") is None


def test_what_was_stored_does_not_change_with_the_array_it_was(words):
    array = Array.of([1])
    words.memory_store("k", array)
    assert array.shared
    array.own().append(2)
    assert words.memory_fetch("k") == [1]


def test_memory_words_call_back(words):
    calls = []
    note = Function("note", lambda *given: calls.append(given))
    words.memory_store("k", 1, note)
    words.memory_store("k", 2, note)
    words.memory_exists("k", note)
    words.memory_delete("k", note)
    words.memory_delete("k", note)
    words.memory_exists("k", note)
    assert calls == [("k", 1), ("k", 2), ("k", 2)]
    assert words.memory_fetch("k", Function("default", lambda key: f"no {key}")) == "no k"


def test_numbers_in_memory(words):
    assert [words.memory_inc("n"), words.memory_inc("n", 2.5), words.memory_dec("n", 3.5, True)] == [1, 3.5, 0]
    assert words.memory_exists("n") is False
    words.memory_store("text", "x")
    words.memory_store("flag", True)
    assert words.memory_inc("text") is None
    assert words.memory_dec("flag") is None
    assert words.memory_add("text", 1) is False
    assert words.memory_fetch("text") == "x"


def test_a_change_that_others_overtake_is_worked_out_again(words):
    words.memory_store("n", 1)
    meddling = [10, 20]

    def add(key, old, new):
        if meddling:
            words.memory_store("n", meddling.pop(0))
        return old + new

    assert words.memory_update("n", 5, Function("add", add)) is True
    assert words.memory_fetch("n") == 25


def test_a_change_that_never_gets_through_is_an_error(words):
    words.memory_store("n", 1)

    def spoil(key, old, new):
        words.memory_store("n", old + 1)
        return new

    with pytest.raises(FlowError, match="others changed"):
        words.memory_update("n", 5, Function("spoil", spoil))


def test_memory_is_bounded():
    store = SharedMemory(entries=2, entry_size=1000, total_size=1500)
    assert store.put("a", "x" * 800, None)
    assert not store.put("b", "x" * 800, None)
    assert not store.put("b", Array.of(["x" * 400] * 5), None)
    assert store.put("b", 1, None)
    assert not store.put("c", 1, None)
    assert not store.put("a", "y" * 2000, -1)
    assert store.get("a") is not None
    assert store.remove("a")
    assert store.put("c", "x" * 800, None)


def test_a_full_memory_says_so_and_calls_nobody_back(run, words):
    run.services.memory._most = 0  # noqa: SLF001  # a store without room
    assert words.memory_store("k", 1, Function("never", lambda *_: 1 / 0)) is False
    assert words.memory_inc("k") is None
    assert words.memory_update("k", 1, Function("never", lambda *_: 1 / 0), 0) is False


def test_state_is_a_fact_and_secrets_in_names_are_hidden(run, words):
    words.rate("login", Secret("hunter2"), 5, 60)
    words.memory_store(Secret("hunter2"), 1)
    words.memory_fetch(Secret("hunter2"))
    assert not any("hunter2" in repr(fact) for fact in run.facts)
    again = run.again()
    there = Words(state, run=again)
    assert there.rate("login", Secret("hunter2"), 5, 60) is True
    assert there.memory_store(Secret("hunter2"), 1) is True


@pytest.mark.parametrize(
    ("priority", "level", "facility"),
    [
        ("emerg", "critical", None),
        ("ERR", "error", None),
        ("warn", "warning", None),
        (5, "notice", None),
        ("7", "debug", None),
        (3 + (4 << 3), "error", 4),
        (6 + (16 << 3), "info", 16),
    ],
)
def test_a_line_in_the_log(run, words, priority, level, facility):
    words.syslog(priority, "hello \xc3\xa9")
    [(found, event, fields)] = run.lines.lines
    assert (found, event, fields["text"], fields.get("facility")) == (level, "syslog", "hello é", facility)
    assert fields["id"] == run.message_id


@pytest.mark.parametrize("priority", ["loud", -1, 192, float("nan"), float("inf"), "99999"])
def test_a_priority_that_does_not_exist_is_an_error(words, priority):
    with pytest.raises(FlowError, match="priority"):
        words.syslog(priority, "x")


def test_a_secret_does_not_reach_the_log(run, words):
    words.syslog("info", Secret("hunter2"))
    words.syslog("info", "-----BEGIN PRIVATE KEY-----\nMIIB")
    assert not any("hunter2" in repr(line) or "MIIB" in repr(line) for line in run.lines.lines)


def test_unique_names_are_unique_and_have_their_version(words):
    names = {words.uuid() for _ in range(20)}
    assert len(names) == 20
    assert {name[14] for name in names} == {"4"}
    assert words.uuidv5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "example.org") == words.uuidv5("dns", "example.org")
