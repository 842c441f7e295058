"""A connection to the host of a next hop: each of its addresses in turn, from our own address of the same family."""

import asyncio
import errno
import socket
from collections.abc import Callable

from flowengine.services.relay.connection import Connection
from flowengine.services.relay.settings import RelaySettings


async def dial(settings: RelaySettings, made: Callable[[], Connection]) -> Connection:
    """Connect. Raises OSError, that of the last address. made: called for each attempt."""
    loop = asyncio.get_running_loop()
    if settings.path:
        _, connection = await loop.create_unix_connection(made, settings.path)
        return connection
    if not settings.sources:
        _, connection = await loop.create_connection(made, settings.host, settings.port)
        return connection
    failure = OSError(errno.EADDRNOTAVAIL, "no address of the family that we connect from")
    for family, *_, address in await loop.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM):
        source = next((one for one in settings.sources if (":" in one) == (family == socket.AF_INET6)), None)
        if source is None:
            continue
        host, port = str(address[0]), int(address[1])
        try:
            _, connection = await loop.create_connection(made, host, port, family=family, local_addr=(source, 0))
        except OSError as error:
            failure = error
        else:
            return connection
    raise failure
