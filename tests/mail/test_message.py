"""A message keeps what it received, applies its edits, and writes nothing it was not told to."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail.body import uncopied
from flowengine.mail.canonical import body_hash
from flowengine.mail.edits import DeleteField, Edit, InsertField, ReplaceBody, ReplaceField
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message

PLAIN = b"From: a@example.org\r\nSubject: one\r\n two\r\nX-A : 1\r\nsubject: again\r\n\r\nHello\r\n"

# Bytes that are likely to look like a header, cut in odd places.
LOOSE = st.lists(
    st.sampled_from(
        [b"From:", b"a", b" ", b"\t", b"\r\n", b"\r", b"\n", b":", b"\0", b"\xff", b"From ", b"X-B: c", b">"]
    ),
    max_size=40,
).map(b"".join)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def test_the_index_holds_name_raw_bytes_and_place() -> None:
    fields = Message(PLAIN).headers
    assert [(field.key, field.offset) for field in fields] == [
        (b"from", 0), (b"subject", 21), (b"x-a", 41), (b"subject", 50),
    ]  # fmt: skip
    assert fields[1].raw == b"Subject: one\r\n two"
    assert fields[1].text == "one two"
    assert fields[2].name == "X-A"
    assert fields[2].value == b" 1"


def test_names_match_whatever_their_case() -> None:
    fields = Message(PLAIN).headers
    assert [field.text for field in fields.all("SUBJECT")] == ["one two", "again"]
    first = fields.first("Subject")
    assert first is not None
    assert first.offset == 21
    assert fields.first("none") is None
    assert fields.names() == ["from", "subject", "x-a", "subject"]


@pytest.mark.parametrize(
    ("data", "names", "body"),
    [
        (b"", [], b""),
        (b"\r\nbody", [], b"body"),
        (b"A: 1", [b"a"], b""),
        (b"A: 1\r\n", [b"a"], b""),
        (b"A: 1\r\n\r\n", [b"a"], b""),
        (b" starts with space\r\nA: 1\r\n\r\n", [], b" starts with space\r\nA: 1\r\n\r\n"),
        (b"A: 1\r\nno header line\r\nB: 2\r\n\r\nx", [b"a"], b"no header line\r\nB: 2\r\n\r\nx"),
        (b"A: 1\r\nno name: 2\r\n\r\nx", [b"a"], b"no name: 2\r\n\r\nx"),
        (b"A: 1\r\n: 2\r\n\r\nx", [b"a"], b": 2\r\n\r\nx"),
        (b"A: 1\nB: 2\r\nC: 3\r\n\r\nx", [b"a", b"c"], b"x"),
        (b"A: \0\xff\r\n\r\nx", [b"a"], b"x"),
        (b"A: 1\r\n \t\r\n\r\nx", [b"a"], b"x"),
        (b"From bob Mon 10:00\r\nA: 1\r\n\r\nx", [b"a"], b"x"),
        (b"From : bob\r\n\r\nx", [b"from"], b"x"),
        (b"From bob Mon 10:00", [], b"From bob Mon 10:00"),
    ],
)
def test_where_header_ends_and_body_begins(data: bytes, names: list[bytes], body: bytes) -> None:
    message = Message(data)
    assert [field.key for field in message.headers] == names
    assert bytes(message.body) == body
    assert message.body.size == len(body)
    assert message.render() == data


@settings(max_examples=300, deadline=None)
@given(LOOSE | st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_are_a_message_whole_or_in_chunks(data: bytes, cuts: list[int]) -> None:
    whole, parts = Message(data), Message(pieces(data, cuts))
    assert whole.render() == data == parts.render()
    assert whole.headers == parts.headers
    assert bytes(whole.body) == bytes(parts.body)
    assert parts.received_size == len(data)
    for field in whole.headers:
        assert data[field.offset :].startswith(field.raw)
        assert isinstance(field.text, str)


@settings(max_examples=200, deadline=None)
@given(LOOSE, st.lists(st.integers(0, 60), max_size=4))
def test_an_edit_leaves_all_other_fields_and_the_body_alone(data: bytes, cuts: list[int]) -> None:
    message = Message(pieces(data, cuts))
    edited = Message(message.edit(InsertField(0, "X-New", "here")).render())
    assert [field.raw for field in edited.headers] == [b"X-New: here", *(field.raw for field in message.headers)]
    assert bytes(edited.body) == bytes(message.body)


def test_edits_apply_in_order_to_the_list_as_it_stood() -> None:
    message = Message(PLAIN).edit(
        InsertField(0, "X-B", "top"), DeleteField(1), ReplaceField(1, "Subject", "new"), InsertField(99, "X-C", "end")
    )
    assert message.render() == b"X-B: top\r\nSubject: new\r\nX-A : 1\r\nsubject: again\r\nX-C: end\r\n\r\nHello\r\n"
    assert message.size == len(message.render())
    assert message.original.render() == PLAIN
    assert message.headers is message.original.headers
    assert [edit.describe() for edit in message.edits] == [
        {"edit": "insert", "index": 0, "name": "X-B", "value": "top"},
        {"edit": "delete", "index": 1},
        {"edit": "replace", "index": 1, "name": "Subject", "value": "new"},
        {"edit": "insert", "index": 99, "name": "X-C", "value": "end"},
    ]


def test_editions_of_one_message_are_equal_by_their_edits() -> None:
    message = Message(PLAIN)
    first, second = (message.edit(InsertField(0, "X-A", "1")) for _ in range(2))
    assert first == second
    assert len({message, first, second, message.original}) == 2
    assert first != message
    assert message != Message(PLAIN)
    assert message != PLAIN
    assert message.size == len(PLAIN)
    assert repr(first) == f"Message({len(PLAIN)} octets, 1 edits)"
    assert repr(message.headers) == "Headers(From, Subject, X-A, subject)"


def test_a_new_body_replaces_the_old_one() -> None:
    message = Message(b"A: 1\r\n").edit(ReplaceBody(b"new\r\n"))
    assert message.render() == b"A: 1\r\n\r\nnew\r\n"
    assert message.edits[0].describe() == {"edit": "body", "size": 5}


def test_a_body_is_written_without_a_copy() -> None:
    data = b"A: 1\r\n\r\n" + bytes(100_000)
    header, body = Message(data).edit(InsertField(0, "B", "2")).chunks()
    assert header == b"B: 2\r\nA: 1\r\n\r\n"
    assert isinstance(body, memoryview)
    assert body.obj is data
    assert Message(data).chunks()[0] is data


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-Evil: 2"), ("X-A", "1\nX-Evil: 2"), ("X-A", "1\rX-Evil: 2"), ("X-A", "a\0b"), ("X-A", "a\r\n"),
        ("X-A", "a\r\n \r\nbody"), ("X-A", "a\r\n\t"), ("X A", "1"), ("X:A", "1"), ("", "1"), ("X-Ä", "1"),
        ("X\r\nA", "1"), ("X-A", "\ud800"), ("\udc41", "x"),
    ],
)  # fmt: skip
def test_a_field_cannot_leave_its_place(name: str, value: str) -> None:
    with pytest.raises(MailError):
        InsertField(0, name, value)
    with pytest.raises(MailError):
        ReplaceField(0, name, value)


def test_folds_and_raw_octets_are_kept() -> None:
    edit = InsertField(0, "X-A", "one\r\n\ttwo\udcff")
    assert Message(b"\r\n").edit(edit).render() == b"X-A: one\r\n\ttwo\xff\r\n\r\n"
    assert edit.describe()["value"] == "one\r\n\ttwo\ufffd"


@pytest.mark.parametrize("edit", [DeleteField(4), DeleteField(-1), ReplaceField(9, "A", "b")])
def test_a_place_that_is_not_there_is_an_error(edit: Edit) -> None:
    with pytest.raises(MailError):
        Message(PLAIN).edit(edit)


class File:
    """A Content that is not in memory: a spool file read in small blocks."""

    def __init__(self, path: Path, block: int) -> None:
        self.path, self.block, self.size = path, block, path.stat().st_size

    def spans(self, start: int) -> Iterator[tuple[bytes, int, int]]:
        with self.path.open("rb") as file:
            file.seek(start)
            while data := file.read(self.block):
                yield data, 0, len(data)

    def buffers(self, start: int) -> list[bytes | memoryview]:
        return uncopied(self.spans(start))


@pytest.mark.parametrize("block", [1, 7, 50, 4096])
def test_a_message_may_lie_in_a_file(tmp_path: Path, block: int) -> None:
    path = tmp_path / "spool"
    path.write_bytes(PLAIN + b" more  \r\n" * 30)
    spooled, whole = Message(File(path, block)), Message(path.read_bytes())
    edit = InsertField(1, "X-A", "1")
    assert spooled.headers == whole.headers
    assert spooled.edit(edit).render() == whole.edit(edit).render()
    assert spooled.render() == whole.render()
    assert body_hash(spooled.body, "relaxed") == body_hash(whole.body, "relaxed")
    assert body_hash(spooled.body, "simple", length=20) == body_hash(whole.body, "simple", length=20)


@pytest.mark.parametrize(
    "data",
    [
        b"A: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"A: 1\r\n" * 100_000 + b"\r\n",
        b"A: 1\r\n" + b" x\r\n" * 200_000 + b"\r\n",
        b"A" * 1_000_000,
        b"From " + b"A" * 1_000_000,
        b"A: " + b"=?" * 200_000 + b"=?utf-8?q?" * 50_000 + b"\r\n\r\n",
    ],
    ids=["long line", "many fields", "many folds", "no colon", "no line", "encoded words"],
)
def test_hostile_headers_cost_linear_time(data: bytes) -> None:
    message = Message([data[i : i + 1000] for i in range(0, len(data), 1000)])
    assert all(isinstance(field.text, str) for field in message.headers)
    edited = message.edit(InsertField(0, "X", "y"))
    assert sum(map(len, edited.chunks())) >= len(data)
