"""A configuration from a file, from text, or the one that comes with flowengine.

Raises ConfigError with everything that is wrong; what is only unwise is in `Config.warnings`.
"""

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flowengine.language.problems import Problem, Span
from flowengine.mail.names import to_ascii
from flowengine.services import resources
from flowengine.services.config.files import check_files
from flowengine.services.config.model import Config
from flowengine.services.config.positions import Positions
from flowengine.services.config.problems import ConfigError, Problems
from flowengine.services.config.reading import Reader
from flowengine.services.config.rules import check_rules
from flowengine.services.config.unbuilt import check_unbuilt
from flowengine.services.config.values import LOCALHOST, STATE_FILE, HostName

DEFAULT_NAME = "flowengine.toml"
EMBEDDED_NAME = "<embedded default>"
_LARGEST = 4 << 20

EMBEDDED = """\
# The configuration of a fresh machine: everything on loopback, mail is kept as files, state lies under var/.
[listeners.inbound]
address = "127.0.0.1:2525"
flows = {{ data = {inbound} }}
transport = "sink"

[listeners.submission]
address = "127.0.0.1:2587"
require_auth = true
allow_plaintext_auth = true
users = "var/users.toml"
flows = {{ data = {outbound} }}
transport = "sink"

[transports.sink]
sink = "var/sink"

[pki.example]
selector = "s1"
domain = "example.net"

[metrics]
address = "127.0.0.1:2590"
"""


def load(path: str | Path | None = None, *, files: bool = True) -> Config:
    """The configuration in this file; without one that of `flowengine.toml` here, else the embedded default.

    files: also look whether the files it names are there and safe; commands that make such files leave it out.
    Raises ConfigError.
    """
    if path is None:
        if not Path(DEFAULT_NAME).exists():
            return default(files=files)
        path = DEFAULT_NAME
    file = Path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError([_whole(str(path), f"cannot be read: {error.strerror}", "missing-file")]) from None
    if len(data) > _LARGEST:
        raise ConfigError([_whole(str(path), f"larger than {_LARGEST} octets", "syntax")])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8", "replace")) + 1
        raise ConfigError([_whole(str(path), "not UTF-8", "syntax", line, column)]) from None
    return parse(text, str(path), file.parent, path=file, files=files)


def default(*, files: bool = True) -> Config:
    """The configuration of a fresh machine. Raises ConfigError when its flows did not come with this flowengine."""
    try:
        flows = resources.find("flows")
    except FileNotFoundError as error:
        if files:
            raise ConfigError([_whole(EMBEDDED_NAME, str(error), "missing-file")]) from None
        flows = Path("flows")
    text = EMBEDDED.format(inbound=_quoted(flows / "inbound.hsl"), outbound=_quoted(flows / "outbound-pki.hsl"))
    return parse(text, EMBEDDED_NAME, Path.cwd(), files=files)


def parse(
    text: str,
    name: str = "<text>",
    base: Path | None = None,
    *,
    path: Path | None = None,
    files: bool = True,
    environment: Mapping[str, str] = os.environ,
) -> Config:
    """The configuration in this text; relative paths are taken from `base`. Raises ConfigError."""
    base = base or Path.cwd()
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax(name, text, str(error))]) from None
    except RecursionError:
        raise ConfigError([_whole(name, "brackets are nested too deep", "syntax")]) from None
    positions = Positions(name, text)
    problems = Problems(positions)
    config = Reader(problems, base, environment).table(Config, document, ())
    if config is None:  # a required key at the top: there is none today
        raise ConfigError(problems.of("error"))
    if "hostname" not in document:
        config = replace(config, hostname=_system_name())
    if config.storage.url:
        config = replace(config, storage=replace(config.storage, path=config.state / STATE_FILE))
    config = replace(config, path=path, directory=base, positions=positions)
    check_rules(config, problems)
    check_unbuilt(config, problems)
    if files:
        check_files(config, document, problems)
    if errors := problems.of("error"):
        raise ConfigError(errors)
    return replace(config, warnings=problems.of("warning", "hint"))


def _system_name() -> HostName:
    name = to_ascii(socket.gethostname())
    return HostName(name) if name else LOCALHOST


def _syntax(name: str, text: str, message: str) -> Problem:
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if found is None:
        return _whole(name, message, "syntax")
    line, column = (int(found[2]), int(found[3])) if found[2] else (text.count("\n") + 1, len(text) - text.rfind("\n"))
    return _whole(name, found[1][:1].lower() + found[1][1:], "syntax", line, column)


def _whole(name: str, message: str, id: str, line: int = 1, column: int = 1) -> Problem:  # noqa: A002  # as Problem's
    return Problem(Span(name, line, column, line, column + 1), id, "error", message)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
