"""The proxy phase on a live server: a flow sees every command line before it is carried out."""

import asyncio
from base64 import b64encode
from pathlib import Path

import pytest

from tests.servers.test_limits import SINK, served_by

FLOW = """
$command = $arguments["command"];
if ($command =~ "/^VRFY/i") Reply("Not here", ["reply_codes" => ["code" => 502, "enhanced" => [5, 5, 1]]]);
if ($command == "PING") Reply(["one", "two"]);
if ($command =~ "/^MAIL FROM:<old@/") Pass(["command" => str_replace("old@", "new@", $command)]);
if ($command == "BREAK") $x = 1 / 0;
if ($command == "WAIT") { sleep(0.05); Reply("waited"); }
if ($command == "LEAVE") Reply("bye", ["disconnect" => true]);
if ($command =~ "/^BDAT 5$/") Reply("no chunks");
if ($command == "NEXT") Pass(["command" => "NOOP", "next" => true]);
Pass();
"""


def play(folder: Path, *said: bytes, flow: str = FLOW, listener: str = "") -> list[str]:
    """What a client hears that sends all of this at once, without the greeting and the lines of EHLO."""

    async def main() -> list[str]:
        (folder / "sink").mkdir()
        (folder / "proxy.hsl").write_text(flow)
        flows = f'flows = {{{{ proxy = "{folder}/proxy.hsl" }}}}\n{listener}'
        async with served_by(folder, {}, flows, SINK) as served:
            peer = await served.come()
            peer.writer.write(b"".join(said) + b"QUIT\r\n")
            return (await peer.rest()).splitlines()

    return asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"VRFY staff\r\n", ["502 5.5.1 Not here"]),
        (b"PING\r\n", ["250-2.0.0 one", "250 2.0.0 two"]),
        (b"WAIT\r\nNOOP\r\n", ["250 2.0.0 waited", "250 2.0.0 OK"]),
        (b"NEXT\r\nVRFY x\r\n", ["250 2.0.0 OK", "502 5.5.1 Not here"]),
        (b"NONSENSE\r\n", ["500 5.5.2 Command not recognized"]),
    ],
)
def test_a_flow_answers_or_lets_through(tmp_path: Path, said: bytes, heard: list[str]) -> None:
    assert play(tmp_path, said) == [*heard, "221 2.0.0 Goodbye"]


def test_another_line_is_carried_out_and_content_is_no_command(tmp_path: Path) -> None:
    envelope = b"MAIL FROM:<old@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    heard = play(tmp_path, envelope, b"Subject: x\r\n\r\nPING\r\n.\r\n", b"WAIT\r\n")
    assert [line[:3] for line in heard] == ["250", "250", "354", "250", "250", "221"]
    (kept,) = (tmp_path / "sink").glob("*.json")
    assert "new@example.org" in kept.read_text() and "old@example.org" not in kept.read_text()


def test_a_flow_that_fails_ends_the_visit(tmp_path: Path) -> None:
    (heard,) = play(tmp_path, b"BREAK\r\nNOOP\r\n")
    assert heard.startswith("421 4.3.0 ")


def test_a_flow_may_end_the_visit(tmp_path: Path) -> None:
    assert play(tmp_path, b"LEAVE\r\nNOOP\r\n") == ["250 2.0.0 bye"]


def test_octets_of_a_chunk_are_never_taken_for_commands(tmp_path: Path) -> None:
    (heard,) = play(tmp_path, b"BDAT 5\r\nPING\r\nVRFY x\r\n")
    assert heard.startswith("421 ")


def test_a_password_is_a_secret_of_the_flow(tmp_path: Path) -> None:
    (tmp_path / "users.toml").touch(0o600)
    credentials = b64encode(b"\0alice\0wrong-s3cret")
    flow = 'if ($arguments["command"] == "QUIT") Pass(); Reply("" . $arguments["command"]);'
    users = f'users = "{tmp_path}/users.toml"\nallow_plaintext_auth = true'
    (first, second) = play(tmp_path, b"AUTH PLAIN " + credentials + b"\r\n", flow=flow, listener=users)
    assert credentials.decode() not in first and second.startswith("221 ")
