"""The command line from outside: exit codes, documents, places of problems, and never a traceback (DESIGN §2)."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import flowengine
from flowengine.cli import main
from flowengine.mail import dkim
from flowengine.mail.message import Message
from flowengine.servers.case_keys import case_key
from tests.services.dns_server import DNSServer

MAIL = "From: Alice <alice@example.org>\nTo: bob@example.net, Carol <carol@example.net>\nSubject: Lunch?\n\nAt noon?\n"
BAD = """// a flow with three mistakes
$x = $nosuch;
Rejectt("no");
\tDKIMSign("s", "d", "k", ["algoritm" => "x"]);
"""
HOME = Path(flowengine.__file__).parents[1]
Command = Callable[..., Result]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a flow, a message and a flow that is wrong."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ok.hsl").write_text('echo "from $sender"; AddHeader("X-A", "1"); Deliver();\n')
    (tmp_path / "bad.hsl").write_text(BAD)
    (tmp_path / "mail.eml").write_text(MAIL)
    return tmp_path


@pytest.fixture
def flowengine_(files: Path) -> Command:
    """The command in this process; whatever it raises but SystemExit is a traceback, and fails the test."""

    def run(*arguments: object, input: bytes | None = None) -> Result:  # noqa: A002  # click's own word
        result = CliRunner().invoke(main, [str(one) for one in arguments], input=input, catch_exceptions=False)
        assert "Traceback" not in result.stderr
        return result

    return run


def flow(folder: Path, text: str, name: str = "flow.hsl") -> str:
    (folder / name).write_text(text)
    return name


# -- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "reply"),
    [
        ("", 0, 250),
        ("Deliver();", 0, 250),
        ("Delete();", 0, 250),
        ("Reject('no');".replace("'", '"'), 1, 550),
        ('Defer("later");', 1, 451),
        ("Done();", 1, 451),
        ("$a = 1 - [2];", 1, 451),
        ('Reject("x", ["reply_codes" => ["code" => 521, "enhanced" => [5, 3, 2]]]);', 1, 521),
    ],
)
def test_run_answers_0_when_the_reply_is_2xx_else_1(flowengine_, files, text, code, reply):
    result = flowengine_("run", flow(files, text), "mail.eml", "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["reply"]["code"] == reply


def test_the_document_of_run_has_the_keys_and_types_of_the_contract(flowengine_, files):
    text = (
        'echo "a\\nb"; echo 1; AddHeader("X-A", "1"); SetHeader("Subject", "y"); DelHeader("To");\nReject(["a", "b"]);'
    )
    result = flowengine_("run", flow(files, text), "mail.eml", "--json", "--rcpt-to", "bob@example.net")
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "reply": {"code": 550, "enhanced": "5.7.1", "text": "a\nb"},
        "runs": [
            {
                "recipient": "bob@example.net",
                "actions": [{"action": "Reject", "reason": "a\nb", "implicit": False}],
                "error": None,
                "output": ["a\nb", "1"],
                "edits": [
                    {"edit": "insert", "index": 0, "name": "X-A", "value": "1"},
                    {"edit": "replace", "index": 3, "name": "Subject", "value": "y"},
                    {"edit": "delete", "index": 2},
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("", {"action": "Deliver", "recipient": "bob@example.net", "implicit": True}),
        ('Deliver(["recipient" => "x@example.org", "metadata" => ["a" => "b"], "delay" => 5, "queue" => false]);',
         {"action": "Deliver", "recipient": "x@example.org", "metadata": {"a": "b"}, "delay": 5,
          "queue": False, "implicit": False}),
        ("Delete();", {"action": "Delete", "implicit": False}),
        ("Done();", {"action": "Done", "implicit": False}),
        ('Defer("x", ["reply_codes" => ["code" => 450, "enhanced" => [4, 2, 1]]]);',
         {"action": "Defer", "reason": "x", "reply_codes": {"code": 450, "enhanced": [4, 2, 1]}, "implicit": False}),
    ],
)  # fmt: skip
def test_actions_are_named_as_in_the_language(flowengine_, files, text, action):
    result = flowengine_("run", flow(files, text), "mail.eml", "--json", "--rcpt-to", "bob@example.net")
    (found,) = json.loads(result.stdout)["runs"][0]["actions"]
    assert found == {"reason": "", **action}


def test_the_trace_is_in_the_document_only_when_asked_for(flowengine_, files):
    flow(files, '$a = str_lower("ABC");\n\nReject($a);')
    plain = json.loads(flowengine_("run", "flow.hsl", "mail.eml", "--json").stdout)
    assert all("trace" not in run for run in plain["runs"])
    traced = json.loads(flowengine_("run", "flow.hsl", "mail.eml", "--json", "--trace").stdout)
    calls = traced["runs"][0]["trace"]
    assert [(one["line"], one["call"], one["arguments"], one["result"]) for one in calls] == [
        (1, "str_lower", ["ABC"], "abc"),
        (3, "Reject", ["abc"], None),
    ]
    assert all(isinstance(one["ms"], float) for one in calls)


def test_a_script_error_is_in_the_document_with_its_place_and_defers(flowengine_, files):
    result = flowengine_("run", flow(files, 'echo "x";\n$a = 1 - [2];\n'), "mail.eml", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["reply"]["code"]) == (1, 451)
    assert document["runs"][0]["error"] == {
        "file": "flow.hsl", "line": 2, "column": 6, "message": "cannot subtract an array from a number",
    }  # fmt: skip
    assert "subtract" not in document["reply"]["text"]


def test_a_flow_with_problems_is_not_run_and_stdout_has_the_document_of_check(flowengine_):
    ran = flowengine_("run", "bad.hsl", "mail.eml", "--json")
    checked = flowengine_("check", "bad.hsl", "--json")
    assert (ran.exit_code, checked.exit_code) == (1, 1)
    assert json.loads(ran.stdout) == json.loads(checked.stdout)
    assert ran.stderr.startswith("bad.hsl:2:6: nothing gives $nosuch a value\n    2 | $x = $nosuch;\n")
    silent = flowengine_("run", "bad.hsl", "mail.eml")
    assert (silent.exit_code, silent.stdout) == (1, "")


def test_output_is_the_message_as_the_first_delivery_would_send_it(flowengine_, files):
    assert flowengine_("run", "ok.hsl", "mail.eml", "--output", "out.eml").exit_code == 0
    assert (files / "out.eml").read_bytes() == b"X-A: 1\r\n" + MAIL.replace("\n", "\r\n").encode()


@pytest.mark.parametrize("text", ["Delete();", 'Reject("x");', 'Quarantine("spam");'])
def test_without_a_delivery_there_is_no_output_file(flowengine_, files, text):
    flowengine_("run", flow(files, text), "mail.eml", "--output", "out.eml")
    assert not (files / "out.eml").exists()


def test_a_message_with_crlf_is_taken_as_it_is_and_a_unix_file_gets_crlf(flowengine_, files):
    flow(files, "Deliver();")
    for name, raw, leaves in [
        ("unix", b"From: a@b\n\nx\ny", b"From: a@b\r\n\r\nx\r\ny"),
        ("wire", b"From: a@b\r\n\r\nx\r\n", b"From: a@b\r\n\r\nx\r\n"),
        ("mixed", b"From: a@b\r\n\r\nx\ny\r\n", b"From: a@b\r\n\r\nx\ny\r\n"),
    ]:
        (files / name).write_bytes(raw)
        flowengine_("run", "flow.hsl", name, "--rcpt-to", "b@c", "--output", "out")
        assert (files / "out").read_bytes() == leaves
        flowengine_("run", "flow.hsl", "-", "--rcpt-to", "b@c", "--output", "out", input=raw)
        assert (files / "out").read_bytes() == leaves


ECHO = "echo [$senderip, $senderhelo, $sender, $recipients, $saslusername, $saslauthed];"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], '["", "", "alice@example.org", ["bob@example.net", "carol@example.net"], "", false]'),
        (["--client-ip", "192.0.2.7", "--helo", "mx.example.org"],
         '["192.0.2.7", "mx.example.org", "alice@example.org", ["bob@example.net", "carol@example.net"], "", false]'),
        (["--client-ip", "2001:DB8:0::1", "--mail-from", "<>", "--rcpt-to", "X@Example.net"],
         '["2001:db8::1", "", "", ["X@Example.net"], "", false]'),
        (["--mail-from", "Bob@Example.org", "--auth-user", "alice", "--rcpt-to", "a@b.c", "--rcpt-to", "<d@e.f>"],
         '["", "", "bob@example.org", ["a@b.c", "d@e.f"], "alice", true]'),
    ],
)  # fmt: skip
def test_the_envelope_is_what_the_options_say(flowengine_, files, options, said):
    result = flowengine_("run", flow(files, ECHO), "mail.eml", "--json", *options)
    value = re.sub(r"[0-9]+=>", "", json.loads(result.stdout)["runs"][0]["output"][0])
    assert value.replace(",", ", ") == said


@pytest.mark.parametrize(
    ("head", "sender", "recipients"),
    [
        ("Return-Path: <r@example.org>\nFrom: a@example.org\nTo: b@example.net\n", "r@example.org", ["b@example.net"]),
        ("Return-Path: <>\nFrom: a@example.org\nTo: b@example.net\n", "", ["b@example.net"]),
        ("Return-Path: nonsense\nFrom: a@example.org\n", "a@example.org", ["postmaster"]),
        ("From: \udcff <a@\udcff>\nTo: ;;; <x y z>\n", "", ["postmaster"]),
        ("From: a@example.org\nFrom: b@example.org\nTo: a@b\nTo: c@d\n", "a@example.org", ["a@b", "c@d"]),
        ("", "", ["postmaster"]),
    ],
)
def test_what_the_options_do_not_say_comes_from_the_message(flowengine_, files, head, sender, recipients):
    (files / "m").write_bytes((head + "\nx\n").encode("utf-8", "surrogateescape"))
    result = flowengine_("run", flow(files, "echo $sender;"), "m", "--json")
    runs = json.loads(result.stdout)["runs"]
    assert [run["recipient"] for run in runs] == recipients
    assert runs[0]["output"] == [sender]


@pytest.mark.parametrize(
    ("phase", "text", "code"),
    [
        ("connect", 'Reject("no");', 521),
        ("helo", 'if ($senderhelo == "mx.example.org") Defer();', 450),
        ("auth", "", 535),
        ("auth", 'if ($saslusername == "alice") Accept();', 235),
        ("mailfrom", 'if ($senderdomain == "example.org") Reject();', 554),
        ("rcptto", 'if ($recipient == "carol@example.net") Reject();', 554),
        ("eod", "", 451),
        ("eod", 'Reject("x");', 550),
        ("disconnect", "", 250),
    ],
)
def test_every_phase_can_be_played(flowengine_, files, phase, text, code):
    options = ("--phase", phase, "--helo", "mx.example.org", "--auth-user", "alice", "--json")
    result = flowengine_("run", flow(files, text), "mail.eml", *options)
    document = json.loads(result.stdout)
    assert document["reply"]["code"] == code, document
    assert all(run["recipient"] is None for run in document["runs"])


UNSEALABLE = 'DKIMSign("s", "example.org", "pki:x", ["oversign_headers" => []]);'


def test_a_seal_that_fails_at_the_commit_defers_in_a_play_as_in_the_server(flowengine_, files):
    (files / "key.pem").write_bytes(case_key("x", "ed25519").pem())
    (files / "key.pem").chmod(0o600)
    (files / "flowengine.toml").write_text('[pki.x]\nfile = "key.pem"\n')
    (files / "nofrom").write_text("Subject: x\n\nx\n")
    result = flowengine_("run", flow(files, UNSEALABLE), "nofrom", "--output", "out")
    assert result.exit_code == 1
    assert "unsigned  the message has no From field to sign" in result.stdout
    assert result.stdout.endswith("reply  451 4.7.5 This message cannot be signed now, try again later\n")
    assert not (files / "out").exists()


def test_what_leaves_signed_is_in_the_output_file(flowengine_, files):
    import dkim as dkimpy

    key = case_key("x", "rsa")
    (files / "key.pem").write_bytes(key.pem())
    (files / "key.pem").chmod(0o600)
    (files / "flowengine.toml").write_text('[pki.x]\nfile = "key.pem"\n')
    flow(files, 'DKIMSign("s", "example.org", "pki:x"); AddHeader("X-After", "1"); SetHeader("Subject", "new");')
    flowengine_("run", "flow.hsl", "mail.eml", "--output", "out")
    raw = (files / "out").read_bytes()
    assert b"Subject: new" in raw and dkimpy.verify(raw, dnsfunc=lambda name, timeout=5: key.record().encode())


# -- check ------------------------------------------------------------------------------------------------------------


def test_a_problem_shows_its_place_line_caret_and_hint(flowengine_):
    result = flowengine_("check", "bad.hsl")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "bad.hsl:2:6: nothing gives $nosuch a value\n"
        "    2 | $x = $nosuch;\n"
        "      |      ^^^^^^^\n"
        "bad.hsl:3:1: there is no function Rejectt\n"
        '    3 | Rejectt("no");\n'
        "      | ^^^^^^^ did you mean Reject?\n"
        'bad.hsl:4:27: DKIMSign has no option "algoritm"\n'
        '    4 | \tDKIMSign("s", "d", "k", ["algoritm" => "x"]);\n'
        '      | \t                         ^^^^^^^^^^ did you mean "algorithm"?\n'
    )


def test_the_document_of_check_has_the_keys_and_types_of_the_contract(flowengine_):
    document = json.loads(flowengine_("check", "bad.hsl", "ok.hsl", "--json").stdout)
    assert list(document) == ["problems"]
    first = document["problems"][0]
    assert first == {
        "file": "bad.hsl", "line": 2, "column": 6, "end_line": 2, "end_column": 13, "id": "unknown-variable",
        "severity": "error", "message": "nothing gives $nosuch a value", "hint": "",
    }  # fmt: skip
    assert [one["id"] for one in document["problems"]] == ["unknown-variable", "unknown-function", "unknown-option"]


def test_several_paths_are_checked_at_once_and_named_as_they_were(flowengine_, files):
    (files / "sub").mkdir()
    (files / "sub" / "other.hsl").write_text("if (\n")
    result = flowengine_("check", "ok.hsl", "./bad.hsl", files / "sub" / "other.hsl", "--json")
    problems = json.loads(result.stdout)["problems"]
    names = list(dict.fromkeys(one["file"] for one in problems))
    assert names == ["bad.hsl", str(files / "sub" / "other.hsl")] or names[0] == "./bad.hsl"
    assert problems[-1]["id"] == "syntax"
    assert flowengine_("check", "ok.hsl").stdout == "no problems\n"


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("if (", "syntax"),
        ("echo $nosuch;", "unknown-variable"),
        ("nosuch();", "unknown-function"),
        ('Reject("x", ["nosuch" => 1]);', "unknown-option"),
        ("GetExtensions();Accept();", "wrong-phase"),
        ("Allow();", "wrong-phase"),
        ('import { x } from "nosuch.hsl";', "unresolved-import"),
        ("str_lower();", "arity"),
        ("Accept();", "wrong-phase"),
    ],
)
def test_problems_have_their_words(flowengine_, files, text, id_):
    result = flowengine_("check", flow(files, text), "--json")
    assert result.exit_code == 1
    assert id_ in [one["id"] for one in json.loads(result.stdout)["problems"]]


def test_the_phase_of_a_check_decides_what_is_known(flowengine_, files):
    flow(files, "Accept();")
    assert flowengine_("check", "flow.hsl").exit_code == 1
    assert flowengine_("check", "flow.hsl", "--phase", "rcptto").exit_code == 0
    assert flowengine_("check", "flow.hsl", "--phase", "eod").exit_code == 0
    unknown = flowengine_("check", "flow.hsl", "--phase", "nosuch")
    assert unknown.exit_code == 2 and "known: connect, helo" in unknown.stderr


def test_without_paths_the_flows_of_the_configuration_are_checked(flowengine_, files):
    config = '[listeners.in]\naddress = "127.0.0.1:0"\nrecipient_domains = ["example.net"]\ntransport = "t"\n'
    config += 'flows = { data = "bad.hsl" }\n[transports.t]\nsink = "mail"\n'
    (files / "flowengine.toml").write_text(config)
    result = flowengine_("check", "--json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["problems"]) == 3
    (files / "flowengine.toml").write_text(config.replace("bad.hsl", "ok.hsl"))
    assert (flowengine_("check").exit_code, flowengine_("check").stdout) == (0, "no problems\n")


def test_a_wrong_configuration_is_told_with_line_and_caret_and_as_a_document(flowengine_, files):
    (files / "wrong.toml").write_text('hostname = 3\n[limitz]\n[pki.x]\ndata = "not a key, but who knows"\n')
    result = flowengine_("check", "-c", "wrong.toml", "--json")
    assert result.exit_code == 2
    problems = json.loads(result.stdout)["problems"]
    assert [(one["file"], one["line"]) for one in problems][:2] == [("wrong.toml", 1), ("wrong.toml", 2)]
    assert result.stderr.startswith(
        "wrong.toml:1:12: hostname: a string is wanted, not a number\n    1 | hostname = 3\n      |            ^"
    )
    for verb in (["run", "ok.hsl", "mail.eml"], ["verify", "mail.eml"], ["test"], ["keys", "list"], ["users", "list"]):
        other = flowengine_(*verb, "-c", "wrong.toml")
        assert (other.exit_code, other.stdout) == (2, ""), verb
        assert "wrong.toml:1:12" in other.stderr


def test_a_configuration_never_shows_its_secrets(flowengine_, files):
    secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQ"  # noqa: S105  # a test's
    for text in (
        f'[pki.x]\ndata = "{secret}"\n',
        f'[pki.x]\ndata = """\n{secret}\n"""\n',
        f"[pki.x]\ndata = '''\n{secret}\n",
        f'[api]\nheaders = {{ Authorization = "Bearer {secret}", X = 3 }}\n',
        f'[api]\nheaders = {{ Authorization = "Bearer {secret}\n',
    ):
        (files / "flowengine.toml").write_text(text)
        (files / "flowengine.toml").chmod(0o600)
        for verb in (["check"], ["check", "--json"], ["serve"], ["run", "ok.hsl", "mail.eml"], ["verify", "mail.eml"]):
            result = flowengine_(*verb)
            assert result.exit_code == 2, (text, result.stdout)
            assert secret not in result.stderr + result.stdout


# -- wrong usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "ok.hsl"],
        ["run", "nosuch.hsl", "mail.eml"],
        ["run", ".", "mail.eml"],
        ["run", "ok.hsl", "nosuch.eml"],
        ["run", "ok.hsl", "."],
        ["run", "ok.hsl", "mail.eml", "--nosuch"],
        ["run", "ok.hsl", "mail.eml", "--phase", "nosuch"],
        ["run", "ok.hsl", "mail.eml", "--phase", "afterwards"],
        ["run", "ok.hsl", "mail.eml", "--client-ip", "nosuch"],
        ["run", "ok.hsl", "mail.eml", "--mail-from", "a b"],
        ["run", "ok.hsl", "mail.eml", "--mail-from", "\udcff@x"],
        ["run", "ok.hsl", "mail.eml", "--rcpt-to", "@"],
        ["run", "ok.hsl", "mail.eml", "--rcpt-to", "<>"],
        ["run", "ok.hsl", "mail.eml", "--dns", "nonsense"],
        ["run", "ok.hsl", "mail.eml", "--dns", ""],
        ["run", "ok.hsl", "mail.eml", "--dns", "127.0.0.1:99999"],
        ["run", "ok.hsl", "mail.eml", "--api-url", "nonsense"],
        ["run", "ok.hsl", "mail.eml", "--output", "no/such/folder"],
        ["run", "ok.hsl", "mail.eml", "-c", "nosuch.toml"],
        ["run", "ok.hsl", "mail.eml", "-c", "."],
        ["verify"],
        ["verify", "nosuch.eml"],
        ["verify", "mail.eml", "--client-ip", "999.1.1.1"],
        ["verify", "mail.eml", "--mail-from", "a b"],
        ["check", "nosuch.hsl"],
        ["check", "ok.hsl", "."],
        ["check", "--nosuch"],
        ["test", "nosuch"],
        ["test"],
        ["keys", "show", "nosuch"],
        ["keys", "record", "example"],
        ["keys", "new", "x", "--bits", "1"],
        ["nosuch"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_with_a_sentence_on_stderr(flowengine_, arguments):
    result = flowengine_(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.strip()


def test_a_key_that_cannot_be_read_is_a_problem_of_the_configuration(flowengine_, files):
    (files / "flowengine.toml").write_text('[pki.x]\nfile = "x.pem"\n')
    for content, mode, why in (("nonsense", 0o600, "cannot be read"), ("nonsense", 0o644, "mode 644"), (None, 0, "")):
        (files / "x.pem").unlink(missing_ok=True)
        if content is not None:
            (files / "x.pem").write_text(content)
            (files / "x.pem").chmod(mode)
        for verb in (["run", "ok.hsl", "mail.eml"], ["verify", "mail.eml"], ["keys", "list"]):
            result = flowengine_(*verb)
            assert (result.exit_code, result.stdout) == (2, ""), verb
            assert result.stderr.startswith("flowengine.toml:2:") and why in result.stderr


@given(data=st.binary(max_size=200))
@settings(max_examples=30, deadline=None)
def test_any_bytes_are_a_message_that_can_be_played_and_explained(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    (folder / "ok.hsl").write_text('echo GetHeader("From"); ScanDMARC(); AddHeader("X", GetHeader("Subject"));')
    (folder / "config.toml").write_text('[dns]\nservers = ["127.0.0.1:1"]\ntimeout = 0.1\n')
    (folder / "mail").write_bytes(data)
    options = ["-c", str(folder / "config.toml"), "--json"]
    for verb in (["run", str(folder / "ok.hsl")], ["verify"]):
        result = CliRunner().invoke(main, [*verb, str(folder / "mail"), *options], catch_exceptions=False)
        assert result.exit_code in (0, 1)
        json.loads(result.stdout)


@given(text=st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
@settings(max_examples=40, deadline=None)
def test_any_text_is_a_flow_or_has_problems(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("any")
    (folder / "flow.hsl").write_bytes(text.encode("utf-8", "surrogatepass"))
    result = CliRunner().invoke(main, ["check", str(folder / "flow.hsl"), "--json"], catch_exceptions=False)
    assert result.exit_code in (0, 1)
    problems = json.loads(result.stdout)["problems"]
    assert (result.exit_code == 1) is any(one["severity"] == "error" for one in problems)


# -- verify -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bank() -> Iterator[DNSServer]:
    """A name server that knows the bank and its key."""
    key = case_key("bank", "rsa")
    with DNSServer(
        {
            ("bank.example", "TXT"): ["v=spf1 ip4:192.0.2.0/24 exp=why.bank.example -all"],
            ("why.bank.example", "TXT"): ["%{i} is not ours"],
            ("_dmarc.bank.example", "TXT"): ["v=DMARC1; p=reject; sp=quarantine"],
            ("s1._domainkey.bank.example", "TXT"): [key.record()],
        }
    ) as server:
        yield server


def signed_mail(author: str = "service@bank.example") -> bytes:
    raw = f"From: {author}\r\nTo: a@example.net\r\nSubject: x\r\n\r\nhello\r\n".encode()
    seal = dkim.Seal(selector="s1", domain="bank.example", key=case_key("bank", "rsa"))
    return dkim.sealed(Message(raw), seal, 0.0).render()


def test_the_document_of_verify_has_the_keys_and_types_of_the_contract(flowengine_, files, bank):
    (files / "flowengine.toml").write_text('hostname = "mx.example.net"\n')
    (files / "signed.eml").write_bytes(signed_mail())
    options = ("--client-ip", "192.0.2.7", "--helo", "mx.bank.example", "--mail-from", "x@bank.example", "--json")
    result = flowengine_("verify", "signed.eml", *options, "--dns", str(bank.address))
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    results, (signed,) = document.pop("authentication-results"), document["dkim"]
    assert document == {
        "spf": {"result": "pass", "domain": "bank.example", "explanation": None},
        "dkim": [{"domain": "bank.example", "selector": "s1", "result": "pass", "reason": signed["reason"]}],
        "dmarc": {
            "result": "pass", "policy": "reject", "domain": "bank.example", "alignment": {"spf": True, "dkim": True},
            "reason": document["dmarc"]["reason"],
        },
        "arc": {"result": "none", "instance": document["arc"]["instance"]},
    }  # fmt: skip
    assert results.startswith("mx.example.net; spf=pass") and "dmarc=pass" in results and "\n" not in results


@pytest.mark.parametrize(
    ("options", "raw", "code", "result", "policy"),
    [
        (["--client-ip", "203.0.113.9"], signed_mail().replace(b"hello", b"hullo"), 1, "fail", "reject"),
        (["--client-ip", "203.0.113.9"], signed_mail("a@sub.bank.example"), 0, "pass", "quarantine"),
        ([], signed_mail(), 0, "pass", "reject"),
        ([], b"From: a@bank.example\r\n\r\nx\r\n", 1, "fail", "reject"),
        ([], b"From: a@unknown.example\r\n\r\nx\r\n", 0, "none", None),
        ([], b"From: a@bank.example\r\nFrom: b@bank.example\r\n\r\nx\r\n", 0, "permerror", None),
        ([], b"Subject: x\r\n\r\nx\r\n", 0, "permerror", None),
    ],
)
def test_verify_says_1_only_when_dmarc_fails(flowengine_, files, bank, options, raw, code, result, policy):
    (files / "m.eml").write_bytes(raw)
    found = flowengine_("verify", "m.eml", "--dns", str(bank.address), "--json", *options)
    dmarc = json.loads(found.stdout)["dmarc"]
    assert (found.exit_code, dmarc["result"], dmarc["policy"]) == (code, result, policy)
    for_people = flowengine_("verify", "m.eml", "--dns", str(bank.address), *options)
    assert for_people.exit_code == code
    assert [line[:6].strip() for line in for_people.stdout.splitlines() if not line.startswith(" ")] == [
        "SPF", "DKIM", "DMARC", "ARC",
    ]  # fmt: skip


def test_the_domains_own_words_are_the_explanation(flowengine_, files, bank):
    (files / "m.eml").write_bytes(signed_mail())
    options = ("--client-ip", "203.0.113.9", "--mail-from", "x@bank.example", "--dns", str(bank.address))
    found = json.loads(flowengine_("verify", "m.eml", *options, "--json").stdout)
    assert found["spf"] == {"result": "fail", "domain": "bank.example", "explanation": "203.0.113.9 is not ours"}


def test_a_name_server_that_is_silent_is_a_temporary_error_and_no_failure(flowengine_, files):
    (files / "m.eml").write_bytes(signed_mail())
    (files / "flowengine.toml").write_text('[dns]\nservers = ["127.0.0.1:9"]\ntimeout = 0.2\n')
    result = flowengine_("verify", "m.eml", "--client-ip", "192.0.2.7", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (document["spf"]["result"], document["dkim"][0]["result"], document["dmarc"]["result"]) == ("temperror",) * 3


# -- test, reference, and the program as a whole ----------------------------------------------------------------------

CASE = """A case.

-- session --
from a@example.org
to bob@example.net
-- message --
From: a@example.org

x
-- expect --
bob@example.net
    Deliver  by nowhere
reply  250 2.0.0 Ok
"""


def test_test_plays_cases_and_tells_the_difference(flowengine_, files):
    flow(files, "Deliver();")
    (files / "flow.cases").mkdir()
    (files / "flow.cases" / "one.case").write_text(CASE)
    result = flowengine_("test", "flow.hsl", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["passed"], document["failed"]) == (0, 1)
    (one,) = document["cases"]
    assert sorted(one) == ["case", "difference", "passed"]
    assert (one["case"], one["passed"]) == ("flow.cases/one.case", False)
    assert "-    Deliver  by nowhere\n+    Deliver\n" in one["difference"]

    updated = flowengine_("test", "flow.hsl", "--update")
    assert (updated.exit_code, updated.stdout) == (0, "1 passed, 0 failed\n")
    assert (files / "flow.cases" / "one.case").read_text() == CASE.replace("  by nowhere", "")
    assert flowengine_("test", "flow.cases", "--json").exit_code == 0
    flow(files, "Deletee();")
    broken = flowengine_("test", files / "flow.cases" / "one.case")
    assert broken.exit_code == 1 and "there is no function Deletee" in broken.stdout


def test_the_reference_knows_every_name_that_it_lists(flowengine_):
    names = flowengine_("reference").stdout.split()
    assert len(names) > 150 and len(names) == len(set(names))
    for name in [*names, "listeners.inbound"]:
        page = flowengine_("reference", name)
        assert page.exit_code == 0 and len(page.stdout) > 20, name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "DKIMSign",
            ["DKIMSign(string $selector, string $domain, string $key", "RFC 6376", "Phases: data.", "algorithm ("],
        ),
        ("$senderdomain", ["$senderdomain: string, read-only", "Phases: mailfrom, rcptto, data, eod, predelivery"]),
        ("$context", ["writable"]),
        ("sign_by_api", ['import { sign_by_api } from "stdlib/dkim-delivery";']),
        ("Accept", ["remoteip", "queue()"]),
    ],
)
def test_a_page_says_how_to_call_and_where(flowengine_, name, parts):
    page = flowengine_("reference", name).stdout
    assert [part for part in parts if part not in page] == []


def test_an_unknown_name_gets_the_nearest_ones(flowengine_):
    result = flowengine_("reference", "DKIMSing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "DKIMSign" in result.stderr


@pytest.mark.parametrize("verb", [[], *([verb] for verb in ("serve", "check", "run", "test", "verify", "reference"))])
def test_every_verb_has_a_page_with_an_example(flowengine_, verb):
    result = flowengine_(*verb, "--help")
    assert result.exit_code == 0
    assert not verb or f"flowengine {verb[0]}" in result.stdout


def test_as_a_program_it_reads_stdin_and_writes_one_document(files):
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    command = [sys.executable, "-m", "flowengine", "run", "ok.hsl", "-", "--json"]
    done = subprocess.run(  # noqa: S603  # our own program
        command, input=MAIL.encode(), capture_output=True, env=environment, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["runs"][0]["output"] == ["from alice@example.org"]
    assert b"\x1b" not in done.stdout


# -- what an admin stumbled over --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../k", "a/b", "", "a b", "pki:../k"])
def test_the_name_of_a_new_key_is_a_name_and_no_path(flowengine_, files, name):
    result = flowengine_("keys", "new", name, "--type", "ed25519")
    assert result.exit_code == 2
    assert "is not a name" in result.stderr
    assert not list(files.rglob("*.pem"))


def test_what_keys_new_says_to_write_holds_wherever_the_configuration_lies(flowengine_, files):
    folder = files / "etc"
    folder.mkdir()
    config = folder / "c.toml"
    config.write_text("")
    made = flowengine_("keys", "new", "pki:k", "--type", "ed25519", "-c", "etc/c.toml").stdout
    config.write_text("".join(line.strip() + "\n" for line in made.splitlines() if line.startswith("    ")))
    listed = json.loads(flowengine_("keys", "list", "--json", "-c", "etc/c.toml").stdout)["keys"]
    assert [one["name"] for one in listed] == ["k"]


def test_a_line_of_flows_is_shown_and_a_key_in_the_configuration_is_not(flowengine_, files):
    (files / "c.toml").write_text(
        '[listeners.a]\naddress = "127.0.0.1:0"\nflows = { data = "nope.hsl" }\n[pki]\na = { data = "hush", nope = 1 }\n'
    )
    shown = flowengine_("check", "-c", "c.toml").stderr
    assert 'flows = { data = "nope.hsl" }\n      |                  ^^^^^^^^^^' in shown
    assert "there is no such key" in shown and "hush" not in shown


def test_a_command_in_a_live_trace_takes_one_line():
    from flowengine.cli import _trace_line

    told = {"client": "192.0.2.7", "event": "smtp.command", "level": "debug", "listener": "in", "verb": "RCPT"}
    assert _trace_line({**told, "code": 550, "reply": "550 5.1.1 a\nb"}) == (
        "192.0.2.7 smtp.command RCPT → 550 5.1.1 a / b"
    )


def test_verify_does_not_say_that_there_is_no_policy_when_nobody_knows(flowengine_):
    shown = flowengine_("verify", "mail.eml", "--dns", "127.0.0.1:1").stdout
    assert "DMARC  temperror  example.org: its policy is not known;" in shown


@pytest.mark.parametrize(
    ("text", "missing"),
    [('Reject("x" ', "`)`"), ("$a = [1, ", "`]`"), ("if (true) { Deliver();", "`}`"), ("Deliver()", "`;`")],
)
def test_what_is_missing_at_the_end_of_a_flow_is_named(flowengine_, files, text, missing):
    shown = flowengine_("check", flow(files, text)).stderr
    assert f"the file ends too early: {missing} is missing" in shown


def test_keys_show_takes_selector_and_domain_as_the_contract_has_it(flowengine_, files):
    flowengine_("keys", "new", "k", "--type", "ed25519")
    shown = flowengine_("keys", "show", "k", "--selector", "s", "--domain", "d.example", "--json")
    about = json.loads(shown.stdout)
    assert (shown.exit_code, about["selector"], about["domain"]) == (0, "s", "d.example")
