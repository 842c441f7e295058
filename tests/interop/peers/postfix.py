"""Postfix on both sides of us: as the client that hands us its mail, and as the next hop behind us.

One instance of its own, in the temporary directory: a submission port whose mail goes to us, and a relay port whose
mail goes to the last server. Nothing of the machine's own Postfix, if it has one, is read or written.
"""

import email
import email.policy
import os
import pwd
import signal
import smtplib
import socket
import subprocess
import time
from email.message import EmailMessage
from pathlib import Path
from typing import cast

from tests.interop.checks import Disagreement, LeftOut, Peer, call, expect
from tests.interop.dkim_keys import records
from tests.interop.messages import (
    MESSAGES,
    PLAIN,
    RECIPIENT,
    SENDER,
    SIGNED,
    WIDE,
    WIDE_RECIPIENT,
    WIDE_SENDER,
    added,
)
from tests.interop.next_hop import Delivery
from tests.interop.peers import opendkim
from tests.interop.peers.dkimpy import verified
from tests.interop.world import World, free_port
from tests.world.engine import end_of

PEER = Peer("Postfix", programs=("postfix", "postconf"), packages=("postfix",))

REFUSED = "nobody@example.org"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example.org
mydestination =
alias_maps =
local_recipient_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{last}
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtp_tls_security_level = none
smtputf8_enable = yes
smtputf8_autodetect_classes = sendmail
message_size_limit = 60000000
"""
_SERVICES = """\
127.0.0.1:{before} inet n - n - - smtpd -o syslog_name=postfix/before
    -o content_filter=smtp:[127.0.0.1]:{ours}
127.0.0.1:{secure} inet n - n - - smtpd -o syslog_name=postfix/secure
    -o content_filter=secured:[127.0.0.1]:{encrypted}
secured unix - - n - - smtp -o smtp_tls_security_level=secure -o smtp_tls_CAfile={authorities}
    -o {{ smtp_tls_secure_cert_match = mx.example.net }}
127.0.0.1:{behind} inet n - n - - smtpd -o syslog_name=postfix/behind
    -o {{ smtpd_recipient_restrictions = check_recipient_access inline:{{{refused}=REJECT}}, permit }}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
tlsmgr unix - - n 1000? 1 tlsmgr
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """The instance. before, secure: its ports whose mail goes to us, under TLS from secure; behind: the one whose mail goes to the last server."""

    def __init__(self, world: World) -> None:
        self.before, self.secure, self.behind = free_port(), free_port(), world.server_port
        self.folder = world.folder / "postfix"
        for name in ("", "spool", "data"):
            (self.folder / name).mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        daemons = call("postconf", "-d", "-h", "daemon_directory").output.decode().strip()
        certificate, key = world.authority.issue("127.0.0.1")
        ports = {"before": self.before, "behind": self.behind, "last": world.hop.port, "ours": world.port("signing")}
        ports |= {"secure": self.secure, "encrypted": world.port("relay-encrypted")}
        files = {"folder": self.folder, "daemons": daemons, "certificate": certificate, "key": key}
        (self.folder / "main.cf").write_text(_MAIN.format(**files, **ports))
        (self.folder / "master.cf").write_text(
            _SERVICES.format(**ports, refused=REFUSED, authorities=world.authorities)
        )
        call("postfix", "-c", self.folder, "check")  # makes the queue's directories
        self._start(Path(daemons) / "master")
        world.stack.callback(self._stop)

    def _start(self, master: Path) -> None:
        command = [str(master), "-c", str(self.folder), "-d"]
        self._master = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 — no shell
        deadline = time.monotonic() + 20
        for port in (self.before, self.secure, self.behind):
            while not _answers(port):
                if time.monotonic() > deadline or self._master.poll() is not None:
                    self._stop()
                    raise Disagreement(f"Postfix did not start:\n{self.log}")
                time.sleep(0.1)

    def _stop(self) -> None:
        self._master.send_signal(signal.SIGTERM)  # its children end with it
        try:
            self._master.wait(10)
        except subprocess.TimeoutExpired:
            self._master.kill()
            self._master.wait()

    @property
    def log(self) -> str:
        """The end of its log."""
        file = self.folder / "log"
        return end_of(file) if file.exists() else "no log"


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as one:
            return one.recv(3) == b"220"
    except OSError:
        return False


def postfix(world: World) -> Postfix:
    """The instance that the checks share."""
    if os.geteuid() != 0:
        raise LeftOut("only root can start a Postfix")
    return world.once(Postfix)


def send(
    port: int, message: bytes, sender: str = SENDER, recipient: str = RECIPIENT, options: tuple[str, ...] = ()
) -> None:
    """Hand a message to a server of these tests."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.org", timeout=30) as client:
        client.sendmail(sender, recipient, message, options)


def through(
    world: World,
    port: int,
    message: bytes,
    sender: str = SENDER,
    recipient: str = RECIPIENT,
    options: tuple[str, ...] = (),
) -> Delivery:
    """What arrives at the last server of a message that goes in at a port. Raises Disagreement with Postfix's log."""
    try:
        return world.delivered(lambda: send(port, message, sender, recipient, options))
    except (Disagreement, smtplib.SMTPException) as error:
        raise Disagreement(f"{error}\n{postfix(world).log}") from None


@PEER.check("its mail, “{0}”, leaves us signed and otherwise unchanged", [(name,) for name in MESSAGES])
def as_client(world: World, name: str) -> None:
    arrived = through(world, postfix(world).before, MESSAGES[name])
    names = added(arrived.content, MESSAGES[name], SIGNED)
    expect(sorted(names) == ["dkim-signature", "received", "received"], f"fields on top: {names}")
    _verifies(world, arrived.content)


@PEER.check("its mail, “{0}”, comes to us under TLS with our certificate verified", [("plain",), ("long",)])
def as_secure_client(world: World, name: str) -> None:
    arrived = through(world, postfix(world).secure, MESSAGES[name])
    added(arrived.content, MESSAGES[name], SIGNED)
    expect(b" with ESMTPS id " in arrived.content and b"(using TLSv1.3 " in arrived.content, "no such trace field")
    _verifies(world, arrived.content)


@PEER.check("our mail, “{0}”, leaves it unchanged, and the signature holds", [(name,) for name in MESSAGES])
def as_next_hop(world: World, name: str) -> None:
    postfix(world)
    arrived = through(world, world.port("towards-server"), MESSAGES[name])
    names = added(arrived.content, MESSAGES[name], SIGNED)
    expect(sorted(names) == ["dkim-signature", "received", "received"], f"fields on top: {names}")
    _verifies(world, arrived.content)


@PEER.check("our mail comes to it by TLS, with its certificate verified")
def by_tls(world: World) -> None:
    postfix(world)
    arrived = through(world, world.port("towards-server"), PLAIN)
    theirs = arrived.content.partition(b"\r\n\tid ")[0]
    expect(b"by postfix.example.org (Postfix) with ESMTPS id" in arrived.content, f"its trace field: {theirs!r}")


@PEER.check("SMTPUTF8 with addresses in UTF-8, {0}", [("as client",), ("as next hop",)])
def wide(world: World, side: str) -> None:
    before = postfix(world).before
    port = before if side == "as client" else world.port("towards-server")
    arrived = through(world, port, WIDE, WIDE_SENDER, WIDE_RECIPIENT, options=("SMTPUTF8", "BODY=8BITMIME"))
    added(arrived.content, WIDE, SIGNED)
    expect((arrived.sender, arrived.recipients) == (WIDE_SENDER, (WIDE_RECIPIENT,)), f"envelope: {arrived}")
    _verifies(world, arrived.content)


@PEER.check("fifty messages of its queue all arrive, once")
def queue(world: World) -> None:
    before = postfix(world).before
    world.hop.forget()
    with smtplib.SMTP("127.0.0.1", before, local_hostname="client.example.org", timeout=30) as client:
        for number in range(50):
            client.sendmail(SENDER, RECIPIENT, PLAIN + b"%d\r\n" % number)
    endings = sorted(int(world.hop.take().content.splitlines()[-1]) for _ in range(50))
    expect(endings == list(range(50)), f"arrived: {endings}")
    expect(world.hop.nothing_came(), "more came than was sent")


@PEER.check("what it refuses behind our queue comes back in a report, which leaves through it")
def report(world: World) -> None:
    arrived = through(world, world.port("towards-server"), PLAIN, SENDER, REFUSED)
    expect((arrived.sender, arrived.recipients) == ("<>", (SENDER,)), f"envelope: {arrived}")
    message = email.message_from_bytes(arrived.content, policy=email.policy.default)
    parts = list(message.iter_parts())
    kinds = [part.get_content_type() for part in parts]
    expect(kinds == ["text/plain", "message/delivery-status", "message/rfc822"], f"its parts: {kinds}")
    told = cast("list[EmailMessage]", parts[1].get_payload())[1]
    expect(told["Final-Recipient"] == f"rfc822; {REFUSED}" and told["Status"].startswith("5."), f"it says: {told}")
    expect(told["Diagnostic-Code"].startswith("smtp; 554 5.7.1 "), f"it says: {told}")
    expect(world.hop.nothing_came(), "more came")


@PEER.check("what it refuses behind us is refused to the client, who waits for its answer")
def refusal(world: World) -> None:
    postfix(world)
    world.hop.forget()
    try:
        send(world.port("towards-server-inline"), PLAIN, SENDER, REFUSED)
    except smtplib.SMTPRecipientsRefused as error:
        code = error.recipients[REFUSED][0]
    except smtplib.SMTPResponseException as error:
        code = error.smtp_code
    else:
        raise Disagreement("we took what it refused")
    expect(code // 100 == 5, f"it refused for good and we answered {code}")
    expect(world.hop.nothing_came(), "the message went on in spite of that")


def _verifies(world: World, message: bytes) -> None:
    """dkimpy and, when it is there, OpenDKIM take the signature."""
    expect(verified(message, records()), "dkimpy refuses the signature")
    if not opendkim.PEER.missing():
        result, told = opendkim.verdict(world, message, records())
        expect(result == "pass", f"OpenDKIM: {told}")
