"""The tour in half a minute: a real server on loopback, real mail, and somebody else's verifier.

`make demo` runs this. DNS and the key API are small servers of this process, so nothing leaves the machine.
"""

import json
import smtplib
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import dkim as dkimpy
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from flowengine.mail.keys import PrivateKey
from flowengine.services import resources

PASSWORD = "correct horse"  # noqa: S105  # the demo's own user on loopback

CONFIG = """\
hostname = "mx.example.net"
storage = "sqlite:{folder}/state.db"
[dns]
servers = ["127.0.0.1:{dns}"]
[api]
url = "http://127.0.0.1:{api}/keys"
[pki.example]
file = "{folder}/example.pem"
[log]
level = "error"
[listeners.inbound]
address = "127.0.0.1:0"
recipient_domains = ["example.net"]
flows = {{ data = "{flows}/inbound.hsl" }}
transport = "sink"
[listeners.submission]
address = "127.0.0.1:0"
require_auth = true
allow_plaintext_auth = true
users = "{folder}/users.toml"
flows = {{ data = "{flows}/outbound.hsl" }}
transport = "sink"
[listeners.submission-pki]
address = "127.0.0.1:0"
require_auth = true
allow_plaintext_auth = true
users = "{folder}/users.toml"
flows = {{ data = "{flows}/outbound-pki.hsl" }}
transport = "sink"
[transports.sink]
sink = "{folder}/sink"
"""


class Tour:
    """The world of the demo, and what is shown of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bank, self.customer, self.example = (PrivateKey.generate() for _ in range(3))
        self.zone = {
            "_dmarc.bank.example": "v=DMARC1; p=reject",
            "s1._domainkey.bank.example": self.bank.record(),
            "api1._domainkey.example.net": self.customer.record(),
            "s1._domainkey.example.net": self.example.record(),
        }
        self.ports: dict[str, int] = {}

    def message(self, sender: str, recipient: str, subject: str, text: str) -> bytes:
        """A message as a mail program writes it."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender, recipient, subject
        mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="example.org")
        mail.set_content(text)
        return mail.as_bytes().replace(b"\n", b"\r\n")

    def send(self, door: str, sender: str, recipient: str, message: bytes, user: str = "") -> str:
        """Send by SMTP; the server's last reply."""
        with smtplib.SMTP("127.0.0.1", self.ports[door], timeout=20) as client:
            client.ehlo("laptop.example.org")
            if user:
                client.login(user, PASSWORD)
            client.mail(sender)
            client.rcpt(recipient)
            code, text = client.data(message)
        return f"{code} {text.decode()}"

    def arrived(self) -> list[bytes]:
        """The messages in the sink, oldest first."""
        files = sorted((self.folder / "sink").rglob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
        return [file.read_bytes() for file in files]

    def verified_by_dkimpy(self, message: bytes) -> bool:
        """What another implementation says of the signature."""

        def txt(name: bytes, timeout: int = 5) -> bytes:
            return self.zone.get(name.decode().rstrip("."), "").encode()

        return bool(dkimpy.verify(message, dnsfunc=txt))


def main() -> int:
    """Play the tour. 0 when everything went as it should."""
    with tempfile.TemporaryDirectory(prefix="flowengine-demo-") as name, ExitStack() as stack:
        tour = Tour(Path(name))
        dns_port = stack.enter_context(dns_server(tour.zone))
        api_port = stack.enter_context(api_server(tour.customer))
        config = prepare(tour, dns_port, api_port)
        tour.ports = stack.enter_context(server(config))
        return int(not all(step(tour) for step in (genuine, forged, signed_by_api, signed_by_configuration)))


def genuine(tour: Tour) -> bool:
    """A bank's own mail, signed by the bank."""
    mail = tour.message("Bank <service@bank.example>", "alice@example.net", "Your statement", "It is ready.\n")
    signature = dkimpy.sign(mail, b"s1", b"bank.example", tour.bank.pem(), include_headers=[b"from", b"to", b"subject"])
    reply = tour.send("inbound", "service@bank.example", "alice@example.net", signature + mail)
    stamped = b"dmarc=pass" in tour.arrived()[-1] if tour.arrived() else False
    return tell(
        "inbound: a genuine message of bank.example (p=reject), signed by it", reply, reply[:3] == "250" and stamped
    )


def forged(tour: Tour) -> bool:
    """The bank's name in front of somebody else's mail."""
    mail = tour.message("Bank <service@bank.example>", "alice@example.net", "Please verify", "Click here.\n")
    reply = tour.send("inbound", "bounce@attacker.example", "alice@example.net", mail)
    return tell("inbound: the same From on a forged message", reply, reply[:3] == "550")


def signed_by_api(tour: Tour) -> bool:
    """An authenticated user's mail, signed with the key that the API has for the user."""
    return _signed(tour, "submission", "outbound: alice@example.net authenticates; the HTTP API has her key")


def signed_by_configuration(tour: Tour) -> bool:
    """The same with a key of the configuration."""
    return _signed(tour, "submission-pki", "outbound: the same with pki:example of the configuration")


def _signed(tour: Tour, door: str, what: str) -> bool:
    mail = tour.message("Alice <alice@example.net>", "bob@example.org", "Lunch?", "At noon?\n")
    before = len(tour.arrived())
    reply = tour.send(door, "alice@example.net", "bob@example.org", mail, user="alice@example.net")
    arrived = tour.arrived()[before:]
    good = bool(arrived) and tour.verified_by_dkimpy(arrived[-1])
    unchanged = bool(arrived) and arrived[-1].endswith(mail)
    note = f"dkimpy: signature {'verifies' if good else 'does NOT verify'}; message otherwise {'un' * unchanged}changed"
    return tell(what, f"{reply}\n      {note}", reply[:3] == "250" and good and unchanged)


def tell(what: str, happened: str, good: bool) -> bool:
    """Show one step."""
    sys.stdout.write(f"{'ok ' if good else 'BAD'}  {what}\n      {happened}\n")
    return good


def prepare(tour: Tour, dns_port: int, api_port: int) -> Path:
    """Configuration, key and users file of the demo."""
    folder = tour.folder
    key = folder / "example.pem"
    key.touch(mode=0o600)
    key.write_bytes(tour.example.pem())
    config = folder / "flowengine.toml"
    text = CONFIG.format(folder=folder, dns=dns_port, api=api_port, flows=resources.find("flows"))
    config.write_text(text)
    run_cli("users", "add", "alice@example.net", "--password-stdin", "-c", str(config), entered=PASSWORD)
    return config


def run_cli(*words: str, entered: str = "") -> str:
    """One `flowengine` command. Raises CalledProcessError."""
    command = [sys.executable, "-m", "flowengine", *words]
    return subprocess.run(command, input=entered, text=True, check=True, capture_output=True).stdout  # noqa: S603  # our own program


@contextmanager
def server(config: Path) -> Iterator[dict[str, int]]:
    """`flowengine serve`, as an operator starts it; its ports by listener."""
    command = [sys.executable, "-m", "flowengine", "serve", "-c", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own program
    try:
        assert process.stdout is not None  # noqa: S101  # a pipe was asked for
        ports: dict[str, int] = {}
        while len(ports) < 3:  # one line a listener
            line = process.stdout.readline()
            if not line:
                raise SystemExit("flowengine serve ended before it was ready")
            if line.startswith("ready "):
                _, name, address = line.split()[:3]
                ports[name] = int(address.rpartition(":")[2])
        yield ports
    finally:
        process.terminate()
        process.wait(timeout=15)


@contextmanager
def dns_server(zone: dict[str, str]) -> Iterator[int]:
    """A DNS server for TXT records of one table; its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data: bytes
            channel: socket.socket
            data, channel = self.request
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query)
            name = query.question[0].name.to_text().rstrip(".").lower()
            if name not in zone:
                response.set_rcode(dns.rcode.NXDOMAIN)
            elif query.question[0].rdtype == dns.rdatatype.TXT:
                strings = [zone[name][i : i + 255] for i in range(0, len(zone[name]), 255)]
                text = " ".join(json.dumps(part) for part in strings)
                response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", text))
            channel.sendto(response.to_wire(), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as one, _threaded(one.serve_forever, one.shutdown):
        yield one.server_address[1]


@contextmanager
def api_server(key: PrivateKey) -> Iterator[int]:
    """The key API: one key for alice@example.net; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            answer = None
            if asked == {"type": "dkim", "user": "alice@example.net", "domain": "example.net"}:
                answer = {"selector": "api1", "domain": "example.net", "rsakey": key.pem().decode()}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the base class's name
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one, _threaded(one.serve_forever, one.shutdown):
        yield one.server_address[1]


@contextmanager
def _threaded(serve: Callable[[], None], shutdown: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        shutdown()
        thread.join()


if __name__ == "__main__":
    raise SystemExit(main())
