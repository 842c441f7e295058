"""curl: SMTP of libcurl, which many programs send with."""

from tests.interop.checks import LeftOut, Peer, call, expect, succeeds
from tests.interop.dkim_keys import records
from tests.interop.messages import (
    MESSAGES,
    PLAIN,
    RECIPIENT,
    SENDER,
    SIGNED,
    TRACE,
    WIDE,
    WIDE_RECIPIENT,
    WIDE_SENDER,
    added,
)
from tests.interop.peers.dkimpy import verified
from tests.interop.world import PASSWORD, TOKEN, USER, World

PEER = Peer("curl", programs=("curl",), packages=("curl",))
_LOGIN_DENIED = 67  # its exit code


def words(world: World, listener: str, message: bytes, sender: str = SENDER, recipient: str = RECIPIENT) -> list[str]:
    """The options that every call has."""
    if b"smtp" not in call("curl", "--version").output:
        raise LeftOut("this curl does not speak SMTP")
    mail = world.file("curl.eml", message)
    envelope = ["--mail-from", sender, "--mail-rcpt", recipient, "--upload-file", str(mail)]
    return ["-sS", "-v", "-m", "30", f"smtp://127.0.0.1:{world.port(listener)}/client.example.org", *envelope]


@PEER.check("“{0}” goes through byte for byte", [(name,) for name in MESSAGES])
def plain(world: World, name: str) -> None:
    arrived = world.delivered(lambda: succeeds("curl", *words(world, "relay", MESSAGES[name])))
    expect(added(arrived.content, MESSAGES[name], TRACE) == ["received"], "no trace field")


@PEER.check("SMTPUTF8 with addresses in UTF-8")
def wide(world: World) -> None:
    given = words(world, "relay", WIDE, WIDE_SENDER, WIDE_RECIPIENT)
    arrived = world.delivered(lambda: succeeds("curl", *given))
    expect((arrived.sender, arrived.recipients) == (WIDE_SENDER, (WIDE_RECIPIENT,)), f"envelope: {arrived}")
    expect("SMTPUTF8" in arrived.options, f"parameters at the next hop: {arrived.options}")
    added(arrived.content, WIDE, TRACE)


@PEER.check("AUTH {0} lets a user in, and the mail leaves signed", [("PLAIN",), ("LOGIN",)])
def authenticated(world: World, mechanism: str) -> None:
    user = ("--user", f"{USER}:{PASSWORD}", "--login-options", f"AUTH={mechanism}")
    arrived = world.delivered(lambda: succeeds("curl", *words(world, "submission", PLAIN), *user))
    added(arrived.content, PLAIN, SIGNED)
    expect(verified(arrived.content, records()), "dkimpy refuses the signature")


@PEER.check(
    "AUTH {0} under {1} lets a user in, and a wrong secret not",
    [("PLAIN", "STARTTLS"), ("LOGIN", "STARTTLS"), ("PLAIN", "TLS"), ("OAUTHBEARER", "TLS"), ("XOAUTH2", "TLS")],
)
def encrypted(world: World, mechanism: str, how: str) -> None:
    listener = "implicit" if how == "TLS" else "encrypted"
    given = words(world, listener, PLAIN)
    if how == "TLS":
        given = [word.replace("smtp://", "smtps://") for word in given]
    else:
        given.append("--ssl-reqd")
    more = ["--cacert", str(world.authorities), "--login-options", f"AUTH={mechanism}"]

    def login(secret: str) -> list[str]:
        if mechanism in ("PLAIN", "LOGIN"):
            return [*given, *more, "--user", f"{USER}:{secret}"]
        return [*given, *more, "--user", USER, "--oauth2-bearer", secret]

    good = PASSWORD if mechanism in ("PLAIN", "LOGIN") else TOKEN
    arrived = world.delivered(lambda: succeeds("curl", *login(good)))
    expect(b" with ESMTPSA id " in arrived.content, "no such trace field")
    expect(verified(arrived.content, records()), "dkimpy refuses the signature")
    said = call("curl", *login("wrong"))
    expect(said.code == _LOGIN_DENIED and b"535" in said.errors, said.text)


@PEER.check("a wrong password is refused")
def refused(world: World) -> None:
    said = call("curl", *words(world, "submission", PLAIN), "--user", f"{USER}:wrong")
    expect(said.code == _LOGIN_DENIED and b"535" in said.errors, said.text)
