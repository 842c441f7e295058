"""Case files: what they may say, what is told of them when they are wrong, and that all of the project's own pass."""

import asyncio
from pathlib import Path

import pytest

from flowengine.servers.case_keys import case_key
from flowengine.servers.cases import Case, CaseError, find, read
from flowengine.servers.playing_cases import CaseResult, play_cases
from flowengine.services.config import load

HOME = Path(__file__).parents[2]
CASE = """A title
of two lines.

-- session --
# a comment
client 192.0.2.7  helo mx.example.org
from a@example.org
to bob@example.net
%s
-- message --
From: a@example.org
# no comment here

Hi.
-- expect --
%s"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Play a case: its flow, its text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.cases").mkdir()

    def played(flow: str, text: str, update: bool = False) -> CaseResult:
        (tmp_path / "flow.hsl").write_text(flow)
        path = tmp_path / "flow.cases" / "one.case"
        path.write_text(text)
        (result,) = asyncio.run(play_cases([path], load(), update))
        return result

    return played


def expected(*lines: str, reply: str = "250 2.0.0 Ok") -> str:
    return "bob@example.net\n" + "".join(f"    {line}\n" for line in lines) + f"reply  {reply}\n"


def test_every_case_of_the_example_flows_passes(monkeypatch):
    monkeypatch.chdir(HOME)
    files = find([Path("flows")])
    assert len(files) >= 15
    results = asyncio.run(play_cases(files, load()))
    assert [f"{one.case}\n{one.difference}" for one in results if not one.passed] == []


def test_every_example_flow_has_cases():
    flows = sorted((HOME / "flows").rglob("*.hsl"))
    assert flows and [flow.name for flow in flows if not find([flow])] == []


def test_a_case_that_happens_as_expected_passes(play):
    text = CASE % ("auth alice", expected("echo  alice mx.example.org", "+ X-A: 1", "Deliver"))
    result = play('echo "$saslusername $senderhelo"; AddHeader("X-A", "1"); Deliver();', text)
    assert result == CaseResult(result.case, "A title\nof two lines.", True)


def test_a_case_that_happens_otherwise_shows_the_difference_and_update_takes_it(play):
    text = CASE % ("", expected("Deliver"))
    result = play('Reject("no");', text)
    assert not result.passed
    assert "\n-    Deliver\n" in result.difference and "\n+    Reject  550 5.7.1 no\n" in result.difference
    assert play('Reject("no");', text, update=True).passed
    assert Path("flow.cases/one.case").read_text() == CASE % (
        "",
        expected("Reject  550 5.7.1 no", reply="550 5.7.1 no"),
    )


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        (
            'dns_query("a.example", ["type" => "TXT"]);',
            "DNS was asked for a.example TXT; add the line: a.example TXT none",
        ),
        ('http("https://web.example/x");', "an HTTP call was made: GET https://web.example/x; add below -- api --:"),
        ("Rejectt();", "there is no function Rejectt"),
    ],
)
def test_what_a_case_does_not_know_fails_and_names_what_to_add(play, flow, says):
    result = play(flow, CASE % ("", expected("Deliver")))
    assert not result.passed and says in result.difference


SECTIONS = """-- dns --
a.example   TXT  one two
b.example   TXT  timeout
c.example   TXT  none
d.example   TXT  empty
k.example   TXT  {record:mine}
-- api --
GET https://api.example/?x
200 {"a": "b",
 "key": "{key:mine}"}
POST https://api.example/down
timeout
-- keys --
mine:ed25519  other
-- clock --
2030-05-06T07:08:09Z
-- config --
hostname = "own.example"
"""
USES_ALL = """
    foreach (["a", "b", "c", "d", "k"] as $name) {
        $answer = dns_query($name . ".example", ["type" => "TXT"]);
        echo $answer["result"][0] ?? $answer["error"] ?? "nothing";
    }
    $api = api_call("?x");
    echo $api["a"], DKIMSign("s", "example.org", $api["key"]);
    echo http("https://api.example/down", [], [], "x") === none;
    echo DKIMSign("s", "example.org", "pki:other");
    echo strftime("%Y-%m-%d %H:%M:%S");
    echo gethostname();
"""


def test_a_case_describes_a_world(play):
    record = case_key("mine", "ed25519").record()
    lines = [
        "one two",
        "TRY_AGAIN",
        "NXDOMAIN",
        "nothing",
        record,
        "b",
        "true",
        "true",
        "true",
        "2030-05-06 07:08:09",
        "own.example",
    ]
    flow = USES_ALL.replace('echo $api["a"], DKIM', 'echo $api["a"]; echo DKIM')
    result = play(flow, CASE % (SECTIONS, ""))
    echoed = [line.partition("echo  ")[2] for line in result.difference.splitlines() if "echo  " in line]
    assert [word.lower() for word in echoed] == [word.lower() for word in lines], result.difference


def test_a_message_arrives_with_the_signatures_that_the_case_names(play):
    dns = "-- dns --\ns1._domainkey.example.org TXT {record:mine}\n-- keys --\nmine\n"
    text = CASE % (
        "signed s1 example.org mine\n" + dns,
        expected('echo  ["example.org"=>"pass"]', "Deliver  (implicit)"),
    )
    result = play("echo DKIMSDID();", text)
    assert result.passed, result.difference


def test_a_message_may_be_a_file(play):
    Path("flow.cases/mail.eml").write_bytes(b"Subject: from a file\r\n\r\nx\r\n")
    head, _, tail = (CASE % ("", expected("echo  from a file", "Deliver  (implicit)"))).partition("-- message --")
    result = play(
        'echo GetHeader("Subject");', f"{head}-- message mail.eml --\n-- expect --{tail.partition('-- expect --')[2]}"
    )
    assert result.passed, result.difference


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("-- nosuch --\n", 1, "no section is called nosuch"),
        ("x\n-- session --\nclient\n", 3, "words come in pairs"),
        ("-- session --\nfoo bar\n", 2, "no word is called foo"),
        ("-- session --\nclient nowhere\n", 2, "nowhere is no IP address"),
        ("-- session --\nphase nosuch\n", 2, "no phase is called nosuch"),
        ("-- session --\nsigned s1 d\n", 2, "write: signed SELECTOR DOMAIN KEY"),
        ("-- dns --\na.example TXT\n", 2, "write: NAME TYPE VALUE"),
        ("-- dns --\na.example MX mx.example\n", 2, "write: NAME MX PREFERENCE HOST"),
        ("-- api --\nGET\n", 2, "write: METHOD ADDRESS"),
        ("-- api --\nGET https://a/\nfine\n", 3, "the answer is a status and JSON"),
        ("-- clock --\nsoon\n", 2, "soon is no time"),
        ("-- message nosuch.eml --\n", 1, "No such file"),
    ],
)
def test_a_case_that_cannot_be_read_is_told_with_its_line(tmp_path, text, line, says):
    path = tmp_path / "one.case"
    path.write_text(text)
    with pytest.raises(CaseError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}:{line}: ") and says in str(error.value)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ("-- config --\nhostnam = 1\n", "hostnam"),
        ("-- config --\n[api\n", "config"),
        ("-- keys --\nx:dsa\n", "the test key x is of type dsa"),
        ("from nobody at\n", "words come in pairs"),
        ("from @\n", "envelope sender"),
        ("signed s1 example.org absent\n", "-- keys -- does not name it"),
    ],
)
def test_a_case_that_cannot_be_played_fails_with_a_sentence(play, sections, says):
    try:
        result = play("Deliver();", CASE % (sections, expected("Deliver")))
    except CaseError as error:
        assert says in str(error)
    else:
        assert not result.passed and says in result.difference


def test_a_flow_stands_for_its_cases_and_a_folder_for_all_below_it(tmp_path):
    for name in ("a.cases/2.case", "a.cases/1.case", "b/c.cases/x.case"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    names = [str(path.relative_to(tmp_path)) for path in find([tmp_path])]
    assert names == ["a.cases/1.case", "a.cases/2.case", "b/c.cases/x.case"]
    assert [path.name for path in find([tmp_path / "a.hsl"])] == ["1.case", "2.case"]
    assert [path.name for path in find([tmp_path / "a.cases" / "1.case", tmp_path])] == ["1.case", "2.case", "x.case"]
    with pytest.raises(CaseError, match="there is no such file or folder"):
        find([tmp_path / "nosuch"])
    assert Case(tmp_path / "a.cases" / "1.case", "").flow == tmp_path / "a.hsl"


def test_case_keys_are_the_same_everywhere_and_differ_by_name():
    assert case_key("bank", "rsa").fingerprint == case_key("bank", "rsa").fingerprint
    assert case_key("bank", "rsa").fingerprint != case_key("shop", "rsa").fingerprint
    assert case_key("bank", "rsa").bits == 2048
    with pytest.raises(ValueError, match="known: rsa, ed25519"):
        case_key("bank", "dsa")
