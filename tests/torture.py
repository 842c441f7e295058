"""Processes of a server are killed at random while mail comes in, and every 250 is accounted for.

    python -m tests.torture --minutes 5
    python -m tests.torture --minutes 5 --backend postgresql

With PostgreSQL two machines share the queue, and the database is stopped like by a power cut, or drops all connections,
now and then.

Ends with 0 when each message that got a 250 arrived, or is still in the queue, and each that arrived twice has a kill
or a broken connection between its two arrivals.
"""

import argparse
import os
import random
import signal
import smtplib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.world import postgresql
from tests.world.postgresql import Cluster
from tests.world.receiver import Receiver

CONFIG = """\
hostname = "mx.example.net"
storage = "{storage}"
state = "{folder}"
workers = {workers}
[listeners.in]
address = "127.0.0.1:{port}"
relay_from = ["127.0.0.0/8"]
transport = "next"
delivery = "queue"
[transports.next]
host = "127.0.0.1:{hop}"
retry = [1, 1, 2]
rest = 0.1
[queue]
row_size = 4096
lease = 6
[log]
level = "notice"
"""
START_TIME = 30.0
QUIET_TIME = 60.0


class Server:
    """`flowengine serve`, which may be killed and started again on the same port."""

    def __init__(self, folder: Path, hop: int, workers: int, cluster: Cluster | None = None) -> None:
        self.folder, self.port, self._cluster = folder, 0, cluster
        folder.mkdir(exist_ok=True)
        self._storage = cluster.url() if cluster is not None else f"sqlite:{folder}/state.db"
        self._hop, self._workers = hop, workers
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it accepts. What an earlier one left behind is there."""
        config = self.folder / "flowengine.toml"
        config.write_text(
            CONFIG.format(
                folder=self.folder, storage=self._storage, workers=self._workers, port=self.port, hop=self._hop
            )
        )
        command = [sys.executable, "-m", "flowengine", "serve", "-c", str(config)]
        with (self.folder / "log").open("ab") as log:
            end = time.monotonic() + START_TIME
            while True:  # workers of a killed parent may still have the port
                self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603  # ours
                assert self._process.stdout is not None
                line = self._process.stdout.readline()
                if line.startswith("ready "):
                    self.port = int(line.split()[2].rpartition(":")[2])
                    return
                self._process.wait()
                self._process.stdout.close()
                assert time.monotonic() < end, f"it does not start, see {self.folder}/log"
                time.sleep(0.1)

    @property
    def process(self) -> "subprocess.Popen[str]":
        """The parent."""
        assert self._process is not None
        return self._process

    def children(self) -> list[int]:
        """Workers, and the watch."""
        pid = self.process.pid
        with suppress(OSError):
            return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def kill_children(self) -> None:
        """All of them, at once."""
        for pid in self.children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_parent(self) -> None:
        """And start another."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.start()

    def waiting(self) -> int:
        """Entries in the queue."""
        if self._cluster is not None:
            return self._cluster.waiting()
        with suppress(sqlite3.Error):
            database = sqlite3.connect(self.folder / "queue.db", timeout=10)
            try:
                return int(database.execute("select count(*) from entry").fetchone()[0])
            finally:
                database.close()
        return -1

    def drained(self, seconds: float) -> bool:
        """Whether the queue is empty within so many seconds."""
        end = time.monotonic() + seconds
        while self.waiting() != 0:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Account:
    """What happened. promised: numbers that got a 250. unknown: those whose client never heard an answer."""

    promised: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    refused: int = 0
    kills: list[float] = field(default_factory=list)
    parents: int = 0
    stops: int = 0
    cuts: int = 0
    lost: set[str] = field(default_factory=set)
    duplicates: dict[str, list[float]] = field(default_factory=dict)
    unexplained: set[str] = field(default_factory=set)
    drained: bool = False

    def settle(self, receiver: Receiver) -> None:
        """Compare what was promised with what arrived."""
        self.lost = self.promised - receiver.taken.keys()
        self.duplicates = {number: moments for number, moments in receiver.taken.items() if len(moments) > 1}
        for number, moments in self.duplicates.items():
            for first, second in pairwise(moments):
                if not any(first - 0.5 <= kill <= second for kill in self.kills):
                    self.unexplained.add(number)

    @property
    def good(self) -> bool:
        """Whether nothing was lost and each duplicate has its reason."""
        return self.drained and not self.lost and not self.unexplained

    def __str__(self) -> str:
        return (
            f"{len(self.promised)} messages got a 250, {len(self.unknown)} no answer, {self.refused} a refusal; "
            f"{len(self.kills)} kills, {self.parents} of them of the parent, "
            f"{self.stops} stops of the database, {self.cuts} times all connections to it cut; lost {len(self.lost)}, "
            f"arrived twice {len(self.duplicates)}, without a kill in between {len(self.unexplained)}; "
            f"the queue is {'empty' if self.drained else 'NOT empty'}"
        )


def torture(
    folder: Path,
    seconds: float,
    *,
    clients: int = 6,
    workers: int = 3,
    pause: float = 0.25,
    seed: int = 0,
    cluster: Cluster | None = None,
    machines: int = 1,
) -> Account:
    """Kill for so many seconds while clients send, then let the queue run dry and settle. With a cluster: its queue."""
    chance = random.Random(seed)  # noqa: S311  # repeating is what it is for
    account, over = Account(), threading.Event()
    receiver = Receiver()
    servers = [Server(folder / str(number), receiver.port, workers, cluster) for number in range(machines)]
    senders = [
        threading.Thread(target=_send, args=(servers[number % machines], account, over, number))
        for number in range(clients)
    ]
    for one in senders:
        one.start()
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.2, 1.8) * pause)
            server = chance.choice(servers)
            if cluster is not None and chance.random() < 0.1:
                account.kills.append(time.monotonic())
                _trouble(cluster, account, chance)
                account.kills.append(time.monotonic())
            elif chance.random() < 0.04:
                account.kills.append(time.monotonic())
                account.parents += 1
                server.kill_parent()
                account.kills.append(time.monotonic())
            elif children := server.children():
                with suppress(ProcessLookupError):
                    account.kills.append(time.monotonic())
                    os.kill(chance.choice(children), signal.SIGKILL)
    finally:
        over.set()
        for one in senders:
            one.join()
    account.drained = servers[0].drained(QUIET_TIME)
    for server in servers:
        server.stop()
    receiver.close()
    account.settle(receiver)
    return account


def _trouble(cluster: Cluster, account: Account, chance: random.Random) -> None:
    """What a database does to those who need it."""
    if chance.random() < 0.5:
        account.stops += 1
        cluster.stop()
        time.sleep(chance.random() * 2)
        cluster.start()
    else:
        account.cuts += 1
        cluster.cut()


def _send(server: Server, account: Account, over: threading.Event, client: int) -> None:
    """One client: messages of all sizes, some for many recipients, one after the other over connections that break."""
    chance = random.Random(client)  # noqa: S311  # repeating is what it is for
    count = 0
    while not over.is_set():
        try:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as connection:
                for _ in range(chance.randrange(1, 30)):
                    count += 1
                    number = f"{client}-{count}"
                    if over.is_set():
                        return
                    account.unknown.add(number)
                    body = b"0123456789abcdef\r\n" * chance.choice((1, 10, 100, 1000))
                    content = f"X-Number: {number}\r\nSubject: x\r\n\r\n".encode() + body
                    connection.sendmail("a@example.org", [f"b{count}@example.net"], content)
                    account.promised.add(number)
                    account.unknown.discard(number)
        except smtplib.SMTPResponseException:
            account.unknown.discard(number)
            account.refused += 1
        except (OSError, smtplib.SMTPException):
            time.sleep(0.02)


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--backend", choices=("sqlite", "postgresql"), default="sqlite")
    given = parser.parse_args()
    cluster = None
    if given.backend == "postgresql":
        if reason := postgresql.missing():
            raise SystemExit(f"PostgreSQL is missing: {reason}")
        cluster = Cluster(durable=True)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"seed {given.seed}, in {folder}", flush=True)  # noqa: T201  # a program
    try:
        machines = 1 if cluster is None else 2
        account = torture(folder, given.minutes * 60, seed=given.seed, cluster=cluster, machines=machines)
    finally:
        if cluster is not None:
            cluster.close()
    print(account)  # noqa: T201  # a program
    raise SystemExit(0 if account.good else 1)


if __name__ == "__main__":
    main()
