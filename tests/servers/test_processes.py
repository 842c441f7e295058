"""A server as the system sees it: workers that come and go, reload, drain, and what is known of them all."""

import contextlib
import json
import os
import pwd
import re
import signal
import smtplib
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

CONFIG = """\
hostname = "mx.example.net"
storage = "sqlite:{folder}/var/state.db"
workers = 2
{top}
[listeners.inbound]
address = "127.0.0.1:0"
relay_from = ["127.0.0.0/8"]
flows = {{ data = "{folder}/flow.hsl" }}
transport = "sink"
[transports.sink]
sink = "{folder}/sink"
[metrics]
address = "127.0.0.1:{metrics}"
"""
FLOW = 'Reject("{0}", ["reply_codes" => ["code" => 550]]);'
AS_SYSTEMD = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
    "os.execvp(sys.argv[2], sys.argv[2:])"
)
WAIT = 20.0


class Running:
    """`flowengine serve` in a folder of its own, as an operator starts it."""

    def __init__(self, folder: Path, flow: str, top: str = "", command: tuple[str, ...] = (), **popen) -> None:
        self.folder, self.metrics = folder, free_port()
        (folder / "flow.hsl").write_text(flow)
        self.config = folder / "flowengine.toml"
        self.config.write_text(CONFIG.format(folder=folder, metrics=self.metrics, top=top))
        self.errors = folder / "errors"
        serve = (sys.executable, "-m", "flowengine", "serve", "-c", str(self.config))
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(  # noqa: S603  # our own program, and ps
                [*command, *serve], stdout=subprocess.PIPE, stderr=errors, text=True, **popen
            )
        ready = self.process.stdout.readline()
        assert ready.startswith("ready inbound "), self.errors.read_text()
        self.port = int(ready.rpartition(":")[2])

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        until(lambda: not self.workers())

    def workers(self) -> set[int]:
        """The processes that serve."""
        return {int(one.split()[0]) for one in self._ps() if one.split()[1] == str(self.process.pid)}

    def _ps(self) -> list[str]:
        done = subprocess.run(["ps", "-eww", "-o", "pid,ppid,stat,args"], capture_output=True, text=True, check=True)  # noqa: S607  # our own program, and ps
        return [one for one in done.stdout.splitlines() if str(self.config) in one and " Z" not in one]

    def everybody(self) -> set[int]:
        return {int(one.split()[0]) for one in self._ps()}

    def lines(self, event: str) -> list[dict]:
        return [one for one in map(json.loads, self.errors.read_text().splitlines()) if one["event"] == event]

    def answer(self) -> str:
        """What one message is answered."""
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=WAIT) as client:
                client.sendmail("a@example.org", ["b@example.net"], b"Subject: x\r\n\r\nx\r\n")
        except smtplib.SMTPDataError as error:
            return error.smtp_error.decode()
        return "250"

    def counted(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=WAIT) as answer:
            text = answer.read().decode()
        rows = (line.rpartition(" ") for line in text.splitlines() if line.startswith("flowengine_"))
        return {name: float(value) for name, _, value in rows}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(condition, seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path


def test_reload_killed_workers_counts_and_trace(folder):
    with Running(folder, FLOW.format("first $messageid")) as server:
        # both workers count, together
        for _ in range(20):
            assert server.answer().startswith("5.7.1 first")
        verdicts = 'flowengine_verdicts_total{listener="inbound",verdict="Reject"}'
        until(lambda: server.counted().get(verdicts) == 20)
        assert server.counted()["flowengine_workers"] == 2

        # a transaction that began before a reload ends with the flow that it began with; nobody is turned away
        client = smtplib.SMTP("127.0.0.1", server.port, timeout=WAIT)
        client.ehlo("c.example")
        client.mail("a@example.org")
        client.rcpt("b@example.net")
        (folder / "flow.hsl").write_text(FLOW.format("second"))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.lines("reloaded"))
        until(lambda: server.answer().startswith("5.7.1 second"))
        assert b"first" in client.data(b"Subject: x\r\n\r\nx\r\n")[1]
        with pytest.raises(smtplib.SMTPServerDisconnected):  # and then its worker has nobody left
            while True:
                client.noop()
        client.close()
        until(lambda: len(server.workers()) == 3)  # two workers and the watch

        # a flow with an error is never loaded
        (folder / "flow.hsl").write_text("Rejct();")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.lines("reload failed"))
        assert "flow.hsl:1:1" in server.lines("reload failed")[0]["problems"][0]
        assert server.answer().startswith("5.7.1 second")

        # a killed worker is replaced, and meanwhile nobody waits for long
        before = server.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
            assert server.answer().startswith("5.7.1 second")
        until(lambda: len(server.workers()) == 3 and not server.workers() & before)
        assert len(server.lines("worker ended")) == 2

        # somebody looks on, and asks for one transaction
        command = [sys.executable, "-m", "flowengine", "trace", "-c", str(server.config), "--json"]
        looking = subprocess.Popen([*command, "127.0.0.0/8"], stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own program, and ps
        shown: list[dict] = []
        end = time.monotonic() + WAIT
        while not shown and time.monotonic() < end:
            server.answer()
            if select_readable(looking.stdout):
                shown.append(json.loads(looking.stdout.readline()))
        while not any(one["event"] == "verdict" for one in shown):
            shown.append(json.loads(looking.stdout.readline()))
        looking.kill()
        looking.wait()
        looking.stdout.close()
        assert {one["client"] for one in shown} == {"127.0.0.1"}
        assert {"smtp.command", "facts", "verdict"} <= {one["event"] for one in shown}
        id_ = next(one["id"] for one in shown if one["event"] == "verdict")
        told = subprocess.run([*command, id_], capture_output=True, text=True, check=True)  # noqa: S603  # our own program, and ps
        assert json.loads(told.stdout)["facts"] and json.loads(told.stdout)["id"] == id_
        lost = subprocess.run([*command, "0" * 24], capture_output=True, text=True, check=False)  # noqa: S603  # our own program, and ps
        assert (lost.returncode, lost.stdout) == (1, "")

        # SIGTERM: nobody new, but who is at it may finish
        client = smtplib.SMTP("127.0.0.1", server.port, timeout=WAIT)
        client.ehlo("c.example")
        client.mail("a@example.org")
        client.rcpt("b@example.net")
        server.process.terminate()
        until(lambda: not reachable(server.port))
        assert b"second" in client.data(b"Subject: x\r\n\r\nx\r\n")[1]
        assert server.process.wait(WAIT) == 0
        client.close()
        assert not server.everybody()
        assert not (folder / "var" / "control.sock").exists()


def select_readable(stream) -> bool:
    import select

    return bool(select.select([stream], [], [], 0.2)[0])


def reachable(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def test_rates_are_those_of_all_workers_and_workers_end_with_their_parent(folder):
    flow = 'if (rate("n", "e", 5, 3600)) Reject("counted"); else Reject("too many");'
    with Running(folder, flow) as server:
        answers = [server.answer() for _ in range(12)]
        assert sum("counted" in one for one in answers) == 5
        server.process.kill()
        until(lambda: not server.everybody() - {server.process.pid})


def test_sockets_and_news_of_systemd(folder):
    with socket.socket() as bound, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
        bound.bind(("127.0.0.1", 0))
        news.bind(str(folder / "notify"))
        news.settimeout(WAIT)
        environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "inbound"}
        environment["NOTIFY_SOCKET"] = str(folder / "notify")
        descriptor = str(bound.fileno())
        command = (sys.executable, "-c", AS_SYSTEMD, descriptor)
        with Running(
            folder, FLOW.format("hello"), command=command, env=environment, pass_fds=[bound.fileno()]
        ) as server:
            assert server.port == bound.getsockname()[1]
            assert server.answer().startswith("5.7.1 hello")
            assert news.recv(4096).startswith(b"READY=1\n")
            server.process.send_signal(signal.SIGHUP)
            said = news.recv(4096).decode()
            assert said.startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert news.recv(4096).startswith(b"READY=1\n")
            server.process.terminate()
            assert news.recv(4096) == b"STOPPING=1"
            assert server.process.wait(WAIT) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_workers_give_up_root_and_a_place_they_cannot_write_to_is_said(folder):
    account = pwd.getpwnam("nobody")
    for place in (folder, *folder.parents[:3]):
        with contextlib.suppress(PermissionError):
            place.chmod(place.stat().st_mode | 0o011)
    with Running(folder, "Deliver();", top='user = "nobody"') as server:
        assert server.answer() == "250"
        for pid in server.workers():
            assert (
                f"\nUid:\t{account.pw_uid}\t{account.pw_uid}\t{account.pw_uid}"
                in Path(f"/proc/{pid}/status").read_text()
            )
        kept = list((folder / "sink").glob("*.eml"))
        assert [one.stat().st_uid for one in kept] == [account.pw_uid]
        (folder / "sink").chmod(0o500)
        os.chown(folder / "sink", 0, 0)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.lines("reload failed"))
        assert re.search("cannot write to .*sink; the old one goes on", server.lines("reload failed")[0]["text"])
        assert server.process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_reload_that_fails_late_leaves_nothing_behind(folder):
    """Its workers do not get ready: the old ones keep their account, also when replaced, and its ports are closed."""
    for place in (folder, *folder.parents[:3]):
        with contextlib.suppress(PermissionError):
            place.chmod(place.stat().st_mode | 0o011)
    closed, more = folder / "closed", free_port()
    closed.mkdir(mode=0o500)
    with Running(folder, "Deliver();", top='user = "nobody"') as server:
        text = server.config.read_text().replace('user = "nobody"', 'user = "daemon"')
        text = text.replace(f'"{folder}/sink"', f'"{closed}"').replace(
            "[transports.sink]",
            f'[listeners.more]\naddress = "127.0.0.1:{more}"\nrelay_from = ["127.0.0.0/8"]\ntransport = "sink"\n'
            "[transports.sink]",
        )
        server.config.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.lines("reload failed"))
        assert "cannot write to" in server.lines("reload failed")[0]["text"]
        until(lambda: not reachable(more))
        watch_and_workers = server.workers()
        for pid in watch_and_workers:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(server.workers()) == 3 and not server.workers() & watch_and_workers)
        uid = pwd.getpwnam("nobody").pw_uid
        assert server.answer() == "250"
        for pid in server.workers():
            assert f"\nUid:\t{uid}\t{uid}\t{uid}" in Path(f"/proc/{pid}/status").read_text()


def listening(pids: set[int]) -> set[str]:
    """Where these processes accept connections over the network: addresses as /proc writes them."""
    sockets = set()
    for pid in pids:
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(str(one.readlink()))
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            listens = fields[3] == "0A" or (table.startswith("udp") and fields[2].endswith(":0000"))
            if listens and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].partition(":")[0])
    return found


def test_the_embedded_default_is_for_this_machine_only(tmp_path):
    """What a port scan from outside would find: nothing."""
    command = [sys.executable, "-m", "flowengine", "serve"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own program
        try:
            ready = process.stdout.readline()
            if not ready and "in use" in (said := process.stderr.read()):
                pytest.skip(f"its ports are taken here: {said.strip()}")
            assert ready.startswith("ready "), ready
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            until(lambda: len(children.read_text().split()) > 1)
            found = listening({process.pid, *map(int, children.read_text().split())})
            assert found and found <= {"0100007F", "00000000000000000000000001000000"}
        finally:
            process.terminate()


def test_an_address_in_use_is_said_and_nothing_runs(folder):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        config = CONFIG.format(folder=folder, metrics=free_port(), top="")
        (folder / "flow.hsl").write_text("Deliver();")
        (folder / "c.toml").write_text(config.replace("127.0.0.1:0", f"127.0.0.1:{bound.getsockname()[1]}"))
        command = [sys.executable, "-m", "flowengine", "serve", "-c", str(folder / "c.toml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)  # noqa: S603  # our own program, and ps
        assert done.returncode == 3
        assert "cannot listen on 127.0.0.1:" in done.stderr and "Traceback" not in done.stderr
