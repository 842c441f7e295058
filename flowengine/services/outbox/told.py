"""One reply for the client from the answers of all destinations.

What a next hop says about the message or a recipient is passed on. Trouble between us and the next hop is ours: always
4xx, and without a word about where our next hops are.
"""

from collections.abc import Sequence

from flowengine.runtime.actions import Reply
from flowengine.services.relay import ARRIVING, Answer, Stage

TROUBLE = Reply(451, "4.4.0", "Cannot be delivered now, try again later")


def permanent(answer: Answer) -> bool:
    """Whether this is the next hop's last word about the message, and not about how we speak to it."""
    code = answer.reply.code
    spoken_badly = code < 510 or 530 <= code <= 539 or code == 555
    return code >= 500 and answer.stage not in ARRIVING and not spoken_badly


def refusal(failed: Sequence[tuple[str, Answer]], *, alone: bool) -> Reply:
    """The reply for recipients (address, answer) that were not accepted: 5xx when all of them are refused for good.

    alone: the message has no other recipient, so nobody needs to be told which one it was.
    """
    lasting = all(permanent(answer) for _, answer in failed)
    address, answer = next((one for one in failed if permanent(one[1]) == lasting), failed[0])
    about_message = answer.heard or answer.stage in (Stage.ENVELOPE, Stage.ROUTE)
    if not about_message or (answer.reply.code >= 500) != lasting or answer.stage in ARRIVING:
        return TROUBLE
    reply = answer.reply
    named = len(failed) > 1 or (answer.stage is Stage.RCPT and not alone)
    text = f"<{address}>: {reply.text}" if named else reply.text
    code = 451 if reply.code == 421 else reply.code  # 421 would end our client's connection, not our own
    return Reply(code, reply.enhanced or f"{code // 100}.0.0", text)
