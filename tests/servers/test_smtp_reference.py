"""The machine against a slow reference that has all bytes at once, however they are cut: DATA, BDAT, pipelining, dots."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smtp_visit import OPTIONS, Visit, after_a_moment, drive, with_limits
from test_smtp_dialogs import dialogs, read

from flowengine.servers.smtp import Machine

LIMIT = 60


def bare(message: bytes) -> bool:
    rest = message.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


def hidden(message: bytes) -> bool:
    lines = (b"\n" + message).replace(b"\r\n", b"\n").split(b"\n")[1:-1]
    return any(b"\0" in line and line.replace(b"\0", b"") == b"." for line in lines)


class Reference:
    """RFC 5321, RFC 2920 and RFC 3030 a line at a time. codes: of every reply; messages: what was accepted."""

    def __init__(self, data: bytes) -> None:
        self.rest = data
        self.codes = [220]
        self.messages: list[bytes] = []
        self.greeted = self.mail = False
        self.recipients = 0
        self.chunks: bytes | None = None
        self.closed = False
        while b"\n" in self.rest and not self.closed:
            line, _, self.rest = self.rest.partition(b"\n")
            if not line.endswith(b"\r") or b"\r" in line[:-1]:
                self.codes.append(500)
                self.closed = line[:5].upper() == b"BDAT "
                self.codes += [421] * self.closed
            elif not self.command(line[:-1]):
                return  # the end of the content is still to come

    def forget(self) -> None:
        self.mail, self.recipients, self.chunks = False, 0, None

    def command(self, line: bytes) -> bool:
        verb, _, argument = line.partition(b" ")
        match verb:
            case b"EHLO":
                self.forget()
                self.greeted = True
                self.codes.append(250)
            case b"MAIL":
                self.codes.append(250 if self.greeted and not self.mail else 503)
                self.mail = self.mail or self.greeted
            case b"RCPT":
                ok = self.mail and self.chunks is None
                self.recipients += ok
                self.codes.append(250 if ok else 503)
            case b"RSET":
                self.forget()
                self.codes.append(250)
            case b"NOOP":
                self.codes.append(250)
            case b"QUIT":
                self.codes.append(221)
                self.closed = True
            case b"DATA":
                return self.data()
            case b"BDAT":
                words = argument.split()
                return self.bdat(int(words[0]), len(words) > 1)
            case _:
                self.codes.append(500)
        return True

    def data(self) -> bool:
        if not self.mail or self.chunks is not None or not self.recipients:
            self.codes.append(554 if self.mail and self.chunks is None else 503)
            return True
        self.codes.append(354)
        lines: list[bytes] = []
        while b"\r\n" in self.rest:
            line, _, self.rest = self.rest.partition(b"\r\n")
            if line == b".":
                self.decide(b"".join(lines))
                return True
            lines.append((line[1:] if line[:1] == b"." else line) + b"\r\n")
        return False

    def bdat(self, octets: int, last: bool) -> bool:
        if len(self.rest) < octets:
            return False
        chunk, self.rest = self.rest[:octets], self.rest[octets:]
        if not self.recipients:
            self.codes.append(554 if self.mail else 503)
            self.forget()
            return True
        self.chunks = (self.chunks or b"") + chunk
        whole = self.chunks
        if last:
            self.decide(whole)
            return True
        # a CR at the end of a chunk may still be half of a CRLF
        seen = whole.removesuffix(b"\r")
        refused = 552 if len(seen) > LIMIT else 550 if bare(seen) else 250
        self.codes.append(refused)
        if refused != 250:
            self.forget()
        return True

    def decide(self, message: bytes) -> None:
        refused = 552 if len(message) > LIMIT else 550 if bare(message) or hidden(message) else 0
        self.codes.append(refused or 250)
        self.messages += [] if refused else [message]
        self.forget()


def codes(replies: bytes) -> list[int]:
    return [int(line[:3]) for line in replies.decode().split("\r\n")[:-1] if line[3:4] == " "]


texts = st.lists(
    st.sampled_from([b"\r\n", b"\r\n.", b".", b"\r\n.\r\n", b"..", b"a", b"QUIT\r\n", b"x" * 20, b"\r", b"\n", b"\0"]),
    max_size=6,
).map(b"".join)
whole_lines = st.lists(st.sampled_from([b"\r\n", b".\r\n", b"..\r\n", b"a\r\n", b"RSET\r\n"]), max_size=5).map(b"".join)
contents = st.one_of(whole_lines, texts)


def stuffed(text: bytes) -> bytes:
    lines = text.split(b"\r\n")
    return b"\r\n".join((b"." + line if line[:1] == b"." else line) for line in lines) + b"\r\n.\r\n"


def chunk(text: bytes, last: bool) -> bytes:
    return b"BDAT %d%s\r\n" % (len(text), b" LAST" if last else b"") + text


pieces = st.one_of(
    st.sampled_from(
        [
            b"EHLO c\r\n",
            b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n",
            b"MAIL FROM:<>\r\n",
            b"RCPT TO:<b@example.net>\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"DATA\r\n",
            b"NOOP\n",
            b"BDAT 3\n",
        ]
    ),
    contents.map(lambda text: b"DATA\r\n" + stuffed(text)),
    texts.map(lambda text: b"DATA\r\n" + text + b"\r\n.\r\n"),
    st.builds(chunk, contents, st.booleans()),
)
streams = st.lists(pieces, max_size=9).map(lambda some: b"EHLO c\r\n" + b"".join(some))


@settings(max_examples=400, deadline=None)
@given(streams, st.lists(st.integers(0, 400), max_size=6), st.sampled_from([0, 2, 1000]))
def test_codes_and_messages_are_those_of_the_reference(data: bytes, places: list[int], late: int) -> None:
    expected = Reference(data)
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    visit = Visit(later=after_a_moment if late else None)
    machine = Machine(visit, with_limits(OPTIONS, message_size=LIMIT, errors=999, idle_commands=999))
    written = b"".join(drive(machine, [data[a:b] for a, b in pairwise(edges) if a < b], late=late))
    assert codes(written) == expected.codes
    assert [message for _, _, message in visit.messages] == expected.messages
    assert machine.closing == expected.closed


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("lines", [pytest.param(lines, id=title) for title, lines in dialogs()])
def test_every_dialog_cut_at_every_byte(lines: list[str], waits: bool) -> None:
    options, visit, sent, _, messages = read(lines)
    data = b"".join(sent)
    replies = b"".join(drive(Machine(Visit(visit.answers), options), sent))
    cuts = [[data[:at], data[at:]] for at in range(len(data))] if len(data) < 700 else []
    cuts += [[data[at : at + 1] for at in range(len(data))], [data]]
    for chunks in cuts:
        one = Visit(visit.answers, after_a_moment if waits else None)
        assert b"".join(drive(Machine(one, options), chunks)) == replies
        assert one.messages == messages
