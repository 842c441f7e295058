"""Secrets show as type and fingerprint, whichever way a flow tries to show them (DESIGN §7)."""

import base64
import hashlib
import io
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.language.texts import fingerprint
from flowengine.language.values import Secret
from flowengine.mail.dns import Answer
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.services import HTTPRequest, HTTPResponse
from flowengine.servers.play import Played
from flowengine.servers.printing import play_document, play_text
from flowengine.servers.smtp.replies import render
from flowengine.services.log import StructuredLog
from tests.runtime.stage import Stage, key, program

WORD = "hunter2Zebra9431"
PEM = key("secret", "ed25519").pem().decode()
ANSWER = {"rsakey": WORD, "pem": PEM, "open": "nothing special"}


class Anything:
    """Web and DNS that answer whatever they are asked."""

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        return HTTPResponse(200, (), json.dumps(ANSWER).encode())

    async def query(self, name: str, kind: str) -> Answer:
        return Answer(exists=False)


class Heard:
    """A stage on which everything that can be shown is collected."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        log = StructuredLog("json", "debug", self.stream)
        world = Anything()
        self.stage = Stage(log=log, dns=world, http=world, keys={"mine": key("mine", "ed25519")})  # type: ignore[arg-type]  # not the usual fakes
        self.outcome: Outcome | None = None

    def play(self, flow: str) -> str:
        """All that was shown by a run with a trace: log, trace, facts, replies, headers, errors, documents."""
        import tests.runtime.stage as stage

        plain = stage.program
        stage.program = lambda text, phase="data": program(text, phase, True)  # type: ignore[assignment]  # with a trace
        try:
            outcome = self.outcome = self.stage.data(flow)
        finally:
            stage.program = plain
        played = Played(outcome.reply, outcome.runs, outcome)
        facts = outcome.transaction.world.facts
        return "\n".join(
            [
                self.stream.getvalue(),
                play_text(played, trace=True),
                json.dumps(play_document(played, True)),
                render(outcome.reply).decode("latin-1"),
                *(text for fact in facts for text in (str(fact), repr(fact))),
                *(repr(run.actions) for run in outcome.runs),
                *(message.decode("latin-1") for _, message in self.stage.outbox.left),
                repr(outcome.kept),
                repr(outcome.transaction.metadata),
            ]
        )


def leaks(shown: str, secret: str) -> list[str]:
    """The forms of a secret that can be found in what was shown; half of it is enough."""
    half = secret[: max(8, len(secret) // 2)]
    forms = {half, half.upper(), half.lower(), half[::-1], quote(half), base64.b64encode(half.encode())[:-4].decode()}
    return [form for form in forms if form in shown or form.replace("\n", "\\n") in shown]


FIELD = '$s = json_decode(http("https://api.example/"))["rsakey"]; '
TEXT = '$s = json_decode(http("https://api.example/"))["pem"]; '

WAYS = """
echo $s;
echo "before $s after";
echo [$s];
echo ["a" => ["b" => [$s, "c"]]];
syslog("info", $s);
syslog("warning", "the key is $s");
$x = 1 - $s;
$x = $s - [1];
$x = $s->nosuch;
$s();
throw $s;
throw Exception("no: " . $s);
throw ["code" => $s];
try { throw $s; } catch ($e) { echo $e; }
try { throw Exception($s); } catch ($e) { echo $e->message(); syslog("info", $e->toString()); }
foreach ([$s] as $v) echo $v;
Reject($s);
Reject(["first", $s]);
Reject("x", ["reply_codes" => ["code" => $s]]);
Reject("x", ["reply_codes" => ["enhanced" => [5, 7, $s]]]);
Reject("x", ["reply_codes" => ["other" => $s]]);
Defer("the password is " . $s);
Deliver(["reason" => $s]);
Deliver(["reason" => ["a", $s]]);
Deliver(["recipient" => $s]);
Deliver(["recipient" => $s . "@example.org"]);
Deliver(["recipient" => ["localpart" => $s, "domain" => "example.org"]]);
Deliver(["transportid" => $s]);
Deliver(["metadata" => ["k" => $s]]);
Deliver(["jobid" => $s]);
Deliver($s . "@example.org");
CopyMail($s . "@example.org");
Quarantine($s);
Quarantine("spam", ["reason" => $s]);
SetSender($s);
SetSender("$s@example.org");
SetRecipient($s);
SetRecipient("$s@example.org");
SetMailTransport($s);
SetSenderIP($s);
SetSenderHELO($s);
SetMetaData(["k" => $s]);
SetMetaData(["k" => $s]); echo GetMetaData();
AddHeader("X-A", $s);
AddHeader("X-A", $s, false);
AddHeader($s, "x");
SetHeader("Subject", $s);
SetHeader("X-New", $s);
PrependHeader("Subject", $s);
AppendHeader("Subject", $s);
AppendHeader("X-New", $s);
DelHeader($s);
echo GetHeader($s);
DKIMSign($s, "example.org", "pki:mine");
DKIMSign("s1", $s, "pki:mine");
DKIMSign("s1", "example.org", $s);
DKIMSign("s1", "example.org", $s, ["id" => true]);
DKIMSign("s1", "example.org", "pki:" . $s);
DKIMSign("s1", "example.org", "pki:mine", ["identity" => $s]);
DKIMSign("s1", "example.org", "pki:mine", ["headers" => ["from", $s]]);
DKIMSign("s1", "example.org", "pki:mine", ["algorithm" => $s]);
echo spf($s, $s, $s);
echo ScanDMARC(["ip" => $s]);
echo DKIMVerify($s);
AddAuthenticationResults(["hostname" => $s]);
http("https://api.example/" . $s);
http("https://api.example/?k=$1", [], [$s]);
http("https://$s/");
http("https://api.example/", ["headers" => ["Authorization: Bearer " . $s]]);
http("https://api.example/", [], [], ["password" => $s]);
http("https://api.example/", [], [], $s);
http("https://user:$s@api.example/");
echo api_call($s);
echo api_call("?k=$1", [$s]);
rate("space", $s, 1, 60);
rate($s, "entry", 1, 60);
memory_store($s, 1);
memory_store("k", $s); echo memory_fetch("k");
$context = $s; echo $context;
echo json_encode($s);
echo json_encode(["k" => $s]);
echo json_decode('"' . $s . '"');
echo str_upper($s);
echo str_lower($s) . $s[-5:];
echo base64_encode($s);
echo url_encode($s);
echo implode("-", [$s, $s]);
echo explode("Z", $s);
echo str_repeat($s, 2);
echo str_replace("h", "h", $s);
echo "%s" % $s;
echo pcre_match("(.*)", $s);
echo pcre_replace("x", "y", $s);
echo $s[0:12];
$t = ""; for ($i = 0; $i < length($s); $i += 1) $t = $t . $s[$i]; echo $t;
echo is_string($s) ? $s : "";
echo ($s ?? "") . ($s ?: "");
echo array_map(function ($x) { return $x; }, [$s]);
echo array_reverse(["x", $s]);
echo array_sort(function ($a, $b) { return $a < $b; }, [$s, "a"]);
function f($x) { return "got " . $x; } echo f($s); echo cache [] f($s);
class K { private $k; constructor($k) { $this->k = $k; } function show() { return $this->k; } } echo K($s)->show();
class L { constructor($k) { $this->k = $k; } } $l = L($s); echo $l; echo $l->k; echo [$l];
$f = function () closure ($s) { return $s; }; echo $f();
import { sign_or_defer } from "stdlib/dkim-delivery"; sign_or_defer("s1", "example.org", $s);
""".strip().splitlines()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("start", "secret"), [(FIELD, WORD), (TEXT, PEM.split("\n")[1])], ids=["field", "pem"])
def test_no_way_shows_a_secret(way, start, secret):
    heard = Heard()
    head, imported, rest = way.rpartition("; ") if way.startswith("import") else ("", "", way)
    shown = heard.play(head + imported + start + rest)
    assert leaks(shown, secret) == [], shown[:3000]
    assert heard.outcome is not None
    assert "http" in {fact.kind for fact in heard.outcome.transaction.world.facts}


def test_the_ways_run_and_are_not_only_refused():
    """Most of the ways end well, so that the test above sees what they show and not only a refusal to run."""
    fine = 0
    for way in WAYS[:20] + WAYS[60:90]:
        heard = Heard()
        heard.play(FIELD + way)
        assert heard.outcome is not None
        fine += heard.outcome.runs[0].error is None
    assert fine >= 30


PIECES = st.sampled_from(
    [
        "(%s . %s)", "[%s, %s]", "(%s ?? %s)", "(%s)", '["k" => %s]', '"x" . %s', 'str_upper(%s . "")',
        "json_encode(%s)", 'implode("", [%s])', "array_reverse([%s])", 'trim(%s . "")', 'base64_encode("" . %s)',
    ]
)  # fmt: skip


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """An expression that a secret goes into."""
    text = "$s"
    for _ in range(draw(st.integers(0, 5))):
        piece = draw(PIECES)
        holes = piece.count("%s")
        other = draw(st.sampled_from(["$s", '"a"', "1"]))
        if holes:
            text = piece % ((text, other) if holes == 2 else text)
    return text


SHOWING = [
    "echo %s;", 'syslog("info", "" . %s);', "throw %s;", 'Reject("" . %s);', 'AddHeader("X", "" . %s);',
    "$x = %s - 1;", 'SetMetaData(["k" => "" . %s]);',
]  # fmt: skip


@given(expressions(), st.sampled_from(SHOWING))
@settings(max_examples=60, deadline=None)
def test_whatever_is_made_of_a_secret_is_a_secret(expression, way):
    shown = Heard().play(FIELD + way % expression)
    assert leaks(shown, WORD) == []


@pytest.mark.parametrize(
    "way",
    [
        "echo $saslpassword;", "echo $arguments;", "throw $saslpassword;", "Reject($saslpassword);",
        'Accept(["username" => $saslpassword]);', "$x = 1 - $saslpassword;", "echo str_upper($saslpassword);",
        'Accept(["reason" => "x $saslpassword"]);', 'syslog("info", $saslpassword);',
        "$context = $saslpassword; echo $context;",
    ],
)  # fmt: skip
def test_a_password_is_shown_nowhere(way):
    import asyncio

    heard = Heard()

    async def visit() -> str:
        session = heard.stage.session({"auth": way})
        step = session.authenticate("PLAIN", "alice", WORD)
        reply = await step if not hasattr(step, "code") else step
        runs = tuple(session.results)
        return "\n".join([heard.stream.getvalue(), repr(reply), repr(runs), play_text(Played(reply, runs), trace=True),
                          repr(session.connection.context)])  # fmt: skip

    assert leaks(asyncio.run(visit()), WORD) == []


def test_a_flow_may_compare_and_hash_a_secret_and_sign_with_it():
    lines = (
        f'echo $s == "{WORD}"; echo length($s); echo sha2($s, 256) == "{hashlib.sha256(WORD.encode()).hexdigest()}"; '
        f'$k = json_decode(http("https://api.example/"))["pem"]; echo DKIMSign("s1", "example.org", $k); '
    )
    heard = Heard()
    shown = heard.play(FIELD + lines)
    assert heard.outcome is not None
    assert heard.outcome.runs[0].output == ("true", str(len(WORD)), "true", "true")
    assert leaks(shown, WORD) == [] and "DKIM-Signature: v=1; a=ed25519-sha256" in shown


def test_a_fingerprint_tells_two_secrets_apart_and_one_again():
    shown = Heard().play(FIELD + "echo $s; echo $s; " + TEXT + "echo $s;")
    assert len(set(re.findall(r"<secret sha256:[0-9a-f]{4}>", shown))) == 1
    assert fingerprint(Secret(WORD)) in shown
    assert re.search(r"<private key sha256:[0-9a-f]{16}>", shown)


def test_a_configuration_key_has_no_text_at_all():
    heard = Heard()
    shown = heard.play('DKIMSign("s1", "example.org", "pki:mine"); echo "pki:mine";')
    assert "PRIVATE" not in shown and "pki:mine" in shown


def test_the_header_of_the_api_is_a_secret():
    heard = Heard()
    from flowengine.runtime.services import APISettings

    heard.stage.settings = {"api": APISettings(url="https://api.example/", headers={"Authorization": f"Bearer {WORD}"})}
    shown = heard.play('echo api_settings(); echo api_call("?x"); syslog("info", api_settings()["headers"][0]);')
    assert leaks(shown, WORD) == []
