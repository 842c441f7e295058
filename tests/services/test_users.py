"""The users file, password hashes, and the checks against those who guess."""

import asyncio
import multiprocessing
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.services import users as users_module
from flowengine.services.config import ConfigError, parse
from flowengine.services.fakes import FakeClock, FakeLog
from flowengine.services.passwords import STRENGTH, Hash, hash_password
from flowengine.services.saslprep import saslprep
from flowengine.services.shared import SharedFile, SharedRates
from flowengine.services.users import PasswordChecker, open_users
from flowengine.services.users_file import add_user, read_users, remove_user

pytestmark = pytest.mark.anyio

CHEAP = Hash(10, 1, 1, b"", bytes(32))


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowengine.services.users_file.hash_password", lambda password: hash_password(password, CHEAP))


# -- hashes -----------------------------------------------------------------------------------------------------------


def test_the_vector_of_rfc_7914() -> None:
    digest = "/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA"
    assert Hash.parse(f"$scrypt$ln=10,r=8,p=16$TmFDbA${digest}".replace("TmFDbA", "TmFDbA" + "AAAAA")).cost == 10
    stored = Hash(10, 8, 16, b"NaCl", Hash.parse(f"$scrypt$ln=10,r=8,p=16$AAAAAAAAAAA${digest}").digest)
    assert stored.verifies("password") and not stored.verifies("Password")


def test_a_hash_says_its_cost_and_verifies_only_its_password() -> None:
    stored = hash_password("pässword", CHEAP)
    assert stored.startswith("$scrypt$ln=10,r=1,p=1$") and "=" not in stored.split("$")[3]
    assert Hash.parse(stored).verifies("pässword") and Hash.parse(stored).verifies("pa\u0308ssword")
    assert not Hash.parse(stored).verifies("passwort") and not Hash.parse(stored).verifies("")
    assert hash_password("x", CHEAP) != hash_password("x", CHEAP)
    assert str(Hash.parse(stored)) == stored


def test_new_hashes_cost_16_mib() -> None:
    assert 128 * (STRENGTH.blocks << STRENGTH.cost) == 16 << 20 and STRENGTH.lanes == 5


@pytest.mark.parametrize("password", ["", "x" * 1025, "a\0b"])
def test_a_password_that_cannot_be(password: str) -> None:
    with pytest.raises(ValueError, match="a password"):
        hash_password(password, CHEAP)
    assert not Hash.parse(hash_password("x", CHEAP)).verifies(password)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$scrypt$ln=9,r=8,p=1$AAAAAAAAAAA$" + "A" * 43,
        "$scrypt$ln=21,r=8,p=1$AAAAAAAAAAA$" + "A" * 43,
        "$scrypt$ln=20,r=32,p=1$AAAAAAAAAAA$" + "A" * 43,
        "$scrypt$ln=14,r=8,p=99$AAAAAAAAAAA$" + "A" * 43,
        "$scrypt$ln=14,r=8,p=1$A$" + "A" * 43,
        "$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAA$" + "A" * 43,
        "$scrypt$ln=14,r=8,p=1$AAAAAAAAAAA$" + "A" * 43 + "\n",
    ],
)
def test_what_is_no_hash_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # the two texts are our own
        Hash.parse(text)
    assert "AAAA" not in str(caught.value)


# -- the file ---------------------------------------------------------------------------------------------------------


def test_users_come_and_go_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "var" / "users.toml"
    assert read_users(path) == {} and remove_user(path, "alice") is False
    assert add_user(path, "Alice@Example.net", "one") is True
    path.write_text(path.read_text() + "# the boss\n")
    assert add_user(path, 'b"ob\\', "two") is True
    assert add_user(path, "alice@example.net", "three") is False
    assert path.stat().st_mode & 0o777 == 0o600
    users = read_users(path)
    assert set(users) == {"alice@example.net", 'b"ob\\'}
    assert users["alice@example.net"].verifies("three") and not users["alice@example.net"].verifies("one")
    assert remove_user(path, "ALICE@example.net") is True
    assert set(read_users(path)) == {'b"ob\\'}
    assert "# the boss\n" in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["users.toml"]


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    add_user(path, "a", "x")
    path.chmod(0o640)
    for action in (lambda: read_users(path), lambda: add_user(path, "b", "x")):
        with pytest.raises(ConfigError, match="mode 640"):
            action()


@pytest.mark.parametrize(
    "text, told",
    [
        ("a = 3\n", 'users.toml:1:1: "a": a password hash is wanted'),
        ('x = "$scrypt$"\n[a]\n', "not of the form"),
        (f'a = "{hash_password("x", CHEAP)}"\nA = "{hash_password("x", CHEAP)}"\n', 'users.toml:2:1: "A": there twice'),
        ("a = \n", "not a users file"),
        ("\xff", "not a users file"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "users.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        read_users(path)
    assert told in str(caught.value)
    with pytest.raises(ConfigError):
        add_user(path, "b", "x")
    assert path.read_text() == text


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with pytest.raises(ConfigError, match="cannot be"):
        add_user(tmp_path / "var" / "users.toml", "a", "x")


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\x00", "x" * 255, "\ud800"])
def test_a_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        add_user(tmp_path / "users.toml", name, "x")


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(lambda n: n == n.strip())
)
def test_any_name_comes_back_and_goes(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.mktemp("users") / "users.toml"
    add_user(path, "first", "x")
    add_user(path, name, "x")
    add_user(path, "last", "x")
    assert name == "first" or len(read_users(path)) >= 2
    remove_user(path, name)
    assert set(read_users(path)) >= {"last"} - {name.lower()}


def _add(arguments: tuple[str, str]) -> bool:
    return add_user(Path(arguments[0]), arguments[1], "x")


def test_users_added_at_once_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_add, [(str(path), f"user{number}") for number in range(20)], chunksize=1)
    assert len(read_users(path)) == 20


@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        ("user", "user"), ("USER", "USER"), ("I\u00adX", "IX"), ("\u00aa", "a"), ("\u2168", "IX"),  # RFC 4013 §3
        ("a\u00a0b", "a b"), ("p\u0061\u0308", "p\u00e4"), ("\ufb01", "fi"), ("\u0627\u0628", "\u0627\u0628"),
        ("\U0001f600", "\U0001f600"),
    ],
)  # fmt: skip
def test_saslprep(typed: str, prepared: str) -> None:
    assert saslprep(typed) == prepared == saslprep(prepared)
    assert Hash.parse(hash_password(typed, CHEAP)).verifies(prepared)


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "a\u0627", "\ue000", "\ufffd", "\u200e\u0627b"])
def test_saslprep_prohibits(text: str) -> None:
    with pytest.raises(ValueError):
        saslprep(text)


# -- checks -----------------------------------------------------------------------------------------------------------


class World:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock, self.log = FakeClock(), FakeLog()
        self.checker = PasswordChecker(path, 2, self.clock, self.log)

    async def tries(self, user: str, password: str, client: str = "192.0.2.1") -> bool | None:
        return await self.checker.verify(user, password, client)


@pytest.fixture
def world(tmp_path: Path) -> World:
    add_user(tmp_path / "users.toml", "alice", "right")
    return World(tmp_path / "users.toml")


async def test_right_is_right_and_wrong_is_wrong(world: World) -> None:
    assert await world.tries("alice", "right") is True
    assert await world.tries("ALICE", "right") is True
    assert await world.tries("alice", "wrong") is False
    assert await world.tries("nobody", "right") is False
    assert await world.tries("alice", "") is False


async def test_an_unknown_user_costs_what_a_known_one_costs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[tuple[int, int, int]] = []
    verifies = Hash.verifies

    def counted(stored: Hash, password: str) -> bool:
        hashed.append((stored.cost, stored.blocks, stored.lanes))
        return verifies(stored, password)

    monkeypatch.setattr(Hash, "verifies", counted)
    await world.tries("alice", "wrong")
    await world.tries("nobody", "wrong")
    assert hashed == [(10, 1, 1), (10, 1, 1)]
    await world.tries("alice", "right")
    await world.tries("alice", "right")
    assert len(hashed) == 3
    world.clock.moment += users_module.REMEMBERED + 1
    await world.tries("alice", "right")
    assert len(hashed) == 4


async def test_no_password_is_kept(world: World) -> None:
    await world.tries("alice", "right")
    await world.tries("alice", "wrong-s3cret")
    held = repr(vars(world.checker))
    assert "right" not in held.replace(repr(world.path), "") and "wrong-s3cret" not in held


async def test_many_with_the_same_credentials_cost_one_check(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    verifies = Hash.verifies
    monkeypatch.setattr(Hash, "verifies", lambda stored, password: hashed.append(1) or verifies(stored, password))
    answers = await asyncio.gather(*(world.tries("alice", "right") for _ in range(300)))
    assert all(answers) and len(hashed) == 1


async def test_a_client_that_guesses_is_put_off_for_a_while(world: World) -> None:
    for number in range(users_module.CLIENT_FAILURES):
        assert await world.tries("alice", f"guess {number}") is False
    assert await world.tries("alice", "right") is None
    assert await world.tries("nobody", "x") is None
    assert await world.tries("alice", "right", "192.0.2.2") is True
    world.clock.moment += users_module.WINDOW + 1
    assert await world.tries("alice", "right") is True


async def test_wrong_guesses_wait_twice_as_long_each_time(world: World) -> None:
    def waited(start: float) -> float:
        return round(world.clock.moment - start, 3)

    delays = []
    for number in range(9):
        start = world.clock.moment
        assert await world.tries("alice", f"guess {number}") is False
        delays.append(waited(start))
    assert delays == [0, 0, 0.25, 0.5, 1, 2, 4, 4, 4]
    start = world.clock.moment
    assert await world.tries("alice", "guess", "192.0.2.2") is False
    assert waited(start) == 4, "from elsewhere too: the user is what is guessed"
    assert await world.tries("nobody", "guess", "192.0.2.3") is False
    assert waited(start) == 4, "another client and another user wait for nothing"
    assert await world.tries("alice", "right", "192.0.2.2") is True
    assert waited(start) == 4, "who knows the password does not wait"
    start = world.clock.moment
    assert await world.tries("alice", "guess", "192.0.2.2") is False
    assert waited(start) == 0, "nor for the guesses of others where he has been"


async def test_a_whole_v6_network_is_one_client(world: World) -> None:
    for number in range(users_module.CLIENT_FAILURES):
        await world.tries("alice", f"guess {number}", f"2001:db8::{number + 1:x}")
    assert await world.tries("alice", "x", "2001:db8::ffff") is None
    assert await world.tries("alice", "x", "2001:db8:0:1::1") is False


async def test_a_user_whom_many_guess_is_put_off_except_where_he_was_before(world: World) -> None:
    assert await world.tries("alice", "right", "198.51.100.1") is True
    for number in range(users_module.USER_FAILURES):
        assert await world.tries("alice", f"guess {number}", f"203.0.113.{number}") is False
    world.clock.moment += users_module.REMEMBERED + 1
    assert await world.tries("alice", "right", "198.51.100.2") is None
    assert await world.tries("alice", "right", "198.51.100.1") is True


async def test_the_workers_of_a_machine_count_guesses_together(world: World, tmp_path: Path) -> None:
    files = [SharedFile(tmp_path / "shared.db", world.clock, FakeLog()) for _ in range(2)]
    files[0].prepare()
    workers = [
        PasswordChecker(world.path, 2, world.clock, FakeLog(), SharedRates(file, realm="passwords")) for file in files
    ]
    assert await workers[0].verify("alice", "right", "198.51.100.1") is True
    for number in range(users_module.USER_FAILURES):
        assert await workers[number % 2].verify("alice", f"guess {number}", f"203.0.113.{number}") is False
    world.clock.moment += users_module.REMEMBERED + 1
    assert [await one.verify("alice", "right", "198.51.100.2") for one in workers] == [None, None]
    assert await workers[1].verify("alice", "right", "198.51.100.1") is True, "the other worker has seen it there"
    assert SharedRates(files[0]).count("client", "203.0.113.1", 600, world.clock.now()) == 0, "flows count apart"
    for one in (*workers, *files):
        one.close()


async def test_a_crowd_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    at_once: list[int] = []

    def slow(stored: Hash, password: str) -> bool:
        at_once.append(1)
        gate.wait(5)
        return False

    monkeypatch.setattr(Hash, "verifies", slow)
    crowd = [asyncio.create_task(world.tries(f"u{n}", "x", f"10.0.{n // 250}.{n % 250}")) for n in range(250)]
    one = [asyncio.create_task(world.tries(f"v{n}", "x", "10.9.9.9")) for n in range(100)]
    async with asyncio.timeout(10):
        while len(at_once) < 2 or not any(task.done() for task in crowd):  # noqa: ASYNC110  # threads give no event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert len(at_once) == 2
    assert sum(task.done() for task in crowd) == 250 - users_module.MOST_WAITING
    gate.set()
    answers = await asyncio.gather(*crowd, *one)
    assert set(answers) == {False, None}


async def test_the_pending_checks_of_one_client_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(Hash, "verifies", lambda stored, password: gate.wait(5) and False)
    one = [asyncio.create_task(world.tries("alice", f"g{n}")) for n in range(100)]
    await asyncio.sleep(1.0)
    gate.set()
    answers = await asyncio.gather(*one)
    assert answers.count(False) == users_module.CLIENT_PENDING


async def test_a_changed_file_is_seen_and_a_broken_one_is_not(world: World) -> None:
    assert await world.tries("alice", "right") is True
    add_user(world.path, "alice", "new")
    add_user(world.path, "bob", "b")
    world.clock.moment += 2
    assert await world.tries("alice", "right") is False
    assert await world.tries("alice", "new") is True and await world.tries("bob", "b") is True
    world.path.write_text("broken")
    world.clock.moment += 2
    assert await world.tries("bob", "b") is True
    assert len(world.log.of("users-file")) == 1
    nobody = "# nobody\n"
    world.path.write_text(nobody)
    world.clock.moment += 2
    assert await world.tries("bob", "b") is False


async def test_a_file_that_appears_later_is_seen(tmp_path: Path) -> None:
    world = World(tmp_path / "users.toml")
    assert await world.tries("alice", "right") is False
    add_user(world.path, "alice", "right")
    world.clock.moment += 2
    assert await world.tries("alice", "right") is True


async def test_a_listeners_file_is_opened_and_a_broken_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    add_user(path, "alice", "right")
    assert await open_users(parse("", files=False), path).verify("alice", "right", "192.0.2.1") is True
    path.write_text("broken")
    with pytest.raises(ConfigError, match="not a users file"):
        open_users(parse("", files=False), path)


async def test_who_goes_away_does_no_harm(world: World) -> None:
    first = asyncio.create_task(world.tries("alice", "right"))
    second = asyncio.create_task(world.tries("alice", "right"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is True
    world.checker.close()


async def test_who_goes_away_during_the_check_does_no_harm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    verifies = Hash.verifies
    monkeypatch.setattr(Hash, "verifies", lambda stored, password: gate.wait(5) and verifies(stored, password))
    first, second = (asyncio.create_task(world.tries("alice", "right")) for _ in range(2))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await second is True
