"""Inline delivery: what was decided about a message is carried out while the client waits for its reply.

Promise 1 is kept here. Every next hop is asked for every recipient before any of them gets the message, and what went
out before something failed is remembered, so that the client's retry does not send it again.
"""

from flowengine.services.outbox.outbox import Outbox
from flowengine.services.outbox.remembered import Memory, Remembered
from flowengine.services.outbox.stored import StoredMemory

__all__ = ["Memory", "Outbox", "Remembered", "StoredMemory"]
