"""What a long queue costs: `python -m tests.load_queue` puts 100,000 messages for 10,000 destinations, of which half keep
silent, starts a server on them, and prints how long the living waited and how much memory that took.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from flowengine.services.queue.bodies import digest
from flowengine.services.queue.model import About, NewEntry, NewMessage
from flowengine.services.queue.sqlite import SQLiteStore
from tests.services.dns_server import DNSServer
from tests.world.engine import serving
from tests.world.receiver import Receiver

CONFIG = """\
hostname = "mx.example.net"
storage = "sqlite:{folder}/state.db"
workers = {workers}
[dns]
servers = ["{dns}"]
[network]
allow = ["127.0.0.0/8"]
[listeners.in]
address = "127.0.0.1:0"
relay_from = ["127.0.0.0/8"]
transport = "out"
[transports.out]
mx = true
port = {port}
timeouts = {{ connect = 30, greeting = 30 }}
[log]
level = "error"
"""


def fill(folder: Path, messages: int, destinations: int) -> None:
    """Put the messages, several in a transaction."""
    store = SQLiteStore(folder)
    store.open()
    now = time.time()
    for start in range(0, messages, 1000):
        with store.transaction():
            for number in range(start, min(start + 1000, messages)):
                domain = f"d{number % destinations}.example"
                content = f"X-Number: {number}\r\nSubject: x\r\n\r\n".encode() + b"0123456789abcdef\r\n" * 100
                entry = NewEntry(1, f"b@{domain}", domain)
                id_ = f"{number:024x}"
                found = digest([content])
                store.put(
                    NewMessage(
                        id_, "", "out", (entry,), [content], len(content), found, About(), now, now, now + 432000
                    )
                )
    store.close()


def resident(pid: int) -> int:
    """Octets of the largest child of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    sizes = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) * 4096 for one in children]
    return max(sizes, default=0)


class Silence:
    """Hosts that accept connections and say nothing, on the port of the receiver."""

    def __init__(self, port: int) -> None:
        self._port, self.connections = port, 0
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()

    async def _serve(self) -> None:
        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            await reader.read()  # until the other side has had enough
            writer.close()

        server = await asyncio.start_server(hold, "127.0.0.3", self._port, backlog=1000)
        await server.serve_forever()


def main() -> None:
    """Fill, serve, watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--destinations", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=600.0)
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp(prefix="queue-"))
    start = time.monotonic()
    fill(folder, given.messages, given.destinations)
    say(f"filled in {time.monotonic() - start:.1f} s, {(folder / 'queue.db').stat().st_size / 1e6:.0f} MB")
    receiver = Receiver(host="127.0.0.2")
    silence = Silence(receiver.port)
    zone: dict[tuple[str, str], Any] = {}
    for number in range(given.destinations):
        dead = number % 2
        zone[f"d{number}.example", "MX"] = [f"10 mx.d{number}.example."]
        zone[f"mx.d{number}.example", "A"] = [f"127.0.0.{3 if dead else 2}"]
    living = sum(not (number % given.destinations) % 2 for number in range(given.messages))
    with DNSServer(zone) as dns:
        config = folder / "flowengine.toml"
        config.write_text(CONFIG.format(folder=folder, dns=dns.address, port=receiver.port, workers=given.workers))
        with serving(config, 1, folder / "log") as engine:
            start, last = time.monotonic(), -10.0
            while len(receiver.taken) < living and time.monotonic() - start < given.seconds:
                time.sleep(0.5)
                passed = time.monotonic() - start
                if passed - last >= 10:
                    last = passed
                    mega = resident(engine.pid) / 1e6
                    say(
                        f"{passed:6.1f} s: {len(receiver.taken)} of {living} arrived, {silence.connections} silent, {mega:.0f} MB"
                    )
            passed = time.monotonic() - start
            twice = sum(len(moments) > 1 for moments in receiver.taken.values())
            say(f"{len(receiver.taken)} of {living} in {passed:.1f} s ({len(receiver.taken) / passed:.0f}/s), {twice} twice; "
                f"{resident(engine.pid) / 1e6:.0f} MB in the largest process")  # fmt: skip


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
