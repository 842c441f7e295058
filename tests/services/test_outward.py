"""`flowengine serve` with mail exchangers found in DNS, by TLS with a verified certificate, as an operator sees it."""

import asyncio
import json
import smtplib
from pathlib import Path

from dns_server import DNSServer
from next_hop import NextHop, listening

from tests.world.certificates import Office
from tests.world.engine import serving

CONFIG = """\
hostname = "mx.example.net"
storage = "sqlite:{folder}/state.db"
workers = 1
[dns]
servers = ["{dns}"]
[network]
allow = ["127.0.0.0/8"]
[listeners.in]
address = "127.0.0.1:0"
relay_from = ["127.0.0.0/8"]
transport = "internet"
delivery = "inline"
[transports.internet]
mx = true
port = {port}
tls = {{ mode = "verify", authorities = "{folder}/authority.pem" }}
"""
ZONE = {
    ("x.example", "MX"): ["10 dead.x.example.", "20 mx.x.example."],
    ("dead.x.example", "A"): ["127.0.0.3"],
    ("mx.x.example", "A"): ["127.0.0.2"],
    ("null.example", "MX"): ["0 ."],
    ("forged.example", "MX"): ["10 mx.forged.example."],
    ("mx.forged.example", "A"): ["127.0.0.2"],
}


def send(port: int, recipient: str) -> tuple[int, bytes]:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.ehlo("client.example")
        client.mail("a@example.org")
        client.rcpt(recipient)
        return client.data(b"Subject: x\r\n\r\nhello\r\n")


def test_mail_for_a_domain_finds_its_exchanger_and_nobody_else(tmp_path: Path) -> None:
    async def main() -> None:
        context = Office(tmp_path).server("mx.x.example")
        hop = NextHop({".": "250 2.0.0 queued as Q1"}, ("STARTTLS", "CHUNKING"), tls=context, host="127.0.0.2")
        with DNSServer(ZONE) as dns:
            async with listening(hop):
                await asyncio.to_thread(play, hop, str(dns.address))

    def play(hop: NextHop, dns: str) -> None:
        config = tmp_path / "flowengine.toml"
        config.write_text(CONFIG.format(folder=tmp_path, dns=dns, port=hop.port))
        with serving(config, 1, tmp_path / "log") as engine:
            for _ in range(2):
                assert send(engine.ports["in"], "b@x.example")[0] == 250
            code, text = send(engine.ports["in"], "b@null.example")
            assert code == 556 and text.startswith(b"5.1.10 The domain null.example takes no mail")
            assert send(engine.ports["in"], "b@forged.example")[0] == 451
        assert [(one[0], one[1]) for one in hop.messages] == [("a@example.org", ("b@x.example",))] * 2
        assert hop.encrypted == [True, True] and hop.server_names == ["mx.x.example", "mx.forged.example"]
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        (about,) = next(line["deliveries"] for line in lines if line["event"] == "verdict")
        assert about["host"] == f"mx.x.example[127.0.0.2]:{hop.port}" and about["tls"].startswith("TLSv1.3")
        (refused,) = [line for line in lines if line["event"] == "not delivered" and line["stage"] == "tls"]
        assert "mismatch" in refused["reply"] and refused["host"].startswith("mx.forged.example[")

    asyncio.run(asyncio.wait_for(main(), 30))


def test_clients_are_offered_what_the_next_hop_can_do(tmp_path: Path) -> None:
    def offered(port: int) -> dict[str, str]:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.ehlo("client.example")
            return client.esmtp_features

    def play(hop: NextHop) -> None:
        config = tmp_path / "flowengine.toml"
        text = CONFIG.format(folder=tmp_path, dns="127.0.0.1:9", port=0).partition("[transports.internet]")[0]
        config.write_text(f'{text}[transports.internet]\nhost = "127.0.0.1:{hop.port}"\n')
        with serving(config, 1, tmp_path / "log") as engine:
            before = offered(engine.ports["in"])
            assert send(engine.ports["in"], "b@x.example")[0] == 250
            after = offered(engine.ports["in"])
        assert before.keys() - after.keys() == {"smtputf8", "dsn"}
        assert (before["size"], after["size"]) == (str(50 << 20), "100000")

    async def main() -> None:
        hop = NextHop(extensions=("8BITMIME", "SIZE 100000"))
        async with listening(hop):
            await asyncio.to_thread(play, hop)

    asyncio.run(asyncio.wait_for(main(), 30))
