"""How a play looks: as text for people and case files, and as the documents of `--json`."""

import math
import re
from collections.abc import Iterator
from itertools import count
from pathlib import PurePath

from flowengine.language.conversion import value_of
from flowengine.language.texts import shown
from flowengine.language.values import Array, Function, Secret, Value, number_text, to_text
from flowengine.mail.arc_seal import ArcSeal
from flowengine.runtime.actions import Action, Answer, AnySeal, Deliver, Kept, Pass, Quarantine, Reply
from flowengine.runtime.attempts import AttemptAction, Decision
from flowengine.runtime.run import Call, RunResult
from flowengine.servers.play import Played

DEEP, MANY = 20, 10_000
"""What is shown of one value: levels of arrays, and items in all of them."""


def plain(value: Value) -> object:
    """A flow's value as JSON has it: strings as text, lists as lists, secrets as type and fingerprint."""
    return _plain(value, DEEP, count(MANY, -1))


def _plain(value: Value, depth: int, left: Iterator[int]) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return number_text(value)  # JSON has no word for it
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (Secret, str)):
        return to_text(shown(value))
    if isinstance(value, Array):
        if depth == 0 or next(left) <= 0:  # an array can hold one array many times, and so on inside
            return "…"
        if value.is_list():
            return [_plain(item, depth - 1, left) for item in value.values() if next(left) > 0]
        return {
            str(_plain(key, 0, left)): _plain(item, depth - 1, left) for key, item in value.items() if next(left) > 0
        }
    if isinstance(value, Function):
        return f"function {value.name}"
    return f"object {getattr(value, 'class_name', type(value).__name__)}"


def play_document(played: Played, trace: bool) -> dict[str, object]:
    """What `run --json` prints."""
    runs = [run_document(run, trace) for run in played.runs]
    document: dict[str, object] = {"reply": played.reply.document(), "runs": runs}
    if played.decision is None:
        return document
    decision = played.decision
    return {
        **document,
        "decision": {**decision.action.document(), "metadata": decision.metadata, "dsn": report(decision)},
    }


def report(decision: Decision) -> dict[str, object]:
    """What a flow wants of a bounce, as JSON has it; keys hidden."""
    return {name: plain(value_of(value)) for name, value in decision.dsn.items()}


def run_document(run: RunResult, trace: bool) -> dict[str, object]:
    """One run of `run --json`."""
    document: dict[str, object] = {
        "recipient": run.recipient,
        "actions": [action.document() for action in run.actions],
        "error": error_document(run),
        "output": [to_text(line) for line in run.output],
        "edits": [edit.describe() for edit in run.edits],
    }
    if trace:
        document["trace"] = [call_document(call) for call in run.trace]
    return document


def error_document(run: RunResult) -> dict[str, object] | None:
    """A script error as {file, line, column, message}; None without one."""
    if run.error is None:
        return None
    span = run.error.span
    place = (
        {"file": span.file, "line": span.line, "column": span.column}
        if span
        else dict.fromkeys(("file", "line", "column"))
    )
    return {**place, "message": to_text(shown(run.error.message))}


def call_document(call: Call) -> dict[str, object]:
    """One call of a trace."""
    return {
        "file": call.span.file,
        "line": call.span.line,
        "call": call.name,
        "arguments": [plain(argument) for argument in call.arguments],
        "result": plain(call.result),
        "ms": round(call.milliseconds, 1),
    }


def play_text(played: Played, trace: bool = False) -> str:
    """What `run` prints, and what a case file expects."""
    lines: list[str] = []
    for run in played.runs:
        lines.append(run.recipient or run.phase)
        if trace:
            lines.extend(f"    {call_text(call)}" for call in run.trace)
        lines.extend(f"    {line}" for line in run_lines(run))
    if played.decision is None:
        lines.append(f"reply  {reply_text(played.reply)}")
    else:
        about = plain(value_of({"metadata": played.decision.metadata, "dsn": dict(played.decision.dsn)}))
        said = {name: value for name, value in about.items() if value} if isinstance(about, dict) else {}
        lines.append(
            "  ".join(["decision", played.decision.action.name, *(f"{k}={brief(v)}" for k, v in said.items())])
        )
    return "\n".join(lines) + "\n"


def run_lines(run: RunResult) -> Iterator[str]:
    """A run, a line for each thing that it did."""
    for line in run.output:
        yield f"echo  {_one_line(to_text(line))}"
    for edit in run.edits:
        yield edit_text(edit.describe())
    for action in run.actions:
        yield action_text(action, run.recipient)
    if run.error is not None:
        yield f"error  {to_text(shown(str(run.error)))}"
    for reason in run.unsigned:
        yield f"unsigned  {reason}"


def action_text(action: Action, recipient: str | None) -> str:
    """An action with what it says: the reply for a refusal, the way out and the signatures for a delivery."""
    words = [action.name]
    if isinstance(action, Quarantine):
        words.append(action.id)
    if isinstance(action, Kept):
        words += [f"to {action.recipient}"] if action.recipient != recipient or not action.done else []
        words += [f"by {action.transportid}"] if action.transportid else []
        words += [f"{name}={value}" for name, value in action.metadata.items()]
    if isinstance(action, AttemptAction):
        said = {name: value for name, value in action.document().items() if name not in ("action", "implicit")}
        words += [f"{name}={_one_line(str(value))}" for name, value in said.items() if value != ""]
    elif isinstance(action, (Pass, Answer)):
        words += [f"command={_one_line(action.command)}"] if isinstance(action, Pass) and action.command else []
        words += [reply_text(action.reply)] if isinstance(action, Answer) else []
    elif isinstance(action, Deliver):
        words += [f"after {action.delay:g} s"] if action.delay else []
        words += [signed_text(seal) for seal in action.seals]
    elif not action.reply.positive:
        words.append(reply_text(action.reply))
    if action.implicit:
        words.append("(implicit)")
    return "  ".join(words)


def signed_text(seal: AnySeal) -> str:
    """A signature to be made, without its key."""
    if isinstance(seal, ArcSeal):
        return f"sealed i={seal.instance} cv={seal.chain.status} d={seal.domain} s={seal.selector}"
    return f"signed {seal.algorithm} d={seal.domain} s={seal.selector}"


def edit_text(edit: dict[str, str | int]) -> str:
    """An edit on one line."""
    match edit["edit"]:
        case "insert":
            return f"+ {edit['name']}: {_unfolded(str(edit['value']))}"
        case "replace":
            return f"~ {edit['name']}: {_unfolded(str(edit['value']))}"
        case "delete":
            return f"- field {edit['index']}"
        case _:
            return f"{edit['edit']}  " + " ".join(f"{name}={value}" for name, value in edit.items() if name != "edit")


def call_text(call: Call) -> str:
    """A call of a trace on one line."""
    arguments = ", ".join(brief(plain(argument)) for argument in call.arguments)
    place = f"{PurePath(call.span.file).name}:{call.span.line}"
    return f"{place}: {call.name}({arguments}) → {brief(plain(call.result))}  {call.milliseconds:.1f} ms"


def brief(value: object, room: int = 200) -> str:
    """A plain value on one short line, in HSL's notation."""
    text = _brief(value)
    return text if len(text) <= room else text[: room - 1] + "…"


def _brief(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{_one_line(value)}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_brief, value))}]"
    if isinstance(value, dict):
        return f"[{', '.join(f'{_brief(key)}=>{_brief(item)}' for key, item in value.items())}]"
    return str(value)


def reply_text(reply: Reply) -> str:
    """A reply on one line."""
    return _one_line(str(reply))


def _unfolded(value: str) -> str:
    return _one_line(re.sub(r"\r\n[ \t]+", " ", value))


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
