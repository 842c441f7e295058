"""Socket and TLSSocket against servers on the loopback: plain, encrypted, slow, gone, not allowed."""

# a flow and what it prints stand on one line
import datetime
import gc
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standing import Standing
from test_examples import play

from flowengine.language.problems import FlowError, FlowProblems
from flowengine.services.network import NetworkGuard
from flowengine.services.wires import GuardedWires

LOOPBACK = ip_network("127.0.0.0/8")


class Server:
    """Serves connections one after another, each with a function, in a thread."""

    def __init__(self, serve: Callable[[socket.socket], None], kind: int = socket.SOCK_STREAM) -> None:
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._serve, self._kind = serve, kind
        if kind == socket.SOCK_STREAM:
            self.socket.listen()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                if self._kind == socket.SOCK_DGRAM:
                    self._serve(self.socket)
                    continue
                client, _ = self.socket.accept()
            except OSError:
                return
            with client:
                try:
                    self._serve(client)
                except OSError:
                    continue


def upper(client: socket.socket) -> None:
    while data := client.recv(65536):
        client.sendall(data.upper())


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    servers = []

    def start(function: Callable[[socket.socket], None] = upper, kind: int = socket.SOCK_STREAM) -> int:
        servers.append(Server(function, kind))
        return servers[-1].port

    yield start
    for server in servers:
        server.socket.close()


@pytest.fixture
def run() -> Standing:
    return Standing(wires=GuardedWires(NetworkGuard([LOOPBACK])))


def connected(port: int, rest: str) -> str:
    return f'$s = Socket("AF_INET", "SOCK_STREAM"); if (!$s->connect("127.0.0.1", {port})) {{ echo $s->errno(); return; }} {rest}'


@pytest.mark.parametrize(
    ("rest", "output"),
    [
        ('echo $s->send("abc"); echo $s->recv(9);', ["3", "ABC"]),
        ('$s->send("abcdef"); echo $s->recv(6, "MSG_WAITALL"); echo $s->errno();', ["ABCDEF", "0"]),
        ('$s->send("abc"); echo $s->recv(2, "MSG_PEEK"); echo $s->recv(3, "MSG_WAITALL");', ["AB", "ABC"]),
        ('echo $s->recv(9, "MSG_DONTWAIT") === none; echo $s->errno();', ["true", "11"]),
        ("$s->settimeout(0.05); echo $s->recv(9) === none; echo $s->errno();", ["true", "110"]),
        ("echo $s->recv(0); echo $s->recv(-1) === none;", ["", "true"]),
        ('$s->shutdown("SHUT_WR"); echo $s->recv(9) === "";', ["true"]),
        ('$s->close(); echo $s->send("x") === none; echo $s->errno();', ["true", "107"]),
        ("$s->close(); $s->close(); echo $s->recv(1) === none;", ["true"]),
        ('$s->send(str_repeat("a", 300000)); echo length($s->recv(300000, "MSG_WAITALL"));', ["300000"]),
    ],
)
def test_a_script_talks_to_a_server(run, serve, rest, output):
    assert play(run, connected(serve(), rest)) == output


def test_a_server_that_closes_gives_the_empty_string(run, serve):
    port = serve(lambda client: client.sendall(b"bye"))
    assert play(run, connected(port, 'echo $s->recv(9); echo $s->recv(9) === "";')) == ["bye", "true"]
    assert play(run, connected(port, 'echo $s->recv(9, "MSG_WAITALL");'))[-1] == "bye"


def test_datagrams(run, serve):
    def answer(server: socket.socket) -> None:
        data, client = server.recvfrom(1000)
        server.sendto(data[::-1], client)

    port = serve(answer, socket.SOCK_DGRAM)
    flow = f'$s = Socket("AF_INET", "SOCK_DGRAM"); $s->bind("127.0.0.1"); $s->connect("127.0.0.1", {port}); $s->send("abc"); echo $s->recv(99);'
    assert play(run, flow) == ["cba"]


def test_where_nobody_listens_errno_says_so(run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert play(run, connected(free.getsockname()[1], "")) == ["111"]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254"])
def test_the_network_rules_hold(serve, address):
    run = Standing(wires=GuardedWires(NetworkGuard()))
    flow = (
        f'$s = Socket("AF_INET", "SOCK_STREAM"); echo $s->connect("{address}", {serve()}) === none; echo $s->errno();'
    )
    assert play(run, flow) == ["true", "13"]
    assert "does not allow" in str(run.lines.lines)


@pytest.mark.parametrize(
    ("flow", "output"),
    [
        ('echo Socket::AF("192.0.2.1") . Socket::AF("2001:db8::1") . Socket::AF("host");', ["AF_INETAF_INET6"]),
        (
            '$s = Socket("AF_INET", "SOCK_STREAM"); echo $s->connect("::1", 25) === none; echo $s->errno();',
            ["true", "22"],
        ),
        ('$s = Socket("AF_INET", "SOCK_STREAM"); echo $s->connect("example.net", 25) === none;', ["true"]),
        ('$s = Socket("AF_INET", "SOCK_STREAM"); echo $s->connect("127.0.0.1", 70000) === none;', ["true"]),
        (
            '$s = Socket("AF_INET", "SOCK_STREAM"); echo $s->bind("::1") === none; echo $s->shutdown("SHUT_RD") === none;',
            ["true", "true"],
        ),
        (
            '$t = TLSSocket(Socket("AF_INET", "SOCK_STREAM")); echo $t->handshake() === none; echo $t->errno();',
            ["true", "107"],
        ),
        (
            '$t = TLSSocket(Socket("AF_INET", "SOCK_STREAM")); echo $t->recv(1) === none; echo $t->getpeerx509() === none;',
            ["true", "true"],
        ),
    ],
)
def test_without_a_connection(run, flow, output):
    assert play(run, flow) == output


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ('Socket("AF_APPLETALK", "SOCK_STREAM");', "AF_INET"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_client_cert" => "pki:x"]);', "tls_client_cert"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_protocols" => "TLSv9"]);', "TLSv9"),
        ('TLSSocket(Socket("AF_INET", "SOCK_STREAM"), ["tls_verify" => true]);', "tls_verify"),
    ],
)
def test_wrong_use_is_an_error(run, flow, message):
    with pytest.raises((FlowError, FlowProblems), match=message):
        play(run, flow)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("mx.example.net"), x509.DNSName("*.example.org")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "identity.pem"
    plain = serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(text + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def encrypted(identity: Path, serve: Callable[..., int]) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)

    def answer(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secure:
            upper(secure)

    return serve(answer)


@pytest.mark.parametrize(
    ("options", "rest", "output"),
    [
        ("", 'echo $t->send("abc"); echo $t->recv(9);', ["3", "ABC"]),
        (
            "",
            '$t->handshake(); echo $t->handshake() === $t; echo $t->getpeerx509()->subject()["CN"];',
            ["true", "server"],
        ),
        (
            "",
            '$t->send(str_repeat("a", 200000)); $n = 0; while ($n < 200000) $n += length($t->recv(65536)); echo $n;',
            ["200000"],
        ),
        ("", "$t->handshake(); echo $t->shutdown(); echo $t->recv(1) === none;", ["1", "true"]),
        ('"tls_verify_name" => ["other.example", "mx.example.net"]', "echo $t->handshake() === $t;", ["true"]),
        (
            '"tls_verify_name" => ["A.Example.ORG"], "tls_sni" => "a.example.org"',
            "echo $t->handshake() === $t;",
            ["true"],
        ),
        ('"tls_verify_name" => ["a.b.example.org"]', "echo $t->handshake() === none; echo $t->errno();", ["true", "1"]),
        ('"tls_verify_ca" => true', "echo $t->handshake() === none; echo $t->errno();", ["true", "1"]),
        (
            '"tls_protocols" => "!TLSv1.3"',
            'echo $t->handshake() === $t; echo $t->send("x") . $t->recv(1);',
            ["true", "1X"],
        ),
        ('"tls_protocols" => "TLSv1.3,!TLSv1.3"', "echo $t->handshake() === none; echo $t->errno();", ["true", "22"]),
        ('"tls_ciphers" => "NONSENSE"', "echo $t->handshake() === none;", ["true"]),
    ],
)
def test_a_script_talks_tls(run, encrypted, options, rest, output):
    assert play(run, connected(encrypted, f"$t = TLSSocket($s, [{options}]); {rest}")) == output


def test_a_server_that_speaks_no_tls_is_noticed(run, serve):
    port = serve(lambda client: client.sendall(b"220 mx.example.net ESMTP\r\n") or client.recv(1000))
    assert play(run, connected(port, "$t = TLSSocket($s); echo $t->handshake() === none; echo $t->errno();")) == [
        "true",
        "1",
    ]


def test_a_server_that_says_nothing_does_not_hold_the_script(run, serve):
    port = serve(lambda client: time.sleep(5))
    started = time.perf_counter()
    assert play(run, connected(port, "$s->settimeout(0.1); $t = TLSSocket($s); echo $t->handshake() === none;")) == [
        "true"
    ]
    assert time.perf_counter() - started < 20  # on a busy machine too: what grows too fast takes minutes


def test_what_a_server_said_is_a_fact_and_what_was_sent_is_not(run, serve):
    flow = connected(
        serve(),
        '$s->send("hunter2"); $s->settimeout(0.05); echo length($s->recv(7, "MSG_WAITALL")); echo $s->recv(1); echo $s->errno();',
    )
    assert play(run, flow) == ["7", "", "110"]
    assert not any("hunter2" in repr(fact) for fact in run.facts)
    again = run.again()  # cannot connect anywhere
    assert play(again, flow) == ["7", "", "110"]


def test_connections_that_nobody_holds_are_closed_and_their_number_is_bounded(serve):
    wires = GuardedWires(NetworkGuard([LOOPBACK]), most=2)
    run = Standing(wires=wires)
    port = serve()
    flow = connected(port, "")
    for _ in range(5):
        assert play(run, flow) == []
        gc.collect()
    three = f'$held = []; for ($i = 0; $i < 3; $i += 1) {{ $s = Socket("AF_INET", "SOCK_STREAM"); echo $s->connect("127.0.0.1", {port}) === $s; $held[] = $s; }} echo $s->errno();'
    assert play(run, three) == ["true", "true", "false", "24"]
