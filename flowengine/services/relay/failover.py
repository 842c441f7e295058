"""Several hosts of one next hop: the next one is asked when one cannot be talked to (RFC 5321 §5.1)."""

from collections.abc import Sequence

from flowengine.services.relay.pool import Pool
from flowengine.services.relay.settings import Envelope
from flowengine.services.relay.transaction import Transaction


async def open_first(pools: Sequence[Pool], envelope: Envelope, *, eager: bool = True) -> Transaction:
    """Ask for every recipient at the first host that gives answers about the message; else what the last one did.

    Hosts that failed a short while ago come last. pools: at least one. eager: as for `Pool.open`.
    """
    order = sorted(pools, key=_resting) if len(pools) > 1 else pools
    transaction = await order[0].open(envelope, eager=eager)
    for pool in order[1:]:
        if not transaction.elsewhere:
            break
        transaction = await pool.open(envelope, eager=eager)
    return transaction


def _resting(pool: Pool) -> bool:
    return pool.resting
