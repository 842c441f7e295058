"""What the queue asks of a storage. It blocks, and is used from one thread; `committer.py` lends it to the event loop.

Every change happens within `transaction`. A backend that several machines share keeps the same promises: what `claim`
gives to one holder it gives to no other until that one is dead, and what an overtaken holder settles is not applied.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from flowengine.services.queue.choosing import Busy, Seats
from flowengine.services.queue.model import Fate, Job, NewMessage, Rest, Stand
from flowengine.services.queue.pickup import Rule
from flowengine.services.relay.stuffing import Buffer


class Store(Protocol):
    """A storage of the queue. Whatever fails raises StoreTrouble, StoreFull when there is no room."""

    @property
    def shared(self) -> bool:
        """Whether several machines use it: then a holder has a lease, which `beat` renews."""
        ...

    @property
    def holder(self) -> int:
        """Our number, 0 for none; another one once a lease has run out."""
        ...

    @property
    def lapsed(self) -> bool:
        """Whether others may take what this holder has (or had, if it has another number by now). From any thread."""
        ...

    def watch(self, call: Callable[[], None]) -> None:
        """Call, from any thread, whenever another machine made something due."""
        ...

    def give_up(self) -> None:
        """What the storage is waited for at this moment fails, from any thread: it has been silent for too long."""
        ...

    def beat(self, now: float) -> int:
        """Renew the lease, at least every few seconds; how many entries of dead neighbours were freed by the way."""
        ...

    def open(self) -> None:
        """Become a holder; tables are made or brought up to date. Opened again after trouble."""
        ...

    def close(self) -> None:
        """Stop being a holder: what is still held is due for others."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All that happens within, durably, or nothing of it."""
        ...

    def prepare(self, new: NewMessage) -> NewMessage:
        """What can be done for a message outside the transaction, in any thread: a large one is written to a file."""
        ...

    def discard(self, new: NewMessage) -> None:
        """What was prepared is not put after all."""
        ...

    def put(self, new: NewMessage) -> list[Job]:
        """Keep a message. The jobs of the entries that were to be taken, as far as their place does not rest."""
        ...

    def wake(self) -> float | None:
        """When the next entry is due that nobody holds; None for never."""
        ...

    def claim(
        self,
        now: float,
        free: int,
        active: Busy,
        room: Seats,
        failing: int,
    ) -> list[Job]:
        """Take entries that are due, from as many places as there are, at most `free` jobs.

        active: jobs under way by transport and domain. room: jobs at a time there. failing: jobs that may go
        to places that failed last time; each of those gets one.
        """
        ...

    def content(self, message: int) -> tuple[Sequence[Buffer], bytes]:
        """The octets of a message, and the digest that they must have. Raises Damaged when they are not there."""
        ...

    def settle(self, job: Job, fates: Sequence[Fate], rest: Rest | None, now: float) -> None:
        """What became of the entries of a job, and of its place. An entry that another holder has since taken over is
        only taken away, if it is gone, and else left to that one."""
        ...

    def take_over(self, now: float) -> int:
        """Free what dead holders hold; how many entries. What they left behind besides is cleared away."""
        ...

    def overdue(self, now: float, most: int) -> list[tuple[Job, str]]:
        """Take entries that go back to their senders without a further attempt, with the reason: those beyond their
        time whose place has failed since then, and those that somebody wants returned."""
        ...

    def stand(self) -> Stand:
        """How the queue stands."""
        ...

    def rules(self, now: float) -> list[tuple[str, bytes, float]]:
        """The rules of the pace that hold (pickup.py): name, rule, until when."""
        ...

    def add_rule(self, kind: str, rule: Rule, until: float, now: float, *, update: bool) -> str:
        """Keep a rule, in place of one about the same when `update`; its name."""
        ...

    def remove_rule(self, name: str) -> bool:
        """End a rule; whether there was one of this name."""
        ...

    def take_seats(self, attempt: str, seats: Sequence[tuple[str, int]]) -> str | None:
        """Take one of so many places of each name for an attempt of this holder, or none at all; the name of one that
        is full. A dead holder's places are free."""
        ...

    def free_seats(self, attempt: str) -> None:
        """The attempt is over."""
        ...

    def keeper(self) -> bool:
        """Whether this holder does the work that one has to do for all: at most one holder hears yes."""
        ...

    def tidy(self, now: float) -> None:
        """Small work from time to time: times that the clock left behind, places that nobody needs."""
        ...

    def shrink(self) -> None:
        """Give room back that is not needed any more, outside a transaction."""
        ...
