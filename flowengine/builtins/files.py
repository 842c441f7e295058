"""File, and the older words for files: data of the script root, read as a whole when first asked for.

Nothing outside the script root can be read, and nothing written. What was read is a fact of the run.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

from flowengine.builtins.csv_ import parse
from flowengine.builtins.run import Run, worked
from flowengine.language.functions import builtin
from flowengine.language.natives import method
from flowengine.language.problems import FlowError
from flowengine.language.values import Array, Function, from_bytes, to_text, truth


class File:
    """Bytes with a place to read from: `File("list.txt")`, `File::String($data)`."""

    class_name: ClassVar[str] = "File"

    def __init__(self, data: bytes, path: str | None = None) -> None:
        self._data: bytes | None = data
        self._path = path
        self._at = 0

    @staticmethod
    @method
    def constructor(run: Run, filename: str) -> "File":
        """Open a file of the script root. An error when there is no such file."""
        data = _content(run, filename)
        if data is None:
            raise FlowError(f'File: there is no file "{filename[:100]}" in the script root')
        return File(data, filename)

    @staticmethod
    @method(name="String")
    def of_string(data: bytes) -> "File":
        """A file that holds this data."""
        return File(data)

    @staticmethod
    @method(name="read")
    def whole(run: Run, filename: str) -> bytes | None:
        """Everything in a file of the script root, or none when there is no such file."""
        return _content(run, filename)

    @method(name="read")
    def read_some(self, run: Run, length: int | None = None) -> bytes | None:
        """The next bytes, all that are left without a length; "" at the end, none once it is closed."""
        if self._data is None or (length is not None and length < 0):
            return None
        end = len(self._data) if length is None else self._at + length
        run.budget.grow(min(end, len(self._data)) - self._at)
        piece = self._data[self._at : end]
        self._at += len(piece)
        return piece

    @method
    def readline(self, run: Run) -> bytes | None:
        """The next line without its CRLF or LF; none at the end, or once it is closed."""
        if self._data is None or self._at >= len(self._data):
            return None
        end = self._data.find(b"\n", self._at)
        end = len(self._data) if end < 0 else end + 1
        run.budget.grow(end - self._at)
        line, self._at = self._data[self._at : end], end
        return line.removesuffix(b"\n").removesuffix(b"\r")

    @method
    def seek(self, offset: int, whence: Literal["SEEK_SET", "SEEK_CUR", "SEEK_END"] = "SEEK_SET") -> int | None:
        """Go to a place: from the start, from here, or from the end. The place, or none when there is no such place."""
        if self._data is None:
            return None
        base = {"SEEK_SET": 0, "SEEK_CUR": self._at, "SEEK_END": len(self._data)}[whence]
        if not 0 <= base + offset <= len(self._data):
            return None
        self._at = base + offset
        return self._at

    @method
    def tell(self) -> int | None:
        """The place from which the next byte is read, or none once it is closed."""
        return None if self._data is None else self._at

    @method
    def close(self) -> None:
        """End the use of the file."""
        self._data = None

    @method(name="getPath")
    def path(self) -> str | None:
        """The name under which it was opened, or none for data."""
        return self._path

    @property
    def data(self) -> bytes:
        """All of it, for other words. b"" once it is closed."""
        return self._data or b""


def _content(run: Run, name: str) -> bytes | None:
    """What a file of the script root holds."""
    data = run.world.file(to_text(name).removeprefix("file:").removeprefix("//"))
    if data is not None:
        run.budget.grow(len(data))
    return data


@builtin(deprecated='use `import $lines from "name.txt" with ["array" => true]`')
def file(run: Run, name: str) -> Array | None:
    """The lines of a file of the script root, without their ends.

    Returns none when there is no such file.

        file("file:list.txt");  // ["alice", "bob"]
        file("absent.txt");  // none
    """
    data = _content(run, name)
    if data is None:
        return None
    run.budget.grow_items(data.count(b"\n") + 1)
    return Array.of(map(from_bytes, data.splitlines()))


@builtin(deprecated='use `import $text from "name.txt"` or `File::read`')
def file_get_contents(run: Run, name: str) -> bytes | None:
    """Everything in a file of the script root.

    Returns none when there is no such file.

        file_get_contents("list.txt");  // "alice\\nbob\\n"
    """
    return _content(run, name)


@builtin(deprecated='use `import $table from "name.csv"` and `array_find`')
def in_file(
    run: Run,
    word: str | Function,
    name: str,
    *,
    type_: Literal["text", "csv"] = "text",
    delimiter: str = "",
    assoc: bool = True,
    index: int = 0,
) -> Array | None:
    """The first line of a file of the script root in which a word stands in a place.

    word: compared with the value at `index`; or a function that gets the values and says whether this is the line.
    type: text, with values between blanks, or csv, with a header. delimiter: what stands between the values instead.
    assoc: name the values of csv by its header (default).

    Returns the values of the line, [] when there is none, none when there is no such file.

        in_file("bob", "list.txt");  // ["bob"]
        in_file("2", "table.csv", ["type" => "csv"]);  // ["id" => "2", "name" => "b"]
        in_file("carol", "list.txt");  // []
    """
    data = _content(run, name)
    if data is None:
        return None
    worked(run, len(data) * 16)
    rows = _csv_rows(run, data, delimiter) if type_ == "csv" else [(None, row) for row in _rows(data, delimiter)]
    wanted = _wanted(word, index)
    for names, row in rows:
        if wanted(row):
            named = names is not None and assoc
            return Array(zip(names or (), row, strict=False)) if named else Array.of(row)
    return Array()


def _rows(data: bytes, delimiter: str) -> list[list[str]]:
    lines = (from_bytes(line) for line in data.splitlines())
    return [line.split(delimiter) if delimiter else line.split() for line in lines if line.strip()]


def _csv_rows(run: Run, data: bytes, delimiter: str) -> list[tuple[list[str] | None, list[str]]]:
    rows = parse(run, from_bytes(data), delimiter or ",")
    if rows is None:
        raise FlowError("in_file: the file is no CSV")
    return [(rows[0], row) for row in rows[1:]]


def _wanted(word: str | Function, index: int) -> Callable[[list[str]], bool]:
    if isinstance(word, Function):
        return lambda row: truth(word(Array.of(row)))
    return lambda row: 0 <= index < len(row) and row[index] == word
