"""Private keys: read safely, made once, and checked against DNS and dkimpy."""

import subprocess
import sys
from pathlib import Path

import pytest

from flowengine.mail.dns import DNSUnavailable
from flowengine.mail.errors import MailError
from flowengine.mail.keys import PrivateKey
from flowengine.services.config import Config, ConfigError, load
from flowengine.services.fakes import FakeLog, FakeResolver
from flowengine.services.key_checks import check_record, self_test, zone_lines
from flowengine.services.keys import KeyFileError, KeyRing, kept_path, new_key, open_keys

pytestmark = pytest.mark.anyio

KEY = PrivateKey.generate("ed25519")
RSA = PrivateKey.generate("rsa", 2048)


def config(directory: Path, text: str) -> Config:
    file = directory / "f.toml"
    file.write_text(text)
    file.chmod(0o600)
    return load(file, files=False)


def pem(path: Path, key: PrivateKey = KEY, mode: int = 0o600) -> Path:
    path.write_bytes(key.pem())
    path.chmod(mode)
    return path


def test_keys_come_from_files_and_from_the_configuration(tmp_path: Path) -> None:
    pem(tmp_path / "a.pem")
    inline = RSA.pem().decode()
    ring = open_keys(config(tmp_path, f"[pki.a]\nfile = 'a.pem'\n[pki.b]\ndata = '''\n{inline}'''\n"))
    assert ring.find("a") == KEY and ring.find("b") == RSA and ring.find("c") is None
    assert [(key.name, key.source) for key in ring.configured.values()] == [("a", "file"), ("b", "data")]


def test_a_key_without_file_and_data_is_made_once_and_kept(tmp_path: Path) -> None:
    settings = config(tmp_path, '[pki.a]\ntype = "ed25519"\nselector = "s1"\ndomain = "example.net"\n')
    assert open_keys(settings, make=False).find("a") is None
    made = open_keys(settings).configured["a"]
    path = kept_path(settings, "a")
    assert (made.source, made.path, made.selector, made.domain) == ("made", path, "s1", "example.net")
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["a.pem"]
    assert open_keys(settings).find("a") == made.key == open_keys(settings, make=False).find("a")


MAKE = """
import sys
from flowengine.services.config import load
from flowengine.services.keys import open_keys
print(open_keys(load(sys.argv[1])).configured["a"].key.fingerprint)
"""


def test_processes_that_start_together_make_one_key(tmp_path: Path) -> None:
    config(tmp_path, '[pki.a]\ntype = "ed25519"\n')
    command = [sys.executable, "-c", MAKE, str(tmp_path / "f.toml")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]  # noqa: S603  # our own program
    told = [one.communicate(timeout=60)[0] for one in started]
    assert len(set(told)) == 1 and told[0].startswith("SHA256:")


def test_all_that_is_wrong_is_told_with_its_place_and_nothing_of_a_key(tmp_path: Path) -> None:
    pem(tmp_path / "open.pem", mode=0o644)
    (tmp_path / "broken.pem").write_text("-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----\n")
    (tmp_path / "broken.pem").chmod(0o600)
    (tmp_path / "large.pem").write_bytes(b"s3cret" * 20000)
    (tmp_path / "large.pem").chmod(0o600)
    text = "".join(f"[pki.{n}]\nfile = '{n}.pem'\n" for n in ("open", "broken", "large", "no"))
    with pytest.raises(ConfigError) as caught:
        open_keys(config(tmp_path, text + "[pki.text]\ndata = 's3cret'\n"))
    assert [problem.span.line for problem in caught.value.problems] == [2, 4, 6, 8, 10]
    told = str(caught.value)
    assert "mode 644" in told and "cannot be read: No such file" in told and "larger than any key" in told
    assert "s3cret" not in told


def test_a_kept_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path, '[pki.a]\ntype = "ed25519"\n')
    open_keys(settings)
    kept_path(settings, "a").chmod(0o640)
    with pytest.raises(ConfigError, match="others must not read it"):
        open_keys(settings)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where a directory should be")
    with pytest.raises(ConfigError, match="cannot be written"):
        open_keys(config(tmp_path, '[pki.a]\ntype = "ed25519"\n'))


def test_a_new_key_never_takes_the_place_of_another(tmp_path: Path) -> None:
    key = new_key(tmp_path / "k.pem", "ed25519")
    with pytest.raises(KeyFileError, match="never overwritten"):
        new_key(tmp_path / "k.pem", "ed25519")
    assert PrivateKey.parse((tmp_path / "k.pem").read_bytes()) == key
    assert [file.name for file in tmp_path.iterdir()] == ["k.pem"]


def test_keys_from_texts_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, text = KeyRing(), RSA.pem().decode()
    assert ring.parsed(text) is None
    key = ring.parse(text)
    assert ring.parse(text) is key is ring.parsed(text)
    with pytest.raises(MailError):
        ring.parse("no key")
    monkeypatch.setattr("flowengine.services.keys.MOST_PARSED", 1)
    ring.parse(KEY.pem().decode())
    assert ring.parsed(text) is None


# -- checks -----------------------------------------------------------------------------------------------------------

NAME = ("s1._domainkey.example.net", "txt")
OTHER = PrivateKey.generate("ed25519")


@pytest.mark.parametrize(
    "published, problem, note",
    [
        ([KEY.record()], "", ""),
        (["none"], "the name does not exist", ""),
        (["empty"], "nothing is published there", ""),
        ([OTHER.record()], "the published key is not this one", ""),
        ([KEY.record(), OTHER.record()], "2 records are published", ""),
        (["v=DKIM1; k=ed25519; p="], "revoked", ""),
        (["v=spf1 -all"], "a record cannot be used", ""),
        ([KEY.record().replace("k=", "h=sha1; k=", 1)], "allows only sha1", ""),
        ([KEY.record().replace("k=", "s=other; k=", 1)], "not for mail", ""),
        ([KEY.record().replace("k=", "t=y:s; k=", 1)], "", "t=y"),
        ([KEY.record() + "; n=" + "x" * 1300], "", "needs TCP"),
    ],
)
async def test_what_the_record_says(published: list[str], problem: str, note: str) -> None:
    found = await check_record(KEY, "s1", "example.net", FakeResolver({NAME: published}))
    assert found.good is (not problem)
    assert problem in "\n".join(found.problems) and note in "\n".join(found.notes)
    assert bool(found.problems) is bool(problem) and bool(found.notes) is bool(note)


async def test_no_answer_is_neither_good_nor_bad() -> None:
    with pytest.raises(DNSUnavailable):
        await check_record(KEY, "s1", "example.net", FakeResolver({NAME: ["timeout"]}))


@pytest.mark.parametrize("key", [KEY, RSA], ids=["ed25519", "rsa"])
def test_dkimpy_accepts_what_we_sign(key: PrivateKey) -> None:
    pytest.importorskip("nacl")
    assert self_test(key).result == "accepted"


def test_the_self_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    other = PrivateKey.generate("rsa").record()
    monkeypatch.setattr(PrivateKey, "record", lambda key: other)
    assert self_test(RSA).result == "refused"
    assert self_test(RSA, domain="no domain").result == "refused"


def test_a_zone_line_holds_the_record_in_strings_of_255() -> None:
    line = zone_lines(RSA, "s1", "example.net")
    strings = line.split('"')[1::2]
    assert "".join(strings) == RSA.record() and max(map(len, strings)) <= 255
    assert line.startswith("s1._domainkey.example.net. 3600 IN TXT (")


def test_a_key_that_is_made_is_told_so_that_somebody_publishes_it(tmp_path: Path) -> None:
    log = FakeLog()
    for _ in range(2):
        open_keys(config(tmp_path, f"storage = 'sqlite:{tmp_path}/state.db'\n[pki.k]\ntype = 'ed25519'\n"), log=log)
    (line,) = log.of("key made")
    assert (line["pki"], line["file"]) == ("k", str(tmp_path / "keys" / "k.pem"))
    assert "flowengine keys record k" in str(line["text"])
