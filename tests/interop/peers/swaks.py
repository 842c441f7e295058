"""swaks: what postmasters test their servers with."""

from tests.interop.checks import LeftOut, Peer, call, expect, succeeds
from tests.interop.dkim_keys import records
from tests.interop.messages import MESSAGES, PLAIN, RECIPIENT, SENDER, SIGNED, TRACE, WIDE_RECIPIENT, added
from tests.interop.peers.dkimpy import verified
from tests.interop.world import PASSWORD, USER, World

PEER = Peer("swaks", programs=("swaks",), packages=("swaks", "libnet-ssleay-perl"))
_NO_RECIPIENT, _WRONG_PASSWORD = 24, 28  # its exit codes


def words(world: World, listener: str, message: bytes) -> list[str]:
    """The options that every call has."""
    mail = world.file("swaks.eml", message.removesuffix(b"\r\n"))  # it ends the last line itself
    server = ["--server", "127.0.0.1", "--port", str(world.port(listener)), "--helo", "client.example.org"]
    return [*server, "--from", SENDER, "--to", RECIPIENT, "--data", f"@{mail}", "--timeout", "20"]


@PEER.check("“{0}” goes through byte for byte", [(name,) for name in ("plain", "dots", "white space", "eight bit")])
def plain(world: World, name: str) -> None:
    message = MESSAGES[name] + b"end\r\n"  # it takes a dot at the end for the end of the message
    arrived = world.delivered(lambda: succeeds("swaks", *words(world, "relay", message)))
    expect(added(arrived.content, message, TRACE) == ["received"], "no trace field")


@PEER.check("pipelined")
def pipelined(world: World) -> None:
    arrived = world.delivered(lambda: succeeds("swaks", *words(world, "relay", PLAIN), "--pipeline"))
    expect(arrived.recipients == (RECIPIENT,), f"recipients: {arrived.recipients}")


@PEER.check("HELO in place of EHLO")
def old(world: World) -> None:
    world.delivered(lambda: succeeds("swaks", *words(world, "relay", PLAIN), "--protocol", "SMTP"))


@PEER.check("AUTH {0} lets a user in, and the mail leaves signed", [("PLAIN",), ("LOGIN",)])
def authenticated(world: World, mechanism: str) -> None:
    given = ("--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD)
    arrived = world.delivered(lambda: succeeds("swaks", *words(world, "submission", PLAIN), *given))
    added(arrived.content, PLAIN, SIGNED)
    expect(verified(arrived.content, records()), "dkimpy refuses the signature")


@PEER.check("AUTH {0} with a wrong password is refused", [("PLAIN",), ("LOGIN",)])
def refused(world: World, mechanism: str) -> None:
    given = ("--auth", mechanism, "--auth-user", USER, "--auth-password", "wrong")
    said = call("swaks", *words(world, "submission", PLAIN), *given)
    expect(said.code == _WRONG_PASSWORD and b"535" in said.output, said.text)


@PEER.check("AUTH {0} under {1} lets a user in", [("PLAIN", "STARTTLS"), ("LOGIN", "STARTTLS"), ("PLAIN", "TLS")])
def encrypted(world: World, mechanism: str, how: str) -> None:
    if "requires Net::SSLeay" in call("swaks", "--support").text:
        raise LeftOut("this swaks has no Net::SSLeay")
    given = ("--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD, "--tls-ca-path")
    listener, word = ("implicit", "--tls-on-connect") if how == "TLS" else ("encrypted", "--tls")
    more = (*given, str(world.authorities), "--tls-verify", word)
    arrived = world.delivered(lambda: succeeds("swaks", *words(world, listener, PLAIN), *more))
    expect(b" with ESMTPSA id " in arrived.content and b"(using TLSv1." in arrived.content, "no such trace field")
    expect(verified(arrived.content, records()), "dkimpy refuses the signature")


@PEER.check("a mail without TLS is refused where TLS is required")
def in_clear(world: World) -> None:
    said = call("swaks", *words(world, "relay-encrypted", PLAIN))
    expect(said.code != 0 and b"530 5.7.0" in said.output, said.text)


@PEER.check("an address in UTF-8 without SMTPUTF8 is refused")
def wide(world: World) -> None:
    said = call("swaks", *words(world, "relay", PLAIN), "--to", WIDE_RECIPIENT)
    expect(said.code == _NO_RECIPIENT and b"<** 5" in said.output, said.text)
