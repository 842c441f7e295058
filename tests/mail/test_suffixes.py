"""The public suffix list: its own test data, and the organizational domain."""

import os
import re
from pathlib import Path

import pytest

from flowengine.mail import names, suffixes

SUITES = Path(os.environ.get("FLOWENGINE_SUITES", Path(__file__).parents[2] / "../shared/suites"))
PSL = SUITES / "psl" / "test_psl.txt"


@pytest.mark.skipif(not PSL.exists(), reason=f"no suite at {PSL}; set FLOWENGINE_SUITES")
def test_the_suite_of_the_list() -> None:
    found = re.findall(r"^checkPublicSuffix\((null|'.*?'), (null|'.*?')\);", PSL.read_text(), re.MULTILINE)
    cases = [(name.strip("'"), None if domain == "null" else domain.strip("'")) for name, domain in found]
    assert len(cases) > 70
    wrong = []
    for name, domain in cases:
        if name != "null":
            registered = suffixes.DEFAULT.registered_domain(name)
            if registered != (domain and names.to_ascii(domain)):
                wrong.append((name, domain, registered))
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("mail.example.com", "example.com"),
        ("example.com", "example.com"),
        ("com", "com"),
        ("co.uk", "co.uk"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("a.unlisted", "a.unlisted"),
    ],
)
def test_the_organizational_domain(name: str, domain: str) -> None:
    assert suffixes.DEFAULT.organizational_domain(name) == domain


def test_another_list_takes_the_place_of_the_package(tmp_path: Path) -> None:
    path = tmp_path / "list.dat"
    path.write_text("// a comment\norg\n*.example.org\n!open.example.org\nmünchen.example\n", encoding="utf-8")
    other = suffixes.SuffixList(path)
    assert other.organizational_domain("a.b.c.example.org") == "b.c.example.org"
    assert other.organizational_domain("a.open.example.org") == "open.example.org"
    assert other.public_suffix("a.xn--mnchen-3ya.example") == "xn--mnchen-3ya.example"
    with pytest.raises(OSError, match="absent"):
        suffixes.SuffixList(tmp_path / "absent").load()


def test_what_is_no_name_has_no_suffix() -> None:
    assert suffixes.DEFAULT.registered_domain("a..b") is None
    assert suffixes.DEFAULT.public_suffix("a b") is None
