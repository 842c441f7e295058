"""What a program does beside running: waits, traces, implicit ends, places of errors, runs side by side."""

import traceback
import warnings
from pathlib import Path

import pytest

from flowengine.language.compiler import Program, check, compile_flow
from flowengine.language.host import Final
from flowengine.language.loader import Loader, Source
from flowengine.language.problems import FlowError, FlowProblems, Span, render
from flowengine.language.values import Array, Secret
from tests.language.host import TestHost
from tests.language.vocabulary import predefined, vocabulary

VOCABULARY = vocabulary()


def program(text: str, phase: str = "data", *, trace: bool = False) -> Program:
    return compile_flow(Source("flow.hsl", text), VOCABULARY, phase, Loader(), trace=trace)


def host() -> TestHost:
    return TestHost(**predefined())


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ('echo length("x");', False),
        ('echo http("x");', True),
        ("$f = http;", True),
        ('function unused() { http("x"); }', False),
        ('function used() { http("x"); } $f = used;', True),
        ('class C { function m() { return http("x"); } }', False),
        ('function Deliver(...$a) { http("x"); }', True),
        ("$p = Pairs([]); $p->set(1, 2);", False),
        ("$p = Pairs([]); $p->get(1);", True),
        ('class C { function m() { return http("x"); } } C()->m();', True),
        ('if (false) { array_map(function ($x) { http("x"); }, []); }', True),
    ],
)
def test_a_program_knows_whether_it_may_wait(text: str, waits: bool) -> None:
    assert program(text).waits is waits


def test_a_trace_names_every_builtin_call() -> None:
    run = host()
    program('$x = length("abc");\necho explode("-", "a-b");', trace=True).run(run)
    assert run.calls == [
        (1, "length", ("abc",), 3),
        (2, "explode", ("-", "a-b"), Array.of(["a", "b"])),
    ]


def test_a_trace_names_methods_of_native_objects_and_functions_passed_on() -> None:
    run = host()
    program('$p = Pairs([]);\n$p->set("k", 1);\necho array_map(length, ["ab"]);', trace=True).run(run)
    assert [(line, name) for line, name, *_ in run.calls] == [
        (1, "Pairs"),
        (2, "Pairs->set"),
        (3, "length"),
        (3, "array_map"),
    ]


def test_a_trace_holds_the_call_that_ends_the_script() -> None:
    run = host()
    with pytest.raises(Final):
        program('Reject("no");', trace=True).run(run)
    assert run.calls == [(1, "Reject", ("no",), None)]


def test_the_end_of_the_script_is_the_implicit_end() -> None:
    run = host()
    program("echo 1;").run(run)
    assert run.ended
    run = host()
    program("echo 1; return; echo 2;").run(run)
    assert run.ended
    assert run.output == ["1"]


def test_the_flows_own_function_is_the_implicit_end() -> None:
    run = host()
    with pytest.raises(Final) as final:
        program('function Deliver(...$a) { echo "own"; builtin Deliver("x"); }').run(run)
    assert final.value.args[1] == "x"
    assert run.output == ["own"]
    assert not run.ended
    run = host()
    program('function Deliver(...$a) { echo "own"; } return;').run(run)
    assert run.output == ["own"]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("\n  $x = 1 - [2];", (2, 8, 2, 15)),
        ('$f = function ($x) {\n    return $x - 1;\n};\narray_map($f, ["a"]);', (2, 12, 2, 18)),
        ('echo "é" . length(none ?? true);', (1, 12, 1, 32)),
        ("if ([1] < 2) echo 1;", (1, 5, 1, 12)),
    ],
)
def test_an_error_has_its_place(text: str, span: tuple[int, int, int, int]) -> None:
    with pytest.raises(FlowError) as raised:
        program(text).run(host())
    assert raised.value.span is not None
    assert tuple(raised.value.span[1:]) == span


def test_an_error_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "part.hsl").write_text("\n\n$y = 1 - [];\n")
    main = tmp_path / "main.hsl"
    main.write_text('include "part";')
    with pytest.raises(FlowError) as raised:
        compile_flow(Source("flows/main.hsl", main.read_text(), main), VOCABULARY, "data", Loader()).run(host())
    assert raised.value.span == Span("flows/part.hsl", 3, 6, 3, 12)


def test_a_traceback_shows_the_flows_own_lines() -> None:
    with pytest.raises(FlowError) as raised:
        program("function f($x) {\n    return $x - [1];\n}\necho f(1);").run(host())
    lines = [
        (one.filename, one.lineno, one.line) for one in traceback.extract_tb(raised.tb) if "flow.hsl" in one.filename
    ]
    assert lines == [("flow.hsl", 4, "echo f(1);"), ("flow.hsl", 2, "return $x - [1];")]


def test_runs_of_one_program_do_not_see_one_another() -> None:
    one = program(
        '$n = isset($n) ? $n + 1 : 1; global_n(); class C { static $s = 0; } C::$s += 1; echo "$n" . C::$s;'
        "function global_n() { global $shared; $shared = ($shared ?? 0) + 1; echo $shared; }"
    )
    first, second = host(), host()
    one.run(first)
    one.run(second)
    assert first.output == second.output == ["1", "11"]


def test_defaults_and_constants_are_not_written_to() -> None:
    one = program("function f($a = [1]) { $a[] = 2; return $a; } echo f(); $k = [1, [2]]; $k[1][] = 3; echo $k;")
    for _ in range(2):
        run = host()
        one.run(run)
        assert run.output == ["[0=>1,1=>2]", "[0=>1,1=>[0=>2,1=>3]]"]


def test_python_words_are_harmless_names() -> None:
    run = host()
    text = (
        "$class = 1; $None = 2; $def = 3; $__class__ = 4; $run = 5; $g = 6; $_b = 7; $t1 = 8; $self = 9;"
        "function None_($lambda) { return $lambda; } function __import__($x) { return $x; }"
        "function flow() { return 1; }"
        "function run() { return 2; } function add($a) { return $a; } function read() { return 3; }"
        "echo $class . $None . $def . $__class__ . $run . $g . $_b . $t1 . $self;"
        'echo None_(1) . __import__("os") . flow() . run() . add(7) . read();'
        'class object_ { $__class__ = 1; function __init__() { return "i"; } } $o = object_();'
        "echo $o->__class__ . $o->__init__();"
        'echo "a"->__class__ ?? "none"; echo $o->__dict__ ?? "none"; echo "x" . ("abc"["__class__"] ?? "none");'
    )
    program(text).run(run)
    assert run.output == ["123456789", "1os1273", "1i", "none", "none", "xnone"]


@pytest.mark.parametrize("text", ['$x = "a"; echo $x->upper();', "echo length->__globals__;"])
def test_python_is_out_of_reach(text: str) -> None:
    with pytest.raises(FlowError):
        program(text).run(host())


def test_secrets_are_not_shown_anywhere() -> None:
    run = host()
    run.variables.saslusername = Secret("hunter2")
    text = (
        'echo $saslusername; echo "u: $saslusername"; echo ["a" => $saslusername]; echo [$saslusername => 1];'
        'echo "%s" % [$saslusername]; echo $saslusername[0:3]; echo $saslusername[0]; echo $saslusername * 2;'
        'echo explode("t", $saslusername); try { throw $saslusername; } catch ($e) { echo $e; }'
        'echo $saslusername + "x";'
    )
    program(text).run(run)
    assert not [line for line in run.output if "hunter" in line or "hun" in line]
    with pytest.raises(FlowError) as raised:
        program("throw $saslusername;").run(run)
    assert "hunter" not in str(raised.value)


def test_all_problems_come_at_once_and_can_be_shown() -> None:
    text = "Delivr();\n$x = 1\n$y = $x && 1;\nif ( { }\necho 'a';\n"
    with pytest.raises(FlowProblems) as raised:
        program(text)
    shown = [render(one, text.split("\n")) for one in raised.value.problems]
    assert [one.span.line for one in raised.value.problems] == [2, 3, 4, 5]
    assert shown[0] == "flow.hsl:2:7: `;` is missing\n    2 | $x = 1\n      |       ^ every statement ends with `;`"


def test_compiling_gives_no_python_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program('echo 5 === none; echo "a"[none ?? 1]; echo ("x" . "y")(1) ?? 2; if ([1] == none) echo 1;')


def test_names_of_other_phases_are_explained() -> None:
    found = check(Source("f.hsl", 'GetHeader("x"); echo $context;'), VOCABULARY, "mailfrom", Loader())
    assert [(one.id, one.hint) for one in found] == [
        ("wrong-phase", "it works in data"),
        ("unknown-variable", "it exists in data"),
    ]


def test_a_flow_of_550_lines_compiles_in_time() -> None:
    import time

    block = (
        'function f%d($a, $b = 3) {\n $x = explode("@", $a)[1];\n if ($x == "reject" and !is_number($x)) {\n'
        ' echo "policy of $x";\n }\n foreach ([1,2,3] as $k => $v) {\n $y["a"][$k] = $v + $b * 3 . "x";\n }\n'
        ' return $y ?? none;\n}\n$r%d = f%d("x@y", 1);\n'
    )
    text = "".join(block % (n, n, n) for n in range(50))
    program("echo 1;")
    start = time.process_time()
    program(text)
    assert time.process_time() - start < 20  # on a busy machine too: what grows too fast takes minutes
