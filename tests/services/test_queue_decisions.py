"""What an answer means for an entry, and for the place it came from."""

import pytest

from flowengine.runtime.actions import Reply
from flowengine.services.queue.decisions import AGAIN, LONGEST_REST, Schedule, decide, rest
from flowengine.services.queue.model import About, Entry, Gone, Job, Later, Place, Rest
from flowengine.services.relay import Answer, Stage

NOW = 1_000_000.0
SCHEDULE = Schedule((60, 300, 900), notice=14400)


def job(
    attempts: int = 0,
    expires: float = NOW + 100_000,
    queued: float = NOW,
    failures: int = 0,
    warned: bool = False,
    count: int = 1,
) -> Job:
    entries = tuple(
        Entry(number, number, f"b{number}@x", "", attempts, 1, expires, warned) for number in range(1, count + 1)
    )
    return Job(1, "t", "a@x", About(), Place(1, "mx", "x", failures), entries, queued, 100)


def answer(code: int, enhanced: str = "", stage: Stage = Stage.RCPT, heard: bool = True) -> Answer:
    return Answer(Reply(code, enhanced, "words"), stage, heard)


@pytest.mark.parametrize(
    ("said", "result", "action"),
    [
        (answer(250, "2.0.0", Stage.END), "delivered", "relayed"),
        (answer(550, "5.1.1"), "returned", "failed"),
        (answer(554, "5.7.1", Stage.END), "returned", "failed"),
        (answer(556, "5.1.10", Stage.ROUTE, heard=False), "returned", "failed"),
        (answer(451, "4.7.1"), "deferred", ""),
        (answer(421, "4.3.2", Stage.CONNECT), "deferred", ""),
        (answer(554, "5.7.1", Stage.GREETING), "deferred", ""),  # a host that does not want us at all
        (answer(535, "5.7.8", Stage.AUTH), "deferred", ""),  # our own trouble
        (answer(502, "5.5.1", Stage.MAIL), "deferred", ""),  # how we speak to it
        (answer(451, "4.4.2", Stage.END, heard=False), "deferred", ""),
    ],
)  # fmt: skip
def test_an_answer(said: Answer, result: str, action: str) -> None:
    (found,) = decide(job(), [said], SCHEDULE, NOW, 0.5)
    assert (found.result, found.action) == (result, action)
    assert isinstance(found.fate, Gone) == (result != "deferred")


@pytest.mark.parametrize(
    ("attempts", "chance", "pause"),
    [(0, 0.5, 60), (1, 0.5, 300), (2, 0.5, 900), (9, 0.5, 900), (0, 0.0, 54), (0, 1.0, 66)],
)
def test_the_time_of_the_next_attempt(attempts: int, chance: float, pause: float) -> None:
    (found,) = decide(job(attempts), [answer(451)], SCHEDULE, NOW, chance)
    assert isinstance(found.fate, Later) and found.fate.due == pytest.approx(NOW + pause)


def test_the_last_attempt_is_at_the_end_and_then_it_goes_back() -> None:
    (found,) = decide(job(9, expires=NOW + 5), [answer(451)], SCHEDULE, NOW, 0.5)
    assert isinstance(found.fate, Later) and found.fate.due == NOW + 5
    (found,) = decide(job(9, expires=NOW), [answer(451)], SCHEDULE, NOW, 0.5)
    assert isinstance(found.fate, Gone) and found.action == "failed"


def test_a_late_message_is_told_once() -> None:
    old = {"queued": NOW - 20_000}
    (found,) = decide(job(**old), [answer(451)], SCHEDULE, NOW, 0.5)
    assert found.action == "delayed" and isinstance(found.fate, Later) and found.fate.warned
    (found,) = decide(job(**old, warned=True), [answer(451)], SCHEDULE, NOW, 0.5)
    assert found.action == "" and isinstance(found.fate, Later) and found.fate.warned
    (found,) = decide(job(**old), [answer(451)], Schedule((60,)), NOW, 0.5)
    assert found.action == ""


def test_too_many_recipients_for_one_transaction_go_on_at_once() -> None:
    taken, more = decide(job(count=2), [answer(250, stage=Stage.END), answer(452, "4.5.3")], SCHEDULE, NOW, 0.5)
    assert taken.result == "delivered"
    assert isinstance(more.fate, Later) and more.fate.due == NOW + AGAIN and not more.fate.counted


def test_who_reports_itself_leaves_nothing_to_report() -> None:
    (found,) = decide(job(), [answer(250, stage=Stage.END)], SCHEDULE, NOW, 0.5, reported=True)
    assert found.action == ""
    (found,) = decide(job(), [answer(250, stage=Stage.END)], Schedule((60,), final=True), NOW, 0.5)
    assert found.action == "delivered"


@pytest.mark.parametrize(
    ("failures", "said", "expected"),
    [
        (0, answer(451, stage=Stage.CONNECT, heard=False), Rest(NOW + 60, "451 words")),
        (2, answer(451, stage=Stage.ROUTE, heard=False), Rest(NOW + LONGEST_REST, "451 words")),
        (0, answer(421, stage=Stage.MAIL), Rest(NOW + 60, "421 words")),
        (0, answer(451), None),
        (3, answer(451), Rest(0.0)),
        (3, answer(250, stage=Stage.END), Rest(0.0)),
        (0, answer(250, stage=Stage.END), None),
        (0, answer(550, "5.1.2", Stage.ROUTE, heard=False), None),
    ],
)  # fmt: skip
def test_what_it_says_about_the_place(failures: int, said: Answer, expected: Rest | None) -> None:
    assert rest(job(failures=failures), [said], SCHEDULE, NOW, 0.5) == expected


def test_one_answer_about_the_message_says_that_the_place_works() -> None:
    said = [answer(451, stage=Stage.CONNECT, heard=False), answer(550)]
    assert rest(job(count=2), said, SCHEDULE, NOW, 0.5) is None
