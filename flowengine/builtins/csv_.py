"""CSV (RFC 4180) for flows, with a header line and, if wished, a type for each column."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from flowengine.builtins.run import Run, grown, worked
from flowengine.language.budget import BYTES_AN_ITEM
from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import text
from flowengine.language.values import Array, Secret, Value, key, to_number, truth

Schema = Mapping[str, Value]
_SPECIAL = ("type", "nullable", "true", "false")


@builtin
def csv_encode(run: Run, values: Array, *, delimiter: str = ",", header: bool = True) -> str:
    """Values as CSV. A list of values is one line; a list of arrays is one line each.

    delimiter: one character between the values. header: begin with the keys, when the arrays have names as keys.

        csv_encode(["a", "b c", "d,e"]);  // "a,b c,\\"d,e\\""
        csv_encode([["id" => 1, "name" => "x"], ["id" => 2, "name" => "y"]]);  // "id,name\\r\\n1,x\\r\\n2,y"
    """
    rows = list(values.values())
    if not any(isinstance(row, Array) for row in rows):
        return _written(run, [rows], delimiter)
    if not all(isinstance(row, Array) for row in rows):
        raise FlowError("csv_encode: some lines are arrays and some are not")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    run.budget.spend(len(columns) * len(rows))
    lines = [[row.get(name) for name in columns] for row in rows]
    named = header and any(isinstance(name, str) for name in columns)
    return _written(run, [columns, *lines] if named else lines, delimiter)


def _written(run: Run, rows: Iterable[Sequence[Value]], delimiter: str) -> str:
    out, secret = io.StringIO(), False
    writer = csv.writer(out, delimiter=_one(delimiter), lineterminator="\r\n")
    for row in rows:
        texts = [text(value) for value in row]
        secret = secret or any(type(one) is Secret for one in texts)
        grown(run, out.tell(), sum(map(len, texts)) + len(texts))
        writer.writerow(texts)
    made = out.getvalue().removesuffix("\r\n")
    return Secret(made) if secret else made


def _one(delimiter: str) -> str:
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise FlowError("csv: the delimiter is one character, and no quote or line end")
    return delimiter


@builtin(aliases=("csv_explode",))
def csv_decode(
    run: Run, string: str, *, delimiter: str = ",", header: bool = True, schema: Schema | None = None
) -> Array | None:
    """The lines of CSV as arrays.

    delimiter: one character between the values. header: the first line names the columns (default).
    schema: by column, ["type" => "string", "number" or "boolean", "nullable" => true or a list of texts that mean none,
        "true" => texts, "false" => texts].

    Values that a line lacks are left out, those beyond the header are dropped. Returns none for what is no CSV, and for
    a value that is not of its type.

        csv_decode("id,name\\n1,x");  // [["id" => "1", "name" => "x"]]
        csv_decode("1;x", ["header" => false, "delimiter" => ";"]);  // [["1", "x"]]
        csv_decode("on\\nyes", ["schema" => ["on" => ["type" => "boolean", "true" => ["yes"]]]]);  // [["on" => true]]
        csv_decode("a\\n\\"open");  // none
    """
    rows = parse(run, string, delimiter)
    if rows is None or not header:
        return None if rows is None else Array.of(map(Array.of, rows))
    readers = {name: _column(name, about) for name, about in (schema or {}).items()}
    try:
        return Array.of([_row(rows[0], row, readers) for row in rows[1:]])
    except ValueError:
        return None


def parse(run: Run, string: str, delimiter: str) -> list[list[str]] | None:
    """The lines of CSV that are not empty; None for what is no CSV."""
    worked(run, len(string) * 16)
    run.budget.grow(len(string))
    rows: list[list[str]] = []
    values = 0
    try:
        for row in csv.reader(io.StringIO(string, newline=""), delimiter=_one(delimiter), strict=True):
            more = len(row) + 1
            grown(run, values * BYTES_AN_ITEM, more * BYTES_AN_ITEM)
            values += more
            if row:
                rows.append(row)
    except csv.Error:
        return None
    return rows


def _row(columns: Sequence[str], row: Sequence[str], readers: Mapping[str, "_Column"]) -> Array:
    line = Array()
    for name, value in zip(columns, row, strict=False):  # RFC 4180 wants equal lines; files differ
        reader = readers.get(name)
        line.put(key(name), value if reader is None else reader.value(value))
    return line


class _Column:
    """How the texts of one column become values."""

    def __init__(self, kind: str, empty: frozenset[str], yes: frozenset[str], no: frozenset[str]) -> None:
        self._kind, self._empty, self._yes, self._no = kind, empty, yes, no

    def value(self, word: str) -> Value:
        """The value of a text. Raises ValueError when it has none of this type."""
        if word in self._empty:
            return None
        if self._kind == "boolean":
            if word not in self._yes and word not in self._no:
                raise ValueError(word)
            return word in self._yes
        if self._kind == "number":
            number = to_number(word)
            if number == 0 and not word.strip().strip("+-0."):
                return number if "0" in word else _no_number(word)
            return number if number != 0 else _no_number(word)
        return word


def _no_number(word: str) -> Value:
    raise ValueError(word)


def _column(name: str, about: Value) -> _Column:
    if not isinstance(about, Array) or any(word not in _SPECIAL for word in about):
        raise FlowError(f'csv_decode: the schema of "{name}" is an array with {", ".join(_SPECIAL)}')
    kind = about.get("type", "string")
    if kind not in ("string", "number", "boolean"):
        raise FlowError(f'csv_decode: the type of "{name}" is string, number or boolean')
    empty = about.get("nullable", False)
    words = _words(empty) if isinstance(empty, Array) else frozenset({""} if truth(empty) else ())
    return _Column(kind, words, _words(about.get("true"), "true"), _words(about.get("false"), "false"))


def _words(value: Value, *usual: str) -> frozenset[str]:
    if value is None:
        return frozenset(usual)
    if not isinstance(value, Array):
        raise FlowError("csv_decode: nullable, true and false are lists of texts")
    return frozenset(text(one) for one in value.values())
