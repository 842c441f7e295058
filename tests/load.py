"""`python -m tests.load [PROOF...]`: what many and rude clients cost a server of its own, in figures. Not for `make test`.

stalled: a thousand clients that connect and say nothing, while others are served. parallel: two hundred senders at once.
large: two hundred messages of 20 MB at once. slow: a client of an octet a second. killed: a worker is killed every
second. reloaded: the configuration is read anew every second. Each prints what it measured and says whether it held.
"""

import asyncio
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"
SMALL = b"Subject: load\r\n\r\n" + b"the quick brown fox jumps over the lazy dog\r\n" * 40
MB = 1 << 20
NUMBER = re.compile(rb"^X-Number: (\d+)", re.MULTILINE).search


class NextHop(asyncio.Protocol):
    """Takes everything and keeps nothing."""

    taken = 0
    octets = 0
    seen: ClassVar[Counter[bytes]] = Counter()
    """How often a message came, by its number."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._content, self._tail = transport, False, b""
        transport.write(b"220 hop\r\n")

    def data_received(self, data: bytes) -> None:
        """Commands are answered one for each line, content is dropped."""
        if not self._content:
            lines = (self._tail + data).split(b"\r\n")
            self._tail = lines.pop()
            while lines and not self._content:
                line = lines.pop(0).upper()
                if line.startswith(b"EHLO"):
                    self._transport.write(b"250-hop\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
                elif line == b"DATA":
                    self._transport.write(b"354 go\r\n")
                    self._content = True
                else:
                    self._transport.write(b"250 ok\r\n")
            if not self._content:
                return
            data, self._tail = b"\r\n".join([*lines, self._tail]), b""
        NextHop.octets += len(data)
        if len(data) < 10_000 and (number := NUMBER(data)):
            NextHop.seen[number[1]] += 1
        seen = self._tail + data[-5:]
        if seen.endswith(b"\r\n.\r\n"):
            self._content, self._tail = False, b""
            NextHop.taken += 1
            self._transport.write(b"250 taken\r\n")
        else:
            self._tail = seen[-5:]


class Served:
    """The real server, in a process of its own."""

    def __init__(self, directory: Path, hop: int, limits: str) -> None:
        config = directory / "flowengine.toml"
        config.write_text(
            f"""
            hostname = "mx.example.net"
            storage = "sqlite:{directory}/state.db"
            [limits]
            connections = 3000
            connections_per_client = 3000
            {limits}
            [listeners.inbound]
            address = "127.0.0.1:0"
            recipient_domains = ["example.net"]
            transport = "next"
            [transports.next]
            host = "127.0.0.1:{hop}"
            """
        )
        command = [sys.executable, "-m", "flowengine", "serve", "-c", str(config)]
        self._log = (directory / "log").open("wb")
        self._folder = directory
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)  # noqa: S603
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().strip().rpartition(":")[2])

    def cpu(self) -> float:
        """Seconds of CPU of the workers so far."""
        found = 0
        for pid in self.workers:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += int(fields[11]) + int(fields[12])
        return found / os.sysconf("SC_CLK_TCK")

    @property
    def workers(self) -> list[int]:
        """The processes that serve, oldest first."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [pid for pid in map(int, children) if not self._watches(pid)]

    def _watches(self, pid: int) -> bool:
        """Whether that is the process that only looks on: it is the one that does not listen for mail."""
        listening = {
            fields[9]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
            if (fields := line.split())[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == self.port
        }
        with suppress(OSError):
            for one in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if str(one.readlink()).strip("socket:[]") in listening:
                        return False
        return True

    def memory(self) -> float:
        """MB that the parent and the workers have for themselves (RssAnon)."""
        found = 0.0
        for pid in (self._process.pid, *self.workers):
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                found += int((re.search(r"RssAnon:\s+(\d+) kB", status) or [0, "0"])[1]) / 1024
        return found

    def open_files(self) -> int:
        """Descriptors of the process that forks the others."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def reload(self) -> None:
        """Read the configuration anew."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


class Peer:
    """One client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @classmethod
    async def come(cls, port: int) -> "Peer":
        """Connect, hear the greeting, say HELO."""
        peer = cls(*await asyncio.open_connection("127.0.0.1", port))
        await peer.lines(1)
        await peer.say(b"HELO c\r\n", 1)
        return peer

    async def say(self, data: bytes, lines: int) -> list[bytes]:
        """Send, and hear so many lines."""
        self.writer.write(data)
        await self.writer.drain()
        return await self.lines(lines)

    async def lines(self, count: int) -> list[bytes]:
        """The next lines."""
        return [await self._reader.readuntil(b"\r\n") for _ in range(count)]

    async def deliver(self, message: bytes, pieces: int = 1) -> float:
        """Send a message so many times over; seconds. Raises RuntimeError when it is not taken."""
        started = time.perf_counter()
        await self.say(ENVELOPE + b"DATA\r\n", 3)
        for _ in range(pieces):
            self.writer.write(message)
            await self.writer.drain()
        (reply,) = await self.say(b".\r\n", 1)
        if not reply.startswith(b"250 "):
            raise RuntimeError(reply.decode())
        return time.perf_counter() - started


async def stalled(served: Served) -> str:
    """Others are served while a thousand say nothing."""
    alone = [await (await Peer.come(served.port)).deliver(SMALL) for _ in range(50)]
    before = served.memory()
    silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(1000)]
    peer = await Peer.come(served.port)
    among = [await peer.deliver(SMALL) for _ in range(200)]
    grown = served.memory() - before
    for _, writer in silent:
        writer.close()
    middle, worst = sorted(among)[100] * 1000, max(among) * 1000
    assert worst < 1000, "a client waits for others that say nothing"
    return (
        f"1000 silent clients cost {grown:.1f} MB ({grown * 1.024:.1f} KB each); a message then takes {middle:.1f} ms, "
        f"at worst {worst:.1f} ms; alone {sorted(alone)[25] * 1000:.1f} ms"
    )


async def parallel(served: Served) -> str:
    """Two hundred senders at once, twenty messages each."""
    peers = await asyncio.gather(*(Peer.come(served.port) for _ in range(200)))
    started, cpu = time.perf_counter(), served.cpu()

    async def all_of_one(peer: Peer) -> list[float]:
        return [await peer.deliver(SMALL) for _ in range(20)]

    times = [one for some in await asyncio.gather(*map(all_of_one, peers)) for one in some]
    seconds = time.perf_counter() - started
    fair = sorted(times)
    return (
        f"4000 messages of 200 senders in {seconds:.1f} s, {4000 / seconds:.0f} a second, "
        f"{(served.cpu() - cpu) / 4:.2f} ms of CPU each; half of them within {fair[2000] * 1000:.0f} ms, "
        f"the slowest {fair[-1] * 1000:.0f} ms"
    )


async def large(served: Served) -> str:
    """Two hundred messages of 20 MB at once; the bound on memory is 64 MB."""
    line = b"0123456789 the quick brown fox jumps over the lazy dog 12345\r\n"
    block = line * (MB // len(line))
    idle = served.memory()
    peers = await asyncio.gather(*(Peer.come(served.port) for _ in range(200)))
    peak, running = 0.0, True

    async def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, served.memory())
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    started, before = time.perf_counter(), NextHop.octets
    results = await asyncio.gather(*(peer.deliver(block, 20) for peer in peers), return_exceptions=True)
    seconds = time.perf_counter() - started
    running = False
    await watching
    taken = sum(not isinstance(one, BaseException) for one in results)
    told = {str(one).strip() for one in results if isinstance(one, BaseException)}
    assert peak - idle < 64 + 100, f"{peak - idle:.0f} MB"
    assert all(one.startswith("4") for one in told), told
    return (
        f"200 messages of 20 MB: {taken} taken, others hear {told or 'nothing'}; {seconds:.0f} s, "
        f"{(NextHop.octets - before) / MB / seconds:.0f} MB/s; own memory {idle:.0f} MB and {peak - idle:.0f} MB more at "
        f"the peak"
    )


async def slow(served: Served) -> str:
    """An octet a second, in commands and in content: it is ended, and meanwhile costs nothing."""
    cpu, started = served.cpu(), time.perf_counter()

    async def drip(opening: bytes, lines: int) -> float:
        peer = await Peer.come(served.port)
        if opening:
            await peer.say(opening, lines)
        end = asyncio.create_task(peer.lines(1))
        while not end.done():
            peer.writer.write(b"x")
            await asyncio.wait([end], timeout=1)
        assert end.result()[0].startswith(b"421 4.4.2"), end.result()
        return time.perf_counter() - started

    command, content = await asyncio.gather(drip(b"", 0), drip(ENVELOPE + b"DATA\r\n", 3))
    return (
        f"an octet a second is ended after {command:.1f} s within a command (command_time 5 s) and {content:.1f} s "
        f"within a message (message_time 8 s); CPU {served.cpu() - cpu:.2f} s"
    )


class Senders:
    """Clients that send numbered messages one after the other, again until each is taken, as a mail server does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.taken: set[bytes] = set()
        self.again = 0
        """How often a message had to be sent again."""
        self.longest = 0.0
        """Seconds that a message took, waiting to be sent again included."""
        self.over = False

    async def send(self, first: int, step: int) -> None:
        """Send until it is over."""
        number, peer = first, None
        while not self.over:
            name, began = str(number).encode(), time.perf_counter()
            while name not in self.taken:
                try:
                    peer = peer or await Peer.come(self._port)
                    await peer.deliver(b"X-Number: %s\r\n%s" % (name, SMALL))
                    self.taken.add(name)
                except (OSError, EOFError, RuntimeError):
                    if peer is not None:
                        peer.writer.transport.abort()
                    peer = None
                    self.again += 1
                    await asyncio.sleep(0.05)
            self.longest = max(self.longest, time.perf_counter() - began)
            number += step


async def disturbed(served: Served, disturb: Callable[[], None], seconds: int) -> str:
    """Twenty clients send while something is done to the server every second."""
    NextHop.seen.clear()
    senders = Senders(served.port)
    tasks = [asyncio.create_task(senders.send(number, 20)) for number in range(20)]
    await asyncio.sleep(2)
    before, files = served.memory(), served.open_files()
    for _ in range(seconds):
        disturb()
        await asyncio.sleep(1)
    senders.over = True
    await asyncio.gather(*tasks)
    await asyncio.sleep(3)
    lost = senders.taken - NextHop.seen.keys()
    twice = sum(NextHop.seen[one] > 1 for one in senders.taken)
    grown, left = served.memory() - before, served.open_files() - files
    assert not lost, f"{len(lost)} messages that were taken did not arrive"
    assert grown < 30 and left < 10, f"{grown:.0f} MB more, {left} open files more"
    return (
        f"{len(senders.taken)} messages in {seconds + 2} s, {len(lost)} lost, {twice} came twice; {senders.again} tries "
        f"were repeated, the slowest message took {senders.longest:.2f} s; memory {grown:+.1f} MB, open files {left:+d}"
    )


async def killed(served: Served) -> str:
    """A worker is killed every second."""

    def kill() -> None:
        workers = served.workers
        if len(workers) > 1:
            with suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)  # noqa: S311  # no secret

    return await disturbed(served, kill, 30)


async def reloaded(served: Served) -> str:
    """The configuration is read anew every second."""
    return await disturbed(served, served.reload, 30)


PROOFS: dict[str, tuple[Callable[[Served], Awaitable[str]], str]] = {
    "stalled": (stalled, ""),
    "parallel": (parallel, ""),
    "large": (large, f"in_flight_bytes = {64 * MB}\nspool_above = {1 * MB}\ndata_time = 600.0"),
    "slow": (slow, "command_time = 5.0\nmessage_time = 8.0"),
    "killed": (killed, ""),
    "reloaded": (reloaded, ""),
}


async def main(names: list[str]) -> int:
    """Play the proofs of these names, all of them without any; 1 when one did not hold."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    hop = await asyncio.get_running_loop().create_server(NextHop, "127.0.0.1", 0)
    failed = 0
    for name in names or list(PROOFS):
        play, limits = PROOFS[name]
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as directory:
            served = Served(Path(directory), hop.sockets[0].getsockname()[1], limits)
            try:
                async with asyncio.timeout(300):
                    sys.stdout.write(f"{name}: {await play(served)}\n")
            except (AssertionError, RuntimeError, TimeoutError) as error:
                failed = 1
                sys.stdout.write(f"{name}: does not hold: {error or type(error).__name__}\n")
            finally:
                served.stop()
            sys.stdout.flush()
    hop.close()
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
