"""A refusal is a refusal: no flow can make one sound like a yes."""

import asyncio

import pytest

from tests.runtime.stage import Stage, now


@pytest.mark.parametrize("action", ["Reject", "Defer"])
def test_a_refusal_with_a_2xx_defers_so_that_no_message_is_lost(action):
    outcome = Stage().data(f'{action}("x", ["reply_codes" => ["code" => 250]]);')
    assert outcome.reply.code == 451
    assert outcome.runs[0].error is not None


@pytest.mark.parametrize(("action", "codes"), [("Reject", [450, 550]), ("Defer", [421, 550])])
def test_a_refusal_may_be_for_now_or_for_good(action, codes):
    for code in codes:
        outcome = Stage().data(f'{action}("x", ["reply_codes" => ["code" => {code}]]);')
        assert (outcome.reply.code, outcome.runs[0].error) == (code, None)


def test_a_refused_password_is_refused_whatever_code_the_flow_names():
    async def visit():
        session = Stage().session({"auth": 'Reject("no", ["reply_codes" => ["code" => 235]]);'})
        reply = await now(session.authenticate("PLAIN", "alice", "wrong"))
        return reply, session.connection.username

    reply, username = asyncio.run(visit())
    assert (reply.code, username) == (454, None)
