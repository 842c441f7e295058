"""Questions of an auth flow to the client: AUTH in several steps."""

from typing import NoReturn

from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import to_bytes
from flowengine.runtime.actions import Challenge, Reply
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run

_MOST_CHALLENGE = 9000
"""Octets: RFC 4954 §4 gives a line 12288, base64 included."""


@builtin(Phase.AUTH, final=True, name="Reply")
def reply_challenge(run: Run, reply: str = "", *, disconnect: bool = False) -> NoReturn:
    """Ask the client for more, and end the script: it runs again with the answer.

    reply: the challenge before base64, at most 9000 octets. The next run finds the client's answer in `$saslresponse`
        (`$arguments["response"]`), and how many times it has asked in `$saslstate`.
    disconnect: taken for old scripts.

        Reply("One-time code:");  // ends: Reply
    """
    octets = to_bytes(shown(reply))
    if len(octets) > _MOST_CHALLENGE:
        raise FlowError(f"a challenge has at most {_MOST_CHALLENGE} octets, not {len(octets)}")
    run.finish(Challenge(reply=Reply(334, "", octets.decode("latin-1"))))
