"""msmtp: the sendmail of machines that have none."""

from tests.interop.checks import Peer, call, expect, succeeds
from tests.interop.dkim_keys import records
from tests.interop.messages import MESSAGES, PLAIN, RECIPIENT, SENDER, SIGNED, TRACE, added
from tests.interop.peers.dkimpy import verified
from tests.interop.world import PASSWORD, TOKEN, USER, World

PEER = Peer("msmtp", programs=("msmtp",), packages=("msmtp",))
_NO_PERMISSION = 77  # its exit code, of sysexits.h


def words(world: World, listener: str, *more: str) -> list[str]:
    """The options that every call has; it reads no file of the user's."""
    server = ["--host=127.0.0.1", f"--port={world.port(listener)}", "--domain=client.example.org", "--tls=off"]
    return ["--file=/dev/null", *server, f"--from={SENDER}", *more, "--", RECIPIENT]


def unix(message: bytes) -> bytes:
    """What a program hands to sendmail: lines that end in LF."""
    return message.replace(b"\r\n", b"\n")


@PEER.check("“{0}” goes through byte for byte", [(name,) for name in MESSAGES])
def plain(world: World, name: str) -> None:
    message = MESSAGES[name]
    arrived = world.delivered(lambda: succeeds("msmtp", *words(world, "relay"), entered=unix(message)))
    expect(added(arrived.content, message, TRACE) == ["received"], "no trace field")


@PEER.check("AUTH {0} lets a user in, and the mail leaves signed", [("plain",), ("login",)])
def authenticated(world: World, mechanism: str) -> None:
    given = words(world, "submission", *_login(world, mechanism, PASSWORD))
    arrived = world.delivered(lambda: succeeds("msmtp", *given, entered=unix(PLAIN)))
    added(arrived.content, PLAIN, SIGNED)
    expect(verified(arrived.content, records()), "dkimpy refuses the signature")


@PEER.check(
    "AUTH {0} under {1} lets a user in",
    [("plain", "STARTTLS"), ("login", "STARTTLS"), ("plain", "TLS"), ("oauthbearer", "TLS"), ("xoauth2", "TLS")],
)
def encrypted(world: World, mechanism: str, how: str) -> None:
    listener, start = ("implicit", "off") if how == "TLS" else ("encrypted", "on")
    given = words(world, listener, *_login(world, mechanism, TOKEN if "auth" in mechanism else PASSWORD))
    given[given.index("--tls=off")] = "--tls=on"
    trust = [f"--tls-trust-file={world.authorities}", f"--tls-starttls={start}"]
    arrived = world.delivered(lambda: succeeds("msmtp", *trust, *given, entered=unix(PLAIN)))
    expect(b" with ESMTPSA id " in arrived.content, "no such trace field")
    expect(verified(arrived.content, records()), "dkimpy refuses the signature")


@PEER.check("a wrong password is refused")
def refused(world: World) -> None:
    said = call("msmtp", *words(world, "submission", *_login(world, "plain", "wrong")), entered=unix(PLAIN))
    expect(said.code == _NO_PERMISSION and b"535" in said.errors, said.text)


def _login(world: World, mechanism: str, password: str) -> list[str]:
    secret = world.file("msmtp.password", password.encode() + b"\n")
    return [f"--auth={mechanism}", f"--user={USER}", f"--passwordeval=cat {secret}"]
