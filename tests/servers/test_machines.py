"""`flowengine serve` on two machines with one queue in PostgreSQL, and `flowengine queue` on it."""

import json
import os
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from flowengine.cli import main
from tests.torture import Server
from tests.world import postgresql
from tests.world.receiver import Receiver


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgresql.Cluster]:
    if reason := postgresql.missing():
        pytest.skip(reason)
    found = postgresql.Cluster()
    yield found
    found.close()


def test_what_a_killed_machine_had_another_delivers(cluster: postgresql.Cluster, tmp_path: Path) -> None:
    cluster.empty()
    receiver = Receiver()
    one, two = (Server(tmp_path / name, receiver.port, 1, cluster) for name in "ab")
    try:
        with smtplib.SMTP("127.0.0.1", one.port, timeout=10) as client:
            client.sendmail("a@example.org", ["b@example.net"], b"X-Number: quick\r\n\r\nhello\r\n")
        end = time.monotonic() + 10
        while "quick" not in receiver.taken and time.monotonic() < end:
            time.sleep(0.02)
        config = tmp_path / "b" / "flowengine.toml"
        os.kill(one.process.pid, 19)  # nobody starts its worker again
        one.kill_children()
        with smtplib.SMTP("127.0.0.1", two.port, timeout=10) as client:
            client.sendmail("a@example.org", ["c@example.net"], b"X-Number: other\r\n\r\nhello\r\n")
        assert two.drained(20) and {"quick", "other"} <= receiver.taken.keys()
        told = CliRunner().invoke(main, ["queue", "stats", "--json", "-c", str(config)])
        assert told.exit_code == 0 and json.loads(told.output)
        os.kill(one.process.pid, 18)
    finally:
        two.stop()
        one.stop()
        receiver.close()


def test_the_commands_of_the_queue_work_on_it(cluster: postgresql.Cluster, tmp_path: Path) -> None:
    cluster.empty()
    server = Server(tmp_path / "a", 1, 1, cluster)  # nobody listens there
    try:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
            client.sendmail("a@example.org", ["b@example.net", "c@example.net"], b"Subject: x\r\n\r\nhello\r\n")
        config = str(tmp_path / "a" / "flowengine.toml")

        def queue(*words: str) -> str:
            told = CliRunner().invoke(main, ["queue", *words, "-c", config])
            assert told.exit_code == 0, told.output
            return told.output

        (id_, other) = (one["id"] for one in json.loads(queue("list", "--json"))["entries"])
        assert "hello" in queue("show", "--content", id_) and id_ in queue("list", "--domain", "example.net")
        assert queue("why", id_)
        queue("hold", "--all")
        end = time.monotonic() + 10
        while (states := {one["state"] for one in json.loads(queue("list", "--json"))["entries"]}) != {"held"}:
            assert time.monotonic() < end, states
            time.sleep(0.05)
        queue("delete", other)
        queue("delete", "--all")
        assert cluster.waiting() == 0
    finally:
        server.stop()


def test_serve_does_not_start_without_the_driver(tmp_path: Path) -> None:
    config = tmp_path / "flowengine.toml"
    config.write_text('storage = "postgresql://x/y"\n')
    code = "import sys; sys.modules['psycopg'] = None; from flowengine.cli import main; main()"
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-c", code, "check", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "psycopg" in done.stdout + done.stderr
