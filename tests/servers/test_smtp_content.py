"""The end of content: against a slow reference, however the bytes are cut, and against the known ways to smuggle."""

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smtp_visit import OPTIONS, Visit, after_a_moment, drive, talk

from flowengine.mail.body import Body
from flowengine.servers.smtp import Machine
from flowengine.servers.smtp.content import Content
from flowengine.servers.smtp.intake import Bounds, Intake, hidden_end

OPENING = b"EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"


def reference(data: bytes) -> tuple[bytes, bytes] | None:
    """RFC 5321 §4.1.1.4 and §4.5.2 line by line: the message and what follows it; None while the end is not there."""
    lines: list[bytes] = []
    while b"\r\n" in data:
        line, _, data = data.partition(b"\r\n")
        if line == b".":
            return b"".join(lines), data
        lines.append((line[1:] if line[:1] == b"." else line) + b"\r\n")
    return None


def has_bare(message: bytes) -> bool:
    rest = message.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def read(content: Content, chunks: Iterable[bytes]) -> bytes | None:
    """What follows the end of the message; None when the end did not come."""
    rest: bytes | None = None
    for chunk in chunks:
        if rest is not None:
            rest += chunk
        elif (end := content.feed(chunk)) >= 0:
            rest = chunk[end:]
    return rest


letters = st.sampled_from([b"\r\n", b"\r\n.\r\n", b".", b"\r", b"\n", b"a", b"\r\n.", b"\0", b".."])
streams = st.lists(letters, max_size=24).map(b"".join)


@settings(max_examples=1500, deadline=None)
@given(streams, st.lists(st.integers(0, 200), max_size=8))
def test_content_ends_where_the_reference_ends_however_it_is_cut(data: bytes, places: list[int]) -> None:
    content = Content(Intake(Bounds()))
    rest = read(content, cut(data, places))
    expected = reference(data)
    assert (rest is None) == (expected is None)
    if expected is None:
        return
    message, following = expected
    assert rest == following
    raw = data[: len(data) - len(following) - 3]
    assert content.bare == has_bare(raw)
    if content.bare:
        assert content.intake.octets().size == 0
        assert content.intake.held == 0
    else:
        assert bytes(Body(content.intake.octets())) == message
        assert content.intake.size == content.intake.held == len(message)


@settings(max_examples=300, deadline=None)
@given(streams, st.lists(st.integers(0, 200), max_size=8))
def test_normalized_content_has_only_whole_line_ends(data: bytes, places: list[int]) -> None:
    content = Content(Intake(Bounds()), normalize=True)
    rest = read(content, cut(data, places))
    expected = reference(data)
    assert (rest is None) == (expected is None)
    if expected is not None:
        got = bytes(Body(content.intake.octets()))
        assert not has_bare(got)
        assert got.split(b"\r\n") == expected[0].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1000])
def test_a_long_message_arrives_byte_for_byte_in_pieces_of_any_size(size: int) -> None:
    message = b"".join(b"." * (n % 5) + b"x" * (n % 90) + b"\r\n" for n in range(3000))
    stuffed = b"".join(b"." + line if line[:1] == b"." else line for line in message.splitlines(keepends=True))
    content = Content(Intake(Bounds()))
    data = stuffed + b".\r\nNOOP\r\n"
    assert read(content, [data[at : at + size] for at in range(0, len(data), size)]) == b"NOOP\r\n"
    pieces = content.intake.octets().buffers(0)
    assert b"".join(pieces) == message
    assert len(pieces) <= 1 + len(message) // 32768, "memory goes to content, not to objects"


@pytest.mark.parametrize("limit", [0, 1, 99, 100, 101])
def test_the_limit_counts_every_octet_of_the_message_and_no_other(limit: int) -> None:
    content = Content(Intake(Bounds(limit)))
    assert read(content, [b"x" * 98 + b"\r\n.\r\n"]) == b""
    assert content.intake.too_large == (limit < 100)
    assert content.intake.held == (0 if limit < 100 else 100)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\0", b".", b"a", b"\0\0\0\0"]), max_size=16).map(b"".join),
    st.lists(st.integers(0, 99), max_size=6),
)
def test_a_hidden_end_is_found_across_seams(data: bytes, places: list[int]) -> None:
    lines = (b"\n" + data).replace(b"\r\n", b"\n").split(b"\n")[1:-1]
    expected = any(b"\0" in line and line.replace(b"\0", b"") == b"." for line in lines)
    assert hidden_end(cut(data, places)) == expected


def dialog(visit: Visit, chunks: Iterable[bytes], late: int = 0) -> bytes:
    return b"".join(
        drive(Machine(visit, replace(OPTIONS, auth=("LOGIN",), allow_plaintext_auth=True)), chunks, late=late)
    )


WHOLE = (
    b"EHLO c\r\nAUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0\r\nMAIL FROM:<a@example.org> SIZE=20\r\nRCPT TO:<b@example.net>\r\n"
    b"RCPT TO:<>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.a\r\n\r\n.\r\nnonsense\r\nMAIL FROM:<>\r\n"
    b"RCPT TO:<c@example.net>\r\nDATA\r\na\nb\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n.\r\nQUIT\r\n"
)


@pytest.mark.parametrize("late", [0, 1, 3, 1000])
@pytest.mark.parametrize("waits", [False, True])
def test_a_dialog_cut_anywhere_has_the_same_replies_and_messages(waits: bool, late: int) -> None:
    whole = Visit()
    replies = dialog(whole, [WHOLE])
    assert [sender for sender, _, _ in whole.messages] == ["a@example.org", ""]
    splits = [[WHOLE[:at], WHOLE[at:]] for at in range(1, len(WHOLE))]
    splits += [[WHOLE[at : at + size] for at in range(0, len(WHOLE), size)] for size in (1, 2, 3, 7)]
    for chunks in splits:
        visit = Visit(later=after_a_moment if waits else None)
        assert dialog(visit, chunks, late) == replies
        assert visit.messages == whole.messages
        assert visit.events == whole.events


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([OPENING, b"\r\n", b".\r\n", b"RSET\r\n"])), max_size=12)
)
def test_any_bytes_get_whole_reply_lines(chunks: list[bytes]) -> None:
    machine = Machine(Visit(), OPTIONS)
    written = b"".join(drive(machine, chunks))
    assert written.endswith(b"\r\n")
    for line in written.split(b"\r\n")[:-1]:
        assert len(line) <= 510
        assert line[:3].isdigit() and line[3:4] in b" -"
        assert line.isascii() and b"\r" not in line and b"\n" not in line


SUITE = Path(os.environ.get("FLOWENGINE_SUITES", Path(__file__).parents[2].parent / "shared" / "suites"))
ENDINGS = [
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r\n.\n",
    "\r\n.\r",
    "\r\n\0.\0\r\n",
    "\r\0\n.\r\n",
    "\r\n.\r\0\n",
    "\x85.\x85",
]


def endings() -> list[str]:
    suite = SUITE / "smtp" / "smuggling-end-of-data.json"
    return ENDINGS + (json.loads(suite.read_text()) if suite.exists() else [])


@pytest.mark.parametrize("normalize", [False, True], ids=["reject", "normalize"])
@pytest.mark.parametrize("ending", endings(), ids=repr)
def test_no_false_end_starts_a_second_message(ending: str, normalize: bool) -> None:
    false_end = ending.encode("latin-1")
    smuggled = b"MAIL FROM:<admin@example.net>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nevil"
    options = replace(OPTIONS, bare_newline="normalize" if normalize else "reject")
    lines, visit, _ = talk(OPENING + b"Subject: x\r\n\r\nhi" + false_end + smuggled + b"\r\n.\r\nNOOP\r\n", options)
    *_, end_of_data, noop = lines
    assert noop == "250 2.0.0 OK"
    assert [event for event in visit.events if event[0] == "mail"] == [("mail", "a@example.org")]
    assert len(visit.messages) == (1 if end_of_data.startswith("250 ") else 0)
    if not normalize and has_bare(false_end):
        assert end_of_data.startswith("550 5.5.2 ")
    for _, _, message in visit.messages:
        assert not has_bare(message)
        without_nul = message.replace(b"\0", b"")
        assert normalize or b"\r\n.\r\n" not in without_nul, "what a next hop might take for the end is not handed on"


def test_the_smuggling_suite_is_there() -> None:
    if not (SUITE / "smtp" / "smuggling-end-of-data.json").exists():
        pytest.skip(f"no smtp/smuggling-end-of-data.json under {SUITE} (FLOWENGINE_SUITES)")
    assert len(endings()) > len(ENDINGS)
