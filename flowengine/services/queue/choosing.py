"""Which places a worker takes jobs of, and how many: the same for every storage."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flowengine.services.queue.model import Place

Busy = Mapping[tuple[str, str], int]
"""Jobs under way by transport and domain."""
Seats = Callable[[str, str], int]
"""Jobs at a time there."""


def with_room(waiting: Iterable[Sequence[Any]], free: int, active: Busy, room: Seats, failing: int) -> list[Place]:
    """Of places with something to do those with room for it, at most `free`.

    waiting: number, transport, domain and failures, those that waited longest first. The rest is as for Store.claim.
    """
    found: list[Place] = []
    for id_, transport, domain, failures in waiting:
        busy = active.get((transport, domain), 0)
        if failures:
            if busy or failing <= 0:
                continue
            failing -= 1
        elif busy >= room(transport, domain):
            continue
        found.append(Place(id_, transport, domain, failures))
        if len(found) >= free:
            break
    return found


def share_of(place: Place, places: int, free: int, left: int, active: Busy, room: Seats) -> int:
    """How many jobs of a place are taken; none or fewer for no room.

    places: how many have room. free: jobs for all of them; left: those that are not taken yet.
    """
    key = place.transport, place.domain
    return min(max(1, free // places), left, 1 if place.failures else room(*key) - active.get(key, 0))
