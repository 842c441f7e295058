"""A large message costs about its size, from the socket to the next hop: measured on a server of its own."""

import hashlib
import os
import re
import smtplib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

SIZE = 20 << 20


class Drain:
    """A next hop that counts and hashes what it gets, and keeps nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.digest = ""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        file = connection.makefile("rwb")

        def say(line: bytes) -> None:
            file.write(line + b"\r\n")
            file.flush()

        say(b"220 drain")
        while line := file.readline():
            if line.startswith(b"EHLO"):
                say(b"250-drain\r\n250 PIPELINING")
            elif line.startswith(b"DATA"):
                say(b"354 go")
                found, below = hashlib.sha256(), False
                while (content := file.readline()) != b".\r\n":
                    below = below or content.startswith(b"Subject:")  # the trace field on top is ours
                    if below:
                        found.update(content.removeprefix(b"."))
                self.digest = found.hexdigest()
                say(b"250 taken")
            else:
                say(b"250 ok")

    def close(self) -> None:
        self._socket.close()


def memory(pid: int, name: str) -> int:
    """A figure of the process in octets: VmRSS now, VmHWM at its peak."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def processes(parent: int) -> list[int]:
    """The server's: the one that was started, its worker and its watch."""
    return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a process's memory")
@pytest.mark.parametrize(("delivery", "most"), [("inline", 1.6), ("queue", 2.4)])
def test_a_large_message_costs_its_size_and_arrives_whole(tmp_path: Path, delivery: str, most: float) -> None:
    """Where it waits in the queue two files of it can be mapped at a time: that in which it came, that in which it waits.
    The kernel may take both back."""
    drain = Drain()
    config = tmp_path / "flowengine.toml"
    config.write_text(
        f"""
        hostname = "mx.example.net"
        storage = "sqlite:{tmp_path}/state.db"
        workers = 1
        [listeners.inbound]
        address = "127.0.0.1:0"
        recipient_domains = ["example.net"]
        transport = "next"
        delivery = "{delivery}"
        [transports.next]
        host = "127.0.0.1:{drain.port}"
        """
    )
    root = Path(__file__).parents[2]
    server = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "flowengine", "serve", "-c", str(config)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        ready = server.stdout.readline()
        port = int(ready.strip().rpartition(":")[2])
        line = b"%08d the quick brown fox jumps over the lazy dog and again\r\n"
        message = b"Subject: large\r\n\r\n" + b"".join(line % number for number in range(SIZE // 64))
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.sendmail("a@example.org", ["b@example.net"], b"Subject: small\r\n\r\nx\r\n")
            idle = {pid: memory(pid, "VmRSS") for pid in processes(server.pid)}
            client.sendmail("a@example.org", ["b@example.net"], message)
        deadline = time.monotonic() + 20
        while drain.digest != hashlib.sha256(message).hexdigest() and time.monotonic() < deadline:
            time.sleep(0.05)  # the queue delivers after the reply
        assert drain.digest == hashlib.sha256(message).hexdigest()
        peak = max(memory(pid, "VmHWM") - before for pid, before in idle.items())
        assert peak <= most * len(message), f"{peak / len(message):.2f} times its size"
    finally:
        server.terminate()
        server.wait(10)
        drain.close()
