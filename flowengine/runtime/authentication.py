"""One AUTH command of a visit: what the client offers, who decides about it, and what comes of it (RFC 4954).

The auth flow of the listener decides, else the users file. A flow may ask the client for more with `Reply`.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowengine.language.values import Secret, Value, from_text
from flowengine.runtime.actions import Accept, Action, Defer, Reject, Reply
from flowengine.runtime.phases import PHASES, Phase
from flowengine.runtime.policy import Policy
from flowengine.runtime.services import Services
from flowengine.runtime.visit import Connection

BEARER = ("OAUTHBEARER", "XOAUTH2")
"""Mechanisms whose password is a token (RFC 7628), and whose response holds it."""
NOT_OFFERED = Reply(503, "5.5.1", "Authentication is not offered here")
TOO_MANY = Reply(454, "4.7.0", "Too many attempts, try again later")
FlowAnswer = Callable[[Mapping[str, Value]], Coroutine[Any, Any, tuple[Reply, Action]]]
"""Runs the auth flow with these arguments: the reply, and the verdict behind it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the client has said. response: its last one, decoded, None for none. state: how often the flow has asked."""

    mechanism: str
    username: str = ""
    password: str | None = field(default=None, repr=False)
    response: bytes | None = field(default=None, repr=False)
    state: int = 0

    def arguments(self) -> dict[str, Value]:
        """`$arguments` of the auth flow (HSL reference §2.3)."""
        found: dict[str, Value] = {"mechanism": self.mechanism, "state": self.state}
        if self.password is not None:
            found |= {"username": from_text(self.username), "password": Secret(from_text(self.password))}
        if self.response is not None:
            text = self.response.decode("latin-1")
            found["response"] = Secret(text) if self.mechanism in BEARER else text
        return found


async def decide(
    attempt: Attempt, policy: Policy, services: Services, connection: Connection, ask: FlowAnswer
) -> Reply:
    """Let a client in, or not; a 334 asks it for more, its text is the challenge, one character an octet."""
    row, username = PHASES[Phase.AUTH], attempt.username
    if Phase.AUTH in policy.flows:
        reply, verdict = await ask(attempt.arguments())
        if isinstance(verdict, Accept):
            username = str(verdict.changes.get("username", username))
            if not username:
                services.log.event("error", "auth", listener=policy.id, problem="the flow accepted without a username")
                reply = row.reply(Defer)
    elif policy.users is None or attempt.password is None or attempt.mechanism in BEARER:
        reply = NOT_OFFERED
    else:
        known = await policy.users.verify(username, attempt.password, connection.client.ip)
        reply = TOO_MANY if known is None else row.reply(Accept if known else Reject)
    if reply.code == 334:
        return reply
    if reply.positive:
        connection.username, connection.mechanism = username, attempt.mechanism
    services.counters.increment("authentications", result="accepted" if reply.positive else "refused")
    services.log.event(
        "info" if reply.positive else "notice",
        "auth",
        listener=policy.id,
        client=connection.client.ip,
        mechanism=attempt.mechanism,
        user=username,
        reply=str(reply),
    )
    return reply
