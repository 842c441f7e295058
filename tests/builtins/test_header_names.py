"""A header field that cannot be is the flow's own error, with its place."""

import pytest

from tests.runtime.stage import Stage


@pytest.mark.parametrize("call", ['AddHeader("a b", "x");', 'SetHeader("", "x");', 'PrependHeader("a:b", "x");'])
def test_a_name_that_no_field_can_have_is_the_flows_error(call):
    error = Stage().one(call).error
    assert error is not None
    assert "header name" in str(error)
    assert "internal error" not in str(error)
