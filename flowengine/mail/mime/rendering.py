"""The body of a message with changed parts, as spans: what no change touched is a range of the bytes as received."""

from collections.abc import Iterator, Mapping

from flowengine.mail.body import Span, uncopied
from flowengine.mail.mime.changes import Change
from flowengine.mail.mime.structure import Part, Structure


class Pieces:
    """Content put together from spans of other bytes, which are not copied."""

    __slots__ = ("_spans", "size")

    def __init__(self, spans: Iterator[Span]) -> None:
        self._spans = [span for span in spans if span[1] < span[2]]
        self.size = sum(end - start for _, start, end in self._spans)

    def spans(self, start: int) -> Iterator[Span]:
        """See Content."""
        for data, first, end in self._spans:
            if start < end - first:
                yield data, first + start, end
                start = 0
            else:
                start -= end - first

    def buffers(self, start: int) -> list[bytes | memoryview]:
        """See Content."""
        return uncopied(self.spans(start))


def body(structure: Structure, changes: Mapping[str, Change]) -> Pieces:
    """The body of the message after the changes."""
    return Pieces(_Renderer(structure, changes).body(structure.root))


def part(structure: Structure, changes: Mapping[str, Change], one: Part) -> Pieces:
    """One part after the changes, with its header; nothing when it was removed."""
    renderer = _Renderer(structure, changes)
    gone = one.id in changes and changes[one.id].removed
    return Pieces(iter(()) if gone else renderer.entity(one))


def _new(data: bytes) -> Span:
    return data, 0, len(data)


class _Renderer:
    """Writes parts. touched: ids of all parts that are changed or hold one that is."""

    def __init__(self, structure: Structure, changes: Mapping[str, Change]) -> None:
        self.data, self.changes = structure.data, changes
        self.touched: set[str] = set()
        for id_ in changes:
            while id_ and id_ not in self.touched:
                self.touched.add(id_)
                id_ = id_.rpartition(".")[0]

    def entity(self, one: Part) -> Iterator[Span]:
        """Header and body."""
        change = self.changes.get(one.id)
        if one.id not in self.touched:
            yield self.data, one.start, one.end
        elif change is not None and change.whole is not None:
            yield _new(change.whole)
        else:
            if (change is not None and change.edited) or not one.separated:
                fields = one.headers.fields if change is None else change.fields
                yield _new(b"".join(field.raw + b"\r\n" for field in fields) + b"\r\n")
            else:
                yield self.data, one.start, one.body
            yield from self.body(one)

    def body(self, one: Part) -> Iterator[Span]:
        """What stands behind the header."""
        change = self.changes.get(one.id)
        wraps = () if change is None else change.wraps
        for wrap in reversed(wraps):
            opening = b"--" + wrap.boundary + b"\r\n"
            yield _new(b"".join(opening + added + b"\r\n" for added in wrap.before) + opening)
            yield _new(wrap.head + b"\r\n")
        yield from self._inside(one, change)
        for wrap in wraps:
            opening = b"\r\n--" + wrap.boundary + b"\r\n"
            yield _new(b"".join(opening + added for added in wrap.after) + b"\r\n--" + wrap.boundary + b"--\r\n")

    def _inside(self, one: Part, change: Change | None) -> Iterator[Span]:
        if one.id not in self.touched:
            yield self.data, one.body, one.end
        elif change is not None and change.body is not None:
            yield _new(change.body)
        elif one.boundary is not None:
            yield from self._multipart(one, one.boundary, change)
        elif one.parts:  # the message in a message/rfc822
            inner = self.changes.get(one.parts[0].id)
            if inner is None or not inner.removed:
                yield from self.entity(one.parts[0])
        else:
            yield self.data, one.body, one.end

    def _multipart(self, one: Part, boundary: bytes, change: Change | None) -> Iterator[Span]:
        change = change or Change(one.headers.fields)
        opening = b"--" + boundary + b"\r\n"
        first = one.parts[0].lead
        if change.preamble is None:
            yield self.data, one.body, first
        else:
            yield _new(change.preamble)
        begun = change.preamble != b"" if change.preamble is not None else one.body < first
        exact = change.preamble is None  # what was written last is what stood in front of the next octet
        for added in change.before:
            yield _new((b"\r\n" if begun else b"") + opening + added)
            begun, exact = True, False
        written = bool(change.before)
        for child in one.parts:
            if self._removed(child):
                exact = False
                continue
            yield from self._lead(child, begun, exact, opening)
            yield from self.entity(child)
            begun, written, exact = True, True, child.id not in self.touched
        for added in change.after:
            yield _new((b"\r\n" if begun else b"") + opening + added)
            begun, written, exact = True, True, False
        if not written:
            yield _new((b"\r\n" if begun else b"") + opening + b"\r\n")
            exact = False
        yield from self._closing(one, boundary, change, exact)

    def _removed(self, one: Part) -> bool:
        change = self.changes.get(one.id)
        return change is not None and change.removed

    def _lead(self, child: Part, begun: bool, exact: bool, opening: bytes) -> Iterator[Span]:
        """The delimiter line in front of a part, as it stood wherever it is whole there."""
        stood = self.data[child.lead : child.start]
        line_first = not stood.startswith(b"\r\n")
        whole = stood.endswith(b"\r\n")
        if (exact and (whole or child.id not in self.touched)) or (whole and line_first != begun):
            yield _new(stood)
        else:
            yield _new((b"\r\n" if begun else b"") + opening)

    def _closing(self, one: Part, boundary: bytes, change: Change, exact: bool) -> Iterator[Span]:
        """The closing delimiter and what follows it."""
        last = one.parts[-1].end
        closed = one.closing >= 0
        stands = closed and self.data.startswith(b"\r\n", last, one.closing)
        if change.epilogue is None and (exact or stands):
            yield self.data, last, one.end  # also when there is no closing delimiter
            return
        yield _new(b"\r\n--" + boundary + b"--")
        if change.epilogue is not None:
            yield _new(b"\r\n" + change.epilogue)
        elif closed and one.closing < one.end:
            yield self.data, one.closing, one.end
        elif one.id == "0" or not closed:
            yield _new(b"\r\n")
