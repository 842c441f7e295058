"""The checks of `make interop` notice what they are there to notice."""

import pytest

from flowengine.servers.compiling import Compiler
from flowengine.services import config as configuration
from tests.interop.__main__ import fetch
from tests.interop.checks import Disagreement, LeftOut, Peer, Report, expect
from tests.interop.messages import MESSAGES, PLAIN, SIGNED, TRACE, added
from tests.interop.peers import PEERS
from tests.interop.world import LISTENERS, World


def test_fields_on_top_are_named() -> None:
    assert added(b"Received: from x\r\n\tby y\r\nDKIM-Signature: v=1\r\n" + PLAIN, PLAIN, SIGNED) == [
        "received",
        "dkim-signature",
    ]
    assert added(PLAIN, PLAIN, TRACE) == []


@pytest.mark.parametrize("arrived", [
    PLAIN + b"\r\n", PLAIN[:-2], PLAIN.replace(b"noon", b"none"), PLAIN.replace(b"\r\n\tCarol", b" Carol"), b"",
    b"Subject: more\r\n" + PLAIN,
])  # fmt: skip
def test_every_other_change_is_a_disagreement(arrived: bytes) -> None:
    with pytest.raises(Disagreement):
        added(arrived, PLAIN, TRACE)


def test_messages_travel_in_canonical_lines() -> None:
    for message in MESSAGES.values():
        assert message.endswith(b"\r\n")
        assert message.count(b"\r") == message.count(b"\n") == message.count(b"\r\n")


def test_a_report_counts_and_goes_on() -> None:
    peer = Peer("somebody")

    @peer.check("{0}", [("agrees",), ("disagrees",), ("is absent",), ("breaks",)])
    def play(world: World, word: str) -> None:
        expect(word != "disagrees", "no")
        if word == "is absent":
            raise LeftOut("gone")
        if word == "breaks":
            raise OSError("broken")

    lines: list[str] = []
    report = Report(lines.append)
    for check in peer.checks:
        report.play(check, World())
    assert report.summary == "1 passed, 2 failed, 1 skipped"
    assert [line.split()[0] for line in lines] == ["ok", "FAIL", "skip", "FAIL"]


def test_every_peer_has_checks_and_a_name_of_its_own() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert all(peer.checks for peer in PEERS)


def test_our_side_is_a_configuration_that_the_server_takes() -> None:
    with World() as world:
        config = configuration.load(world.configuration(dns=53, hop=26, server=27))
        assert len(config.listeners) == LISTENERS
        assert Compiler(config).check_config() == []


def test_a_peer_that_cannot_be_had_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    peer = Peer("nobody", programs=("no-such-program",), packages=("no-such-package",))
    assert fetch([peer]) == {"nobody": "no-such-program: not installed, and only root may install it"}


def test_what_failed_to_start_is_not_started_again() -> None:
    tries: list[World] = []

    def start(world: World) -> None:
        tries.append(world)
        raise OSError("no port")

    with World() as world:
        with pytest.raises(OSError, match="no port"):
            world.once(start)
        with pytest.raises(Disagreement):
            world.once(start)
    assert len(tries) == 1
