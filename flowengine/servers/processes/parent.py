"""The parent: binds, forks, watches, reloads. It reads no mail, runs no flow and has no event loop or thread.

What it holds is what a worker needs to start: the built engine and the bound sockets. So a worker is there some
milliseconds after a fork, and a configuration that cannot be built never reaches one.
"""

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowengine.language.problems import FlowProblems
from flowengine.runtime.services import Level
from flowengine.servers.engine import Engine
from flowengine.servers.processes.child import Child, fork
from flowengine.servers.processes.generation import Generation, Slot, addresses_of
from flowengine.servers.processes.privileges import Account, NoPrivileges, prepare, raise_file_limit
from flowengine.servers.processes.signals import Signals
from flowengine.servers.processes.sockets import Sockets
from flowengine.servers.processes.systemd import Supervisor
from flowengine.servers.processes.watching import Watch
from flowengine.servers.processes.worker import work
from flowengine.servers.smtp.listener import ListenError, address_of
from flowengine.services.config import ConfigError

if TYPE_CHECKING:
    from flowengine.services.config import Config

START_TIME = 60.0
"""Seconds until a new generation must be ready."""
PROBATION = 10.0
"""Seconds in which a worker's crash takes a reload back."""
LAST_WORDS = 5.0
"""Seconds between the end of `drain_time` and the kill."""


class CannotServe(Exception):
    """The server does not start. code: the exit code that says whose turn it is."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def refuse_unbuilt(config: "Config") -> None:
    """Raises CannotServe for a configuration with keys whose work is not built: they would be empty promises."""
    unbuilt = [one.brief for one in config.warnings if one.id == "not-built"]
    if unbuilt:
        raise CannotServe("\n".join(unbuilt), 2)


class Parent:
    """A running server. announce: gets one line `ready` a listener. read: the configuration as the file has it now."""

    def __init__(self, config: "Config", announce: Callable[[str], None], read: Callable[[], "Config"]) -> None:
        self._announce, self._read = announce, read
        self._config = config
        self._sockets = Sockets()
        self._supervisor = Supervisor()
        self._watch = Watch()
        self._watch_slot = Slot()
        self._watched_place: object = None
        self._count = 0
        self._current: Generation | None = None
        self._next: Generation | None = None
        self._previous: Engine | None = None
        self._leaving: list[Child] = []
        self._announced: set[str] = set()
        self._again = self._stopping = False
        self._next_since = 0.0
        self._failure = ""

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Raises FlowProblems and ConfigError before anything is bound, and CannotServe.
        """
        refuse_unbuilt(self._config)
        engine = Engine.build(self._config)
        raise_file_limit()
        self._selector = selectors.DefaultSelector()
        self._signals = Signals()
        self._selector.register(self._signals, selectors.EVENT_READ, None)
        try:
            self._begin(engine)
            while self._current is not None or self._next is not None or self._leaving:
                self._wait()
                self._reap()
                self._look()
                if self._next is None and self._current is None and not self._stopping:
                    raise CannotServe(self._failure, 3)
        finally:
            for child in self._everybody():
                child.kill(signal.SIGKILL)
            for child in self._everybody():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, 0)
            self._sockets.close()
            self._watch.close()
            self._signals.close()
            self._selector.close()

    # -- generations ----------------------------------------------------------------------------------------------

    def _begin(self, engine: Engine) -> None:
        """Start the next generation beside the current one. Raises CannotServe for what keeps it from starting."""
        config = engine.config
        workers = config.workers or len(os.sched_getaffinity(0))
        try:
            account = Account.named(config.user) if config.user is not None else None
            prepare(engine.directories, account)
            if self._current is None:
                engine.shared.prepare()
                if account is not None and os.geteuid() == 0:
                    os.chown(engine.shared.path, account.uid, account.gid)
            sockets = self._sockets.open(addresses_of(engine), workers)
            self._watch.open(config, account)
        except NoPrivileges as error:
            raise CannotServe(str(error), 2) from None
        except ListenError as error:
            raise CannotServe(error.strerror or str(error), 3) from None
        except OSError as error:
            raise CannotServe(str(error), 3) from None
        self._count += 1
        self._next = Generation(self._count, engine, account, sockets, self._start)
        self._next_since = time.monotonic()
        self._next.fill(self._next_since)

    def _start(self, generation: Generation, number: int) -> Child:
        child = fork(
            f"worker {generation.number}.{number + 1}",
            lambda control: work(generation.engine, generation.sockets[number], control, generation.account),
            time.monotonic(),
            [*self._parents_ends(), *self._sockets.others(generation.sockets[number]), *self._watch.sockets],
        )
        self._selector.register(child.control, selectors.EVENT_READ, child)
        return child

    def _promote(self, generation: Generation, now: float) -> None:
        """The next generation is ready: it serves, and the current one drains."""
        before, self._current, self._next = self._current, generation, None
        generation.promoted = now
        self._config = generation.engine.config
        if before is not None:
            self._previous = before.engine
            self._leaving += before.end(now + before.engine.config.limits.drain_time + LAST_WORDS)
            self._log("notice", "reloaded", generation=generation.number, workers=len(generation.slots))
        self._sockets.keep(addresses_of(generation.engine), len(generation.slots))
        for name, sockets in generation.sockets[0].items():
            line = f"ready {name} {' '.join(map(address_of, sockets))}"
            if line not in self._announced:
                self._announced.add(line)
                self._announce(line)
        place = self._watch.place
        if self._watch_slot.child is not None and place != self._watched_place:
            self._watch_slot.child.end(now + LAST_WORDS)
        self._watched_place = place
        self._supervisor.ready(f"generation {generation.number}, {len(generation.slots)} workers")

    def _give_up(self, generation: Generation, reason: str, now: float) -> None:
        """The next generation does not get ready: the current one goes on."""
        self._next = None
        self._leaving += generation.end(now + LAST_WORDS)
        self._failure = reason
        if self._current is not None:
            self._log("error", "reload failed", generation=generation.number, text=f"{reason}; the old one goes on")
            self._return_to(self._current)

    def _reload(self) -> None:
        """SIGHUP: build what the file says now, beside what runs."""
        if self._next is not None:
            self._again = True
            return
        self._again = False
        self._supervisor.reloading()
        try:
            config = self._read()
            if config.storage != self._config.storage:
                raise CannotServe("storage: cannot change while the server runs; start it again", 2)
            refuse_unbuilt(config)
            self._begin(Engine.build(config))
        except (ConfigError, FlowProblems) as error:
            self._refuse([problem.brief for problem in error.problems])
        except CannotServe as error:
            self._refuse([str(error)])
        except Exception as error:  # noqa: BLE001  # whatever is wrong with the new one, the old one serves
            self._refuse([f"{type(error).__name__}: {error}"])

    def _refuse(self, problems: list[str]) -> None:
        self._log("error", "reload failed", problems=problems, text="the old configuration goes on")
        if self._current is not None:
            self._return_to(self._current)

    def _return_to(self, generation: Generation) -> None:
        """A reload came to nothing: what it opened is closed again."""
        self._sockets.keep(addresses_of(generation.engine), len(generation.slots))
        self._watch.open(generation.engine.config, generation.account)
        self._supervisor.ready("reload failed, the old configuration serves")

    def _take_back(self, now: float) -> None:
        """A generation that crashes right after a reload: return to the one before."""
        engine, self._previous = self._previous, None
        if engine is None or self._next is not None:
            return
        self._log("error", "reload taken back", text="its workers crash; the configuration before serves again")
        with contextlib.suppress(CannotServe):
            self._begin(engine)

    # -- the loop -------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        now = time.monotonic()
        times = [child.deadline for child in self._leaving if child.deadline is not None]
        times += [now + self._supervisor.interval] if self._supervisor.interval is not None else []
        if self._next is not None:
            times.append(self._next_since + START_TIME)
        if self._current is not None and (due := self._current.next_due()) is not None:
            times.append(due)
        if self._watch_slot.child is None:
            times.append(self._watch_slot.due)
        timeout = max(0.0, min(times) - now) if times else None
        for key, _ in self._selector.select(timeout):
            if not isinstance(key.data, Child):
                self._hear_signals()
            elif key.data.hear():
                self._selector.unregister(key.fileobj)

    def _hear_signals(self) -> None:
        for number in self._signals.take():
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif number == signal.SIGHUP and not self._stopping:
                self._reload()

    def _stop(self) -> None:
        """Drain; asked twice, end at once."""
        now = time.monotonic()
        if self._stopping:
            for child in self._leaving:
                child.kill(signal.SIGKILL)
            return
        self._stopping = True
        self._supervisor.stopping()
        self._log("info", "draining")
        for generation in (self._current, self._next):
            if generation is not None:
                self._leaving += generation.end(now + generation.engine.config.limits.drain_time + LAST_WORDS)
        self._current = self._next = None
        self._sockets.close()  # nobody new: what waits there goes to another server

    def _reap(self) -> None:
        now = time.monotonic()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((one for one in self._everybody() if one.pid == pid), None)
            if child is not None:
                self._died(child, status, now)

    def _died(self, child: Child, status: int, now: float) -> None:
        with contextlib.suppress(KeyError):  # it has said all that it says
            self._selector.unregister(child.control)
        child.forget()
        if child in self._leaving:
            self._leaving.remove(child)
            return
        how = _how(status)
        if child is self._watch_slot.child:
            self._watch_slot.died(child, now)
            if not child.ending:
                self._log("warning", "watch ended", pid=child.pid, how=child.reason or how)
            return
        if self._next is not None and self._next.died(child, now):
            self._give_up(self._next, child.reason or f"a worker {how} before it was ready", now)
            return
        current = self._current
        if current is None or not current.died(child, now):
            return
        self._log("error", "worker ended", worker=child.name, pid=child.pid, how=child.reason or how)
        fresh = current.promoted is not None and now - current.promoted < PROBATION
        if fresh and not _killed_from_outside(status):
            self._take_back(now)

    def _look(self) -> None:
        """Everything that a moment can bring: ready, late, due."""
        now = time.monotonic()
        if self._next is not None:
            if self._next.ready:
                self._promote(self._next, now)
            elif now - self._next_since > START_TIME:
                self._give_up(self._next, f"its workers were not ready within {START_TIME:.0f} seconds", now)
        if self._current is not None:
            self._current.fill(now)
            if self._watch_slot.child is None and self._watch_slot.due <= now:
                self._start_watch(self._current.account, now)
        for child in self._leaving:
            if child.deadline is not None and now > child.deadline:
                self._log("warning", "killed", worker=child.name, text="did not end in time")
                child.kill(signal.SIGKILL)
                child.deadline = now + LAST_WORDS
        self._supervisor.alive()
        if self._again and self._next is None and not self._stopping:
            self._reload()

    def _start_watch(self, account: Account | None, now: float) -> None:
        watch = self._watch
        self._watch_slot.child = child = fork(
            "watch",
            lambda control: watch.work(control, account),
            now,
            [*self._parents_ends(), *self._sockets.others({})],
        )
        self._selector.register(child.control, selectors.EVENT_READ, child)

    # -- small things ---------------------------------------------------------------------------------------------

    def _everybody(self) -> list[Child]:
        found = [child for one in (self._current, self._next) if one is not None for child in one.children]
        watch = [self._watch_slot.child] if self._watch_slot.child is not None else []
        return [*found, *self._leaving, *watch]

    def _parents_ends(self) -> list[socket.socket]:
        return [*self._signals.ends, *(child.control for child in self._everybody())]

    def _log(self, level: Level, event: str, **fields: object) -> None:
        generation = self._current or self._next
        if generation is not None:
            generation.engine.services.log.event(level, event, **fields)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with {os.waitstatus_to_exitcode(status)}"


def _killed_from_outside(status: int) -> bool:
    """Whether somebody, or the kernel for want of memory, took the process away."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGTERM)
