"""`flowengine quarantine`, on messages that a flow has kept aside."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowengine.cli import main
from flowengine.services.quarantine import Quarantines, expire
from flowengine.services.queue.desk import Choice, Desk
from flowengine.services.queue.desk_sqlite import SQLiteWindow

CONFIG = """\
hostname = "mx.example.net"
storage = "sqlite:{folder}/state.db"
[listeners.in]
address = "127.0.0.1:0"
recipient_domains = ["example.net"]
transport = "next"
[transports.next]
host = "127.0.0.1:26"
[transports.other]
mx = true
[quarantine.spam]
path = "{folder}/spam"
keep = 86400
"""
CONTENT = b"From: a@example.org\r\nSubject: win\r\n\r\nhello\r\n"


class Kept:
    """A folder with a quarantine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "flowengine.toml").write_text(CONFIG.format(folder=folder))

    def keep(self, *recipients: str, **about: Any) -> str:
        told = {"transaction": "01a2", "listener": "in", "client": "192.0.2.7", "helo": "mx.evil", "user": None, "reason": "spam 9.1",
                "transport": None, "metadata": {"k": "v"}, **about}  # fmt: skip
        quarantines = Quarantines({"spam": self.folder / "spam"})
        return asyncio.run(quarantines.keep("mailquarantine:spam", "a@example.org", [CONTENT], told, list(recipients)))

    def __call__(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["quarantine", *words, "-c", str(self.folder / "flowengine.toml")])
        assert result.exit_code == code, result.output
        return result


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_list_and_search(kept: Kept) -> None:
    one, two = kept.keep("b@example.net"), kept.keep("c@example.net", reason="virus\x1b[2J")
    assert kept("list", "spam").output.count("\n") == 2
    assert one in kept("list", "spam", "SPAM", "b@").output and two not in kept("list", "spam", "b@").output
    assert "\x1b" not in kept("list", "spam").output
    assert kept("list", "spam", "--older", "60").output == ""
    documents = json.loads(kept("list", "spam", "--json").output)["messages"]
    assert [one["recipients"] for one in documents] == [["b@example.net"], ["c@example.net"]]
    assert kept("show", "spam", one, "--content").stdout_bytes == CONTENT
    assert "spam 9.1" in kept("show", "spam", one).output
    kept("show", "spam", "../../etc/passwd", code=1)
    assert "there is spam" in kept("list", "ham", code=2).output


def test_release_goes_by_the_way_it_was_to_have(kept: Kept, tmp_path: Path) -> None:
    one = kept.keep("b@example.net", "c@example.net")
    assert kept("release", "spam", one).output == f"released {one} by next\n"
    with Desk(SQLiteWindow(tmp_path)) as desk:
        first, second = desk.entries(Choice(("01a2",)), 10)
        assert (first.id, first.state, first.sender, first.recipient) == (
            "01a2-1",
            "queued",
            "a@example.org",
            "b@example.net",
        )
        content = b"".join(map(bytes, desk.content(first.message)))
        assert content.endswith(CONTENT) and content.startswith(
            b"Received: from mx.evil ([192.0.2.7])\r\n\tby mx.example.net "
        )
        assert desk.about(second.message).metadata == {"k": "v"}
    assert not list((tmp_path / "spam").glob("*.*"))
    kept("release", "spam", one, code=1)


def test_release_elsewhere(kept: Kept, tmp_path: Path) -> None:
    one = kept.keep("b@example.net")
    assert "there is no transport nowhere" in kept("release", "spam", one, "--transport", "nowhere", code=2).output
    kept("release", "spam", one, "--transport", "other", "--recipient", "abuse@example.org", "--keep")
    with Desk(SQLiteWindow(tmp_path)) as desk:
        (entry,) = desk.entries(Choice(), 10)
        assert (entry.transport, entry.recipient) == ("other", "abuse@example.org")
    assert (tmp_path / "spam" / f"{one}.eml").exists()


def test_a_message_whose_description_is_broken_can_still_be_released(kept: Kept, tmp_path: Path) -> None:
    one = kept.keep("b@example.net")
    (tmp_path / "spam" / f"{one}.json").write_bytes(b"[" * 5000)
    assert one in kept("list", "spam").output
    kept("release", "spam", one, code=2)
    kept("release", "spam", one, "--transport", "next", "--recipient", "b@example.net")


def test_delete_and_expiry(kept: Kept, tmp_path: Path) -> None:
    one, two = kept.keep("b@example.net"), kept.keep("c@example.net")
    kept("delete", "spam", code=2)
    assert kept("delete", "spam", one).output == "deleted 1\n"
    kept("delete", "spam", "--older", "60", code=1)
    spam = tmp_path / "spam"
    old = f"{int((time.time() - 90_000) * 1e9):016x}{two[16:]}"
    for suffix in (".eml", ".json"):
        os.rename(spam / f"{two}{suffix}", spam / f"{old}{suffix}")  # noqa: PTH104
    fresh = kept.keep("d@example.net")
    (spam / "README.eml").write_text("not ours")
    assert expire(spam, 86400) == 1
    assert {path.stem for path in spam.glob("*.eml")} == {fresh, "README"}
