"""The users file: `"name" = "$scrypt$…"`, one a line, mode 600. Comments stay where they are when users come and go."""

import contextlib
import fcntl
import json
import os
import tempfile
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from flowengine.language.problems import Problem, Span
from flowengine.services.config.positions import Positions
from flowengine.services.config.problems import ConfigError
from flowengine.services.passwords import Hash, hash_password
from flowengine.services.saslprep import prepared_or

_LARGEST = 16 << 20
_HEADER = "# Users of flowengine: name and password hash. Change it with `flowengine users`.\n"


def read_users(path: Path) -> Mapping[str, Hash]:
    """Every user of a file, by name as `folded` makes it. Raises ConfigError with all that is wrong."""
    return _users(str(path), _text(path))


def folded(name: str) -> str:
    """The form in which names are compared: RFC 4013, lower case. So Alice@example.net is alice@example.net."""
    return unicodedata.normalize("NFC", prepared_or(name).lower())


def add_user(path: Path, name: str, password: str) -> bool:
    """Add a user or give one a new password; whether the user is new. The file is made when there is none.

    Raises ValueError for a name or password that cannot be, ConfigError for a file that cannot be read or written.
    """
    if not 0 < len(name) <= 254 or any(unicodedata.category(c) in ("Cc", "Cs") for c in name) or name != name.strip():
        raise ValueError("a name has 1 to 254 characters, none of them a control, no space at its ends")
    line = f"{json.dumps(folded(name), ensure_ascii=False)} = {json.dumps(hash_password(password))}"
    return not _changed(path, name, [line])


def remove_user(path: Path, name: str) -> bool:
    """Take a user away; whether there was one. Raises ConfigError."""
    return path.exists() and _changed(path, name, [])


def _changed(path: Path, name: str, new: list[str]) -> bool:
    """Put these lines in place of a user's, or at the end; whether there was such a user."""
    known = False

    def edit(text: str) -> str:
        nonlocal known
        users = _users(str(path), text)
        lines = text.split("\n")
        known = folded(name) in users
        if known:
            written = next(one for one in tomllib.loads(text) if folded(one) == folded(name))
            span = Positions(str(path), text.replace("\r\n", "\n")).value((written,))
            lines[span.line - 1 : span.end_line] = new
            return "\n".join(lines)
        return text + ("" if text.endswith("\n") or not text else "\n") + "".join(f"{line}\n" for line in new)

    _rewrite(path, edit)
    return known


def _users(name: str, text: str) -> Mapping[str, Hash]:
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([_problem(Span(name, 1, 1, 1, 1), f"not a users file: {error}")]) from None
    positions = Positions(name, text)
    users: dict[str, Hash] = {}
    problems = []
    for user, stored in document.items():
        try:
            if not isinstance(stored, str):
                raise ValueError("a password hash is wanted")  # told like the others
            if folded(user) in users:
                raise ValueError("there twice: names are compared in lower case")  # as above
            users[folded(user)] = Hash.parse(stored)
        except ValueError as error:
            problems.append(_problem(positions.key((user,)), f"{json.dumps(user)}: {error}"))
    if problems:
        raise ConfigError(problems)
    return users


def _text(path: Path) -> str:
    """The file's text, "" when there is none. Raises ConfigError also when others can read it."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode & 0o777
            if mode & 0o077:
                told = f"holds password hashes and has mode {mode:o}; others must not read it: chmod 600 {path}"
                raise ConfigError([_problem(Span(str(path), 1, 1, 1, 1), told)])
            return stream.read(_LARGEST).decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([_problem(Span(str(path), 1, 1, 1, 1), f"cannot be read: {error}")]) from None


def _rewrite(path: Path, edit: Callable[[str], str]) -> None:
    """Replace the file by what `edit` makes of it: at once or not at all, and not at the same time as others."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path.parent) as directory:
            old = _text(path)
            text = edit(old or _HEADER)
            handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".users-")  # made with mode 600
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(text.encode("utf-8"))
                    stream.flush()
                    if path.exists():
                        with contextlib.suppress(PermissionError):  # root keeps the file for whom it was
                            owner = path.stat()
                            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
                    os.fsync(stream.fileno())
                Path(draft).replace(path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
            os.fsync(directory)
    except OSError as error:
        raise ConfigError([_problem(Span(str(path), 1, 1, 1, 1), f"cannot be written: {error.strerror}")]) from None


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[int]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _problem(span: Span, message: str) -> Problem:
    return Problem(span, "users-file", "error", message)
