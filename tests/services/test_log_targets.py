"""The log at a syslog server and in the journal, read from the other end of real sockets."""

import json
import os
import re
import socket

import pytest

from flowengine.services.config import LogRules
from flowengine.services.config.values import parse_log_target
from flowengine.services.log import StructuredLog
from flowengine.services.log_targets import Journal, open_log, syslog_line

# RFC 5424 §6: PRI VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG
FORM = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) flowengine (\d+) (\S+) - (\{.*\})", re.DOTALL
)


def read(message: bytes) -> tuple[int, dict]:
    found = FORM.fullmatch(message)
    assert found is not None, message
    assert found[3] == b"mx.example.net" and int(found[4]) == os.getpid()
    return int(found[1]), json.loads(found[6])


def to(target: str) -> StructuredLog:
    return open_log(LogRules(target=parse_log_target(target)), "mx.example.net")


def test_syslog_over_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        log = to(f"syslog:udp:127.0.0.1:{server.getsockname()[1]}")
        log.event("notice", "verdict", id="01", text="a\nb \N{SNOWMAN}")
        priority, line = read(server.recv(65536))
        assert priority == 2 * 8 + 5
        assert (line["event"], line["id"], line["text"]) == ("verdict", "01", "a\\nb \N{SNOWMAN}")
        log.event("debug", "too little")
        log.event("error", "two words")
        priority, line = read(server.recv(65536))
        assert (priority, line["event"]) == (2 * 8 + 3, "two words")


def test_syslog_at_a_unix_socket_that_comes_back(tmp_path) -> None:
    place = tmp_path / "log"
    log = to(f"syslog:unix:{place}")
    log.event("info", "nobody hears")
    assert log.dropped == 1
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(place))
            server.settimeout(5)
            log.event("info", "first")  # the old socket is dead: one line is lost, and counted
            log.event("info", "second")
            assert read(server.recv(65536))[1]["event"] in ("first", "second")
        place.unlink()
    assert log.dropped == 2


def test_syslog_over_tcp_counts_octets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        log = to(f"syslog:tcp:127.0.0.1:{server.getsockname()[1]}")
        log.event("info", "first")
        connection, _ = server.accept()
        log.event("info", "second", text="\N{SNOWMAN}" * 100)
        connection.settimeout(5)
        data = b""
        events = []
        while len(events) < 2:
            data += connection.recv(65536)
            while (found := re.match(rb"(\d+) ", data)) and len(data) >= found.end() + int(found[1]):
                end = found.end() + int(found[1])
                events.append(read(data[found.end() : end])[1]["event"])
                data = data[end:]
        assert events == ["first", "second"] and data == b""
        connection.close()


def test_a_syslog_server_that_is_not_there_holds_nobody_up_and_memory_is_bounded() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        log = to(f"syslog:tcp:127.0.0.1:{bound.getsockname()[1]}")
        for _ in range(3000):
            log.event("info", "line", text="x" * 1000)
        assert log.dropped > 1000


def test_the_journal_gets_every_field_under_its_name(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "journal"))
        server.settimeout(5)
        Journal(str(tmp_path / "journal"))(
            "warning", {"event": "verdict", "id": "01", "n": 3, "text": "a\nb", "bad name": 1}
        )
        data = server.recv(65536)
    assert b"PRIORITY=4\n" in data and b"SYSLOG_IDENTIFIER=flowengine\n" in data
    assert b"FLOWENGINE_EVENT=verdict\n" in data and b"FLOWENGINE_N=3\n" in data
    assert b"FLOWENGINE_TEXT\n" + (3).to_bytes(8, "little") + b"a\nb\n" in data
    assert b"FLOWENGINE_BAD" not in data


def test_the_name_of_an_event_cannot_break_out_of_its_field() -> None:
    line = syslog_line("info", {"timestamp": "t", "event": "a b\x01é" + "x" * 100}, "h")
    assert line.split(b" ")[5] == b"a_b__" + b"x" * 27


@pytest.mark.parametrize(
    "text", ["syslog", "syslog:udp", "syslog:udp:host", "syslog:tls:a:1", "file:/x", "syslog:udp:unix:/x"]
)
def test_places_that_there_are_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|no place|no port"):
        parse_log_target(text)


REPORT = "[DMARC] [MAIL].From=a.example SPF=pass DKIM=unaligned DMARC=pass (action=pass; id=01; ts=1)"


@pytest.mark.parametrize("process", [100, 7, 123])
def test_a_line_for_dmarc_reports_is_the_message_that_opendmarc_halonlog_reads(monkeypatch, process) -> None:
    monkeypatch.setattr(os, "getpid", lambda: process)
    about = {"timestamp": "2026-11-21T14:00:00.000Z", "event": "dmarc", "id": "01", "result": "pass"}
    wire = syslog_line("info", {**about, "line": REPORT}, "mx.example.net").decode()
    _, stamp, host, name, pid, _, _, text = wire.split(" ", 7)
    written = f"Nov 21 14:00:00 {host} {name}[{pid}]: {text}"  # as rsyslog writes it into a file
    reporter = re.search(r" ([^ ]+) smtpd\[[1-9]*\]:", written)
    listed = re.search(r"\[DMARC\][^\(]*\((.*)\)$", written)
    assert reporter is not None and reporter[1] == "mx.example.net" and stamp == about["timestamp"]
    assert listed is not None and listed[1] == "action=pass; id=01; ts=1"
    for other in (about, {**about, "event": "verdict", "line": REPORT}):
        assert b" flowengine %d " % process in syslog_line("info", other, "h")


def test_the_journal_has_the_line_for_dmarc_reports_as_its_message(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "journal"))
        server.settimeout(5)
        Journal(str(tmp_path / "journal"))("info", {"event": "dmarc", "id": "01", "line": REPORT})
        data = server.recv(65536)
    assert f"MESSAGE={REPORT}\n".encode() in data
    assert b"SYSLOG_IDENTIFIER=smtpd\n" in data and b"FLOWENGINE_ID=01\n" in data
