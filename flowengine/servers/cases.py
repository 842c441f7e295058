"""Case files: a world, a message, and what `flowengine run` is expected to print. They live beside the flows.

    flows/inbound.hsl, flows/inbound.cases/forged-bank.case

The format is in docs/testing.md. A look-up that a case does not name fails and names the line to add.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from flowengine.runtime.phases import PHASES

SECTION = re.compile(r"^-- ([a-z]+)(?: (.+?))? --$")
SECTIONS = ("session", "dns", "api", "keys", "clock", "config", "message", "expect")
WORDS = ("client", "helo", "from", "to", "auth", "phase", "transport", "signed")


class CaseError(Exception):
    """A case file that cannot be read or played; names file, line and what to write."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its name, the word behind it, its text, and the line it begins in."""

    name: str
    argument: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that the message arrives with: made at play time with a test key."""

    selector: str
    domain: str
    key: str


@dataclass(slots=True)
class Case:
    """A case file, read.

    dns: (name, type) → values as written. api: (method, address) → (status, body text). keys: names of test keys.
    """

    path: Path
    title: str
    session: dict[str, str] = field(default_factory=dict)
    recipients: list[str] = field(default_factory=list)
    signed: list[Signed] = field(default_factory=list)
    dns: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    api: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    clock: str = "2026-01-01T00:00:00Z"
    config: str = ""
    message: bytes = b""
    expect: str = ""

    @property
    def flow(self) -> Path:
        """The flow this case belongs to: `x.cases/one.case` → `x.hsl`."""
        folder = self.path.parent
        if folder.suffix != ".cases":
            raise CaseError(f"{self.path}: lies in {folder.name}/, not in a folder FLOW.cases beside FLOW.hsl")
        return folder.with_suffix(".hsl")


def find(paths: Iterator[Path] | list[Path]) -> list[Path]:
    """The case files of the given files and folders, in order. A flow stands for its cases."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(sorted(path.rglob("*.case")))
        elif path.suffix == ".hsl":
            found.extend(sorted(path.with_suffix(".cases").glob("*.case")))
        elif path.exists():
            found.append(path)
        else:
            raise CaseError(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(found))


def read(path: Path) -> Case:
    """A case file. Raises CaseError with file and line."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror}") from None
    title, sections = _cut(text.replace("\r\n", "\n"))
    case = Case(path, title)
    for section in sections:
        if section.name not in SECTIONS:
            raise CaseError(f"{path}:{section.line}: no section is called {section.name}; known: {', '.join(SECTIONS)}")
        getattr(_Reader(case, section), section.name)()
    return case


def _cut(text: str) -> tuple[str, list[Section]]:
    title: list[str] = []
    sections: list[Section] = []
    lines: list[str] = title
    for number, line in enumerate(text.split("\n"), 1):
        if match := SECTION.match(line):
            lines = []
            sections.append(Section(match[1], match[2] or "", "", number))
            sections[-1] = Section(match[1], match[2] or "", lines, number)  # type: ignore[arg-type]  # joined below
        else:
            lines.append(line)
    whole = [Section(one.name, one.argument, "\n".join(one.text).removesuffix("\n"), one.line) for one in sections]
    return "\n".join(title).strip(), whole


class _Reader:
    """Reads one section into the case."""

    def __init__(self, case: Case, section: Section) -> None:
        self.case, self.section = case, section

    def _lines(self) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(self.section.text.split("\n"), self.section.line + 1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield number, line.strip()

    def _wrong(self, number: int, what: str) -> CaseError:
        return CaseError(f"{self.case.path}:{number}: {what}")

    def session(self) -> None:
        for number, line in self._lines():
            words = line.split()
            if words[0] == "signed":
                if len(words) != 4:
                    raise self._wrong(number, "write: signed SELECTOR DOMAIN KEY")
                self.case.signed.append(Signed(*words[1:]))
                continue
            if len(words) % 2:
                raise self._wrong(
                    number, f"words come in pairs such as: client 192.0.2.7  helo mx.example; got {line!r}"
                )
            for word, value in zip(words[::2], words[1::2], strict=True):
                self._word(number, word, value)

    def _word(self, number: int, word: str, value: str) -> None:
        if word not in WORDS:
            raise self._wrong(number, f"no word is called {word}; known: {', '.join(WORDS)}")
        if word == "phase" and value not in PHASES:
            raise self._wrong(number, f"no phase is called {value}; known: {', '.join(PHASES)}")
        if word == "to":
            self.case.recipients.append(value)
        elif word == "client":
            try:
                self.case.session[word] = str(ip_address(value))
            except ValueError:
                raise self._wrong(number, f"{value} is no IP address") from None
        else:
            self.case.session[word] = value

    def dns(self) -> None:
        for number, line in self._lines():
            parts = line.split(None, 2)
            if len(parts) != 3:
                raise self._wrong(number, "write: NAME TYPE VALUE, such as: bank.example TXT v=spf1 -all")
            if parts[1].lower() == "mx" and not re.fullmatch(r"[0-9]{1,5} \S+|[a-z]+", parts[2]):
                raise self._wrong(number, "write: NAME MX PREFERENCE HOST, such as: bank.example MX 10 mx.bank.example")
            self.case.dns.setdefault((parts[0].lower().rstrip("."), parts[1].lower()), []).append(parts[2])

    def api(self) -> None:
        lines = list(self._lines())
        while lines:
            number, request = lines.pop(0)
            method, _, address = request.partition(" ")
            if not address or not lines:
                raise self._wrong(number, "write: METHOD ADDRESS, and below it the status and the JSON of the answer")
            number, answer = lines.pop(0)
            status, _, body = answer.partition(" ")
            if status == "timeout":
                status = "0"
            if not status.isdigit():
                raise self._wrong(number, "the answer is a status and JSON, or the word timeout")
            while lines and not re.match(r"[A-Z]+ ", lines[0][1]):
                body += "\n" + lines.pop(0)[1]
            self.case.api[method, address] = int(status), body

    def keys(self) -> None:
        for _, line in self._lines():
            for name in line.split():
                label, _, kind = name.partition(":")
                self.case.keys[label] = kind or "rsa"

    def clock(self) -> None:
        for number, line in self._lines():
            try:
                datetime.fromisoformat(line)
            except ValueError:
                raise self._wrong(number, f"{line} is no time such as 2026-01-01T12:00:00Z") from None
            self.case.clock = line

    def config(self) -> None:
        self.case.config = self.section.text

    def message(self) -> None:
        if self.section.argument:
            file = self.case.path.parent / self.section.argument
            try:
                data = file.read_bytes()
            except OSError as error:
                raise self._wrong(self.section.line, f"{file}: {error.strerror}") from None
        else:
            data = (self.section.text + "\n").encode("utf-8", "surrogateescape")
        self.case.message = data if b"\r\n" in data else data.replace(b"\n", b"\r\n")

    def expect(self) -> None:
        self.case.expect = self.section.text.strip("\n") + "\n"


def with_expectation(path: Path, expect: str) -> str:
    """The text of a case file with another expectation."""
    text = path.read_text("utf-8", "surrogateescape")
    found = re.search(r"^-- expect --\n(.*\n)*?(?=-- [a-z]+(?: .+?)? --$|\Z)", f"{text}\n", re.MULTILINE)
    head, tail = (text[: found.start()], text[found.end() :]) if found else (text.rstrip("\n") + "\n", "")
    return f"{head}-- expect --\n{expect}{tail}"


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with {key:NAME}, {record:NAME} and so on replaced; in JSON the caller escapes."""
    return re.sub(r"\{([a-z]+:[A-Za-z0-9_-]+)\}", lambda match: values.get(match[1], match[0]), text)


def json_text(value: str) -> str:
    """A text as the inside of a JSON string."""
    return json.dumps(value)[1:-1]
