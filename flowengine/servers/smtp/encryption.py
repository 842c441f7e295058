"""TLS on a connection that began without it (RFC 3207) and on one that begins with it (RFC 8314): one way for both.

The connection is the door's from its first packet, so limits and deadlines hold during a handshake too.
"""

from asyncio import AbstractEventLoop, BaseProtocol, Task, Transport
from collections.abc import Coroutine, Mapping
from ssl import SSLContext, SSLObject
from typing import Any, Protocol, TypeVar, cast

from flowengine.runtime.actions import Reply
from flowengine.runtime.steps import rest

READY = Reply(220, "2.0.0", "Ready to start TLS")
NO_TLS = Reply(502, "5.5.1", "STARTTLS is not offered here")
ENCRYPTED = Reply(503, "5.5.1", "TLS is active")
NOT_NOW = Reply(454, "4.7.0", "TLS is not available now, try again later")
ENCRYPT_FIRST = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
FAREWELL = 10.0
"""Seconds that a client gets to say goodbye in TLS."""

T = TypeVar("T")
About = Mapping[str, Any]
"""What flows know of a connection under TLS."""


class Encryption(Protocol):
    """TLS of a listener. implicit: from the first packet. required: before any mail. time: seconds for a handshake."""

    implicit: bool
    required: bool
    time: float

    def context(self) -> SSLContext:
        """What the next handshake uses. Raises when there is none at the moment."""
        ...

    def established(self, connection: SSLObject) -> About:
        """A handshake went well; what is to be known of the connection."""
        ...

    def failed(self, client: str, error: BaseException | None) -> None:
        """A handshake came to nothing. client: its address."""
        ...


async def shake_hands(
    loop: AbstractEventLoop,
    transport: Transport,
    protocol: BaseProtocol,
    encryption: Encryption,
    context: SSLContext,
    client: str,
) -> tuple[Transport, About] | None:
    """The encrypted connection in place of the open one; None when it did not come about, and both are gone."""
    try:
        found = await loop.start_tls(
            transport,
            protocol,
            context,
            server_side=True,
            ssl_handshake_timeout=encryption.time,
            ssl_shutdown_timeout=FAREWELL,
        )
        if found is None:  # asyncio's way to say that the client went away
            raise ConnectionResetError("the client went away")
        secured = cast("SSLObject", found.get_extra_info("ssl_object"))
        return found, encryption.established(secured)
    except Exception as error:  # noqa: BLE001  # whatever a client makes OpenSSL say, its connection ends here
        transport.abort()
        encryption.failed(client, error)
        return None
    except BaseException:
        transport.abort()
        raise


def begin_at_once(loop: AbstractEventLoop, step: Coroutine[Any, Any, T]) -> Task[T]:
    """A Task of a coroutine whose first part has run when this returns (from Python 3.12 on: an eager task).

    uvloop begins to read as soon as `connection_made` returns: by then the handshake must be the one that is read for.
    """
    return loop.create_task(_begun(step))


def _begun(step: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    try:
        pending = step.send(None)
    except StopIteration as done:
        return _already(cast("T", done.value))
    return rest(step, pending)


async def _already(value: T) -> T:
    return value
