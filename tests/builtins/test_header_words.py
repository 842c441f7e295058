"""Header words: what they read, what they write, and that nothing a flow says can break out of its field."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail.headers import parse
from tests.runtime.stage import MAIL, Stage

RICH = (
    b"Subject: =?utf-8?q?caf=C3=A9?=\r\nX-Two: one\r\nX-Two:\r\n two,\r\n\tfolded \r\nFrom: a@example.org\r\n"
    b"X-Raw: \xff\xfe\r\nx-two: three\r\n\r\nbody\r\n"
)


def left(flow: str, message: bytes = MAIL) -> bytes:
    on = Stage()
    outcome = on.data(flow, message=message)
    assert outcome.runs[0].error is None, outcome.runs[0].error
    return on.outbox.left[0][1]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('GetHeader("subject")', "caf\xc3\xa9"),
        ('GetHeader("Subject", false)', "=?utf-8?q?caf=C3=A9?="),
        ('GetHeader("X-Two")', "one"),
        ('GetHeader("X-Absent")', ""),
        ('GetHeader("")', ""),
        ('json_encode(GetHeaders("x-TWO"))', '["one","two,\\tfolded","three"]'),
        ('json_encode(GetHeaders("X-Absent"))', "[]"),
        ("count(GetHeaders(true))", "6"),
        ("GetHeaders(true)[2]", "X-Two: two,\tfolded "),
        ("json_encode(GetHeaders(false))", "[]"),
    ],
)
def test_reading(expression, value):
    assert Stage().echoed(f"echo {expression};", message=RICH) == [value]


@pytest.mark.parametrize(
    ("call", "returns", "head"),
    [
        ('AddHeader("X-New", "1")', "", b"X-New: 1\r\nFrom:"),
        (
            'SetHeader("Subject", "s")',
            "1",
            b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: s\r\n\r\n",
        ),
        ('SetHeader("X-New", "1")', "0", b"X-New: 1\r\nFrom:"),
        ('PrependHeader("subject", "[l] ")', "1", b"Subject: [l] Lunch?\r\n"),
        ('AppendHeader("Subject", " (e)")', "1", b"Subject: Lunch? (e)\r\n"),
        ('PrependHeader("X-New", "1")', "0", b"X-New: 1\r\nFrom:"),
        ('AppendHeader("X-New", "1")', "0", b"X-New: 1\r\nFrom:"),
        ('DelHeader("To")', "1", b"alice@example.org>\r\nSubject:"),
        ('DelHeader("X-Absent")', "0", MAIL),
        ('AddHeader("X-Caf\xc3\xa9", "x")', None, b""),
    ],
)
def test_writing(call, returns, head):
    if returns is None:
        run = Stage().one(f"{call};")
        assert run.error is not None and run.edits == ()
        return
    assert Stage().echoed(f"echo {call};") == [returns]
    assert head in left(f"{call};")


def test_all_fields_of_the_name_are_changed():
    message = left('echo SetHeader("x-two", "same");', RICH)
    assert message.count(b": same\r\n") == 3 and b"X-Two: same" in message and b"x-two: same" in message
    assert left('DelHeader("X-TWO");', RICH).lower().count(b"x-two") == 0
    assert left('AppendHeader("X-Two", "!");', RICH).count(b"!\r\n") == 3


def test_edits_see_the_edits_before_them():
    flow = 'AddHeader("X-N", "1"); AppendHeader("X-N", "2"); AddHeader("X-N", "0"); echo DelHeader("X-N");'
    assert Stage().echoed(flow) == ["2"]
    assert left('SetHeader("Subject", "a"); AppendHeader("Subject", "b");').count(b"Subject: ab\r\n") == 1


def test_changes_can_be_undone():
    flow = 'AddHeader("A", "1"); DelHeader("To"); echo DiscardMailDataChanges(); echo DiscardMailDataChanges();'
    assert Stage().echoed(flow) == ["2", "0"]
    assert left(flow + 'AddHeader("B", "2");') == b"B: 2\r\n" + MAIL


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("caf\xc3\xa9", b"X: =?utf-8?"),
        ("a\r\nBcc: b@example.org", b"X: a"),
        ("a\nBcc: b", b"X: a"),
        ("a\r\n\r\nbody", b"X: a"),
    ],
)
def test_a_value_is_encoded_and_a_line_break_is_a_fold(value, written):
    quoted = value.replace("\r", "\\r").replace("\n", "\\n")
    message = left(f'AddHeader("X", "{quoted}");')
    assert message.startswith(written)
    assert b"\r\nBcc:" not in message and message.endswith(MAIL)


def test_a_long_value_is_folded_unless_it_is_taken_as_it_is():
    words = " ".join(["word"] * 60)
    assert all(len(line) <= 80 for line in left(f'AddHeader("X", "{words}");').split(b"\r\n"))
    assert left(f'AddHeader("X", "{words}", false);').startswith(f"X: {words}\r\n".encode())


@given(
    name=st.text(st.characters(max_codepoint=255), max_size=12),
    value=st.text(st.characters(max_codepoint=255), max_size=80),
    refold=st.booleans(),
    word=st.sampled_from(["AddHeader", "SetHeader", "PrependHeader", "AppendHeader"]),
)
@settings(max_examples=150, deadline=None)
def test_whatever_a_flow_writes_stays_in_its_field(name, value, refold, word):
    on = Stage()
    flow = f'{word}($arguments["name"], $arguments["value"], {"true" if refold else "false"});'
    flow = flow.replace('$arguments["name"]', '$context["name"]').replace('$arguments["value"]', '$context["value"]')
    import asyncio

    from flowengine.language.values import Array
    from flowengine.mail.addresses import parse_path
    from flowengine.mail.message import Message
    from tests.runtime.stage import now

    async def visit() -> None:
        session = on.session({"data": flow})
        session.connection.context = Array({"name": name, "value": value})
        await now(session.mail_from(parse_path("<a@example.org>"), {}))
        await now(session.rcpt_to(parse_path("<bob@example.net>"), {}))
        await session.data(Message(MAIL))

    asyncio.run(visit())
    (outcome,) = on.outbox.outcomes
    if outcome.runs[0].error is not None:
        assert outcome.reply.code == 451
        return
    message = on.outbox.left[0][1]
    block = parse(message)
    body = MAIL.partition(b"\r\n\r\n")[2]
    assert message.endswith(b"\r\n\r\n" + body) or not body
    known = {b"from", b"to", b"subject"}
    assert len(block.fields) <= 4 and sum(field.key not in known for field in block.fields) <= 1
    assert message[block.body :] == body
