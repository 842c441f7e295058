"""What a peer says of us: a check holds, does not hold, or is left out, with a sentence in both latter cases."""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.world import World

CALL_TIME = 60.0  # seconds that one command of a peer may take


class LeftOut(Exception):
    """A check that cannot be made here; the text says why."""


class Disagreement(Exception):
    """A peer and we do not agree; the text says about what."""


def expect(held: object, otherwise: str) -> None:
    """Raise Disagreement unless it held."""
    if not held:
        raise Disagreement(otherwise)


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about a peer and us. play raises Disagreement or LeftOut when it does not hold."""

    peer: str
    statement: str
    play: Callable[["World"], None]


@dataclass(slots=True)
class Peer:
    """A program that we play against.

    programs: what must be on the search path. packages: Debian's packages that hold them.
    """

    name: str
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    checks: list[Check] = field(default_factory=list)

    def missing(self) -> list[str]:
        """The programs that are not there."""
        return [program for program in self.programs if find_program(program) is None]

    def check(
        self, statement: str, cases: Iterable[Sequence[object]] = ((),)
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Adds a check, one a case: the case fills the places of the statement and follows the world as arguments."""
        rows = [tuple(case) for case in cases]

        def add(function: Callable[..., None]) -> Callable[..., None]:
            for row in rows:
                self.checks.append(Check(self.name, statement.format(*row), _bound(function, row)))
            return function

        return add


def _bound(function: Callable[..., None], row: tuple[object, ...]) -> Callable[["World"], None]:
    return lambda world: function(world, *row)


@dataclass(slots=True)
class Report:
    """What came of the checks, said as it comes."""

    say: Callable[[str], None]
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def play(self, check: Check, world: "World") -> None:
        """Make one check and tell how it went."""
        name = f"{check.peer}: {check.statement}"
        try:
            check.play(world)
        except LeftOut as error:
            self.leave_out(name, str(error))
        except Disagreement as error:
            self.fail(name, f"{error}\n{world.news()}")
        except Exception as error:  # noqa: BLE001 — whatever breaks a check has failed it, and the others go on
            self.fail(name, f"{type(error).__name__}: {error}\n{world.news()}")
        else:
            world.news()
            self.passed += 1
            self.say(f"ok    {name}")

    def leave_out(self, name: str, reason: str) -> None:
        """Name what is not played."""
        self.skipped += 1
        self.say(f"skip  {name}: {reason}")

    def fail(self, name: str, reason: str) -> None:
        """Tell what did not hold."""
        self.failed += 1
        self.say("\n".join([f"FAIL  {name}", *_indented(reason)]))

    @property
    def summary(self) -> str:
        """The last line."""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def _indented(text: str, lines: int = 30) -> Iterator[str]:
    shown = text.strip().splitlines()
    yield from (f"      {line}" for line in shown[:lines])
    if len(shown) > lines:
        yield f"      … {len(shown) - lines} more lines"


def find_program(name: str) -> str | None:
    """Where a program is; also where Debian puts programs of the administrator."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/lib/postfix/sbin")


@dataclass(frozen=True, slots=True)
class Said:
    """What a program answered."""

    code: int
    output: bytes
    errors: bytes

    @property
    def text(self) -> str:
        """Everything it wrote, for people."""
        return f"exit code {self.code}\n" + (self.output + self.errors).decode("utf-8", "replace")


def call(*words: str | Path, entered: bytes = b"") -> Said:
    """Run a peer's program. Raises Disagreement when it does not end in time."""
    program = find_program(str(words[0]))
    if program is None:
        raise LeftOut(f"{words[0]} is not installed")
    command = [program, *map(str, words[1:])]
    try:
        # S603: the words are ours, and no shell reads them
        done = subprocess.run(command, input=entered, capture_output=True, timeout=CALL_TIME, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise Disagreement(f"{words[0]} did not end within {CALL_TIME:.0f} seconds") from None
    return Said(done.returncode, done.stdout, done.stderr)


def succeeds(*words: str | Path, entered: bytes = b"") -> Said:
    """The same for a program that must succeed. Raises Disagreement with what it wrote."""
    said = call(*words, entered=entered)
    expect(said.code == 0, f"{words[0]}: {said.text}")
    return said
