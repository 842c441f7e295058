"""What `check` and the start say of a listener's TLS files and of its mechanisms."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowengine.language.problems import Problem
from flowengine.services.config import Config, ConfigError, load
from flowengine.services.fakes import FakeClock, FakeCounters, FakeLog, fake_services
from flowengine.services.server_tls import open_tls
from tests.world.certificates import Authority

AUTHORITY = Authority()
NAME = "mx.example.net"


def written(folder: Path, more: str = "", listener: str = "") -> Path:
    file = folder / "f.toml"
    file.write_text(
        '[listeners.l]\naddress = "127.0.0.1:0"\nrecipient_domains = ["example.net"]\ntransport = "t"\n' + listener +
        f'tls = {{ certificate = "{NAME}.pem", key = "{NAME}.key"{more} }}\n[transports.t]\nhost = "127.0.0.1:26"\n'
    )  # fmt: skip
    return file


def problems(file: Path) -> list[Problem]:
    try:
        return list(load(file).warnings)
    except ConfigError as error:
        return list(error.problems)


def told(file: Path) -> list[tuple[str, int, str]]:
    return [(one.id, one.span.line, one.message) for one in problems(file)]


def test_good_files_are_good_and_serve(tmp_path: Path) -> None:
    AUTHORITY.issue(tmp_path, NAME)
    AUTHORITY.write(tmp_path / "ca.pem")
    config = load(written(tmp_path, ', client_ca = "ca.pem", client = "require", minimum = "1.3", required = true'))
    assert config.warnings == ()
    tls = open_tls(config, fake_services())["l"]
    assert tls.required and not tls.implicit and tls.time == config.limits.handshake_time


@pytest.mark.parametrize(
    ("break_it", "id_", "sentence"),
    [
        ("chmod 640 NAME.key", "unsafe-mode", "has mode 640; others must not read it"),
        ("other key", "unusable-tls", "is not the key of"),
        ("locked key", "unusable-tls", "holds no private key in PEM that can be read without a password"),
        ("no certificate", "unusable-tls", "holds no certificate in PEM"),
        ("no key", "unusable-tls", "holds no private key"),
        ("missing key", "missing-file", "no such file"),
        ("missing certificate", "missing-file", "no such file"),
        ("no ca", "unusable-tls", "holds no certificate in PEM"),
    ],
)
def test_what_cannot_serve_is_told_with_its_place(tmp_path: Path, break_it: str, id_: str, sentence: str) -> None:
    certificate, key = AUTHORITY.issue(tmp_path, NAME)
    match break_it:
        case "chmod 640 NAME.key":
            key.chmod(0o640)
        case "other key":
            AUTHORITY.issue(tmp_path, "other")[1].replace(key)
        case "locked key":
            AUTHORITY.issue(tmp_path, NAME, password="x")  # noqa: S106  # a test's
        case "no certificate":
            certificate.write_text("hello")
        case "no key":
            key.write_text("hello")
        case "missing key":
            key.unlink()
        case "missing certificate":
            certificate.unlink()
    (tmp_path / "ca.pem").write_text("hello")
    file = written(tmp_path, ', client_ca = "ca.pem"' if break_it == "no ca" else "")
    ((found, line, message),) = told(file)
    assert (found, line) == (id_, 5) and sentence in message and message.startswith("[listeners.l.tls] ")


@pytest.mark.parametrize(("days", "verb"), [(13, "expires on"), (-1, "expired on"), (15, None)])
def test_a_certificate_near_its_end_is_warned_of(tmp_path: Path, days: float, verb: str | None) -> None:
    AUTHORITY.issue(tmp_path, NAME, days=days)
    file = written(tmp_path)
    found = problems(file)
    assert [one.severity for one in found] == (["warning"] if verb else [])
    assert all(verb in one.message for one in found if verb)
    config: Config = load(file)
    log = FakeLog()
    clock = FakeClock(datetime.now(UTC).timestamp())
    open_tls(config, fake_services(log=log, clock=clock, counters=FakeCounters()))
    assert [verb in str(line["certificate"]) for line in log.of("tls")] == ([True] if verb else [])


def test_files_that_broke_after_the_check_are_a_configuration_error(tmp_path: Path) -> None:
    _, key = AUTHORITY.issue(tmp_path, NAME)
    config = load(written(tmp_path))
    key.write_text("hello")
    with pytest.raises(ConfigError, match=r"f\.toml:5:\d+: \[listeners\.l\.tls\] key: .* holds no private key"):
        open_tls(config, fake_services())


def test_demanding_certificates_takes_authorities(tmp_path: Path) -> None:
    AUTHORITY.issue(tmp_path, NAME)
    assert "client_ca says whose" in told(written(tmp_path, ', client = "require"'))[0][2]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ('auth_mechanisms = ["PLAIN", "XOAUTH2"]', "XOAUTH2 is decided by an auth flow; there is none"),
        ('auth_mechanisms = ["A", "B"]', "A, B are decided by an auth flow; there is none"),
        ('auth_mechanisms = ["plain"]', "wanted is something like"),
        ("auth_mechanisms = []", "0 items; 1 to 20 are allowed"),
    ],
)
def test_mechanisms_need_somebody_who_knows_them(tmp_path: Path, keys: str, sentence: str) -> None:
    AUTHORITY.issue(tmp_path, NAME)
    assert [sentence in message for _, _, message in told(written(tmp_path, listener=keys + "\n"))] == [True]
