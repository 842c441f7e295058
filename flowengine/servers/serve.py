"""The listeners of a configuration as the SMTP door takes them."""

import socket
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from flowengine.runtime.policy import Policy
from flowengine.runtime.session import Session
from flowengine.runtime.visit import Client
from flowengine.servers.engine import Engine
from flowengine.servers.smtp import door
from flowengine.servers.smtp.intake import Bounds
from flowengine.servers.smtp.listener import Listener, Server

if TYPE_CHECKING:
    from flowengine.services.config import Listener as ListenerConfig


def server_of(engine: Engine, sockets: Mapping[str, tuple[socket.socket, ...]]) -> Server:
    """The server of one worker, on sockets that are bound."""
    config = engine.config
    listeners = [_listener(engine, name, listener, sockets[name]) for name, listener in config.listeners.items()]
    capacity = door.Capacity(
        config.limits.connections,
        config.limits.connections_per_client,
        config.limits.client_commands,
        config.limits.client_prefix_v4,
        config.limits.client_prefix_v6,
        config.limits.in_flight_bytes,
    )
    return Server(listeners, capacity, engine.report)


def _listener(engine: Engine, name: str, listener: "ListenerConfig", sockets: tuple[socket.socket, ...]) -> Listener:
    policy = engine.policies[name]
    limits = engine.config.limits
    spool = engine.config.storage.directory / "spool"
    options = door.Options(
        hostname=listener.hostname or engine.config.hostname,
        bare_newline=listener.bare_newline,
        auth=listener.auth_mechanisms if policy.offers_auth else (),
        allow_plaintext_auth=listener.allow_plaintext_auth,
        xclient=tuple(listener.xclient),
        xforward=tuple(listener.xforward),
        proxy=tuple(listener.proxy),
        encryption=engine.tls.get(name),
        proxied="proxy" in policy.flows,
        next_hop=partial(engine.outbox.ways.offered, _only_way(listener)),
        trace=engine.config.log.level == "debug",
        limits=door.Limits(
            command_line=limits.command_line,
            auth_line=limits.auth_line,
            message=Bounds(limits.message_size, limits.line_length, limits.spool_above, spool),
            recipients=limits.recipients,
            session_commands=limits.session_commands,
            session_messages=limits.session_messages,
            errors=limits.session_errors,
            auth_failures=limits.session_auth_failures,
            command_time=limits.command_time,
            data_time=limits.data_time,
            message_time=limits.message_time,
            idle_commands=limits.idle_commands,
            greeting_delay=limits.greeting_delay,
            proxy_time=limits.proxy_time,
            tarpit=limits.tarpit,
        ),
    )
    return Listener(name, str(listener.address), options, partial(_open, engine, policy), sockets, engine.viewed.wants)


def _open(engine: Engine, policy: Policy, client: door.Client) -> Session:
    engine.services.counters.increment("connections", listener=policy.id, result="accepted")
    seen = Client(client.ip, client.port, client.server_ip, client.server_port)
    return Session(engine.services, policy, seen, engine.outbox, engine.runner)


def _only_way(listener: "ListenerConfig") -> str:
    """The transport by which all mail of a listener leaves while its client waits; "" when there is none such."""
    return listener.transport or "" if listener.delivery == "inline" and not listener.routes else ""
