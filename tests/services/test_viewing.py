"""Who sees what of a running server, and what is remembered for how long."""

import pytest

from flowengine.runtime.world import Fact
from flowengine.services.fakes import FakeLog
from flowengine.services.viewing import RECENT, RECENT_SIZE, Filter, ViewedLog

ID = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "client", "id_", "seen"),
    [
        ("all", "", "", True),
        ("192.0.2.7", "192.0.2.7", "", True),
        ("192.0.2.7", "192.0.2.8", "", False),
        ("192.0.2.0/24", "192.0.2.8", "", True),
        ("192.0.2.7/24", "192.0.2.8", "", True),
        ("2001:db8::/32", "2001:db8::1", "", True),
        ("2001:db8::/32", "192.0.2.8", "", False),
        ("192.0.2.7", "", "", False),
        (ID, "192.0.2.7", ID, True),
        (ID, "192.0.2.7", "", False),
    ],
)
def test_a_filter(text: str, client: str, id_: str, seen: bool) -> None:
    assert Filter.parse(text).holds(client, id_) is seen


@pytest.mark.parametrize("text", ["", "mx.example.net", "192.0.2", "0123", ID + "0"])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Filter.parse(text)


def test_lines_without_a_client_are_those_of_their_transaction() -> None:
    plain, seen = FakeLog(), []
    log = ViewedLog(plain)
    log.see = seen.append
    log.event("info", "before", client="192.0.2.7")
    log.filters = (Filter.parse("192.0.2.7"),)
    log.began("a", "192.0.2.7")
    log.began("b", "192.0.2.8")
    for id_ in ("a", "b"):
        log.event("info", "dmarc", id=id_, nothing=None)
    assert seen == [{"level": "info", "event": "dmarc", "client": "192.0.2.7", "id": "a"}]
    assert len(plain.lines) == 3, "the ordinary log gets them all"


def test_a_secret_is_not_seen() -> None:
    seen: list = []
    log = ViewedLog(FakeLog())
    log.see, log.filters = seen.append, (Filter(),)
    log.event("info", "x", text="-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----")
    assert "abc" not in str(seen)


def test_the_last_transactions_are_remembered_with_their_facts() -> None:
    log = ViewedLog(FakeLog())
    for number in range(RECENT + 1):
        log.concluded(str(number), [Fact("dns", ("example.net", "TXT"), "answer")])
        log.event("info", "verdict", id=str(number), verdict="Deliver")
    assert log.recall("0") is None
    found = log.recall("1")
    assert found["verdict"]["verdict"] == "Deliver" and "example.net" in found["facts"][0]


def test_facts_are_bounded_by_their_size() -> None:
    log = ViewedLog(FakeLog())
    log.concluded("huge", [Fact("http", ("GET", "x"), "x" * (RECENT_SIZE + 1))])
    assert log.recall("huge")["facts"] == []
    for number in range(5):
        log.concluded(str(number), [Fact("http", ("GET", "x"), "x" * (RECENT_SIZE // 3))])
    assert log.recall("0") is None and log.recall("4")["facts"]
