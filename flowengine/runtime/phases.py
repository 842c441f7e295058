"""The phases as data: their variables, how they end, and the codes the client hears by default (HSL reference §2.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowengine.language.functions import PhaseSpec, Variable
from flowengine.runtime.actions import Accept, Action, Answer, Challenge, Defer, Deliver, Pass, Reject, Reply
from flowengine.runtime.attempt_variables import PostDelivery, PreDelivery
from flowengine.runtime.attempts import Bounce, Default, Queue, Try
from flowengine.runtime.variables import (
    Auth,
    Connect,
    Data,
    Eod,
    Helo,
    MailFrom,
    Proxy,
    RcptTo,
    variable,
    writable,
)


class Phase:
    """The words for the phases, as in `flows` of the configuration."""

    CONNECT = "connect"
    PROXY = "proxy"
    HELO = "helo"
    AUTH = "auth"
    MAILFROM = "mailfrom"
    RCPTTO = "rcptto"
    DATA = "data"
    EOD = "eod"
    PREDELIVERY = "predelivery"
    POSTDELIVERY = "postdelivery"
    DISCONNECT = "disconnect"


ASKING = (Phase.CONNECT, Phase.HELO, Phase.AUTH, Phase.MAILFROM, Phase.RCPTTO)
"""Phases that only ask whether the visit may go on."""

QUEUE = (Phase.PREDELIVERY, Phase.POSTDELIVERY)
"""Phases of a message in the queue: before and after an attempt to deliver it. Nobody hears a reply."""


@dataclass(frozen=True)
class PhaseRow:
    """One phase: its variables, its implicit end, the action of a failed script, and the default replies.

    implicit: what a script that came to its end without an action has decided.
    """

    name: str
    variables: type[Any]
    implicit: type[Action]
    replies: Mapping[type[Action], Reply]
    override: str | None = None

    def reply(self, action: type[Action]) -> Reply:
        """What the client hears by default when a flow of this phase decides so."""
        return self.replies[action]


def _asking(reject: int, defer: int, accepted: str, refused: str = "5.7.1") -> dict[type[Action], Reply]:
    return {
        Accept: Reply(250, "2.0.0", accepted),
        Reject: Reply(reject, refused, "Refused"),
        Defer: Reply(defer, "4.7.1", "Try again later"),
    }


_MESSAGE: dict[type[Action], Reply] = {
    Deliver: Reply(250, "2.0.0", "Ok"),
    Accept: Reply(250, "2.0.0", "Ok"),
    Reject: Reply(550, "5.7.1", "Message refused"),
    Defer: Reply(451, "4.7.1", "Try again later"),
}

_UNHEARD = Reply(250, "2.0.0", "Ok")
"""Stands where there is no client."""

PHASES: Mapping[str, PhaseRow] = {
    row.name: row
    for row in (
        PhaseRow(Phase.CONNECT, Connect, Accept, _asking(521, 421, "Welcome", "5.3.2")),
        PhaseRow(Phase.HELO, Helo, Accept, _asking(554, 450, "Hello")),
        PhaseRow(
            Phase.AUTH,
            Auth,
            Reject,
            {
                Accept: Reply(235, "2.7.0", "Authentication succeeded"),
                Reject: Reply(535, "5.7.8", "Authentication failed"),
                Defer: Reply(454, "4.7.0", "Cannot authenticate now"),
                Challenge: Reply(334, "", ""),
            },
        ),
        PhaseRow(Phase.MAILFROM, MailFrom, Accept, _asking(554, 450, "Sender ok")),
        PhaseRow(Phase.RCPTTO, RcptTo, Accept, _asking(554, 450, "Recipient ok")),
        PhaseRow(Phase.DATA, Data, Deliver, _MESSAGE, override="Deliver"),
        PhaseRow(Phase.EOD, Eod, Defer, _MESSAGE),
        PhaseRow(Phase.PREDELIVERY, PreDelivery, Try, dict.fromkeys((Try, Queue, Bounce), _UNHEARD)),
        PhaseRow(Phase.POSTDELIVERY, PostDelivery, Default, dict.fromkeys((Default, Queue, Bounce), _UNHEARD)),
        PhaseRow(
            Phase.DISCONNECT,
            Helo,
            Pass,
            {Pass: Reply(250, "2.0.0", "Bye"), Defer: Reply(450, "4.7.1", "Try again later")},
        ),
        PhaseRow(
            Phase.PROXY,
            Proxy,
            Pass,
            {
                Pass: Reply(250, "2.0.0", "Ok"),
                Answer: Reply(250, "2.0.0", "Ok"),
                Defer: Reply(421, "4.3.0", "Try again later", disconnect=True),
            },
        ),
    )
}


def specification(row: PhaseRow) -> PhaseSpec:
    """A phase as checker, compiler and reference see it."""
    variables: dict[str, Variable] = {}
    for owner in reversed(row.variables.__mro__):
        for name, member in vars(owner).items():
            if isinstance(member, variable):
                getter = member.fget
                page = (getter.__doc__ or "") if getter else ""
                returns = getter.__annotations__.get("return", Any) if getter else Any
                variables[name] = Variable(name, returns, page, isinstance(member, writable))
    return PhaseSpec(row.name, variables, row.override)
