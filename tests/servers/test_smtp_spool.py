"""Large messages go to a file without a name, and nothing of it is left whatever happens."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smtp_visit import OPTIONS, Visit, drive, with_limits

from flowengine.mail.body import Body, Mapped, Memory
from flowengine.mail.message import Message
from flowengine.servers.smtp import Machine
from flowengine.servers.smtp.intake import Bounds, Intake, long_line

LINE = b"0123456789 the quick brown fox jumps over the lazy dog\r\n"


def open_files() -> int:
    listed = Path("/proc/self/fd")
    return len(list(listed.iterdir())) if listed.exists() else 0


def taken(spool: Path, pieces: list[bytes], above: int = 65536) -> Intake:
    intake = Intake(Bounds(spool_above=above, spool=spool))
    for piece in pieces:
        intake.add(piece)
    return intake


@pytest.mark.parametrize("size", [1, 50, 70_000])
def test_a_spooled_message_is_the_same_message(tmp_path: Path, size: int) -> None:
    whole = b"Subject: x\r\nTo: y\r\n\r\n" + LINE * 3000
    intake = taken(tmp_path, [whole[at : at + size] for at in range(0, len(whole), size)])
    assert intake.held <= 300_000
    octets = intake.octets()
    assert isinstance(octets, Mapped)
    assert list(tmp_path.iterdir()) == [], "no name, so nothing to clean up"
    message = Message(octets)
    assert message.render() == whole
    assert [field.name for field in message.headers] == ["Subject", "To"]
    assert bytes(message.body) == LINE * 3000
    assert b"".join(data[a:b] for data, a, b in message.body.spans()) == LINE * 3000


def test_a_small_message_stays_in_memory(tmp_path: Path) -> None:
    assert isinstance(taken(tmp_path / "never", [LINE] * 10).octets(), Memory)
    assert not (tmp_path / "never").exists()


def test_a_dropped_message_leaves_no_file_open(tmp_path: Path) -> None:
    before = open_files()
    intake = taken(tmp_path, [LINE] * 5000)
    intake.shed()
    assert (intake.held, intake.octets().size) == (0, 0)
    assert open_files() == before


def test_no_room_on_the_disk_is_a_452(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    visit = Visit()
    machine = Machine(visit, with_limits(OPTIONS, spool_above=65536, spool=blocked))
    opening = b"EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    replies = b"".join(drive(machine, [opening, LINE * 3000, b".\r\nNOOP\r\n"]))
    assert replies.endswith(b"452 4.3.1 No room for the message, try again later\r\n250 2.0.0 OK\r\n")
    assert visit.messages == []
    assert [reply.code for reply in visit.refusals] == [452]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"\n", b"a", b"aaa", b"\r\n", b"a" * 9]), max_size=20), st.integers(1, 12))
def test_a_long_line_is_found_across_seams(pieces: list[bytes], longest: int) -> None:
    lines = b"".join(pieces).split(b"\n")
    expected = any(len(line) + 1 > longest for line in lines[:-1]) or len(lines[-1]) > longest
    assert long_line(Memory(pieces), longest) == expected
    assert bytes(Body(Memory(pieces))) == b"".join(pieces)
