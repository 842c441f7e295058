"""A play goes the way of the server's session, and what it prints can be expected."""

import asyncio

import pytest

from flowengine.language.values import Array, Function, Secret
from flowengine.mail.message import Message
from flowengine.servers.play import Played, Visit, play, unix_to_wire
from flowengine.servers.printing import DEEP, MANY, brief, plain, play_text
from tests.runtime.stage import MAIL, Stage, key, program


def played(flow: str, message: bytes = MAIL, trace: bool = False, **visit: object) -> Played:
    on = Stage(keys={"k": key("k", "ed25519")})
    about = Visit(client_ip="192.0.2.7", helo="mx.example.org", **visit)  # type: ignore[arg-type]  # its fields
    return asyncio.run(play(program(flow, about.phase, trace), Message(message), about, on.services))


def text(flow: str, **about: object) -> str:
    return play_text(played(flow, **about))  # type: ignore[arg-type]  # as above


def test_a_play_is_what_the_session_of_the_server_does():
    flow = 'AddHeader("X", $recipient); if ($recipientlocalpart == "b") Reject("no"); Deliver();'
    recipients = ("a@example.net", "b@example.net")
    outcome = Stage().data(flow, recipients=recipients)
    found = played(flow, recipients=recipients, mail_from="alice@example.org")
    assert found.reply == outcome.reply
    assert [run.edits for run in found.runs] == [run.edits for run in outcome.runs]
    assert [run.verdict.name for run in found.runs] == [run.verdict.name for run in outcome.runs]


@pytest.mark.parametrize(
    ("flow", "lines"),
    [
        ("", ["Deliver  (implicit)"]),
        ('echo "a\\tb\\nc\\\\d";', ["echo  a\\tb\\nc\\\\d", "Deliver  (implicit)"]),
        ('AddHeader("X", "1"); SetHeader("Subject", "s"); DelHeader("To"); Deliver();',
         ["+ X: 1", "~ Subject: s", "- field 2", "Deliver"]),
        ('Deliver(["transportid" => "lists", "delay" => 90]);', ["Deliver  by lists  after 90 s"]),
        ('Deliver(["recipient" => "x@example.org"]);', ["Deliver  to x@example.org"]),
        ('SetRecipient("x@example.org");', ["Deliver  to x@example.org  (implicit)"]),
        ('Deliver(["metadata" => ["a" => "b"]]);', ["Deliver  a=b"]),
        ('CopyMail("c@example.org"); Delete();', ["Deliver  to c@example.org", "Delete"]),
        ('DKIMSign("s1", "example.org", "pki:k"); Deliver();', ["Deliver  signed ed25519-sha256 d=example.org s=s1"]),
        ('DKIMSign("s1", "example.org", "pki:no"); Deliver();',
         ["Deliver", "unsigned  example.org: there is no key pki:no; add [pki.no] to the configuration"]),
        ('Quarantine("spam");', ["Quarantine  spam  550 5.7.1 Message refused"]),
        ('Quarantine("spam", ["reject" => false]);', ["Quarantine  spam"]),
        ('Reject(["a", "b"]);', ["Reject  550 5.7.1 a\\nb"]),
        ("Done();", ["Done  451 4.7.1 Try again later"]),
        ("$x = 1 - [2];", ["error  flow.hsl:1:6: cannot subtract an array from a number"]),
    ],
)  # fmt: skip
def test_what_a_run_did_line_by_line(flow, lines):
    head, *found, reply = text(flow, recipients=("bob@example.net",)).splitlines()
    assert head == "bob@example.net" and reply.startswith("reply  ")
    assert [line.removeprefix("    ") for line in found] == lines


def test_a_trace_shows_every_call_in_its_line_with_its_value():
    found = played('$a = str_upper("abc");\nif (is_array($a)) Delete();\nReject($a);', trace=True)
    calls = [line.split("  ")[2] for line in play_text(found, trace=True).splitlines() if "→" in line]
    assert calls == [
        'flow.hsl:1: str_upper("abc") → "ABC"',
        'flow.hsl:2: is_array("ABC") → false',
        'flow.hsl:3: Reject("ABC") → none',
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None), (True, True), (1, 1), (1.5, 1.5), ("caf\xc3\xa9", "caf\u00e9"), ("\xff", "\ufffd"),
        (float("inf"), "inf"), (float("nan"), "nan"),
        (Array.of([1, "a"]), [1, "a"]), (Array({"a": 1, 0: Array()}), {"a": 1, "0": []}),
        (Function("f", print), "function f"), (Secret("hunter2"), "<secret sha256:f52f>"),
    ],
)  # fmt: skip
def test_a_value_as_json_has_it(value, shown):
    assert plain(value) == shown


def test_a_value_of_any_size_is_shown_in_part():
    doubled = Array.of([1])
    for _ in range(100):
        doubled = Array.of([doubled, doubled])
    assert len(brief(plain(doubled))) == 200
    assert len(plain(Array.of(range(5 * MANY)))) <= MANY  # type: ignore[arg-type]  # a list
    deep = Array()
    for _ in range(DEEP * 3):
        deep = Array.of([deep])
    assert str(plain(deep)).count("[") == DEEP


@pytest.mark.parametrize(
    ("data", "wire"),
    [(b"a\nb\n", b"a\r\nb\r\n"), (b"a\r\nb\n", b"a\r\nb\n"), (b"", b""), (b"a\rb\n", b"a\rb\r\n")],
)
def test_a_unix_file_gets_crlf(data, wire):
    assert unix_to_wire(data) == wire


def test_the_first_delivery_is_the_output():
    found = played('CopyMail("c@example.org"); AddHeader("X", "1"); Deliver();')
    assert found.output == MAIL
    assert played("Delete();").output is None
    assert played("if ($actionid == 1) Delete();", recipients=("a@example.net", "b@example.net")).output == MAIL


def test_nothing_is_carried_out_and_nothing_counted():
    on = Stage()
    asyncio.run(play(program("Deliver();"), Message(MAIL), Visit(), on.services))
    assert on.outbox.outcomes == [] and on.counters.sums == {}
