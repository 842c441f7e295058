"""The private keys of the configuration: read from files, or made at the first start and kept beside the state.

A key file that others can read is refused. What is wrong with keys is told as a problem of the configuration, and never
with anything of a key in it.
"""

import contextlib
import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from flowengine.mail.errors import MailError
from flowengine.mail.keys import KeyKind, PrivateKey
from flowengine.runtime.services import Log
from flowengine.services.config.model import PKI, Config
from flowengine.services.config.problems import ConfigError

MOST_PARSED = 1000
"""Keys from texts (PEM in a flow, answers of an API) that are kept parsed."""
_LONGEST = 65536

Source = Literal["file", "data", "made"]


class KeyFileError(Exception):
    """A key that cannot be read, written or used; the text says why and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class ConfiguredKey:
    """One [pki.NAME]. source: a file of the operator, text in the configuration, or made by us into `path`."""

    name: str
    key: PrivateKey
    source: Source
    path: Path | None
    selector: str | None
    domain: str | None


class KeyRing:
    """The `Keys` of a process: those of the configuration by name, others by their text."""

    def __init__(self, keys: Mapping[str, ConfiguredKey] | None = None) -> None:
        self.configured = dict(keys or {})
        self._parsed: OrderedDict[bytes, PrivateKey] = OrderedDict()
        self._lock = Lock()  # `parse` runs in threads

    def find(self, name: str) -> PrivateKey | None:
        """The key called `pki:NAME` in flows (name without the prefix); None when there is none."""
        found = self.configured.get(name)
        return found.key if found else None

    def parsed(self, text: str) -> PrivateKey | None:
        """The key of a text that `parse` has read before; None for one it has not."""
        digest = _digest(text)
        with self._lock:
            key = self._parsed.get(digest)
            if key is not None:
                self._parsed.move_to_end(digest)
        return key

    def parse(self, text: str) -> PrivateKey:
        """The key of a text (PEM, base64 DER, Ed25519 seed), kept for the next time; tens of milliseconds the first
        time, so call it in a thread. Raises MailError."""
        key = self.parsed(text)
        if key is not None:
            return key
        key = PrivateKey.parse(text)
        with self._lock:
            self._parsed[_digest(text)] = key
            while len(self._parsed) > MOST_PARSED:
                self._parsed.popitem(last=False)
        return key


def open_keys(config: Config, *, make: bool = True, log: Log | None = None) -> KeyRing:
    """Every key of the configuration, and those that `keys new` put beside them. Raises ConfigError with all that is
    wrong.

    make: keys that are to be made and are not there yet are made now; else they are left out. log: hears of each that
    is made, because nobody can verify with it until it is published; a key that got lost is noticed that way, too.
    """
    problems = []
    found: dict[str, ConfiguredKey] = {}
    for name, pki in config.pki.items():
        source: Source = "file" if pki.file is not None else "data" if pki.data is not None else "made"
        path = pki.file if source == "file" else kept_path(config, name) if source == "made" else None
        try:
            fresh = source == "made" and path is not None and not path.exists()
            if fresh and not make:
                continue
            key = _opened(pki, path)
            if fresh and log is not None:
                told = f"publish it before mail is signed with it: flowengine keys record {name}"
                log.event("warning", "key made", pki=name, file=str(path), fingerprint=key.fingerprint, text=told)
        except (KeyFileError, MailError) as error:
            place = ("pki", name, source) if source != "made" else ("pki", name)
            problems.append(config.problem(place, str(error), "bad-key", table=source == "made"))
            continue
        found[name] = ConfiguredKey(name, key, source, path, pki.selector, pki.domain)
    for path in sorted(kept_path(config, "*").parent.glob("[!.]*.pem")):  # made by `keys new`, not in the configuration
        if path.stem not in config.pki:
            try:
                found[path.stem] = ConfiguredKey(path.stem, read_key(path), "made", path, None, None)
            except (KeyFileError, MailError) as error:
                problems.append(config.problem(("pki", path.stem), str(error), "bad-key", table=True))
    if problems:
        raise ConfigError(problems)
    return KeyRing(found)


def kept_path(config: Config, name: str) -> Path:
    """Where a key that we make is kept."""
    return config.storage.directory / "keys" / f"{name}.pem"


def new_key(path: Path, kind: KeyKind = "rsa", bits: int = 2048) -> PrivateKey:
    """A new key in a new file of mode 600, on disk when this returns. Raises KeyFileError also if a file is there."""
    return _make(path, kind, bits, taken=_refuse)


def read_key(path: Path) -> PrivateKey:
    """The key in a file that nobody else can read. Raises KeyFileError and MailError."""
    return PrivateKey.parse(_secret(path))


def _opened(pki: PKI, path: Path | None) -> PrivateKey:
    if path is None:
        return PrivateKey.parse(pki.data or "")
    if pki.file is None and not path.exists():
        return _make(path, pki.type, pki.bits, taken=read_key)
    return read_key(path)


def _make(path: Path, kind: KeyKind, bits: int, taken: Callable[[Path], PrivateKey]) -> PrivateKey:
    """A new key; when another process was faster, what `taken` makes of its file."""
    key = PrivateKey.generate(kind, bits)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-", suffix=".tmp")  # made with mode 600
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(key.pem())
                stream.flush()
                os.fsync(stream.fileno())
            try:
                path.hardlink_to(draft)  # unlike a rename it never takes the place of a key that is there
            except FileExistsError:
                return taken(path)
            _sync_directory(path.parent)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None
    return key


def _refuse(path: Path) -> PrivateKey:
    raise KeyFileError(f"{path} is there already; a key is never overwritten")


def _secret(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise KeyFileError(f"{path} has mode {mode:o}; others must not read it: chmod 600 {path}")
            data = stream.read(_LONGEST + 1)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _LONGEST:
        raise KeyFileError(f"{path} is larger than any key")
    return data


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
