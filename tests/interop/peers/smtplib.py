"""smtplib of Python: every extension we offer, asked for by a client that says what it got."""

import smtplib

from tests.interop.checks import Peer, expect
from tests.interop.dkim_keys import passes_ours, records
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
from tests.interop.world import PASSWORD, USER, World

PEER = Peer("smtplib")


def client(world: World, listener: str) -> smtplib.SMTP:
    """A client that has said EHLO."""
    one = smtplib.SMTP("127.0.0.1", world.port(listener), local_hostname="client.example.org", timeout=20)
    one.ehlo()
    return one


@PEER.check("“{0}” goes through byte for byte", [(name,) for name in MESSAGES])
def unchanged(world: World, name: str) -> None:
    with client(world, "relay") as smtp:
        arrived = world.delivered(lambda: smtp.sendmail(SENDER, RECIPIENT, MESSAGES[name]))
    names = added(arrived.content, MESSAGES[name], TRACE)
    expect(names == ["received"], f"trace fields: {names}")
    expect(arrived.sender == SENDER and arrived.recipients == (RECIPIENT,), f"envelope: {arrived}")


@PEER.check("twenty messages on one connection arrive in order")
def many(world: World) -> None:
    world.hop.forget()
    with client(world, "relay") as smtp:
        for number in range(20):
            smtp.sendmail(SENDER, RECIPIENT, PLAIN + b"%d\r\n" % number)
    for number in range(20):
        added(world.hop.take().content, PLAIN + b"%d\r\n" % number, TRACE)


@PEER.check("three recipients get one copy")
def recipients(world: World) -> None:
    all_of_them = [f"{name}@example.org" for name in ("bob", "carol", "dave")]
    with client(world, "relay") as smtp:
        arrived = world.delivered(lambda: smtp.sendmail(SENDER, all_of_them, PLAIN))
    expect(list(arrived.recipients) == all_of_them, f"recipients: {arrived.recipients}")
    expect(world.hop.nothing_came(), "a second copy came")


@PEER.check("the null sender goes through")
def bounce(world: World) -> None:
    with client(world, "relay") as smtp:
        arrived = world.delivered(lambda: smtp.sendmail("", RECIPIENT, PLAIN))
    expect(arrived.sender in ("", "<>"), f"the sender became {arrived.sender}")


@PEER.check("SIZE, BODY=8BITMIME and SMTPUTF8 are offered and passed on, addresses in UTF-8 too")
def wide(world: World) -> None:
    with client(world, "relay") as smtp:
        for extension in ("size", "8bitmime", "smtputf8", "pipelining", "enhancedstatuscodes"):
            expect(smtp.has_extn(extension), f"{extension.upper()} is not offered")
        options = ["BODY=8BITMIME", "SMTPUTF8"]
        arrived = world.delivered(lambda: smtp.sendmail(WIDE_SENDER, WIDE_RECIPIENT, WIDE, options))
    added(arrived.content, WIDE, TRACE)
    expect((arrived.sender, arrived.recipients) == (WIDE_SENDER, (WIDE_RECIPIENT,)), f"envelope: {arrived}")
    given = {option.upper() for option in arrived.options}
    expect({"BODY=8BITMIME", "SMTPUTF8"} <= given, f"parameters at the next hop: {arrived.options}")


@PEER.check("“{0}” goes through by BDAT in three chunks, byte for byte", [(name,) for name in MESSAGES])
def chunked(world: World, name: str) -> None:
    message = MESSAGES[name]
    third = len(message) // 3
    chunks = [message[:third], message[third : 2 * third], message[2 * third :]]

    def send() -> None:
        with client(world, "relay") as smtp:
            expect(smtp.has_extn("chunking"), "CHUNKING is not offered")
            smtp.mail(SENDER, ["BODY=8BITMIME"])
            smtp.rcpt(RECIPIENT)
            for number, chunk in enumerate(chunks):
                smtp.send(b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if number == 2 else b"") + chunk)
            for _ in chunks:
                code, text = smtp.getreply()
                expect(code == 250, f"{code} {text!r}")

    arrived = world.delivered(send)
    expect(added(arrived.content, message, TRACE) == ["received"], "no trace field")


@PEER.check("RET, ENVID, NOTIFY and ORCPT are taken, wrong ones are 501")
def notifications(world: World) -> None:
    with client(world, "relay") as smtp:
        expect(smtp.has_extn("dsn"), "DSN is not offered")
        code, text = smtp.mail(SENDER, ["RET=SOME"])
        expect(code == 501, f"{code} {text!r}")
        expect(smtp.mail(SENDER, ["RET=HDRS", "ENVID=QQ314159"])[0] == 250, "RET and ENVID are refused")
        expect(smtp.rcpt(RECIPIENT, ["NOTIFY=WHENEVER"])[0] == 501, "a wrong NOTIFY is taken")
        given = ["NOTIFY=FAILURE,DELAY", f"ORCPT=rfc822;{RECIPIENT}"]
        expect(smtp.rcpt(RECIPIENT, given)[0] == 250, "NOTIFY and ORCPT are refused")


@PEER.check("AUTH {0} lets a user in, and the mail leaves signed", [("PLAIN",), ("LOGIN",)])
def authenticated(world: World, mechanism: str) -> None:
    with client(world, "submission") as smtp:
        expect(mechanism in smtp.esmtp_features.get("auth", ""), f"AUTH offers {smtp.esmtp_features.get('auth')}")
        smtp.user, smtp.password = USER, PASSWORD
        code, text = smtp.auth(mechanism, smtp.auth_plain if mechanism == "PLAIN" else smtp.auth_login)
        expect(code == 235, f"{code} {text!r}")
        arrived = world.delivered(lambda: smtp.sendmail(SENDER, RECIPIENT, PLAIN))
    names = added(arrived.content, PLAIN, SIGNED)
    expect(names.count("dkim-signature") == 1, f"fields on top: {names}")
    expect(verified(arrived.content, records()), "dkimpy refuses the signature")
    passes_ours(arrived.content, records(), "our own signature")


@PEER.check("a wrong password is answered 535, and MAIL without AUTH 530")
def refused(world: World) -> None:
    with client(world, "submission") as smtp:
        code, text = smtp.docmd("MAIL", f"FROM:<{SENDER}>")
        expect(code == 530, f"MAIL without AUTH: {code} {text!r}")
        try:
            smtp.login(USER, "wrong")
        except smtplib.SMTPAuthenticationError as error:
            expect(error.smtp_code == 535, f"a wrong password: {error}")
        else:
            expect(False, "a wrong password was taken")


@PEER.check("a message over SIZE is refused at MAIL with 552")
def too_large(world: World) -> None:
    with client(world, "relay") as smtp:
        limit = int(smtp.esmtp_features["size"])
        code, text = smtp.mail(SENDER, [f"SIZE={limit + 1}"])
        expect(code == 552, f"{code} {text!r}")
