"""The SMTP door: bytes of a client become steps of a `Session`, its replies become lines.

`Server` listens, `Shell` is one connection, `Machine` the protocol without any socket. What a listener needs comes as
`Listener`, `Options` and `Limits`; nothing here reads a configuration or prints.
"""

from flowengine.servers.smtp.door import Capacity, Client, Limits, Options, Report, Session, Step
from flowengine.servers.smtp.listener import Listener, ListenError, Server, bind, loop_factory
from flowengine.servers.smtp.machine import Machine

__all__ = [
    "Capacity",
    "Client",
    "Limits",
    "ListenError",
    "Listener",
    "Machine",
    "Options",
    "Report",
    "Server",
    "Session",
    "Step",
    "bind",
    "loop_factory",
]
