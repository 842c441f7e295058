"""Reading Authentication-Results as they really come (RFC 8601 §2.2, and what others make of it).

Any text gives a value, in linear time: comments may be open, strings unclosed, values unquoted with "=" and ":" in
them, the authserv-id missing. What makes no sense is left out. Words come in lower case.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, NamedTuple

from flowengine.mail.authentication_results import MethodResult, Property
from flowengine.mail.dkim.names import domain_name
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field

LONGEST = 65_536
"""Characters of a field that are read: some five hundred results. Of a hostile one of a megabyte the rest is not."""
_LONGEST_HEAD = 4096  # octets in which an authserv-id is looked for
_SPACE = re.compile(r"[ \t\r\n]+")
_WORD = re.compile(r'[^ \t\r\n;="(]+')
_COMMENT_STEP = re.compile(r"[()\\]")
_STRING_STEP = re.compile(r'["\\]')


@dataclass(frozen=True, slots=True)
class ReadResults:
    """A field as it was read; authserv_id is "" when it names none."""

    authserv_id: str
    version: str = ""
    results: tuple[MethodResult, ...] = ()


Kind = Literal["space", "word", "string", "comment", "=", ";"]


class _Part(NamedTuple):
    kind: Kind
    text: str


def read(text: str) -> ReadResults:
    """The results in a field's value. Never raises."""
    clauses: list[list[_Part]] = [[]]
    for part in _joined(list(_parts(text[:LONGEST]))):
        if part.kind == ";":
            clauses.append([])
        else:
            clauses[-1].append(part)
    head = _head(clauses[0])
    if head is None:
        name, version = "", ""
    else:
        name, version = head
        clauses = clauses[1:]
    results = tuple(result for clause in clauses if (result := _result(clause)) is not None)
    return ReadResults(name, version, results)


def _head(parts: Iterable[_Part]) -> tuple[str, str] | None:
    """Authserv-id and version of the parts before the first semicolon; None when these are a result, as some large
    senders write it."""
    words: list[str] = []
    for part in parts:
        if part.kind == "=":
            return None
        if part.kind in ("word", "string"):
            words.append(part.text)
    return (words[0] if words else "", words[1] if len(words) > 1 else "")


def forged(field: Field, authserv_id: str) -> bool:
    """Whether an Authentication-Results field that came with a message claims to be ours, and so must go
    (RFC 8601 §5): same authserv-id whatever its case, comments, quotes, version, final dot or script. A field whose
    id cannot be told counts when our id stands anywhere in it."""
    if field.key != b"authentication-results":
        return False
    text = field.value[:_LONGEST_HEAD].decode("utf-8", "replace")
    ours = _identity(authserv_id)
    head = _head(takewhile(lambda part: part.kind != ";", _parts(text)))
    claimed = head[0] if head is not None else ""
    if not claimed:
        text = field.value.decode("utf-8", "replace").lower()
        return ours in text or authserv_id.lower() in text
    return _identity(claimed) == ours or _identity(claimed.partition("/")[0]) == ours


def places_of_forged(fields: Iterable[Field], authserv_id: str) -> list[int]:
    """Indices of the fields that `forged` finds, from the bottom up: the order in which they can be deleted."""
    return [index for index, field in enumerate(fields) if forged(field, authserv_id)][::-1]


def _identity(authserv_id: str) -> str:
    try:
        return domain_name(authserv_id, "authserv-id")
    except MailError:
        return authserv_id.strip().rstrip(".").casefold()


def _result(clause: list[_Part]) -> MethodResult | None:
    """`method[/version]=result`, then `reason=…` and properties in any order."""
    comments = [part.text for part in clause if part.kind == "comment"]
    pairs = _pairs([part for part in clause if part.kind != "comment"])
    if not pairs or not pairs[0][1]:
        return None
    method, result = pairs[0]
    reason = ""
    properties: list[Property] = []
    for key, value in pairs[1:]:
        kind, dot, name = key.partition(".")
        if dot:
            properties.append(Property(kind.lower(), name.lower(), value))
        elif key.lower() == "reason":
            reason = value
    return MethodResult(
        method.partition("/")[0].lower(), result.lower(), reason, tuple(properties), comments[0] if comments else ""
    )


def _pairs(parts: list[_Part]) -> list[tuple[str, str]]:
    """`key=value` with white space around the sign or not, and around the "." and "/" of the key (RFC 8601 §2.2);
    a value goes on to the next white space."""
    pairs: list[tuple[str, str]] = []
    index = 0
    while index < len(parts):
        key = parts[index].text
        index += 1
        if parts[index - 1].kind != "word":
            continue
        after = _skip(parts, index)
        while after < len(parts) and parts[after].kind == "word" and (key[-1] in "./" or parts[after].text[0] in "./"):
            key += parts[after].text
            index = after + 1
            after = _skip(parts, index)
        if after == len(parts) or parts[after].kind != "=":
            continue
        index = start = _skip(parts, after + 1)
        while index < len(parts) and parts[index].kind != "space":
            index += 1
        pairs.append((key, "".join(part.text for part in parts[start:index])))
    return pairs


def _skip(parts: list[_Part], index: int) -> int:
    return index + 1 if index < len(parts) and parts[index].kind == "space" else index


def _parts(text: str) -> Iterator[_Part]:
    position, size = 0, len(text)
    while position < size:
        character = text[position]
        if character == ";" or character == "=":
            yield _Part(";" if character == ";" else "=", character)
            position += 1
        elif character == "(":
            position, content = _comment(text, position + 1)
            yield from (_Part("space", " "), _Part("comment", content), _Part("space", " "))
        elif character == '"':
            position, content = _string(text, position + 1)
            yield _Part("string", content)
        elif space := _SPACE.match(text, position):
            position = space.end()
            yield _Part("space", " ")
        else:
            word = _WORD.match(text, position)
            position, content = (word.end(), word.group()) if word else (position + 1, character)
            yield _Part("word", content)


def _joined(parts: list[_Part]) -> list[_Part]:
    """One space where comments left several."""
    kept: list[_Part] = []
    for part in parts:
        before = next((p for p in reversed(kept[-2:]) if p.kind != "comment"), None)
        if part.kind != "space" or before is None or before.kind != "space":
            kept.append(part)
    return kept


def _comment(text: str, position: int) -> tuple[int, str]:
    """The end and the text of a comment, comments inside included; an open one goes to the end."""
    start, depth = position, 1
    while depth:
        step = _COMMENT_STEP.search(text, position)
        if step is None:
            return len(text), text[start:]
        position = step.end() + (step.group() == "\\")
        depth += {"(": 1, ")": -1}.get(step.group(), 0)
    return position, text[start : position - 1]


def _string(text: str, position: int) -> tuple[int, str]:
    """The end and the content of a quoted string; an open one goes to the end."""
    content: list[str] = []
    while True:
        step = _STRING_STEP.search(text, position)
        if step is None:
            return len(text), "".join(content) + text[position:]
        content.append(text[position : step.start()])
        if step.group() == '"':
            return step.end(), "".join(content)
        content.append(text[step.end() : step.end() + 1])
        position = step.end() + 1
