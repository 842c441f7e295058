"""Every id that the code can report has its paragraph."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_problem_is_explained() -> None:
    explained = set(
        re.findall(r"^### ([a-z-]+)$", (ROOT / "docs/problems.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    code = "".join(one.read_text(encoding="utf-8") for one in (ROOT / "flowengine/language").glob("*.py"))
    first = "unknown|wrong|duplicate|read|unreachable|possibly|never|endless|missing|edit|loose|unresolved|argument|strpos|not|cached|interpolated"
    used = set(re.findall(rf'"((?:{first})-[a-z-]+)"', code)) | {"syntax", "arity", "recursion", "deprecated"}
    assert used == explained
