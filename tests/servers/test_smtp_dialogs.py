"""Dialogs: what a client says (`>`), what it hears (`<`), and how it ends.

`>> TEXT` sends the bytes as written, with Python's escapes. `[…]` sets options and limits, `answer STEP ARGUMENT REPLY`
what the session says. `* SENDER; RECIPIENTS; BYTES` is a message the session got,
`= closing` says that the machine is done.
"""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from smtp_visit import OPTIONS, Visit, after_a_moment, drive, with_limits

from flowengine.runtime.actions import Reply
from flowengine.servers.smtp import Machine, Options


def dialogs() -> Iterator[tuple[str, list[str]]]:
    for file in sorted((Path(__file__).parent / "dialogs").glob("*.dialog")):
        for text in file.read_text().split("\n== ")[1:]:
            title, *lines = text.split("\n")
            yield f"{file.stem}: {title}", [line for line in lines if line.strip() and not line.startswith("#")]


def options_of(text: str) -> Options:
    options = OPTIONS
    for word in text.strip("[]").split():
        name, _, value = word.partition("=")
        if name == "auth":
            options = replace(options, auth=tuple(value.split(",")))
        elif name in ("bare_newline", "hostname"):
            options = replace(options, **{name: value})
        elif name == "allow_plaintext_auth":
            options = replace(options, allow_plaintext_auth=True)
        else:
            options = with_limits(options, **{name: int(value)})
    return options


def read(lines: list[str]) -> tuple[Options, Visit, list[bytes], list[str], list[tuple[str, tuple[str, ...], bytes]]]:
    options, answers = OPTIONS, {}
    sent: list[bytes] = []
    heard: list[str] = []
    messages = []
    for line in lines:
        if line.startswith("["):
            options = options_of(line)
        elif line.startswith("answer "):
            _, step, argument, code, enhanced, text = line.split(" ", 5)
            close = text.startswith("!")
            answers[step, argument] = Reply(int(code), "" if enhanced == "-" else enhanced, text.lstrip("!"), close)
        elif line.startswith(">> "):
            sent.append(ast.literal_eval(f'b"""{line[3:]}"""'))
        elif line.startswith(">"):
            sent.append(line[2:].encode() + b"\r\n")
        elif line.startswith("<"):
            heard.append(line[2:])
        elif line.startswith("* "):
            sender, recipients, text = (line[2:] + " ").split("; ", 2)
            content = ast.literal_eval(f'b"""{text.rstrip(" ")}"""')
            messages.append((sender.strip("<>"), tuple(recipients.split(",")), content))
        elif line == "= closing":
            heard.append(line)
    return options, Visit(answers), sent, heard, messages


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("lines", [pytest.param(lines, id=title) for title, lines in dialogs()])
def test_dialog(lines: list[str], waits: bool) -> None:
    options, visit, sent, heard, messages = read(lines)
    visit.later = after_a_moment if waits else None
    machine = Machine(visit, options)
    replies = b"".join(drive(machine, sent)).decode("utf-8")
    assert replies.endswith("\r\n")
    assert [*replies[:-2].split("\r\n"), *(["= closing"] if machine.closing else [])] == heard
    assert visit.messages == messages
