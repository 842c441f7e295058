"""`--update` writes the expectation of a case and nothing else."""

from pathlib import Path

import pytest

from flowengine.servers.cases import read, with_expectation

HEAD = "title\n-- session --\nclient 192.0.2.7  helo x\n-- message --\nSubject: a -- expect -- b\n\nhi\n\n\n"
DNS = "-- dns --\na.example TXT none\n"
NEW = "bob@example.net\n    Deliver\nreply  250 2.0.0 Ok\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HEAD + "-- expect --\nold\n", HEAD + "-- expect --\n" + NEW),
        (HEAD + "-- expect --", HEAD + "-- expect --\n" + NEW),
        (HEAD + "-- expect --\nold\n" + DNS, HEAD + "-- expect --\n" + NEW + DNS),
        (HEAD, HEAD.rstrip("\n") + "\n-- expect --\n" + NEW),
    ],
)
def test_an_update_changes_the_expectation_and_nothing_else(tmp_path: Path, before, after):
    case = tmp_path / "one.case"
    case.write_text(before)
    written = with_expectation(case, NEW)
    assert written == after
    case.write_text(written)
    assert read(case).expect == NEW
    assert with_expectation(case, NEW) == written
