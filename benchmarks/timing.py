"""CPU time of a piece of work, taken in turns with the raw signature that it is compared with."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

Work = Callable[[], object]

ROUND = 0.06  # seconds of CPU that a round of one piece of work should take
ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. cost: CPU microseconds. ratio: to the raw signature of the same rounds.

    goal: the ratio (or, without one, the microseconds) that must be kept, None where nobody set one.
    """

    name: str
    cost: float
    ratio: float
    goal: str = ""


class RawSignature:
    """RSA-2048 over a SHA-256 digest in OpenSSL: the work that no mail server can do without."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._padding, self._hash = padding.PKCS1v15(), utils.Prehashed(hashes.SHA256())

    def __call__(self) -> bytes:
        return self._key.sign(b"0123456789abcdef0123456789abcdef", self._padding, self._hash)


raw_signature = RawSignature()


def measure(name: str, work: Work, goal: str = "", rounds: int = ROUNDS) -> Row:
    """The median cost of one call of `work`, rounds of it taking turns with the raw signature."""
    repeat, repeat_raw = _repeats(work), _repeats(raw_signature)
    costs: list[float] = []
    raws: list[float] = []
    for _ in range(rounds):
        raws.append(_cost(raw_signature, repeat_raw))
        costs.append(_cost(work, repeat))
    cost = statistics.median(costs)
    return Row(name, cost, cost / statistics.median(raws), goal)


def raw_cost() -> float:
    """CPU microseconds of one raw signature, now."""
    repeat = _repeats(raw_signature)
    return statistics.median(_cost(raw_signature, repeat) for _ in range(5))


def _repeats(work: Work) -> int:
    """How often the work fits into a round; also its warm-up."""
    work()
    count = 1
    while True:
        cost = _cost(work, count) * count / 1e6
        if cost > ROUND / 4 or count > 1_000_000:
            return max(1, int(count * ROUND / max(cost, 1e-9)))
        count *= 4


def _cost(work: Work, repeat: int) -> float:
    start = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - start) / repeat * 1e6


Rows = Iterator[Row]
