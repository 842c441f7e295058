"""One DATA command, several recipients: whose verdict speaks, and what is carried out."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.mail.message import Message
from flowengine.runtime.actions import Action, Defer, Delete, Deliver, Kept, Quarantine, Reject, Reply
from flowengine.runtime.outcome import Outcome, decide
from flowengine.runtime.run import RunResult
from tests.runtime.stage import MAIL, Stage

MESSAGE = Message(MAIL)
OK, NO, LATER = Reply(250, "2.0.0", "Ok"), Reply(550, "5.7.1", "No"), Reply(451, "4.7.1", "Later")
VERDICTS: dict[str, Action] = {
    "Reject": Reject(reply=NO),
    "Defer": Defer(reply=LATER),
    "Quarantine": Quarantine(reply=NO, message=MESSAGE, recipient="q", id="spam"),
    "Quarantine softly": Quarantine(reply=OK, message=MESSAGE, recipient="q", id="spam", reject=False),
    "Delete": Delete(reply=OK),
    "Deliver": Deliver(reply=OK, message=MESSAGE, recipient="d"),
}


def outcome(*words: str, mixed: str = "strict") -> Outcome:
    """What comes of one run for each word; `a+b` is a run that copied before it decided."""
    runs = []
    for number, word in enumerate(words):
        actions = [VERDICTS[one] for one in word.split("+")]
        actions = [replace(one, recipient=f"{number}") if isinstance(one, Kept) else one for one in actions]
        runs.append(RunResult("data", f"{number}", tuple(actions), actions[-1]))
    return decide(Stage().transaction(), MESSAGE, runs, mixed)  # type: ignore[arg-type]  # a Literal


def kept(found: Outcome) -> list[str]:
    return [f"{one.name} {one.recipient}" for one in found.kept]


@pytest.mark.parametrize(
    ("words", "verdict", "code", "carried_out"),
    [
        (["Deliver"], "Deliver", 250, ["Deliver 0"]),
        (["Deliver", "Deliver"], "Deliver", 250, ["Deliver 0", "Deliver 1"]),
        (["Deliver", "Delete"], "Delete", 250, ["Deliver 0"]),
        (["Delete"], "Delete", 250, []),
        (["Deliver", "Defer"], "Defer", 451, []),
        (["Deliver", "Reject"], "Reject", 550, []),
        (["Defer", "Reject"], "Reject", 550, []),
        (["Quarantine"], "Quarantine", 550, ["Quarantine 0"]),
        (["Quarantine softly"], "Quarantine", 250, ["Quarantine 0"]),
        (["Quarantine softly", "Deliver"], "Quarantine", 250, ["Quarantine 0", "Deliver 1"]),
        (["Quarantine", "Deliver"], "Quarantine", 550, ["Quarantine 0"]),
        (["Quarantine", "Quarantine softly"], "Quarantine", 550, ["Quarantine 0"]),
        (["Quarantine softly", "Quarantine"], "Quarantine", 550, ["Quarantine 1"]),
        (["Quarantine", "Defer"], "Defer", 451, []),
        (["Quarantine", "Reject"], "Reject", 550, ["Quarantine 0"]),
        (["Quarantine softly", "Reject"], "Reject", 550, []),
        (["Deliver+Reject"], "Reject", 550, []),
        (["Deliver+Delete"], "Delete", 250, ["Deliver 0"]),
        (["Quarantine+Deliver"], "Deliver", 250, ["Quarantine 0", "Deliver 0"]),
    ],
)
def test_the_gravest_speaks_for_all_and_a_2xx_carries_out(words, verdict, code, carried_out):
    found = outcome(*words)
    assert (found.verdict, found.reply.code, kept(found)) == (verdict, code, carried_out)


@pytest.mark.parametrize(
    ("words", "code", "carried_out"),
    [
        (["Deliver", "Reject"], 550, ["Deliver 0"]),
        (["Deliver", "Quarantine softly", "Reject"], 550, ["Deliver 0", "Quarantine 1"]),
        (["Deliver", "Defer"], 451, []),
        (["Deliver", "Quarantine"], 550, ["Quarantine 1"]),
    ],
)
def test_mixed_verdicts_halon_delivers_for_the_others_in_spite_of_a_reject(words, code, carried_out):
    found = outcome(*words, mixed="halon")
    assert (found.reply.code, kept(found)) == (code, carried_out)


@given(st.lists(st.sampled_from([*VERDICTS, "Deliver+Reject", "Deliver+Defer", "Quarantine+Delete"]), min_size=1))
@settings(max_examples=100, deadline=None)
def test_a_client_that_comes_back_finds_nothing_delivered(words):
    found = outcome(*words)
    gravest = next(
        name
        for name in ("Reject", "Defer", "Quarantine", "Delete", "Deliver")
        if any(word.split("+")[-1].startswith(name) for word in words)
    )
    assert found.verdict == gravest
    if 400 <= found.reply.code < 500:
        assert found.kept == ()
    if found.reply.code >= 500:
        assert all(isinstance(one, Quarantine) and one.reject for one in found.kept)
    if found.reply.positive:
        assert len(found.kept) == sum(isinstance(VERDICTS[one], Kept) for word in words for one in word.split("+"))


@pytest.mark.parametrize(
    ("flow", "code", "left"),
    [
        ('if ($recipient == "a@example.net") Reject("a"); Deliver();', 550, []),
        ('if ($recipient == "a@example.net") Defer("a"); Deliver();', 451, []),
        ('if ($recipient == "a@example.net") Delete(); Deliver();', 250, ["b@example.net"]),
        ('if ($recipient == "a@example.net") Done(); Deliver();', 451, []),
        ('if ($recipient == "a@example.net") $x = 1 - [2]; Deliver();', 451, []),
        ('if ($recipient == "a@example.net") Quarantine("spam"); Deliver();', 550, ["a@example.net"]),
        ('if ($recipient == "a@example.net") Quarantine("spam", ["reject" => false]); Deliver();', 250,
         ["a@example.net", "b@example.net"]),
        ('CopyMail("copy@example.net"); if ($recipient == "a@example.net") Reject("a");', 550, []),
    ],
)  # fmt: skip
def test_the_same_from_flow_to_outbox(flow, code, left):
    stage = Stage()
    found = stage.data(flow, recipients=["a@example.net", "b@example.net"])
    assert found.reply.code == code
    assert [recipient for recipient, _ in stage.outbox.left] == left


def test_mixed_verdicts_come_from_the_configuration():
    stage = Stage(settings={"mixed_verdicts": "halon"})
    found = stage.data('if ($recipient == "a@example.net") Reject("a");', recipients=["a@example.net", "b@example.net"])
    assert found.reply.code == 550
    assert [recipient for recipient, _ in stage.outbox.left] == ["b@example.net"]
