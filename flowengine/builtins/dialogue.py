"""Words of the visit itself: command lines before they are carried out; the connections of old."""

from collections.abc import Sequence
from typing import Literal, NoReturn

from flowengine.builtins.actions import Codes, codes_of, reason_text, refusal
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import Array, Value, from_text, to_text
from flowengine.runtime.actions import Accept, Answer, Pass, Reject
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run

LONGEST_COMMAND = 2000  # octets of a command line that a flow writes


@builtin(Phase.PROXY, final=True, name="Pass")
def pass_command(run: Run, *, command: str | None = None, next_: bool = False) -> NoReturn:
    """Let the server carry out the command line, and end the script. This is what happens anyway.

    command: carry out this line in its place. next: the flow wants the next line too, whatever it is.

        Pass(["command" => "NOOP"]);  // ends: Pass
    """
    line = None
    if command is not None:
        line = to_text(shown(command))
        if len(command) > LONGEST_COMMAND or any(octet in command for octet in "\r\n\0"):
            raise FlowError(f"Pass: a command is one line of at most {LONGEST_COMMAND} octets")
    run.finish(Pass(reply=run.row.reply(Pass), command=line, next=next_))


@builtin(Phase.PROXY, final=True, name="Reply")
def answer(
    run: Run,
    reason: str | Sequence[str] = "",
    *,
    disconnect: bool = False,
    reply_codes: Codes | None = None,
    next_: bool = False,
) -> NoReturn:
    """Answer the command line in place of the server, which never sees it, and end the script.

    reason: text for the client; an array or line feeds make several lines.
    disconnect: close the connection after the reply. reply_codes: other codes than 250,
        ["code" => 550, "enhanced" => [5, 7, 1]]. next: the flow wants the next line too.

        Reply("no such command here", ["reply_codes" => ["code" => 502]]);  // ends: Reply
    """
    codes = codes_of(reply_codes)
    reply = run.speak(Answer, reason, codes, disconnect)
    run.finish(Answer(reply=reply, reason=reason_text(reason), reply_codes=codes, next=next_))


@builtin(Phase.CONNECT, final=True, name="Allow", deprecated="Accept")
def allow(run: Run, reason: str | Sequence[str] = "", ttl: Value = None) -> NoReturn:
    """Let the client in, and end the script (the IP flows of 2.x and 3.x).

    reason, ttl: taken for old scripts.

        Allow();  // ends: Accept
    """
    run.finish(Accept(reply=run.row.reply(Accept)))


@builtin(Phase.CONNECT, final=True, name="Block", deprecated="Reject")
def block(run: Run, message: str | Sequence[str] = "", ttl: Value = None) -> NoReturn:
    """Turn the client away, and end the script (the IP flows of 2.x and 3.x).

    message: what it hears; an array makes several lines. ttl: taken for old scripts.

        Block("not from here");  // ends: Reject
    """
    run.finish(refusal(run, Reject, message, False, None))


@builtin(Phase.HELO, name="GetExtensions")
def get_extensions(run: Run) -> Array:
    """The SMTP extensions that the server is about to offer, [] after HELO.

    GetExtensions();  // ["SIZE"]
    """
    offered = run.arguments.get("extensions")
    return Array(offered) if isinstance(offered, Array) else Array()


@builtin(Phase.EOD, name="History")
def history(
    run: Run,
    action: Literal["REJECT", "DELETE", "DELIVER", "DEFER", "ERROR"],
    recipient: str | Array,
    *,
    sender: str | Array | None = None,
    metadata: Value = None,
    transportid: str = "",
    reason: str = "",
) -> None:
    """Write what became of a recipient to the log.

    action: REJECT, DELETE, DELIVER, DEFER or ERROR. recipient: text, or an array with localpart and domain.
    sender, metadata, transportid, reason: more to be said.

        History("DELIVER", "alice@example.net");  // none
    """
    run.world.log(
        "info",
        "history",
        id=run.message_id,
        action=action,
        recipient=_address(recipient),
        sender=run.transaction.sender.address if sender is None else _address(sender),
        transport=to_text(shown(transportid)),
        reason=to_text(shown(reason)),
    )


def _address(value: str | Array) -> str:
    if isinstance(value, Array):
        value = f"{value.get('localpart') or ''}@{value.get('domain') or ''}"
    return to_text(shown(from_text(value) if value.isascii() else value))
