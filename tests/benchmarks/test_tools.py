"""The tools of `make bench`: what they send arrives, and what they configure the server takes."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.baseline import moved
from benchmarks.engine_config import Scenario, Setting, write
from benchmarks.fixtures import DOMAIN, SELECTOR, SIZES, key, plain
from benchmarks.load import load
from benchmarks.sink import sink
from benchmarks.timing import Row
from flowengine.servers.compiling import Compiler
from flowengine.services import config as configuration


@pytest.mark.parametrize("message", [plain(SIZES["2 KB"]), plain(SIZES["1 MB"]), b"A: b\r\n\r\n.\r\n..\r\n.x\r\n"])
def test_every_message_of_the_load_tool_arrives_whole(message: bytes) -> None:
    async def play() -> None:
        async with asyncio.timeout(20), sink() as hop:
            done = await load(hop.port, message, 25, 4, 3)
            assert done.messages == hop.arrived == len(done.latencies) == 25
            assert hop.last == message.replace(b"\r\n.", b"\r\n..") + b".\r\n"

    asyncio.run(play())


@pytest.mark.parametrize("size", SIZES.values())
def test_a_message_has_about_the_size_it_is_called_by(size: int) -> None:
    assert size - 200 < len(plain(size)) <= size


@pytest.mark.parametrize("scenario", ["sign", "verify"])
def test_the_server_takes_the_configuration(scenario: Scenario, tmp_path: Path) -> None:
    pem = tmp_path / "given.pem"
    pem.write_bytes(key().pem())
    setting = Setting(scenario, "127.0.0.1:0", "127.0.0.1:26", "127.0.0.1:53", pem, DOMAIN, SELECTOR)
    config = configuration.load(write(setting, tmp_path))
    assert Compiler(config).check_config() == []
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600


def test_only_what_moved_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    file.write_text('{"rows": {"a": {"ratio": 1.0}, "b": {"ratio": 1.0}, "c": {"ratio": 1.0}}}')
    monkeypatch.setattr("benchmarks.baseline.FILE", file)
    rows = [Row("a", 1, 1.1), Row("b", 1, 1.5), Row("c", 1, 0.5), Row("d", 1, 1)]
    assert [line.split()[:2] for line in moved(rows)] == [["slower", "b:"], ["faster", "c:"], ["new", "d:"]]
