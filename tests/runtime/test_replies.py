"""What a client hears: cleaned text, codes that SMTP knows, lines that it takes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.language.values import Secret, from_bytes
from flowengine.runtime.actions import Reply
from flowengine.runtime.phases import PHASES
from flowengine.runtime.replies import LINE, LINES, clean, speak
from tests.runtime.stage import Stage, key

NO = Reply(550, "5.7.1", "Message refused")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("no", "no"),
        (["a", "b"], "a\nb"),
        ("a\nb\r\nc", "a\nb\nc"),
        ("a\tb", "a b"),
        ("\x1b[31mred\x00\x07\x7f", "[31mred"),
        ("\r\n250 ok", "\n250 ok"),
        ("caf\xc3\xa9 \xff", "caf? ?"),
        ("  spaces  ", "spaces"),
        ("a\n\n\n", "a"),
        ("", ""),
        ([], ""),
        (Secret("hunter2"), "<secret sha256:f52f>"),
        (["ok", Secret("hunter2")], "ok\n<secret sha256:f52f>"),
    ],
)
def test_a_reason_is_cleaned(reason, text):
    assert clean(reason) == text


def test_a_private_key_in_a_reason_is_only_named():
    text = clean(f"here it is: {key('x').pem().decode()}")
    assert text.startswith("<private key sha256:") and "BEGIN" not in text


def test_long_lines_are_wrapped_at_a_space_and_nothing_is_lost():
    words = " ".join(f"word{number}" for number in range(300))
    lines = clean(words).split("\n")
    assert " ".join(lines) == words
    assert all(len(line) <= LINE for line in lines) and len(lines) > 3
    assert clean("x" * 1200) == "\n".join(["x" * LINE, "x" * LINE, "x" * (1200 - 2 * LINE)])


def test_limits_of_the_configuration_hold():
    assert clean("a\nb\nc\nd", most=2) == "a\nb"
    assert clean("aaaa bbbb cccc", length=9) == "aaaa\nbbbb cccc"
    assert clean("x" * 100, most=3, length=10) == "\n".join(["x" * 10] * 3)


@given(st.one_of(st.text(st.characters(max_codepoint=255)), st.lists(st.text(st.characters(max_codepoint=255)))))
@settings(max_examples=200, deadline=None)
def test_whatever_a_flow_says_fits_the_protocol(reason):
    text = clean(reason)
    lines = text.split("\n")
    assert len(lines) <= LINES
    assert all(re.fullmatch(r"[ -~]*", line) and len(line) <= LINE for line in lines)
    assert clean(text) == text or "\n" in text  # cleaned once is clean; a leading empty line may stay


@given(st.binary(max_size=100_000))
@settings(max_examples=20, deadline=1000)
def test_cleaning_is_linear(data):
    assert len(clean(from_bytes(data) * 10)) <= LINES * (LINE + 1)


@pytest.mark.parametrize(
    ("codes", "code", "enhanced"),
    [
        ({}, 550, "5.7.1"),
        ({"code": 554}, 554, "5.7.1"),
        ({"code": "554"}, 554, "5.7.1"),
        ({"code": 451}, 451, "4.0.0"),
        ({"code": 250}, 250, "2.0.0"),
        ({"code": 421.0, "enhanced": [4, 3, 2]}, 421, "4.3.2"),
        ({"enhanced": [5, 1, "1"]}, 550, "5.1.1"),
        ({"enhanced": "5.1.2"}, 550, "5.1.2"),
        ({"code": None, "enhanced": None}, 550, "5.7.1"),
    ],
)
def test_reply_codes_override(codes, code, enhanced):
    reply = speak(NO, "why", codes)
    assert (reply.code, reply.enhanced, reply.text) == (code, enhanced, "why")


@pytest.mark.parametrize(
    "codes",
    [
        {"code": 99}, {"code": 354}, {"code": 600}, {"code": "5x0"}, {"code": True}, {"code": float("inf")},
        {"code": float("nan")}, {"code": "550\r\n250 ok"}, {"enhanced": [5, 7]}, {"enhanced": [3, 7, 1]},
        {"enhanced": [5, 7, 1000]}, {"enhanced": "5.7.1\r\n"}, {"enhanced": 5}, {"enhanced": [5, -1, 1]},
    ],
)  # fmt: skip
def test_codes_that_smtp_does_not_know_are_refused(codes):
    with pytest.raises(ValueError):
        speak(NO, "why", codes)


def test_without_a_reason_the_phase_has_its_own_words():
    assert speak(NO, "", {}) == NO
    assert speak(NO, "\x00", {}).text == "Message refused"
    assert speak(NO, "", {}, disconnect=True).disconnect


@pytest.mark.parametrize(
    ("phase", "action", "reply"),
    [
        ("connect", "Reject", (521, "5.3.2")), ("connect", "Defer", (421, "4.7.1")),
        ("helo", "Reject", (554, "5.7.1")), ("helo", "Defer", (450, "4.7.1")),
        ("auth", "Reject", (535, "5.7.8")), ("auth", "Defer", (454, "4.7.0")),
        ("mailfrom", "Reject", (554, "5.7.1")), ("mailfrom", "Defer", (450, "4.7.1")),
        ("rcptto", "Reject", (554, "5.7.1")), ("rcptto", "Defer", (450, "4.7.1")),
        ("data", "Reject", (550, "5.7.1")), ("data", "Defer", (451, "4.7.1")), ("data", "Deliver", (250, "2.0.0")),
        ("eod", "Reject", (550, "5.7.1")), ("eod", "Defer", (451, "4.7.1")), ("eod", "Accept", (250, "2.0.0")),
    ],
)  # fmt: skip
def test_default_codes_of_the_phases(phase, action, reply):
    row = PHASES[phase]
    found = next(reply for kind, reply in row.replies.items() if kind.__name__ == action)
    assert (found.code, found.enhanced) == reply
    assert found.text


@pytest.mark.parametrize(
    ("flow", "text"),
    [
        ('Reject(["first", "second"]);', "first\nsecond"),
        ('Reject("a\\r\\n250 b");', "a\n250 b"),
        ("$x = 1 - [2];", "Try again later"),
        ('throw "the database says: secret";', "Try again later"),
        ('Reject("x", ["reply_codes" => ["code" => 700]]);', "Try again later"),
        ('Deliver(["reason" => "taken", "reply_codes" => ["code" => 252]]);', "taken"),
    ],
)
def test_a_reply_carries_the_flows_words_and_never_its_errors(flow, text):
    assert Stage().data(flow).reply.text == text


def test_the_last_reply_leads_to_the_log():
    import asyncio

    from flowengine.mail.addresses import parse_path
    from flowengine.mail.message import Message
    from tests.runtime.stage import MAIL, now

    async def reply(flow: str) -> tuple[str, str]:
        session = Stage().session({"data": flow})
        await now(session.mail_from(parse_path("<a@b.example>"), {}))
        await now(session.rcpt_to(parse_path("<b@example.net>"), {}))
        assert session.transaction is not None
        return (await session.data(Message(MAIL))).text, session.transaction.id if session.transaction else ""

    text, _ = asyncio.run(reply("Deliver();"))
    assert re.fullmatch(r"Ok \([0-9a-f]{24}\)", text)
    text, _ = asyncio.run(reply('Reject("see $messageid");'))
    assert re.fullmatch(r"see [0-9a-f]{24}", text)
