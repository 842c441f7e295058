"""`flowengine serve`: the listeners of a configuration, from ready to drained."""

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from flowengine.runtime.policy import Policy
from flowengine.runtime.session import Session
from flowengine.runtime.visit import Client
from flowengine.servers.engine import Engine
from flowengine.servers.smtp import door
from flowengine.servers.smtp.intake import Bounds
from flowengine.servers.smtp.listener import Listener, ListenError, Server, loop_factory

if TYPE_CHECKING:
    from flowengine.services.config import Config
    from flowengine.services.config import Listener as ListenerConfig


class CannotServe(Exception):
    """The server does not start. code: the exit code that says whose turn it is."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def run_server(config: "Config", announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain. announce: gets one line `ready` a listener.

    Raises FlowProblems for a flow with an error, before anything is bound, and CannotServe.
    """
    unbuilt = [f"{one.span.file}:{one.span.line}: {one.message}" for one in config.warnings if one.id == "not-built"]
    if unbuilt:
        raise CannotServe("\n".join(unbuilt), 2)
    engine = Engine.build(config)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(engine, announce))


async def _serve(engine: Engine, announce: Callable[[str], None]) -> None:
    config = engine.config
    listeners = [_listener(engine, name, listener) for name, listener in config.listeners.items()]
    capacity = door.Capacity(
        config.limits.connections,
        config.limits.connections_per_client,
        config.limits.client_commands,
        config.limits.client_prefix_v4,
        config.limits.client_prefix_v6,
        config.limits.in_flight_bytes,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _no_reload, engine)
    try:
        async with engine, Server(listeners, capacity, engine.report) as server:
            for name, addresses in server.addresses.items():
                announce(f"ready {name} {' '.join(addresses)}")
            await stop.wait()
            engine.services.log.event("info", "draining", connections=server.connections)
            await server.drain(config.limits.drain_time)
    except ListenError as error:
        raise CannotServe(error.strerror or str(error), 3) from None


def _no_reload(engine: Engine) -> None:
    engine.services.log.event("warning", "reload", text="not built yet: start the server again; nothing was changed")


def _listener(engine: Engine, name: str, listener: "ListenerConfig") -> Listener:
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
    return Listener(name, str(listener.address), options, partial(_open, engine, policy))


def _open(engine: Engine, policy: Policy, client: door.Client) -> Session:
    seen = Client(client.ip, client.port, client.server_ip, client.server_port)
    return Session(engine.services, policy, seen, engine.outbox, engine.runner)
