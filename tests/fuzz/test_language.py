"""Any text compiles or gives problems; any program runs or fails as a flow does."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowengine.language.budget import Budget
from flowengine.language.compiler import compile_flow
from flowengine.language.host import Final
from flowengine.language.loader import Loader, Source
from flowengine.language.problems import FlowError, FlowProblems
from flowengine.language.texts import text as text_of
from flowengine.language.values import Array, key, number_text, to_number
from tests.language.host import TestHost
from tests.language.vocabulary import predefined, vocabulary

VOCABULARY = vocabulary()
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = st.sampled_from(
    """( ) [ ] { } ; , : :: -> => = == === != + - * / % ** . .. ... ?? ? ! & | ^ ~ << >> >>> < > ++ -- += .= ??= $a $b
    $c "x" "$a" "${b}" ''r'' #/x/i 1 2.5 0x1f none true false and or not if else foreach as while for forever switch
    case default break continue return function closure global include import from with class private static readonly
    constructor try catch throw yield match isset unset cache builtin barrier echo array length explode f g A $this
    && || elseif 'q' new in // /* */""".split()  # noqa: SIM905  # easier to read
)


def attempt(text: str, steps: int = 20_000) -> None:
    """Compile and run: nothing may come out but problems, a final action or a flow's error with its place."""
    try:
        program = compile_flow(Source("fuzz.hsl", text), VOCABULARY, "data", Loader())
    except FlowProblems as error:
        assert any(one.severity == "error" for one in error.problems)
        return
    try:
        program.run(TestHost(Budget(steps), **predefined()))
    except Final:
        pass
    except FlowError as error:
        assert error.span is not None
        assert "internal error" not in error.message, error.__cause__


@QUICK
@given(st.text(max_size=200))
def test_any_text_compiles_or_gives_problems(text: str) -> None:
    attempt(text)


@QUICK
@given(st.lists(WORDS, max_size=40))
def test_any_words_compile_or_give_problems(words: list[str]) -> None:
    attempt(" ".join(words))


NAMES = st.sampled_from(["$a", "$b", "$c", "$o->x", "$a[0]", '$b["k"]', '$c["k"]["l"]', "A::$s"])
ATOMS = st.sampled_from(
    ["1", "0", "-2.5", '"abc"', '"5"', '""', "none", "true", "[]", "[1, 2]", '["k" => [1, "l" => 2]]', "length", "9e15"]
)
OPERATORS = st.sampled_from(
    ". + - * / % ** == != === !== < > <= >= and or ?? & | ^ << >> >>> =~ ?:".split()  # noqa: SIM905  # easier to read
)


def expressions() -> st.SearchStrategy[str]:
    return st.recursive(
        ATOMS | NAMES.map(lambda name: f"({name} ?? 1)"),
        lambda inner: st.one_of(
            st.tuples(inner, OPERATORS, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            inner.map(lambda e: f"(!{e})"),
            inner.map(lambda e: f"(-{e})"),
            st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]" if t[0][0] in '(["' else t[0]),
            st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})"),
            inner.map(lambda e: f"f({e})"),
            inner.map(lambda e: f"length({e})"),
            st.tuples(NAMES, inner).map(lambda t: f"({t[0]} = {t[1]})"),
            st.tuples(inner, inner).map(lambda t: f'[{t[0]}, "k" => {t[1]}]'),
            inner.map(lambda e: f"array_map(function ($x) closure ($a) {{ $a[] = $x; return {e}; }}, [1, 2])"),
            inner.map(lambda e: f'match ({e}) {{ 1, "abc" => 2, default => {e} }}'),
        ),
        max_leaves=8,
    )


def statements() -> st.SearchStrategy[str]:
    expression = expressions()
    return st.recursive(
        st.one_of(
            st.tuples(NAMES, st.sampled_from(["=", "+=", ".=", "??=", "-=", "*="]), expression).map(
                lambda t: f"{t[0]} {t[1]} {t[2]};"
            ),
            NAMES.map(lambda name: f"unset({name});" if "::" not in name else f"echo {name};"),
            NAMES.map(lambda name: f"{name}++;"),
            expression.map(lambda e: f"echo {e};"),
            expression.map(lambda e: f"throw {e};"),
            expression.map(lambda e: f'[$a, "k" => $b, ...$c] = {e};'),
            expression.map(lambda e: f"$a[0:1] = {e};"),
            st.just("break;"),
        ),
        lambda inner: st.one_of(
            st.tuples(expression, inner, inner).map(lambda t: f"if ({t[0]}) {{ {t[1]} }} else {{ {t[2]} }}"),
            st.tuples(expression, inner).map(lambda t: f"foreach ({t[0]} as $b => $c) {{ {t[1]} }}"),
            st.tuples(expression, inner).map(lambda t: f"while ({t[0]}) {{ {t[1]} break; }}"),
            st.tuples(inner, inner).map(lambda t: f"try {{ {t[0]} }} catch ($a) {{ {t[1]} }}"),
            st.tuples(expression, inner, inner).map(
                lambda t: f'switch ({t[0]}) {{ case 1: {t[1]} case "abc": {t[2]} break; default: echo 1; }}'
            ),
            st.tuples(inner, inner).map(" ".join),
        ),
        max_leaves=8,
    )


@QUICK
@given(st.lists(statements(), min_size=1, max_size=5))
def test_any_program_runs_or_fails_as_a_flow_does(lines: list[str]) -> None:
    head = "class A { static $s = 1; $x = 2; } $o = A(); $a = 1; $b = [1]; $c = [];"
    function = "function f($p) { $p[0] = 1; return $p; }"
    body = " ".join("while (true) break;" if line == "break;" else line for line in lines)
    attempt(f"{head}\n{function}\n{body}")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(max_codepoint=255), max_size=8),
    lambda inner: st.lists(inner, max_size=4).map(Array.of),
    max_leaves=10,
)


@QUICK
@given(VALUES, VALUES)
def test_values_convert_without_surprises(one: object, other: object) -> None:
    assert isinstance(text_of(one), str)
    number = to_number(one)
    assert isinstance(number, (int, float))
    if type(one) in (int, float):
        assert to_number(number_text(number)) == number
    if not isinstance(one, Array):
        assert key(key(one)) == key(one)
    own, left = Array.of([one]), Array.of([other])
    copy = Array(own)
    own.append(left)
    assert len(copy) == 1
