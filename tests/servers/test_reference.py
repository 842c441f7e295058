"""docs/reference is what the functions say of themselves, and has a place for each of them."""

from pathlib import Path

import pytest

from flowengine.builtins.vocabulary import vocabulary
from flowengine.servers.reference_pages import files, left_out
from flowengine.services import resources

DIRECTORY = Path(__file__).parents[2] / "docs" / "reference"
MADE = files(vocabulary(), resources.find("stdlib"))


def test_every_word_has_its_place():
    assert left_out(vocabulary()) == set()


@pytest.mark.parametrize("name", sorted(MADE))
def test_the_reference_is_as_it_is_made(name):
    assert (DIRECTORY / name).read_text("utf-8") == MADE[name], "write it anew: make reference"


def test_there_are_no_other_pages():
    assert {one.name for one in DIRECTORY.glob("*.md")} == set(MADE)
