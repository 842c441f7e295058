"""kill -9 at each point of a message's way: what got a 250 arrives, and at most once too often."""

import os
import random
import re
import smtplib
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from flowengine.cli import main
from flowengine.services.queue.bodies import digest
from flowengine.services.queue.sqlite import SQLiteStore
from tests.torture import Server, torture
from tests.world.receiver import Receiver


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Server, Receiver]]:
    receiver = Receiver()
    server = Server(tmp_path, receiver.port, 1)
    yield server, receiver
    server.stop()
    receiver.close()


class Client:
    """A client that knows where it stands to the octet."""

    def __init__(self, port: int, number: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.file = self.socket.makefile("rb")
        self.reply()
        for command in ("EHLO c", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"):
            self.socket.sendall(f"{command}\r\n".encode())
            self.reply()
        self.socket.sendall(f"X-Number: {number}\r\nSubject: x\r\n\r\nhello\r\n".encode())

    def reply(self) -> bytes:
        """The last line of a reply; b"" when the connection is gone."""
        try:
            while (line := self.file.readline())[3:4] == b"-":
                pass
        except ConnectionError:
            return b""
        return line

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def back(server: Server, seconds: float = 20.0) -> None:
    """Until it accepts again."""
    end = time.monotonic() + seconds
    while True:
        try:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=5):
                return
        except (OSError, smtplib.SMTPException):
            assert time.monotonic() < end
            time.sleep(0.02)


def wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_point_of_the_protocol(world: tuple[Server, Receiver]) -> None:
    server, receiver = world

    # before the dot: nothing was promised, nothing arrives
    client = Client(server.port, "before")
    server.kill_children()
    assert client.reply() == b""
    client.close()
    back(server)

    # at the dot and shortly after, while it is being committed: whoever heard 250 is served
    chance = random.Random(1)  # noqa: S311  # repeating is what it is for
    promised = set()
    for number in range(3):
        client = Client(server.port, f"at-{number}")
        client.socket.sendall(b".\r\n")
        time.sleep(chance.uniform(0, 0.006))
        server.kill_children()
        if client.reply().startswith(b"250"):
            promised.add(f"at-{number}")
        client.close()
        back(server)

    assert server.drained(20)

    # the next hop has the message, and has said nothing: tried again
    killed: list[str] = []

    def kill(number: str) -> None:
        if number not in killed:
            killed.append(number)
            server.kill_children()

    receiver.before = lambda number: kill(number) if number == "during" else None
    # it has said 250, and we could not write that down: at most one arrival too many
    receiver.after = lambda number: kill(number) if number == "behind" else None
    for name in ("during", "behind"):
        client = Client(server.port, name)
        client.socket.sendall(b".\r\n")
        if client.reply().startswith(b"250"):
            promised.add(name)
        client.close()
        wait(lambda name=name: name in killed)
        back(server)
        assert server.drained(20)  # another kill might cost another arrival

    arrived = {number: len(moments) for number, moments in receiver.taken.items()}
    assert "before" not in arrived
    assert promised | {"during", "behind"} <= arrived.keys()
    assert arrived["during"] <= 2 and arrived["behind"] <= 2
    assert all(count <= 4 for count in arrived.values()), "one for each kill, at most"


PUTS = """
import asyncio, sys; sys.path[:0] = sys.argv[2:]
from pathlib import Path
from queue_world import new
from flowengine.services.queue.committer import Committer
from flowengine.services.queue.sqlite import SQLiteStore
async def main():
    committer = Committer(SQLiteStore(Path(sys.argv[1]), row_size=100))
    committer.start()
    await committer.read(lambda store: store.stand())
    async def client(number):
        count = 0
        while True:
            count += 1
            message = committer.store.prepare(new("b@x", transaction=f"{number}.{count}", content=b"x" * (count % 200)))
            await committer.change(lambda store: store.put(message))
            sys.stdout.write(f"{number}.{count}\\n"); sys.stdout.flush()
    await asyncio.gather(*(client(number) for number in range(5)))
asyncio.run(main())
"""


def test_killed_within_a_commit(tmp_path: Path) -> None:
    here = Path(__file__).parents[2]
    command = [sys.executable, "-c", PUTS, str(tmp_path), str(here / "tests/services"), str(here)]
    promised: set[str] = set()
    chance = random.Random(3)  # noqa: S311  # repeating is what it is for
    for life in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # ours
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(chance.uniform(0.02, 0.2))
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        promised |= {f"{line.strip()}" for line in lines if line.endswith("\n")}
        store = SQLiteStore(tmp_path)
        store.open()
        with store.transaction():
            store.take_over(0.0)
            found = {job.transaction: job for job in store.claim(4e9, 10**6, {}, lambda *_: 10**6, 0)}
        assert promised <= found.keys(), f"life {life}"
        for job in found.values():
            chunks, expected = store.content(job.message)
            assert digest(chunks) == expected
        store.close()


def test_random_kills_lose_nothing(tmp_path: Path) -> None:
    account = torture(tmp_path, 2.5, clients=3, workers=2, seed=int(os.environ.get("TORTURE_SEED", "6")))
    assert account.good, f"{account}, see {tmp_path}"
    assert account.promised and account.kills


def test_from_the_reply_to_the_queue_and_out_of_it(tmp_path: Path) -> None:
    """What an operator does with the id that a sender heard."""
    receiver = Receiver()
    closed = receiver.port
    receiver.close()
    server = Server(tmp_path, closed, 1)
    try:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
            client.ehlo("c")
            client.mail("a@example.org")
            client.rcpt("b@example.net")
            client.rcpt("c@example.net")
            code, text = client.data(b"X-Number: one\r\nSubject: x\r\n\r\nhello\r\n")
        id_ = re.search(rb"\((\w+)\)", text)[1].decode()  # type: ignore[index]
        assert code == 250

        def queue(*words: str) -> str:
            result = CliRunner().invoke(main, ["queue", *words, "-c", str(tmp_path / "flowengine.toml")])
            assert result.exit_code == 0, result.output
            return result.output

        assert f"{id_}-1" in (listed := queue("list")) and f"{id_}-2" in listed and "refused" in listed
        assert "rests for" in queue("why", f"{id_}-1") or "attempt" in queue("why", f"{id_}-1")
        assert b"X-Number: one" in queue("show", "--content", id_).encode()
        assert queue("hold", f"{id_}-2") == "held 1\n" and '"held": 1' in queue("stats", "--json")
        assert queue("delete", f"{id_}-1") == "deleted 1\n"
        assert queue("release", "--all") == "released 1\n"
        assert queue("bounce", id_) == "bounced 1\n"

        def waiting() -> list[tuple[str]]:
            with sqlite3.connect(tmp_path / "queue.db") as database:
                return database.execute("select recipient from entry").fetchall()

        wait(lambda: waiting() == [("a@example.org",)])  # the bounce, which cannot leave either
    finally:
        server.stop()
