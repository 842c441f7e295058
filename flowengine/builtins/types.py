"""What type a value has, how long it is, and how one type becomes another (HSL reference §1.5, §2.7)."""

from flowengine.builtins.run import Run
from flowengine.language.functions import builtin
from flowengine.language.texts import text
from flowengine.language.values import Array, Function, Secret, Value, to_number, truth, type_name


@builtin(aliases=("count", "strlen"), reveals=True)
def length(value: Value) -> int | None:
    """How many entries an array has, or how many bytes a string.

    Returns none for anything else.

        length("abc");  // 3
        count(["a", "b"]);  // 2
        strlen("ö");  // 2
        length(12);  // none
    """
    return len(value) if isinstance(value, (str, Array)) else None


@builtin
def number(value: Value) -> float:
    """A value as a number: decimal text and 0x text, true as 1; anything else is 0.

    number("12.5");  // 12.5
    number("0xff");  // 255
    number("twelve");  // 0
    """
    return to_number(value)


@builtin
def string(run: Run, value: Value) -> str:
    """A value as text.

    string(1.50);  // "1.5"
    string(true);  // "true"
    string(["a", "k" => 1]);  // "[0=>\\"a\\",\\"k\\"=>1]"
    """
    if isinstance(value, str):
        return value
    made = text(value)
    run.budget.paid(made)
    return made


@builtin
def boolean(value: Value) -> bool:
    """Whether a value counts as true: none, 0, "" and [] do not, "0" does.

    boolean("0");  // true
    boolean([]);  // false
    """
    return truth(value)


@builtin
def is_array(value: Value) -> bool:
    """Whether a value is an array.

    is_array([]);  // true
    is_array("a");  // false
    """
    return type(value) is Array


@builtin
def is_string(value: Value) -> bool:
    """Whether a value is a string.

    is_string("12");  // true
    is_string(12);  // false
    """
    return type(value) is str or type(value) is Secret


@builtin
def is_number(value: Value) -> bool:
    """Whether a value is a number; true and false are not.

    is_number(12);  // true
    is_number("12");  // false
    is_number(true);  // false
    """
    return type(value) is int or type(value) is float


@builtin
def is_boolean(value: Value) -> bool:
    """Whether a value is true or false.

    is_boolean(false);  // true
    is_boolean(0);  // false
    """
    return type(value) is bool


@builtin
def is_function(value: Value) -> bool:
    """Whether a value is a function.

    is_function(strlen);  // true
    is_function("strlen");  // false
    """
    return isinstance(value, Function)


@builtin
def is_object(value: Value) -> bool:
    """Whether a value is an object: an instance of a class.

    is_object(Set("string"));  // true
    is_object([]);  // false
    """
    return type_name(value).startswith("object")
