"""An eod flow in a real server: what it queued and accepted lies in the sink, what it did not accept lies nowhere."""

import json
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.engine import serving

CONFIG = """
hostname = "mx.example.net"
[listeners.inbound]
address = "127.0.0.1:0"
recipient_domains = ["example.net"]
transport = "disk"
flows = { eod = "eod.hsl" }
[transports.disk]
sink = "sink"
[transports.other]
sink = "other"
"""

FLOW = """
// Queue message for all recipients
foreach ($transaction["recipients"] as $recipient)
    $arguments["mail"]->queue($transaction["senderaddress"], $recipient["address"], $recipient["transportid"]);
$verdict = $arguments["mail"]->getHeader("X-Verdict");
if ($verdict == "reject") Reject("not this one");
if ($verdict == "defer") Defer();
if ($verdict == "accept") {
    $arguments["mail"]->appendPart(MIME()->setBody("scanned"));
    $arguments["mail"]->queue("", "archive@example.org", "other", ["metadata" => ["why" => "copy"]]);
    Accept();
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    root = tmp_path_factory.mktemp("eod")
    (root / "flowengine.toml").write_text(CONFIG)
    (root / "eod.hsl").write_text(FLOW)
    with serving(root / "flowengine.toml", 1, root / "log") as engine:
        yield engine.ports["inbound"], root


def send(port: int, verdict: str) -> tuple[int, bytes]:
    message = f"From: a@example.org\r\nSubject: {verdict}\r\nX-Verdict: {verdict}\r\n\r\n.hi\r\n"
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        try:
            client.sendmail("a@example.org", ["b@example.net", "c@example.net"], message)
        except smtplib.SMTPDataError as refused:
            return refused.smtp_code, refused.smtp_error
    return 250, b""


def kept(folder: Path) -> list[tuple[dict[str, object], bytes]]:
    return [
        (json.loads(one.read_text()), one.with_suffix(".eml").read_bytes()) for one in sorted(folder.glob("*.json"))
    ]


def test_what_is_accepted_is_delivered(server):
    port, root = server
    assert send(port, "accept")[0] == 250
    ((about, data),) = kept(root / "sink")
    assert about["sender"] == "a@example.org"
    assert about["recipients"] == ["b@example.net", "c@example.net"]
    assert b"scanned" not in data
    assert data.endswith(b"Subject: accept\r\nX-Verdict: accept\r\n\r\n.hi\r\n")
    ((about, data),) = kept(root / "other")
    assert (about["sender"], about["recipients"], about["metadata"]) == ("", ["archive@example.org"], {"why": "copy"})
    assert b"Content-Type: multipart/mixed" in data
    assert b"\r\n\r\n.hi\r\n\r\n--" in data


@pytest.mark.parametrize(("verdict", "code"), [("reject", 550), ("defer", 451), ("nothing", 451)])
def test_what_is_not_accepted_is_not_delivered(server, verdict, code):
    port, root = server
    before = kept(root / "sink")
    answer = send(port, verdict)
    assert answer[0] == code
    assert verdict != "reject" or b"not this one" in answer[1]
    assert kept(root / "sink") == before
