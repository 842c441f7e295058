"""Who may authenticate: passwords against the users file, off the loop, with a cap, and slow for those who guess.

Good credentials are remembered for minutes under an HMAC with a key of this process, never as text. An unknown user
costs what a known one costs. Guessing is throttled for each client and for each user, with answers that take twice as
long each time; where a user has been before, nobody else's guesses lock him out or slow him down.
"""

import asyncio
import hmac
import os
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flowengine.runtime.places import place_of
from flowengine.runtime.services import Clock, Log, Rates
from flowengine.services.clock import SystemClock
from flowengine.services.config.model import Config
from flowengine.services.config.problems import ConfigError
from flowengine.services.log import Silence
from flowengine.services.passwords import STRENGTH, Hash, prepared
from flowengine.services.rates import MemoryRates
from flowengine.services.users_file import folded, read_users

REMEMBERED = 300.0
"""Seconds for which good credentials need no new hash."""
WINDOW = 600.0
"""Seconds over which failures are counted."""
CLIENT_FAILURES = 20
CLIENT_PENDING = 60
"""Failures and checks under way of one client."""
USER_FAILURES = 50
FRIENDSHIP = 7 * 86400.0
"""Seconds for which a client is remembered where a user has succeeded."""
FREE_FAILURES = 2
"""Failures of a client, or of a user, that are answered at once."""
SHORTEST_DELAY, LONGEST_DELAY = 0.25, 4.0
"""Seconds that the next one waits, and the most that any does."""
MOST_WAITING = 200
"""Checks that wait for a thread; further ones are told to come back."""
_MOST_KEPT = 10_000


class PasswordChecker:
    """The `Users` of a listener. checks: hashes computed at a time. failures: where they are counted, for all workers
    of the machine or for this process alone. The file is read again when it changes.
    """

    def __init__(self, path: Path, checks: int, clock: Clock, log: Log, failures: Rates | None = None) -> None:
        self._path = path
        self._clock = clock
        self._log = log
        self._threads = ThreadPoolExecutor(max_workers=checks, thread_name_prefix="passwords")
        self._flights: dict[bytes, asyncio.Task[bool]] = {}
        self._pending: Counter[str] = Counter()
        self._users: Mapping[str, Hash] = {}
        self._nobody = Hash(STRENGTH.cost, STRENGTH.blocks, STRENGTH.lanes, os.urandom(16), bytes(32))
        self._version: tuple[int, ...] | None = None
        self._looked = -1e9
        self._reading = asyncio.Lock()
        self._secret = os.urandom(32)
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._failures: Rates = failures if failures is not None else MemoryRates(200_000)

    async def verify(self, username: str, password: str, client: str) -> bool | None:
        """Whether the password is this user's; None when it cannot be told now (too many tries, too busy)."""
        await self._refresh()
        user, place = folded(username[:500]), place_of(client)
        stored = self._users.get(user)
        mark = hmac.digest(self._secret, repr((user, prepared(password), str(stored))).encode(), "sha256")
        now = self._clock.monotonic()
        if stored is not None and self._good.get(mark, -1.0) > now:
            return True
        flight = self._flights.get(mark)
        if flight is None:
            if self._throttled(user, place) or len(self._flights) >= MOST_WAITING:
                return None
            self._pending[place] += 1
            flight = asyncio.get_running_loop().create_task(self._check(mark, stored, user, password, place))
            self._flights[mark] = flight
        matches = await asyncio.shield(flight)  # who goes away takes nobody else's answer along
        if not matches:
            await self._clock.sleep(self._delay(user, place))
        return matches

    async def _check(self, mark: bytes, stored: Hash | None, user: str, password: str, place: str) -> bool:
        try:
            verifies = (stored or self._nobody).verifies
            matches = await asyncio.get_running_loop().run_in_executor(self._threads, verifies, password)
        finally:
            del self._flights[mark]
            self._pending[place] -= 1
            if not self._pending[place]:
                del self._pending[place]
        if matches and stored is not None:
            self._welcome(mark, user, place)
            return True
        now = self._clock.now()
        self._failures.hit("client", place, CLIENT_FAILURES, WINDOW, now)
        self._failures.hit("user", user, USER_FAILURES, WINDOW, now)
        return False

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _delay(self, user: str, place: str) -> float:
        """Seconds that a wrong guess waits for its answer: twice as long with each, known user or not."""
        now = self._clock.now()
        failures = self._failures.count("client", place, WINDOW, now)
        if not self._is_friend(user, place, now):
            failures = max(failures, self._failures.count("user", user, WINDOW, now))
        beyond = failures - FREE_FAILURES
        return min(LONGEST_DELAY, SHORTEST_DELAY * 2.0 ** min(beyond - 1, 32)) if beyond > 0 else 0.0

    def _throttled(self, user: str, place: str) -> bool:
        now = self._clock.now()
        failures = self._failures.count("client", place, WINDOW, now)
        if failures >= CLIENT_FAILURES or failures + self._pending[place] >= CLIENT_PENDING:
            return True
        if self._is_friend(user, place, now):
            return False
        return self._failures.count("user", user, WINDOW, now) >= USER_FAILURES

    def _is_friend(self, user: str, place: str, now: float) -> bool:
        """Whether this user has been here before."""
        return self._failures.count("friend", f"{place} {user}", FRIENDSHIP, now) > 0

    def _welcome(self, mark: bytes, user: str, place: str) -> None:
        self._good[mark] = self._clock.monotonic() + REMEMBERED
        while len(self._good) > _MOST_KEPT:
            self._good.popitem(last=False)
        self._failures.hit("friend", f"{place} {user}", 1, FRIENDSHIP, self._clock.now())

    async def _refresh(self) -> None:
        """Read the file again if it is another one; look at most once a second."""
        async with self._reading:
            now = self._clock.monotonic()
            if now - self._looked < 1.0:
                return
            version = _version(self._path)
            if version == self._version:
                self._looked = now
                return
            try:
                self._users = await asyncio.to_thread(read_users, self._path)
            except ConfigError as error:
                self._log.event("error", "users-file", problem=str(error), kept=len(self._users))
            self._looked, self._version = now, version  # only now: whoever gave up while reading leaves it to the next
            costs = Counter((one.cost, one.blocks, one.lanes) for one in self._users.values()).most_common(1)
            if costs:
                self._nobody = Hash(*costs[0][0], os.urandom(16), bytes(32))


def open_users(
    config: Config, path: Path, log: Log | None = None, clock: Clock | None = None, failures: Rates | None = None
) -> PasswordChecker:
    """The checker of a listener's users file; listeners with one file best share it. Raises ConfigError."""
    read_users(path)
    return PasswordChecker(path, config.limits.password_checks, clock or SystemClock(), log or Silence(), failures)


def _version(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
