"""Authentication-Results (RFC 8601): results as values, written so that nothing in a value can leave its place.

The text equals what the `authres` package writes, apart from folding; it is made here because that package is thirty
times slower than the job needs and lets CR, LF and controls through. Reading is in `results_reader`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flowengine.mail.dkim.verify import SignatureResult
from flowengine.mail.errors import MailError

_KEYWORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")  # RFC 5321 Keyword, and _ as some methods use
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")  # RFC 2045 §5.1
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~/=?\u00a0-\ud7ff\ue000-\U0010ffff-]*@[A-Za-z0-9._-]+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class Property(NamedTuple):
    """What a result was found from: `smtp.mailfrom=joe@example.org` (RFC 8601 §2.3)."""

    kind: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method's result, such as `dkim=pass (2048-bit key) header.d=example.org`."""

    method: str
    result: str
    reason: str = ""
    properties: tuple[Property, ...] = ()
    comment: str = ""

    def property(self, kind: str, name: str) -> str | None:
        """The first value of `kind.name`."""
        return next((p.value for p in self.properties if (p.kind, p.name) == (kind, name)), None)

    def __str__(self) -> str:
        return " ".join(self.words())

    def words(self) -> list[str]:
        """The parts between which a line may be folded. Raises MailError for a method, result or property name that
        is no keyword."""
        words = [f"{_keyword(self.method)}={_keyword(self.result)}"]
        if self.comment:
            words.append(f"({_comment(self.comment)})")
        if self.reason:
            words.append(f"reason={_value(self.reason)}")
        words += [f"{_keyword(p.kind)}.{_keyword(p.name)}={_value(p.value)}" for p in self.properties]
        return words


def write(authserv_id: str, results: Sequence[MethodResult], *, fold: bool = True) -> str:
    """The value of an Authentication-Results field; without results it says none. Folded to 78 columns at white
    space outside of quoted strings, else on one line. Raises MailError."""
    clauses = [result.words() for result in results] or [["none"]]
    name = authserv_id if _TOKEN.fullmatch(authserv_id) else _quoted(authserv_id)
    if not fold:
        return "; ".join([name, *(" ".join(words) for words in clauses)])
    lines = [name]
    for words in clauses:
        lines[-1] += ";"
        line = "\t" + words[0]
        for word in words[1:]:
            if len(line) + len(word) + 2 > 78:
                lines.append(line)
                line = "\t " + word
            else:
                line += " " + word
        lines.append(line)
    return "\r\n".join(lines)


def of_signature(result: SignatureResult) -> MethodResult:
    """A DKIM signature's result: header.d, header.i, header.s, header.a, and header.b, the start of the signature
    that tells two of one domain apart (RFC 6008). Header fields of a sender never choose a keyword here."""
    told = [
        Property("header", name, value)
        for name, value in (
            ("d", result.domain),
            ("i", result.identity),
            ("s", result.selector),
            ("a", result.algorithm),
            ("b", "".join(result.tags.get("b", "").split())[:8]),
        )
        if value
    ]
    comment = f"{result.key_bits}-bit key" if result.key_bits else ""
    if result.testing:
        comment += ", testing" if comment else "testing"
    return MethodResult("dkim", result.result, result.reason, tuple(told), comment)


def received_spf(
    result: str,
    *,
    receiver: str,
    client_ip: str,
    envelope_from: str,
    helo: str,
    identity: str = "mailfrom",
    mechanism: str = "",
    problem: str = "",
    comment: str = "",
) -> str:
    """The value of a Received-SPF field (RFC 7208 §9.1), on one line. result: a word of RFC 7208 §2.6."""
    pairs = [
        ("receiver", receiver),
        ("identity", identity),
        ("client-ip", client_ip),
        ("envelope-from", envelope_from),
        ("helo", helo),
        ("mechanism", mechanism),
        ("problem", problem),
    ]
    said = f" ({_comment(comment)})" if comment else ""
    return f"{_keyword(result)}{said} " + "; ".join(f"{key}={_dotted(value)}" for key, value in pairs if value)


def _keyword(word: str) -> str:
    if _KEYWORD.fullmatch(word) is None:
        raise MailError(f"{word[:40]!r} is no keyword of Authentication-Results (RFC 8601 §2.2)")
    return word.lower()


def _value(text: str) -> str:
    """A token or an address as it is, anything else as a quoted string; controls become spaces."""
    if _TOKEN.fullmatch(text) or _ADDRESS.fullmatch(text):
        return text
    return _quoted(text)


def _dotted(text: str) -> str:
    """A dot-atom as it is, anything else quoted (RFC 7208 §9.1)."""
    return text if re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    plain = _CONTROLS.sub(" ", text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _comment(text: str) -> str:
    return re.sub(r"([()\\])", r"\\\1", _CONTROLS.sub(" ", text))
