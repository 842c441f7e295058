"""Plays case files: builds the world of a case from fakes, plays its message, compares with what it expects."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flowengine.language.problems import FlowProblems, render
from flowengine.mail import dkim
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.runtime.services import Services, Settings
from flowengine.servers.case_keys import case_key
from flowengine.servers.cases import Case, CaseError, filled, json_text, read, with_expectation
from flowengine.servers.compiling import Compiler
from flowengine.servers.play import Visit, play
from flowengine.servers.printing import play_text
from flowengine.services.config import ConfigError, parse, settings
from flowengine.services.fakes import FakeClock, FakeHTTP, FakeKeys, FakeResolver, UnexpectedQuestion, fake_services

if TYPE_CHECKING:
    from flowengine.services.config import Config

API_URL = "https://api.example/"
"""[api] url in cases that do not say another."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of one case. difference: a unified diff, or why it could not be played; "" when it passed."""

    case: str
    title: str
    passed: bool
    difference: str = ""

    def document(self) -> dict[str, object]:
        """The result as `test --json` prints it."""
        return {"case": self.case, "passed": self.passed, "difference": self.difference}


async def play_cases(files: Sequence[Path], config: "Config", update: bool = False) -> list[CaseResult]:
    """Play every file. With `update` what happened becomes the expectation. Raises CaseError."""
    compiler = Compiler(config)
    return [await _play(read(file), compiler, update) for file in files]


async def _play(case: Case, compiler: Compiler, update: bool) -> CaseResult:
    name = str(case.path)
    try:
        happened = await _happened(case, compiler)
    except UnexpectedQuestion as error:
        return CaseResult(name, case.title, False, f"{error}\n")
    except FlowProblems as error:
        return CaseResult(name, case.title, False, "".join(f"{render(one, None)}\n" for one in error.problems))
    except (CaseError, ConfigError, MailError) as error:
        return CaseResult(name, case.title, False, f"{error}\n")
    if happened == case.expect:
        return CaseResult(name, case.title, True)
    if update:
        case.path.write_text(with_expectation(case.path, happened), "utf-8", "surrogateescape")
        return CaseResult(name, case.title, True)
    lines = difflib.unified_diff(case.expect.splitlines(True), happened.splitlines(True), "expected", "happened")
    return CaseResult(name, case.title, False, "".join(lines))


async def _happened(case: Case, compiler: Compiler) -> str:
    session = case.session
    visit = Visit(
        phase=session.get("phase", "data"),
        client_ip=session.get("client", ""),
        helo=session.get("helo", ""),
        mail_from=session.get("from"),
        recipients=tuple(case.recipients),
        user=session.get("auth"),
        transport=session.get("transport"),
    )
    services = _services(case)
    program = compiler.compile(case.flow, visit.phase)
    return play_text(await play(program, _message(case, services), visit, services))


def _services(case: Case) -> Services:
    try:
        keys = {name: case_key(name, kind) for name, kind in case.keys.items()}
    except ValueError as error:
        raise CaseError(f"{case.path}: {error}") from None
    plain = {f"record:{name}": key.record() for name, key in keys.items()}
    in_json = {f"key:{name}": json_text(key.pem().decode("ascii")) for name, key in keys.items()}
    http = FakeHTTP({place: (status, filled(body, in_json)) for place, (status, body) in case.api.items()})
    dns = FakeResolver({place: [filled(value, plain) for value in values] for place, values in case.dns.items()})
    return fake_services(
        dns=dns, http=http, keys=FakeKeys(keys), clock=FakeClock.at(case.clock), settings=_settings(case)
    )


def _settings(case: Case) -> Settings:
    found = settings(parse(case.config, f"{case.path}: config", case.path.parent, files=False))
    if "hostname" not in case.config:
        found = replace(found, hostname="mx.example.net")
    if found.api.url is None:
        found = replace(found, api=replace(found.api, url=API_URL))
    return found


def _message(case: Case, services: Services) -> Message:
    """The message of the case, with the signatures it arrives with."""
    message = Message(case.message)
    for signed in case.signed:
        key = services.keys.find(signed.key)
        if key is None:
            raise CaseError(f"{case.path}: signed with {signed.key}, but -- keys -- does not name it")
        seal = dkim.Seal(selector=signed.selector, domain=signed.domain, key=key)
        message = Message(dkim.sealed(message, seal, services.clock.now()).render())
    return message
