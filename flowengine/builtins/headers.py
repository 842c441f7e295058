"""Reading and changing header fields. Reading sees the message as received, changes show in what leaves."""

from collections.abc import Callable

from flowengine.language.functions import builtin
from flowengine.language.problems import FlowError
from flowengine.language.texts import shown
from flowengine.language.values import from_bytes, from_text, to_bytes
from flowengine.mail.edits import DeleteField, Edit, InsertField, ReplaceField
from flowengine.mail.encoded_words import written
from flowengine.mail.errors import MailError
from flowengine.mail.headers import Field
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run

COLUMNS = 80  # HSL reference §2.4


@builtin(Phase.DATA, name="GetHeader")
def get_header(run: Run, name: str, decode: bool = True) -> str:
    """The value of the topmost header field of this name, "" when there is none.

    decode: MIME words become UTF-8 (default); false gives the value as it stands, unfolded.

        GetHeader("Subject");  // "Lunch?"
        GetHeader("X-Absent");  // ""
    """
    field = run.original.headers.first(name)
    return "" if field is None else _shown(field, decode)


@builtin(Phase.DATA, name="GetHeaders")
def get_headers(run: Run, name: str | bool, decode: bool = True) -> list[str]:
    """The values of all header fields of this name, from top to bottom; of all fields when name is true.

    GetHeaders("X-Absent");  // []
    """
    headers = run.original.headers
    if isinstance(name, bool):
        return [from_bytes(field.raw.replace(b"\r\n", b"")) for field in headers] if name else []
    return [_shown(field, decode) for field in headers.all(name)]


def _shown(field: Field, decode: bool) -> str:
    return from_text(field.text if decode else field.undecoded)


@builtin(Phase.DATA, name="AddHeader")
def add_header(run: Run, name: str, value: str, refold: bool = True) -> None:
    """Put a header field on top of the message.

    refold: break the value into lines of 80 columns and encode what is not ASCII (default); false takes it as it is.

        AddHeader("X-Checked", "yes");  // none
    """
    _edit(run, lambda: [InsertField(0, _name(name), _value(name, value, refold))])


@builtin(Phase.DATA, name="SetHeader")
def set_header(run: Run, name: str, value: str, refold: bool = True) -> int:
    """Give all header fields of this name this value, or add one on top. How many were changed.

    SetHeader("Subject", "changed");  // 1
    """
    places = run.mail.fields.places(name)
    if not places:
        add_header(run, name, value, refold)
        return 0
    fields, changed = run.mail.fields, _value(name, value, refold)
    _edit(run, lambda: [ReplaceField(place, fields[place].name, changed) for place in places])
    return len(places)


@builtin(Phase.DATA, name="PrependHeader")
def prepend_header(run: Run, name: str, value: str, refold: bool = True) -> int:
    """Put text in front of the value of all header fields of this name, or add one. How many were changed.

    PrependHeader("Subject", "[list] ");  // 1
    """
    return _extend(run, name, shown(value), "", refold)


@builtin(Phase.DATA, name="AppendHeader")
def append_header(run: Run, name: str, value: str, refold: bool = True) -> int:
    """Put text behind the value of all header fields of this name, or add one. How many were changed.

    AppendHeader("Subject", " (external)");  // 1
    """
    return _extend(run, name, "", shown(value), refold)


def _extend(run: Run, name: str, before: str, after: str, refold: bool) -> int:
    places = run.mail.fields.places(name)
    if not places:
        add_header(run, name, before + after, refold)
        return 0
    fields = run.mail.fields

    def extended(place: int) -> Edit:
        field = fields[place]
        return ReplaceField(place, field.name, _value(name, before + from_text(field.text) + after, refold))

    _edit(run, lambda: [extended(place) for place in places])
    return len(places)


@builtin(Phase.DATA, name="DelHeader")
def delete_header(run: Run, name: str) -> int:
    """Take out all header fields of this name. How many were taken out.

    DelHeader("X-Absent");  // 0
    """
    places = run.mail.fields.places(name)
    _edit(run, lambda: [DeleteField(place) for place in reversed(places)])
    return len(places)


@builtin(Phase.DATA, name="DiscardMailDataChanges")
def discard_mail_data_changes(run: Run) -> int:
    """Undo every change to the message that this run has made. How many there were.

    DiscardMailDataChanges();  // 0
    """
    undone = len(run.mail.edits) - len(run.original.edits)
    run.message = run.original
    return undone


def _edit(run: Run, edits: Callable[[], list[Edit]]) -> None:
    """Make the edits and apply them. Raises FlowError for a name or value that no field can have."""
    try:
        run.edit(*edits())
    except MailError as error:
        raise FlowError(str(error)) from None


def _name(name: str) -> str:
    return to_bytes(shown(name)).decode("utf-8", "surrogateescape")


def _value(name: str, value: str, refold: bool) -> str:
    """A flow's value as field text, secrets hidden. A line break that a flow put in is a fold, never a new field."""
    name, text = _name(name), to_bytes(shown(value)).decode("utf-8", "surrogateescape")
    return written(name, text, columns=COLUMNS) if refold else written(name, text, encoded=False, columns=None)
