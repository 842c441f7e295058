"""`smtp_lookup_rcpt`, `smtp_lookup_auth` and `send`, against a server on the loopback that keeps a record."""

import base64
import socket
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from scripted import Server, standing
from standing import Standing
from test_examples import play

from flowengine.language.problems import FlowError
from flowengine.services.network import NetworkGuard
from flowengine.services.wires import GuardedWires
from tests.runtime.stage import Stage

OFFERS = "250-mx.test\r\n250-AUTH PLAIN\r\n250 SIZE 1000\r\n"


class MailServer:
    """Answers by table: the first entry whose key begins the line; else 250."""

    def __init__(self, **replies: str) -> None:
        self.replies = {"EHLO": OFFERS, "DATA": "354 go\r\n", "QUIT": "221 bye\r\n", **replies}
        self.heard: list[str] = []
        self.server = Server(self._serve)
        self.port = self.server.port

    def _serve(self, client: socket.socket) -> None:
        client.sendall(self.replies.get("banner", "220 mx.test\r\n").encode())
        lines = client.makefile("rb")
        content = False
        for raw in lines:
            line = raw.decode().rstrip("\r\n")
            self.heard.append(line)
            if content:
                content = line != "."
                if not content:
                    client.sendall(self.replies.get("dot", "250 2.0.0 Ok: queued\r\n").encode())
                continue
            reply = next((said for word, said in self.replies.items() if line.startswith(word)), "250 2.1.0 Ok\r\n")
            client.sendall(reply.encode())
            content = line == "DATA" and reply.startswith("3")
            if line == "QUIT":
                return


@pytest.fixture
def mail_server() -> Iterator[type[MailServer]]:
    made: list[MailServer] = []

    class Kept(MailServer):
        def __init__(self, **replies: str) -> None:
            super().__init__(**replies)
            made.append(self)

    yield Kept
    for one in made:
        one.server.close()


def lookup(server: MailServer, more: str = "", options: str = "[]") -> str:
    host = f'["host" => "127.0.0.1", "port" => {server.port}{more}]'
    return f'echo smtp_lookup_rcpt({host}, "a@example.org", "b@example.net", {options});'


@pytest.mark.parametrize(
    ("replies", "options", "said"),
    [
        ({}, "[]", "1"),
        ({"RCPT": "550 5.1.1 No such user\r\n"}, "[]", "0"),
        ({"RCPT": "450 4.2.0 Later\r\n"}, "[]", "-1"),
        ({"MAIL": "550 5.7.1 Not you\r\n"}, "[]", "0"),
        ({"banner": "554 go away\r\n"}, "[]", "0"),
        ({"banner": "* OK IMAP4\r\n"}, "[]", "-1"),
        ({"EHLO": "500 what\r\n"}, "[]", "1"),
        ({"RCPT": "550 5.1.1 No such user\r\n"}, '["error_code" => true]', "550"),
        ({"RCPT": "550-5.1.1 No\r\n550 5.1.1 such user\r\n"}, '["extended_result" => true]',
         '["error_code"=>550,"error_message"=>"5.1.1 No\n5.1.1 such user","on_rcptto"=>true,"tls"=>false]'),
        ({"MAIL": "451 no\r\n"}, '["extended_result" => true]',
         '["error_code"=>451,"error_message"=>"no","on_rcptto"=>false,"tls"=>false]'),
        ({"banner": "220-" + "x" * 3000}, "[]", "-1"),
        ({"banner": "220-x\r\n" * 200}, "[]", "-1"),
    ],
)  # fmt: skip
def test_a_recipient_is_looked_up(mail_server, replies, options, said):
    server = mail_server(**replies)
    assert play(standing(), lookup(server, options=options)) == [said]


def test_a_lookup_says_no_more_than_it_must(mail_server):
    server = mail_server()
    play(standing(), lookup(server, ', "helo" => "probe.example.net"'))
    assert server.heard == [
        "EHLO probe.example.net", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "QUIT",
    ]  # fmt: skip


def test_a_server_that_is_not_allowed_or_not_there_is_an_error(mail_server):
    server = mail_server()
    assert play(Standing(wires=GuardedWires(NetworkGuard())), lookup(server)) == ["-1"]
    assert server.heard == []
    server.server.close()
    assert play(standing(), lookup(server, ', "connect_timeout" => 0.2')) == ["-1"]


def test_tls_that_must_be_and_is_not_is_an_error(mail_server):
    server = mail_server()
    assert play(standing(), lookup(server, ', "tls" => "require"')) == ["-1"]
    assert play(standing(), lookup(server, ', "tls" => "optional"')) == ["1"]


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ({}, "1"),
        ({"AUTH": "535 5.7.8 wrong\r\n"}, "0"),
        ({"AUTH": "454 4.7.0 later\r\n"}, "-1"),
        ({"EHLO": "250 mx.test\r\n"}, "-1"),
        ({"EHLO": "250-mx\r\n250 AUTH LOGIN\r\n", "AUTH": "334 VXNlcm5hbWU6\r\n",
          base64.b64encode(b"alice").decode(): "334 UGFzc3dvcmQ6\r\n"}, "1"),
    ],
)  # fmt: skip
def test_a_password_is_looked_up(mail_server, replies, said):
    server = mail_server(**replies)
    flow = f'echo smtp_lookup_auth(["host" => "127.0.0.1", "port" => {server.port}], "alice", "s3cret");'
    assert play(standing(), flow) == [said]


def test_a_password_is_nowhere_among_the_facts(mail_server):
    server, run = mail_server(), standing()
    play(run, f'smtp_lookup_auth(["host" => "127.0.0.1", "port" => {server.port}], "alice", "s3cret");')
    told = " ".join(map(str, run.facts))
    assert "s3cret" not in told and base64.b64encode(b"\0alice\0s3cret").decode() not in told


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ('["hots" => "x"]', 'a server has no setting "hots"'),
        ('["host" => 5]', "host of a server is a string"),
        ('["port" => 0]', "port of a server is a number above 0"),
        ('"nowhere"', 'there is no transport "nowhere"'),
    ],
)
def test_what_is_no_server_is_a_script_error(server, says):
    with pytest.raises(FlowError, match=says):
        play(standing(), f'smtp_lookup_rcpt({server}, "", "b@example.net");')


def send(server: MailServer, **about: object) -> list[str]:
    on = Stage(parts={"wires": GuardedWires(NetworkGuard([ip_network("127.0.0.0/8")]))}, **about)
    to = f'["host" => "127.0.0.1", "port" => {server.port}]'
    return on.echoed(
        f'$mail = $arguments["mail"]; $mail->setBody(".dot\\nend"); '
        f'echo json_encode($mail->send("a@example.org", ["b@example.net", "c@example.net"], {to}));',
        phase="eod",
    )


def test_a_message_is_sent_at_once(mail_server):
    import json

    server = mail_server()
    (said,) = send(server)
    found = json.loads(said)
    assert found["result"] == {"state": "EOD", "code": 250, "enhanced": [2, 0, 0], "reason": ["2.0.0 Ok: queued"]}
    assert found["connection"]["remoteip"] == "127.0.0.1"
    assert server.heard[1].startswith("MAIL FROM:<a@example.org> SIZE=")
    assert server.heard[2:5] == ["RCPT TO:<b@example.net>", "RCPT TO:<c@example.net>", "DATA"]
    assert server.heard[-4:] == ["..dot", "end", ".", "QUIT"]


def test_what_comes_of_sending_is_told(mail_server):
    assert '"state":"EOD","code":552' in send(mail_server(dot="552 5.3.4 too large\r\n"))[0]
    refused = mail_server(RCPT="550 5.1.1 no\r\n")
    assert '"state":"RCPT","code":550' in send(refused)[0]
    assert "DATA" not in refused.heard


def test_a_play_sends_nothing(mail_server):
    server = mail_server()
    assert "nothing is sent" in send(server, settings={"sends": False})[0]
    assert server.heard == []
