"""The SMTP client: pooled connections to next hops, one round trip for a whole envelope (RFC 5321, 2920).

A transaction has two steps, so that several next hops can agree before any of them gets the message: `Pool.open` asks
for all recipients, then `send` or `abort`. Whatever a next hop does, the answer is a value.
"""

from flowengine.services.relay.answers import ARRIVING, Answer, Stage
from flowengine.services.relay.failover import open_first
from flowengine.services.relay.pool import Pool
from flowengine.services.relay.settings import Encryption, Envelope, Login, Patience, RelaySettings
from flowengine.services.relay.transaction import Transaction

__all__ = [
    "ARRIVING",
    "Answer",
    "Encryption",
    "Envelope",
    "Login",
    "Patience",
    "Pool",
    "RelaySettings",
    "Stage",
    "Transaction",
    "open_first",
]
