"""AUTH in several steps: what an auth flow is told, what it may ask, and who it lets in."""

import asyncio
from typing import Any

import pytest

from flowengine.runtime.actions import Reply
from flowengine.runtime.session import Session
from tests.runtime.stage import Stage, now

STEPS = """
if ($saslmechanism == "X-STEPS") {
    if ($saslstate == 0) Reply("name?");
    if ($saslstate == 1) { $context = $saslresponse; Reply("code for $context?"); }
    if ($arguments["response"] == "42") Accept(["username" => $context]);
    Reject("wrong code");
}
"""


def visit(flow: str, *steps: tuple[Any, ...], stage: Stage | None = None) -> tuple[list[str], Session]:
    """Steps are (mechanism, response, state) or (mechanism, user, password, response)."""

    async def main() -> tuple[list[str], Session]:
        session = (stage or Stage()).session({"auth": flow})
        heard: list[str] = []
        for step in steps:
            whole: Reply = await now(
                session.exchange(*step) if isinstance(step[2], int) else session.authenticate(*step)
            )
            heard.append(str(whole))
        return heard, session

    return asyncio.run(main())


def test_a_flow_asks_until_it_knows() -> None:
    heard, session = visit(STEPS, ("X-STEPS", None, 0), ("X-STEPS", b"alice", 1), ("X-STEPS", b"42", 2))
    assert heard == ["334 name?", "334 code for alice?", "235 2.7.0 Authentication succeeded"]
    assert (session.connection.username, session.connection.mechanism) == ("alice", "X-STEPS")
    heard, session = visit(STEPS, ("X-STEPS", None, 0), ("X-STEPS", b"alice", 1), ("X-STEPS", b"41", 2))
    assert heard[-1] == "535 5.7.8 wrong code" and session.connection.username is None


def test_what_a_flow_is_told() -> None:
    flow = "echo json_encode([$saslmechanism, $saslstate, $saslresponse, isset($arguments['response'])]);"
    flow = flow.replace("'", '"')
    _, session = visit(flow, ("X-A", None, 0), ("X-A", b"", 0), ("X-A", b"\xff", 0))
    said = [run.output[0] for run in session.results]
    assert said[:2] == ['["X-A",0,"",false]', '["X-A",0,"",true]']
    _, session = visit('echo $saslresponse == "\\xff";', ("X-A", b"\xff", 0))
    assert session.results[-1].output == ("true",)


def test_octets_of_a_challenge_are_kept() -> None:
    assert visit('Reply("\\x00\\xff\\r\\n");', ("X-A", None, 0))[0] == ["334 \0\xff\r\n"]


def test_a_question_behind_a_password_remembers_it() -> None:
    flow = """
    if ($saslstate == 0) { if ($saslpassword == "right") Reply("code?"); Reject(); }
    if ($saslresponse == "42" and $saslusername == "alice" and $saslpassword == "right") Accept();
    """
    heard, session = visit(flow, ("PLAIN", "alice", "right"), ("PLAIN", b"42", 1))
    assert heard[-1].startswith("235") and session.connection.username == "alice"
    heard, session = visit(flow, ("PLAIN", "alice", "wrong"), ("PLAIN", b"42", 1))
    assert [one[:3] for one in heard] == ["535", "535"], "there is nothing to go on with"
    heard, _ = visit(flow, ("PLAIN", "alice", "right"), ("PLAIN", b"41", 1), ("PLAIN", b"42", 1))
    assert [one[:3] for one in heard] == ["334", "535", "535"]


def test_a_flow_that_names_nobody_lets_nobody_in() -> None:
    stage = Stage()
    heard, session = visit("Accept();", ("X-A", b"x", 0), ("OAUTHBEARER", "", "token", b"x"), stage=stage)
    assert heard == ["454 4.7.0 Cannot authenticate now"] * 2 and session.connection.username is None
    assert [line["problem"] for line in stage.log.of("auth") if "problem" in line] == [
        "the flow accepted without a username"
    ] * 2


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_a_token_is_a_secret_however_it_is_looked_at(mechanism: str) -> None:
    flow = """
    echo $saslpassword; echo $saslresponse; echo json_encode($arguments); echo str_upper($saslpassword);
    if ($saslpassword == "tok3n") Accept(["username" => "alice"]);
    """
    stage = Stage()
    heard, session = visit(flow, (mechanism, "", "tok3n", b"auth=Bearer tok3n"), stage=stage)
    assert heard == ["235 2.7.0 Authentication succeeded"]
    told = "\n".join((*session.results[-1].output, repr(session.results), repr(stage.log.lines)))
    assert "tok3n" not in told.lower()


def test_a_secret_does_not_travel_in_a_challenge() -> None:
    assert "hunter2" not in visit("Reply($saslpassword);", ("PLAIN", "alice", "hunter2"))[0][0]


@pytest.mark.parametrize("flow", ['Reply(str_repeat("x", 9001));', "$x = 1 - [2];"])
def test_a_flow_that_fails_defers(flow: str) -> None:
    assert visit(flow, ("X-A", None, 0))[0] == ["454 4.7.0 Cannot authenticate now"]


def test_tokens_are_not_checked_against_passwords() -> None:
    async def main() -> Reply:
        class Anybody:
            async def verify(self, username: str, password: str, client: str) -> bool | None:
                return True

        session = Stage().session({}, users=Anybody())
        return await now(session.authenticate("XOAUTH2", "alice", "right", b"x"))

    assert asyncio.run(main()).code == 503


def test_questions_are_not_counted_as_attempts() -> None:
    stage = Stage()
    visit(STEPS, ("X-STEPS", None, 0), ("X-STEPS", b"alice", 1), ("X-STEPS", b"42", 2), stage=stage)
    assert {key[0]: count for key, count in stage.counters.sums.items()} == {"authentications": 1}
    assert len(stage.log.of("auth")) == 1
