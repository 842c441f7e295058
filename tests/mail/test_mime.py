"""Parts of messages: where they are, what they hold, and that a change to one leaves every other byte alone."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail.edits import InsertField, ReplaceBody, ReplaceContent
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.mail.mime import AddPart, EditPartField, Part, RemovePart, ReplacePart, SetPartBody, SetSurroundings
from flowengine.mail.mime.encodings import choose, decode, encode
from flowengine.mail.mime.parameters import parse
from flowengine.mail.mime.structure import DEPTH, PARTS

MIXED = (
    b'From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b:1"\r\n\r\n'
    b"for old programs\r\n"
    b"--b:1  \r\nContent-Type: multipart/alternative; boundary=alt\r\n\r\n"
    b"--alt\r\nContent-Type: text/plain\r\n\r\nplain\r\n"
    b"--alt\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<b>gr=C3=BCn</b>\r\n"
    b"--alt--\r\n"
    b"--b:1\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninside\r\n"
    b"--b:1\r\nContent-Disposition: attachment; filename*=utf-8''f%C3%BCr%20dich.txt\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\naGFs\r\nbG8=\r\n"
    b"--b:1--\r\nthe end\r\n"
)


def parts(data: bytes) -> dict[str, Part]:
    return {part.id: part for part in Message(data).received.structure.root.walk()}


def contents(data: bytes) -> dict[str, tuple[str, bytes]]:
    structure = Message(data).received.structure
    return {part.id: (part.effective_type, structure.content(part)) for part in structure.root.walk() if not part.parts}


def test_the_parts_of_a_message_at_every_depth():
    assert contents(MIXED) == {
        "0.1.1": ("text/plain", b"plain"),
        "0.1.2": ("text/html", "<b>grün</b>".encode()),
        "0.2.1": ("text/plain", b"inside"),
        "0.3": ("text/plain", b"hallo"),
    }
    found = parts(MIXED)
    assert found["0.2.1"].headers.names() == ["subject"]
    assert found["0.3"].file_name == "für dich.txt"
    assert found["0.1"].file_name is None
    assert all(not part.problems for part in found.values())
    structure = Message(MIXED).received.structure
    assert structure.preamble(found["0"]) == b"for old programs"
    assert structure.epilogue(found["0"]) == b"the end\r\n"


HEAD = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "bodies"),
    [
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--", [b"one", b"two"]),
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo", [b"one", b"two"]),  # no closing delimiter
        (b"--b\r\n--b\r\n--b--", [b"", b""]),
        (b"--b\r\nX: y\r\n\r\n--b--", [b""]),  # the empty line's CRLF is the delimiter's
        (b"--b\r\nno header\r\n--b--", [b"no header"]),
        (b"--b\r\n\r\n--bb\r\n--b--x\r\n--b--", [b"--bb\r\n--b--x"]),
        (b"--b\r\n\r\n --b\r\nx--b\r\n--b--\r\n--b\r\n\r\nbehind the end", [b" --b\r\nx--b"]),
        (b"--b\n\none\n--b--", []),  # a bare LF ends no line
        (b"text", []),
        (b"", []),
    ],
)
def test_delimiters(body, bodies):
    structure = Message(HEAD + body).received.structure
    assert [structure.content(part) for part in structure.root.parts] == bodies


def test_a_header_cannot_swallow_a_delimiter():
    data = b'Content-Type: multipart/mixed; boundary="x: y"\r\n\r\n'
    data += b"--x: y\r\nA: 1\r\n--x: y\r\nB: 2\r\n\r\nz\r\n--x: y--\r\n"
    assert [part.headers.names() for part in Message(data).received.structure.root.parts] == [["a"], ["b"]]


def test_an_inner_multipart_cannot_reach_past_the_outer():
    inner = b"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nin\r\n"
    data = HEAD + b"--b\r\n" + inner + b"--b\r\n\r\nout\r\n--i\r\n\r\nnot one\r\n--b--\r\n"
    assert contents(data) == {"0.1.1": ("text/plain", b"in"), "0.2": ("text/plain", b"out\r\n--i\r\n\r\nnot one")}
    assert parts(data)["0.1"].problems == ("a multipart without its closing delimiter",)
    same = parts(HEAD + b"--b\r\n" + HEAD + b"--b\r\n\r\nx\r\n--b--\r\n")
    assert sorted(same) == ["0", "0.1", "0.2"]


def test_depth_and_number_are_bounded():
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(200)
    )
    assert max(id_.count(".") for id_ in parts(deep)) == DEPTH
    many = Message(HEAD + b"--b\r\n\r\nx\r\n" * 5000).received.structure
    assert len(many.root.parts) == PARTS - 1
    assert many.root.problems == (f"more than {PARTS} parts", "a multipart without its closing delimiter")
    forwarded = parts(b"Content-Type: message/rfc822\r\n\r\n" * 500)
    assert len(forwarded) == DEPTH + 1


@pytest.mark.parametrize(
    "piece",
    [
        b"--b\r\n",
        b"\r\n--",
        b"--b: x\r\n",
        b"A: b\r\n",
        b"--",
        b"\r\n--x\r\n\r\n",
        b"Content-Type: message/rfc822\r\n\r\n",
    ],
)
def test_a_hostile_message_takes_linear_time(piece):
    head = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
    started = time.perf_counter()
    structure = Message(head + piece * (4_000_000 // len(piece))).received.structure
    assert structure.root.end == len(structure.data)
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def test_headers_of_parts_are_bounded():
    found = parts(HEAD + b"--b\r\n" + b"A: b\r\n" * 1_000_000)
    assert len(found["0.1"].headers) < 300_000
    assert found["0.1"].problems == ("too much header to look into",)


lines = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"--c",
        b"--c--",
        b"",
        b"x",
        b"A: b",
        b"\n",
        b"\r",
        b"Content-Type: text/plain",
        b"--",
        b"Content-Type: multipart/mixed; boundary=c",
        b'Content-Type: multipart/digest; boundary="b"',
        b"\0\xff",
        b"Content-Type: message/rfc822",
        b"Content-Transfer-Encoding: base64",
        b" folded",
    ]
)
bodies = st.lists(lines, max_size=30).map(b"\r\n".join)


@given(bodies | st.binary(max_size=200), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_an_index_whose_parts_lie_in_one_another(body, whole):
    data = body if whole else HEAD + body
    message = Message(data)
    structure = message.received.structure
    for part in structure.root.walk():
        assert 0 <= part.lead <= part.start <= part.body <= part.end <= len(data)
        at = part.body
        for inner in part.parts:
            assert at <= inner.lead <= inner.start <= inner.end <= part.end
            at = inner.end
        structure.content(part), part.file_name, structure.preamble(part), structure.epilogue(part)
    assert message.render() == data


@given(bodies, st.data())
@settings(max_examples=400, deadline=None)
def test_a_changed_part_leaves_all_other_parts_as_they_were(body, data):
    message = Message(HEAD + body)
    structure = message.received.structure
    made_of_parts = ("multipart/", "message/")
    leaves = [part for part in structure.root.walk() if not part.effective_type.startswith(made_of_parts)]
    if not leaves:
        return
    target = data.draw(st.sampled_from(leaves))
    changed = message.edit(SetPartBody(target.id, b"new text"))
    again = changed.render()
    written = Message(again).received.structure
    assert [part.id for part in written.root.walk()] == [part.id for part in structure.root.walk()]
    for part in structure.root.walk():
        after = written.part(part.id)
        if part.id == target.id:
            assert written.content(after) == b"new text"
        elif not part.parts:
            assert written.content(after) == structure.content(part)
            assert after.headers.names() == part.headers.names()
    around = [part for part in structure.root.walk() if target.id.startswith(f"{part.id}.")]
    # bytes around it are ranges of what was received, but that a header without an empty line behind it gets one
    if all(part.separated for part in (target, *around)) and target.closing < 0:
        assert again.startswith(structure.data[: target.start])
    assert changed.size == len(again)
    assert changed.original.render() == message.render()


def test_unchanged_parts_are_ranges_of_the_received_bytes():
    message = Message(MIXED).edit(SetPartBody("0.1.1", b"other"))
    assert message.render() == MIXED.replace(b"\r\n\r\nplain\r\n", b"\r\n\r\nother\r\n")
    spans = list(message.body.spans())
    assert sum(data is message.received.structure.data for data, _, _ in spans) >= 3


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([RemovePart("0.1"), RemovePart("0.3")], ["0.1.1 inside"]),
        ([RemovePart("0.1.1")], ["0.1.1 <b>gr\xfcn</b>", "0.2.1 inside", "0.3 hallo"]),
        ([RemovePart("0.1"), RemovePart("0.2"), RemovePart("0.3")], ["0.1 "]),
        (
            [AddPart("0", b"\r\nlast", False, "multipart/mixed", b"n"),
             AddPart("0", b"\r\n1st", True, "multipart/mixed", b"m")],
            ["0.1 1st", "0.2.1 plain", "0.2.2 <b>gr\xfcn</b>", "0.3.1 inside", "0.4 hallo", "0.5 last"],
        ),
        (
            [AddPart("0.1.1", b"\r\nfooter", False, "multipart/mixed", b"n")],
            ["0.1.1.1 plain", "0.1.1.2 footer", "0.1.2 <b>gr\xfcn</b>", "0.2.1 inside", "0.3 hallo"],
        ),
        ([ReplacePart("0.1", (), b"short")], ["0.1 short", "0.2.1 inside", "0.3 hallo"]),
        ([ReplacePart("0", (), b"all new")], ["0 all new"]),
        ([SetPartBody("0.2.1", "grün".encode())],
         ["0.1.1 plain", "0.1.2 <b>gr\xfcn</b>", "0.2.1 gr\xfcn", "0.3 hallo"]),
    ],
)  # fmt: skip
def test_edits_of_parts(edits, expected):
    found = contents(Message(MIXED).edit(*edits).render())
    assert [f"{id_} {content.decode()}" for id_, (_, content) in found.items()] == expected


def test_a_part_of_another_kind_is_put_around_what_is_there():
    message = Message(b"Subject: s\r\nContent-Type: text/html\r\nX: y\r\n\r\n<p>\r\n")
    added = AddPart("0", b"Content-Type: text/plain\r\n\r\nfooter", False, "multipart/mixed", b"bb")
    written = message.edit(added, added).render()
    found = Message(written)
    assert found.headers.names() == ["subject", "x", "mime-version", "content-type"]
    assert contents(written) == {
        "0.1": ("text/html", b"<p>\r\n"), "0.2": ("text/plain", b"footer"), "0.3": ("text/plain", b"footer"),
    }  # fmt: skip
    twice = message.edit(added, AddPart("0", b"\r\nx", True, "multipart/related", b"cc")).render()
    assert [part.effective_type for part in Message(twice).received.structure.root.walk()] == [
        "multipart/related", "text/plain", "multipart/mixed", "text/html", "text/plain",
    ]  # fmt: skip


def test_the_header_and_the_surroundings_of_a_part_change():
    message = Message(MIXED).edit(
        EditPartField("0.1.2", InsertField(0, "X-Seen", "yes")),
        SetSurroundings("0", b"new\n", b""),
        SetSurroundings("0.1", epilogue=b"inner end"),
    )
    structure = Message(message.render()).received.structure
    assert structure.part("0.1.2").headers.names() == ["x-seen", "content-type", "content-transfer-encoding"]
    assert structure.preamble(structure.root) == b"new\r\n"
    assert structure.epilogue(structure.root) == b""
    assert structure.epilogue(structure.part("0.1")) == b"inner end"
    assert message.edits[0].describe() == {
        "edit": "insert", "index": 0, "name": "X-Seen", "value": "yes", "part": "0.1.2",
    }  # fmt: skip


@pytest.mark.parametrize(
    "edit",
    [
        SetPartBody("0.9", b""), SetPartBody("0.1", b"x"), RemovePart("0"), SetSurroundings("0.3", b""),
        SetSurroundings("0", b"x\r\n--b:1\r\n"),
    ],
)  # fmt: skip
def test_an_edit_that_does_not_fit_is_refused(edit):
    with pytest.raises(MailError):
        Message(MIXED).edit(edit)


def test_parts_go_with_a_body_that_is_replaced():
    message = Message(MIXED).edit(RemovePart("0.1"), ReplaceBody(b"x"))
    assert message.render().endswith(b"\r\n\r\nx")
    with pytest.raises(MailError, match="replaced as a whole"):
        message.edit(RemovePart("0.2"))


@given(st.sampled_from([MIXED, b"A: b\r\n\r\nc", b"A: b\r\n\r\n"]), st.integers(0, 900), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_replaced_content_is_written_as_it_came(data, start, count):
    new = b"X: 1\r\n" + data[:start].partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + data[start + count :]
    message = Message(data).edit(ReplaceContent(new))
    assert Message(message.render()).headers.names() == Message(new).headers.names()
    assert bytes(message.body) == bytes(Message(new).body)


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode), st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_is_encoded_reads_back_and_travels_everywhere(data, text):
    encoding = choose(data, text=text)
    written = encode(data, encoding)
    assert decode(written, encoding) == data
    assert written.isascii()
    assert b"\0" not in written
    assert b"\n" not in written.replace(b"\r\n", b"")
    assert b"\r" not in written.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in written.split(b"\r\n"))


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"plain\r\n", True, "7bit"),
        (b"x" * 999, True, "quoted-printable"),
        ("grüne Wiese".encode() * 3, True, "quoted-printable"),
        ("зелёный".encode(), True, "base64"),
        (b"a\nb", False, "base64"),
        (b"\0", True, "base64"),
    ],
)
def test_the_plainest_encoding(data, text, encoding):
    assert choose(data, text=text) == encoding


@given(st.binary(max_size=200), st.sampled_from(["base64", "quoted-printable", "7bit", "x-unknown", ""]))
@settings(max_examples=200, deadline=None)
def test_decoding_never_fails(data, encoding):
    assert len(decode(data, encoding)) <= len(data)


@pytest.mark.parametrize(
    ("data", "octets"),
    [(b"aGk=", b"hi"), (b"aGk", b"hi"), (b"a G\r\nk=\r\n", b"hi"), (b"aGk=aGk=", b"hihi"), (b"a", b""), (b"!", b"")],
)
def test_base64_as_it_occurs(data, octets):
    assert decode(data, "base64") == octets


@pytest.mark.parametrize(
    ("value", "word", "parameters"),
    [
        (b'text/PLAIN; charset="utf-8"; format=flowed', "text/plain", {"charset": "utf-8", "format": "flowed"}),
        (b'multipart/mixed;boundary="a;b\\"c"', "multipart/mixed", {"boundary": 'a;b"c'}),
        (b"attachment; filename=two words.pdf", "attachment", {"filename": "two words.pdf"}),
        (b"attachment; filename*1=b; filename*0=a", "attachment", {"filename": "ab"}),
        (b"a/b; name*0*=iso-8859-1''%FC; name*1=x", "a/b", {"name": "üx"}),
        (b'a/b; name="=?utf-8?Q?=C3=BC?="', "a/b", {"name": "ü"}),
        (b'a/b; name="x\0y"', "a/b", {"name": "x y"}),
        (b"a/b; name*=utf-8''a; name=b", "a/b", {"name": "a"}),
        (b'a/b; x="unended', "a/b", {"x": '"unended'}),
        (b"; =x", "", {}),
    ],
)
def test_parameters(value, word, parameters):
    found = parse(value)
    assert found.word == word
    assert {name: found.text(name) for name in found.parameters} == parameters


@given(st.binary(max_size=200).map(lambda octets: b"a/b;" + octets))
@settings(max_examples=200, deadline=None)
def test_parameters_of_any_bytes(value):
    found = parse(value)
    assert all(found.text(name) is not None for name in found.parameters)


def test_parameters_take_linear_time():
    started = time.perf_counter()
    for piece in (b';a="', b"; a*0=x", b';"', b'\\"', b";a=;", b'; a="\\'):
        parse(b"a/b" + piece * 20_000)
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes
