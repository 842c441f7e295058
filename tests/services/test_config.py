"""The configuration: what is read, what is refused, and how the operator is told."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.services.config import Address, Config, ConfigError, NameServer, NextHop, default, load, parse
from flowengine.services.config import settings as settings_of
from flowengine.services.config.pages import reference, sample, schema
from flowengine.services.config.positions import Positions
from flowengine.services.config.problems import Problems
from flowengine.services.config.reading import Reader

CONTRACT = """
hostname = "mx.example.net"
storage = "sqlite:var/state.db"
workers = 2
user = "flowengine"
[dns]
servers = ["127.0.0.1:5353"]
timeout = 5.0
[dmarc]
standard = "rfc9989"
[api]
url = "https://keys.example.net/api"
headers = { Authorization = "Bearer ${API_TOKEN}" }
timeout = 5.0
secret_fields = ["rsakey", "privatekey"]
[pki.example]
file = "keys/example.pem"
selector = "s1"
domain = "example.net"
[listeners.inbound]
address = "0.0.0.0:25"
flows = { mailfrom = "flows/mailfrom.hsl", data = "flows/inbound.hsl" }
recipient_domains = ["example.net"]
transport = "local"
tls = { certificate = "tls/cert.pem", key = "tls/key.pem", implicit = false }
bare_newline = "reject"
[[listeners.inbound.routes]]
domains = ["lists.example.net"]
flows = { data = "flows/lists.hsl" }
transport = "lists"
[listeners.submission]
address = "0.0.0.0:587"
require_auth = true
allow_plaintext_auth = false
users = "users.toml"
flows = { data = "flows/outbound.hsl" }
transport = "internet"
delivery = "inline"
[listeners.milter]
protocol = "milter"
address = "unix:var/milter.sock"
[transports.local]
host = "127.0.0.1:26"
[transports.lists]
host = ["127.0.0.1:27", "[::1]:27"]
[transports.internet]
mx = true
retry = [60, 300, 900, 3600, 14400]
expire = 432000
[dsn]
from = "mailer-daemon@example.net"
key = "pki:example"
[quarantine.spam]
path = "var/quarantine/spam"
[limits]
recipients = 100
[scripts]
root = "flows"
[network]
allow = ["127.0.0.1", "10.0.0.0/8", "keys.example.net"]
"""


def problems_of(text: str, **options: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml", files=False, **options)  # type: ignore[arg-type]  # the tests' own options
    return str(caught.value).split("\n")


def test_every_key_of_the_contract_is_read() -> None:
    config = parse(CONTRACT, base=Path("/etc/flowengine"), files=False, environment={"API_TOKEN": "t0p"})
    assert config.hostname == "mx.example.net"
    assert config.storage.path == Path("/etc/flowengine/var/state.db")
    assert config.dns.servers == (NameServer("127.0.0.1", 5353),)
    assert config.api.headers == {"Authorization": "Bearer t0p"}
    inbound = config.listeners["inbound"]
    assert inbound.address == Address("0.0.0.0", 25)  # noqa: S104  # nothing is bound
    assert inbound.flows == {
        "mailfrom": Path("/etc/flowengine/flows/mailfrom.hsl"),
        "data": Path("/etc/flowengine/flows/inbound.hsl"),
    }
    assert inbound.routes[0].domains == ("lists.example.net",)
    assert inbound.tls is not None and inbound.tls.key == Path("/etc/flowengine/tls/key.pem")
    assert config.listeners["milter"].address.path == Path("/etc/flowengine/var/milter.sock")
    assert config.transports["local"].host == (NextHop("127.0.0.1", 26),)
    assert [str(hop) for hop in config.transports["lists"].host] == ["127.0.0.1:27", "[::1]:27"]
    assert config.dsn is not None and config.dsn.from_ == "mailer-daemon@example.net"
    assert [str(one) for one in config.network.allow] == ["127.0.0.1/32", "10.0.0.0/8", "keys.example.net"]


def test_secrets_do_not_show_in_the_repr() -> None:
    config = parse(CONTRACT, files=False, environment={"API_TOKEN": "t0psecret"})
    keys = parse('[pki.a]\ndata = "PEM-t0psecret"\n[transports.x]\nhost = "a.example:25"\nsasl = { username = "u", '
                 'password = "t0psecret" }\n', files=False)  # fmt: skip
    assert "t0psecret" not in repr(config) + repr(keys)


def test_the_runtime_gets_its_part() -> None:
    config = parse(CONTRACT, base=Path("/etc/flowengine"), files=False, environment={"API_TOKEN": "t"})
    told = settings_of(config)
    assert (told.hostname, told.quarantines, told.script_root) == (
        "mx.example.net",
        {"spam"},
        Path("/etc/flowengine/flows"),
    )
    assert set(told.transports) == {"local", "lists", "internet"}
    assert told.limits.script_steps == config.limits.script_steps


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems_of(
        """\
wrkers = 2
[dns]
timeout = "5"
servers = ["127.0.0.1:53", "dns.example:53"]
[listeners.inbound]
address = "0.0.0.0"
flows = { data = "a.hsl", rcpt = "x" }
transport = "lcoal"
[transports.local]
host = "127.0.0.1:26"
mx = true
[transports.internet]
mx = true
"""
    )
    assert [line.split(" ")[0] for line in found] == [
        "f.toml:1:1:",
        "f.toml:3:11:",
        "f.toml:4:28:",
        "f.toml:5:1:",
        "f.toml:6:11:",
        "f.toml:7:27:",
        "f.toml:8:13:",
        "f.toml:9:1:",
    ]
    assert found[0].endswith('(did you mean "workers"?)')
    assert "[dns] servers[2]: 'dns.example:53'" in found[2]
    told = 'none called "lcoal"; known: internet, local (did you mean "local"?)'
    assert found[6] == f"f.toml:8:13: [listeners.inbound] transport: {told}"


LISTENER = '[transports.out]\nhost = "192.0.2.1:25"\n[listeners.a]\naddress = "127.0.0.1:0"\ntransport = "out"\n'


@pytest.mark.parametrize(
    "text, told",
    [
        (LISTENER, "[listeners.a] an open relay"),
        (LISTENER + 'relay_from = ["0.0.0.0/0"]', "relay_from: an open relay: 0.0.0.0/0 is everybody"),
        (LISTENER + 'flows = { data = "a", eod = "b" }\nrelay_from = ["10.0.0.0/8"]', "data and eod cannot be on one"),
        (LISTENER + "require_auth = true", "nobody can authenticate"),
        (LISTENER + 'bare_newline = "normalise"', 'known: reject, normalize (did you mean "normalize"?)'),
        (LISTENER + 'recipient_domains = ["*"]', "'*' is not a domain"),
        (LISTENER + 'recipient_domains = "a.example"', "a list is wanted, not a string"),
        (LISTENER + 'routes = [{ domains = ["a.example"], flows = { helo = "x" } }]', "helo runs before a recipient"),
        (LISTENER + "routes = [{ domains = [] }]", "0 items; 1 to"),
        (LISTENER + 'relay_from = ["10.0.0.1/8"]', "the network is 10.0.0.0/8"),
        (LISTENER + 'flows = "x"', "a table is wanted, not a string"),
        (LISTENER + 'banner = "é"', "only printable ASCII"),
        ("[listeners.a]\n", "[listeners.a] address is missing"),
        ('[listeners.a]\naddress = "[::1]:99999"', "the port is a number"),
        ('[listeners.a]\naddress = "::1:25"', "stands in brackets"),
        ('[listeners.a]\naddress = "[::1]25"', "write [v6]:port"),
        ('[listeners.a]\naddress = "unix:"', "needs the path of a socket"),
        ('[listeners.a]\naddress = "1.2.3.400:25"', "not an IPv4 address"),
        ('[listeners.a]\naddress="[::1]:25"\n[listeners.b]\naddress="[0::1]:25"', "is taken by [listeners.a]"),
        ('[listeners."a b"]\naddress = "127.0.0.1:0"', "'a b' is not a name"),
        ("[transports.a]\n", "exactly one of host, mx = true and sink says where mail goes; there is none"),
        ('[transports.a]\nsink = "x"\nmx = true', "not mx and sink together"),
        ('[transports.a]\nmx = true\nprotocol = "lmtp"', "LMTP is not spoken"),
        ('[transports.a]\nmx = true\nsasl = { username = "u", password = "p" }', "whatever DNS names"),
        ('[transports.a]\nhost = "a:25"\ntls = { mode = "off", implicit = true }', "do not go together"),
        ('[transports.a]\nhost = "unix:x"\ntls = { mode = "verify" }', "a Unix socket has no name"),
        ('[transports.a]\nhost = "a:25"\ntls = { key = "x" }', "certificate and key stand together"),
        (
            '[transports.a]\nhost = "a:25"\ntls = { mode = "off" }\nsasl = { username = "u", password = "p" }',
            "the password never travels without TLS",
        ),
        ('[transports.a]\nhost = "a:25"\nretry = []', "0 items"),
        ('[transports.a]\nhost = "a:25"\nretry = [0]', "retry[1]: expected a whole number >= 1"),
        ('[transports.a]\nhost = "a:25"\nsource = "a"', "is not an IP address"),
        ('storage = "postgresql:x"', "is written postgresql://USER@HOST/DATABASE"),
        ('storage = "postgresql://a b/c"', "is written postgresql://USER@HOST/DATABASE"),
        ("[queue]\nlease = 5", "expected a whole number >= 6"),
        ('storage = "state.db"', "write sqlite:PATH"),
        ("workers = true", "expected a whole number"),
        ("[limits]\nmessage_size = nan", "nan is no number"),
        ("[limits]\nmessage_size = 300_000_000\nspool_above = 300_000_000", "it would never fit"),
        ("[limits]\ncommand_time = -1", "expected a number >= 1"),
        ("[dns]\nminimum_ttl = 60\nmaximum_ttl = 30", "larger than maximum_ttl (30)"),
        ('[api]\nurl = "ftp://x"', "not an http:// or https:// address"),
        ('[api]\nurl = "https://u:p@x/"', "credentials belong into headers"),
        ('[api]\nurl = "http://[x/"', "not an http:// or https:// address"),
        ('[api]\nheaders = { "A b" = "c" }', "not the name of a header field"),
        ('[api]\nheaders = { A = "b\\r\\nC: d" }', "cannot hold control characters"),
        ('[api]\nheaders = { A = "${NO_SUCH_VARIABLE_X}" }', "the environment has no NO_SUCH_VARIABLE_X"),
        ('[pki.a]\nfile = "x"\ndata = "y"', "file and data cannot stand together"),
        ("[pki.a]\nbits = 1024", "known: 2048, 3072, 4096"),
        ('[dsn]\nfrom = "x@y.example"\nkey = "pki:b"', 'none called "b"; known: none'),
        ('[dsn]\nfrom = "x@y.example"\nkey = "b"', "wanted is something like pki:example"),
        ('[dsn]\nfrom = "nobody"', "not a mail address"),
        ('[pki.b]\n[dsn]\nfrom = "x@y.example"\nkey = "pki:b"', "needs selector and domain"),
        ("[dsn]\n", "[dsn] from is missing"),
        ('[network]\nallow = ["10.0.0.0/99"]', "is not a network"),
        ('[network]\nallow = ["a b"]', "neither a network, nor an address, nor a host name"),
        ("dns = 3", "dns: a table is wanted, not a number"),
        ("listeners = [1]", "listeners: a table is wanted, not a list"),
        ("a = ", "f.toml:1:5: invalid value"),
        ('"unclosed', "f.toml:1:"),
        ("x = " + "[" * 5000, "nested too deep"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    assert told in "\n".join(problems_of(text))


def test_one_unreadable_guard_is_one_problem_and_no_open_relay() -> None:
    assert len(problems_of(LISTENER + 'relay_from = ["10.0.0.1/8"]')) == 1


@pytest.mark.parametrize(
    "guard",
    [
        'recipient_domains = ["example.net"]',
        'relay_from = ["10.0.0.0/8"]',
        'require_auth = true\nusers = "u"',
        'flows = { rcptto = "r.hsl" }',
    ],
)
def test_a_listener_that_says_for_whom_is_no_open_relay(guard: str) -> None:
    assert parse(LISTENER + guard, files=False).listeners["a"].transport == "out"


def test_a_proxy_header_cannot_stand_before_implicit_tls() -> None:
    keys = 'recipient_domains = ["example.net"]\nproxy = ["10.0.0.1"]\n'
    tls = 'tls = { certificate = "c", key = "k", implicit = true }'
    (line,) = problems_of(LISTENER + keys + tls)
    assert "PROXY header cannot stand before implicit TLS" in line
    assert parse(LISTENER + keys + tls.replace("true", "false"), files=False).listeners["a"].proxy


def test_a_sink_forwards_nothing_so_it_may_take_all() -> None:
    text = '[transports.s]\nsink = "s"\n[listeners.a]\naddress = "127.0.0.1:0"\ntransport = "s"\n'
    config = parse(text, files=False)
    assert config.takes_all(config.listeners["a"])
    config = parse(text + 'recipient_domains = ["a.example"]', files=False)
    assert not config.takes_all(config.listeners["a"])


def test_a_missing_variable_never_shows_another_ones_value() -> None:
    (line,) = problems_of('[api]\nheaders = { A = "${B} ${C}" }', environment={"B": "s3cret"})
    assert "s3cret" not in line and "has no C" in line


def test_options_stand_in_place_of_the_file() -> None:
    config = parse(CONTRACT, files=False, environment={"API_TOKEN": "t"}).with_options("127.0.0.1:99", "http://x/")
    assert (str(config.dns.servers[0]), config.api.url, config.dns.timeout) == ("127.0.0.1:99", "http://x/", 5.0)
    with pytest.raises(ConfigError, match=r"--dns:1:1: 'dns\.example'"):
        config.with_options(dns="dns.example")


# -- files ------------------------------------------------------------------------------------------------------------


def test_files_that_are_missing_or_open_to_others_are_told(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("x")
    (tmp_path / "key.pem").chmod(0o640)
    file = tmp_path / "f.toml"
    file.write_text(
        '[pki.a]\nfile = "key.pem"\n[pki.b]\nfile = "no.pem"\n[pki.c]\ndata = "PEM"\n[scripts]\nroot = "no"\n'
        '[listeners.l]\naddress = "127.0.0.1:0"\nflows = { data = "no.hsl" }\n'
        '[transports.t]\nhost = "a.example:25"\nsasl = { username = "u", password = "p" }\n'
    )
    file.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        load(file)
    told = [(problem.span.line, problem.id) for problem in caught.value.problems]
    assert told == [
        (2, "unsafe-mode"),
        (4, "missing-file"),
        (6, "unsafe-mode"),
        (8, "missing-file"),
        (11, "missing-file"),
        (14, "unsafe-mode"),
    ]
    assert "mode 640" in str(caught.value) and "PEM" not in str(caught.value)


def test_files_for_tls_that_hold_no_certificate_are_told(tmp_path: Path) -> None:
    for name in ("ca.pem", "own.pem", "own.key"):
        (tmp_path / name).write_text("no certificate")
        (tmp_path / name).chmod(0o600)
    file = tmp_path / "f.toml"
    tls = 'tls = { authorities = "ca.pem", certificate = "own.pem", key = "own.key" }'
    file.write_text(f'[transports.t]\nhost = "a.example:25"\n{tls}\n')
    with pytest.raises(ConfigError) as caught:
        load(file)
    told = [(problem.id, problem.message.partition("] ")[2].partition(":")[0]) for problem in caught.value.problems]
    assert told == [("bad-file", "authorities"), ("bad-file", "certificate")]


def test_safe_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("x")
    (tmp_path / "key.pem").chmod(0o600)
    file = tmp_path / "f.toml"
    file.write_text('[pki.a]\nfile = "key.pem"\n[pki.c]\ndata = "PEM"\n')
    file.chmod(0o600)
    config = load(file)
    assert config.pki["a"].file == tmp_path / "key.pem" and config.path == file and config.directory == tmp_path


def test_a_missing_users_file_and_a_literal_token_are_warnings(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text(
        '[listeners.l]\naddress = "127.0.0.1:0"\nusers = "u.toml"\nrequire_auth = true\nallow_plaintext_auth = true\n'
        '[api]\nheaders = { Authorization = "Bearer x" }\n'
    )
    file.chmod(0o644)
    assert [warning.id for warning in load(file).warnings] == ["bad-value", "missing-file", "unsafe-mode"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'hostname = "mx"\n# caf\xe9\n')
    with pytest.raises(ConfigError, match=r"latin\.toml:2:6: not UTF-8"):
        load(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (5 << 20))
    with pytest.raises(ConfigError, match="larger than"):
        load(tmp_path / "large.toml")


def test_without_a_file_the_one_here_is_taken_else_the_embedded_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(files=False)
    assert config.path is None and config == default(files=False)
    (tmp_path / "flowengine.toml").write_text('hostname = "here.example"\n')
    assert load().hostname == "here.example"


def test_the_embedded_default_is_loopback_only_and_keeps_its_state_here() -> None:
    config = default(files=False)
    assert {name: str(one.address) for name, one in config.listeners.items()} == {
        "inbound": "127.0.0.1:2525",
        "submission": "127.0.0.1:2587",
    }
    assert config.storage.path == Path.cwd() / "var/state.db"
    assert config.transports["sink"].sink == Path.cwd() / "var/sink"
    assert config.takes_all(config.listeners["inbound"])


# -- pages ------------------------------------------------------------------------------------------------------------


def test_the_sample_is_a_configuration_and_so_is_each_of_its_keys() -> None:
    assert parse(sample(), files=False) == parse("", files=False)
    text = "\n".join(line[1:] for line in sample().split("\n") if line.startswith("#") and not line.startswith("# "))
    problems = Problems(Positions("sample", text))
    document = tomllib.loads(text)
    config = Reader(problems, Path(), os.environ | {"API_TOKEN": "x", "RELAY_PASSWORD": "y"}).table(
        Config, document, ()
    )
    assert config is not None and not problems.of("error", "warning")
    assert config.listeners["inbound"].tls is not None


def test_the_schema_knows_every_key_of_the_contract() -> None:
    def walk(known: dict, value: object, path: str) -> None:  # type: ignore[type-arg]  # JSON
        if isinstance(value, dict):
            for key, one in value.items():
                inner = known.get("properties", {}).get(key) or known.get("additionalProperties")
                assert inner, f"{path}.{key}"
                walk(inner, one, f"{path}.{key}")

    walk(schema(), tomllib.loads(CONTRACT), "")


def test_the_reference_names_every_key() -> None:
    page = reference()
    for key in ("recipient_domains", "allow_plaintext_auth", "script_steps", "spool_above", "mixed_verdicts", "from"):
        assert f"| `{key}` |" in page


# -- any text ---------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from([*CONTRACT.split("\n"), "[limits]", "[[routes]]", "x = [", "a.b = {c = 1}", '"""', "\r"]),
            max_size=12,
        ).map("\n".join),
    )
)
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    try:
        assert isinstance(parse(text, files=False, environment={}), Config)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert 1 <= problem.span.line <= text.count("\n") + 2 and problem.span.column >= 1


@pytest.mark.parametrize("text", ["127.0.0.1:25", "[::1]:25", "mx.example.net:25", "unix:/run/x.sock", "0.0.0.0:0"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(Address.parse(text)) == text


def test_addresses_of_known_services_need_no_port() -> None:
    assert str(NextHop.parse("mx.example.net")) == "mx.example.net:25"
    assert [str(NameServer.parse(one)) for one in ("9.9.9.9", "::1", "[::1]:5353")] == [
        "9.9.9.9:53",
        "[::1]:53",
        "[::1]:5353",
    ]
