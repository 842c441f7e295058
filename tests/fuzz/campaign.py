"""Parser, compiler, checker and running under texts of the generator: nothing may crash, hang or show Python.

A case passes when its text gives problems, or a program whose run ends with a verdict or with a flow's error with its
place, within `SLOW` seconds of computing and without a trace of Python in what a client hears.
"""

import asyncio
import signal
import time
from dataclasses import dataclass, field
from types import FrameType

from flowengine.builtins.vocabulary import vocabulary
from flowengine.language.compiler import Program, compile_flow
from flowengine.language.loader import Loader, Source
from flowengine.language.problems import FlowProblems
from flowengine.mail.dns import Answer, DNSUnavailable, RecordType
from flowengine.runtime.run import RunResult, carry_out
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import HTTPRequest, HTTPResponse, HTTPUnavailable, RunLimits, Settings
from flowengine.services import resources
from flowengine.services.fakes import FakeLog, fake_services
from tests.fuzz.generator import Generator
from tests.runtime.stage import run_in

SLOW = 1.0
GIVEN_UP = 20.0
MAIL = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\n"
    b'Content-Type: text/html\r\nContent-Disposition: attachment; filename="a.html"\r\n\r\n<p>\r\n--b--\r\n'
)


class TooSlow(BaseException):
    """A case took so long that it was given up. No flow may catch it."""


class Web:
    """Nobody answers."""

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        raise HTTPUnavailable("nobody is there")


class Names:
    """Some names do not exist, some cannot be asked about, the rest has no records."""

    async def query(self, name: str, kind: RecordType) -> Answer:
        if "." in name and len(name) % 3 == 0:
            raise DNSUnavailable(name, kind, "time-out")
        return Answer(exists=len(name) % 2 == 0)


@dataclass
class Report:
    """What came of a campaign. failures: (seed, what went wrong). longest: seconds, and its seed."""

    cases: int = 0
    compiled: int = 0
    failed_runs: int = 0
    longest: tuple[float, int] = (0.0, -1)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def __str__(self) -> str:
        seconds, seed = self.longest
        lines = [
            f"{self.cases} cases: {self.compiled} compiled and run, {self.failed_runs} of these ended in a script error",
            f"longest case {seconds:.3f} s (seed {seed})",
            f"{len(self.failures)} failures",
            *(f"  seed {seed}: {what}" for seed, what in self.failures[:50]),
        ]
        return "\n".join(lines)


class Campaign:
    """Plays one case a seed."""

    def __init__(self) -> None:
        self.vocabulary = vocabulary()
        self.generator = Generator(self.vocabulary)
        self.loader_root = resources.find("stdlib")
        self.report = Report()
        compile_flow(
            Source("warm.hsl", "echo 1;"), self.vocabulary, "data", Loader()
        )  # the first one reads the grammar
        limits = RunLimits(script_steps=20_000, script_time=5.0, script_value_size=8 << 20)
        self.settings = Settings(
            hostname="mx.example.net", limits=limits, transports={"out": None}, quarantines=frozenset({"spam"})
        )

    def play(self, seed: int) -> None:
        """One case; what went wrong is noted."""
        phase, text = self.generator.text(seed)
        started = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, GIVEN_UP)
        try:
            self._case(phase, text)
        except TooSlow:
            self.report.failures.append((seed, f"given up after {GIVEN_UP:g} s"))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what we look for
            self.report.failures.append((seed, f"{type(error).__name__}: {error}"[:300]))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        spent = time.process_time() - started
        if spent > self.report.longest[0]:
            self.report.longest = (spent, seed)
        if spent > SLOW:
            self.report.failures.append((seed, f"took {spent:.2f} s"))
        self.report.cases += 1

    def _case(self, phase: str, text: str) -> None:
        loader = Loader(stdlib=self.loader_root)
        try:
            program = compile_flow(Source("fuzz.hsl", text), self.vocabulary, phase, loader)
        except FlowProblems as problems:
            assert any(one.severity == "error" for one in problems.problems), "refused without an error"
            return
        self.report.compiled += 1
        result = asyncio.run(self._run(program, phase))
        if result.error is not None:
            self.report.failed_runs += 1
            assert "internal error" not in result.error.message, repr(result.error.__cause__)
            assert result.error.span is not None, f"no place: {result.error.message}"
        heard = result.verdict.reply.text
        assert "Traceback" not in heard and ".py" not in heard, heard

    async def _run(self, program: Program, phase: str) -> RunResult:
        services = fake_services(dns=Names(), http=Web(), log=FakeLog(), settings=self.settings)
        return await carry_out(program, run_in(phase, services, program, MAIL), Runner())


def campaign(minutes: float, first: int) -> Report:
    """Play cases from a seed on for so long. Takes the alarm signal of the process."""

    def ring(signal_: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    try:
        playing = Campaign()
        end = time.monotonic() + minutes * 60
        seed = first
        while time.monotonic() < end:
            playing.play(seed)
            seed += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    return playing.report
