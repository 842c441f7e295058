"""Our side of the play, on loopback and in one temporary directory, each part started when a check asks for it."""

import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

from flowengine.servers.demo import dns_server, run_cli
from flowengine.services import resources
from tests.interop.checks import Disagreement
from tests.interop.dkim_keys import records, rsa_key
from tests.interop.next_hop import Delivery, NextHop, next_hop
from tests.world.certificates import Office
from tests.world.engine import Engine, serving

USER, PASSWORD = "alice@example.net", "correct horse battery"
TOKEN = "dG9rZW4tb2YtYWxpY2U"  # noqa: S105  # of these tests only

CONFIG = """\
hostname = "mx.example.net"
storage = "sqlite:{folder}/state.db"
[dns]
servers = ["127.0.0.1:{dns}"]
[pki.example]
file = "{folder}/example.pem"
[log]
level = "warning"
[listeners.relay]
address = "127.0.0.1:0"
relay_from = ["127.0.0.0/8"]
transport = "hop"
[listeners.signing]
address = "127.0.0.1:0"
relay_from = ["127.0.0.0/8"]
flows = {{ data = "{flows}/outbound-pki.hsl" }}
transport = "hop"
[listeners.submission]
address = "127.0.0.1:0"
require_auth = true
allow_plaintext_auth = true
users = "{folder}/users.toml"
flows = {{ data = "{flows}/outbound-pki.hsl" }}
transport = "hop"
[listeners.encrypted]
address = "127.0.0.1:0"
require_auth = true
users = "{folder}/users.toml"
tls = {{ certificate = "{folder}/mx.example.net.pem", key = "{folder}/mx.example.net.key", required = true }}
flows = {{ data = "{flows}/outbound-pki.hsl" }}
transport = "hop"
[listeners.implicit]
address = "127.0.0.1:0"
require_auth = true
auth_mechanisms = ["PLAIN", "OAUTHBEARER", "XOAUTH2"]
tls = {{ certificate = "{folder}/mx.example.net.pem", key = "{folder}/mx.example.net.key", implicit = true }}
flows = {{ auth = "{folder}/auth.hsl", data = "{flows}/outbound-pki.hsl" }}
transport = "hop"
[listeners.relay-encrypted]
address = "127.0.0.1:0"
relay_from = ["127.0.0.0/8"]
flows = {{ data = "{flows}/outbound-pki.hsl" }}
tls = {{ certificate = "{folder}/mx.example.net.pem", key = "{folder}/mx.example.net.key", required = true }}
transport = "hop"
[listeners.towards-server]
address = "127.0.0.1:0"
relay_from = ["127.0.0.0/8"]
flows = {{ data = "{flows}/outbound-pki.hsl" }}
transport = "server"
[listeners.towards-server-inline]
address = "127.0.0.1:0"
relay_from = ["127.0.0.0/8"]
transport = "server"
delivery = "inline"
[transports.hop]
host = "127.0.0.1:{hop}"
[transports.server]
host = "127.0.0.1:{server}"
tls = {{ mode = "verify", authorities = "{folder}/authority.pem" }}
"""
AUTH_FLOW = """\
if ($saslmechanism == "PLAIN") {{ if ($saslpassword == "{password}") Accept(); Reject("wrong password"); }}
if ($saslpassword == "{token}") Accept(["username" => "{user}"]);
Reject("wrong token");
"""
LISTENERS = 8

Started = TypeVar("Started")


class World:
    """What the checks share. Use it in a `with`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._started: dict[object, object] = {}
        self._read = 0  # octets of our server's log
        self.folder = Path()

    def __enter__(self) -> "World":
        self.folder = Path(tempfile.mkdtemp(prefix="flowengine-interop-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)  # daemons that give up root must find their files
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def stack(self) -> ExitStack:
        """What ends with the world."""
        return self._stack

    def once(self, start: "Callable[[World], Started]") -> Started:
        """What `start` starts, the first time and ever after; what failed to start fails again without a new try."""
        if start not in self._started:
            try:
                self._started[start] = start(self)
            except Exception as error:
                self._started[start] = error
                raise
        started = self._started[start]
        if isinstance(started, Exception):
            raise Disagreement("did not start, see above")
        return cast("Started", started)

    def file(self, name: str, content: bytes = b"") -> Path:
        """A file of the temporary directory, mode 600, with this content."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    @cached_property
    def hop(self) -> NextHop:
        """The last server of every way."""
        return self._stack.enter_context(next_hop())

    @cached_property
    def server_port(self) -> int:
        """Where the mail server behind us is to listen."""
        return free_port()

    @cached_property
    def authority(self) -> Office:
        """Who signs the certificates of all servers."""
        return Office(self.folder)

    def engine(self) -> Engine:
        """Our server."""
        dns_port = self._stack.enter_context(dns_server(records()))
        config = self.configuration(dns_port, self.hop.port, self.server_port)
        return self._stack.enter_context(serving(config, LISTENERS, self.folder / "engine.log"))

    def configuration(self, dns: int, hop: int, server: int) -> Path:
        """The file with what our server is told, and the files that it names. The numbers are ports."""
        self.file("example.pem", rsa_key().pem())
        self.authority.issue("mx.example.net", "127.0.0.1")
        self.file("auth.hsl", AUTH_FLOW.format(password=PASSWORD, token=TOKEN, user=USER).encode())
        flows = resources.find("flows")
        text = CONFIG.format(folder=self.authority.folder, flows=flows, dns=dns, hop=hop, server=server)
        config = self.file("flowengine.toml", text.encode())
        run_cli("users", "add", USER, "--password-stdin", "-c", str(config), entered=PASSWORD)
        return config

    @property
    def authorities(self) -> Path:
        """The file with whom clients of our TLS trust."""
        return self.authority.file

    def news(self) -> str:
        """What our server wrote into its log since this was asked last."""
        log = self.folder / "engine.log"
        if not log.exists():
            return ""
        with log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        self._read += len(text)
        return text.decode("utf-8", "replace")

    def port(self, listener: str) -> int:
        """The port of a listener of ours."""
        return self.once(World.engine).ports[listener]

    def delivered(self, send: Callable[[], object]) -> Delivery:
        """What arrives at the last server when a message is sent."""
        self.hop.forget()
        send()
        return self.hop.take()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
