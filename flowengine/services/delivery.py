"""Inline delivery: parcels to their transports while the client waits."""

from collections.abc import Mapping, Sequence

from flowengine.runtime.actions import Reply
from flowengine.runtime.outcome import Outcome
from flowengine.runtime.services import Services
from flowengine.services.config import Transport
from flowengine.services.posting import SHORT_OF_STORAGE, Parcel
from flowengine.services.shelf import put

NO_TRANSPORT = Reply(451, "4.3.5", "There is no way to this recipient in our configuration")


class InlineDelivery:
    """The transports of the configuration (`posting.Delivery`)."""

    def __init__(self, transports: Mapping[str, Transport], services: Services) -> None:
        self._transports, self._services = transports, services

    async def deliver(self, parcels: Sequence[Parcel], outcome: Outcome) -> Reply | None:
        """None when every parcel has been taken, else what the client is to hear. Never raises."""
        for parcel in parcels:
            transport = self._transports.get(parcel.action.transportid or "")
            if transport is None or transport.sink is None:
                return NO_TRANSPORT
            try:
                await put(transport.sink, parcel)
            except OSError as error:
                self._services.log.event("error", "sink", id=parcel.id, reason=str(error))
                return SHORT_OF_STORAGE
            self._services.counters.increment(
                "deliveries", result="delivered", transport=str(parcel.action.transportid)
            )
        return None

    async def close(self) -> None:
        """Nothing to close."""
