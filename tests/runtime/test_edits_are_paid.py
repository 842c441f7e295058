"""Edits are paid for: a flow cannot make a message of any number of fields, and the loop is not held up by it."""

import time

from tests.runtime.stage import MAIL, Stage


def test_a_loop_that_adds_fields_runs_out_of_steps_within_seconds():
    began = time.perf_counter()
    error = Stage().one('while (true) AddHeader("X-A", "y");').error
    assert "steps" in str(error)
    assert time.perf_counter() - began < 20  # on a busy machine too: what grows too fast takes minutes


def test_a_message_with_as_many_fields_as_we_take_can_lose_them_all():
    fields = b"".join(b"X-Spam: %d\r\n" % number for number in range(9_990))
    assert Stage().echoed('echo DelHeader("X-Spam");', message=fields + MAIL) == ["9990"]
