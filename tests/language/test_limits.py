"""Nothing that a flow does runs, grows or nests without end."""

import time

import pytest

from flowengine.language.budget import Budget
from flowengine.language.compiler import compile_flow
from flowengine.language.loader import Loader, Source
from flowengine.language.problems import BudgetExceeded, FlowProblems
from tests.language.host import TestHost
from tests.language.vocabulary import predefined, vocabulary

VOCABULARY = vocabulary()


def run(text: str, budget: Budget | None = None) -> TestHost:
    host = TestHost(budget, **predefined())
    compile_flow(Source("flow.hsl", text), VOCABULARY, "data", Loader()).run(host)
    return host


@pytest.mark.parametrize(
    "text",
    [
        "while (true) { }",
        "forever ;",
        "for (;;) { try { throw 1; } catch { } }",
        '$s = "x"; while (true) $s .= $s;',
        '$s = "x"; while (true) $s = "$s$s";',
        '$s = "x"; while (true) $s = $s + $s;',
        '$s = "x"; while (true) $s = $s * 1000;',
        '$s = "%99999s" % ["x"]; while (true) $s = "%s%s" % [$s, $s];',
        "$a = [1]; while (true) $a += $a;",
        "$a = [1]; while (true) $a = [...$a, ...$a];",
        "$a = [1]; while (true) $a = $a * 10;",
        "$a = []; while (true) $a[] = [1, 2, 3];",
        "$a = []; while (true) $a[] = function () { };",
        "$a = [1]; foreach ([1, 2] as $x) while (true) $a[0:0] = $a;",
        "function f($n) { return f($n + 1); } f(0);",
        "function f($n) { return g($n); } function g($n) { return f($n); } f(0);",
        "$f = function () closure ($f) { return $f(); }; $f();",
        "function f($x) { return array_map(f, [1]); } f(1);",
        "class A { function m() { return $this->m(); } } A()->m();",
        "class A { constructor() { A(); } } A();",
        "$a = [1]; for ($i = 0; $i < 3000; $i++) $a = [$a]; echo $a;",
        "$a = [1]; for ($i = 0; $i < 60; $i++) $a = [$a, $a]; echo $a;",
        "function a() { b(); b(); } function b() { for ($i = 0; $i < 1000000; $i++) ; } a();",
    ],
)
def test_it_ends(text: str) -> None:
    start = time.process_time()
    with pytest.raises(BudgetExceeded) as raised:
        run(text, Budget(steps=300_000))
    assert raised.value.span is not None
    assert time.process_time() - start < 20  # on a busy machine too: what grows too fast takes minutes


def test_calls_that_branch_spend_steps_without_any_loop() -> None:
    lines = [f"function f{n}() {{ f{n + 1}(); f{n + 1}(); }}" for n in range(40)]
    with pytest.raises(BudgetExceeded):
        run("\n".join([*lines, "function f40() { }", "f0();"]), Budget(steps=100_000))


def test_a_flow_cannot_catch_it() -> None:
    with pytest.raises(BudgetExceeded):
        run("try { while (true) ; } catch ($e) { } echo 1;", Budget(steps=1000))


def test_the_deadline_reaches_a_flow_that_only_computes() -> None:
    with pytest.raises(BudgetExceeded, match="deadline"):
        run("while (true) ;", Budget(overdue=lambda: True))


def test_arrays_compare_in_time_however_they_are_nested() -> None:
    build = "$%s = [1]; for ($i = 0; $i < 60; $i++) $%s = [$%s, $%s];"
    text = " ".join(build % (name, name, name, name) for name in "ab") + " echo $a == $b; echo $a === $b;"
    assert run(text).output == ["true", "true"]


def test_recursion_is_allowed_up_to_the_limit() -> None:
    text = "function sum($n) { return $n ? $n + sum($n - 1) : 0; } echo sum(150); echo sum(150);"
    assert run(text).output == ["11325", "11325"]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "(" * 10_000 + "1" + ")" * 10_000 + ";",
        "[" * 10_000 + "]" * 10_000 + ";",
        "{" * 10_000 + "}" * 10_000,
        "!" * 10_000 + "1;",
        "$a = " * 5_000 + "1;",
        "echo 1" + " ** 1" * 5_000 + ";",
        "echo 1" + " - 1" * 5_000 + ";",
        "echo 1" + " . 1" * 5_000 + ";",
        "echo 1" + " ? 1 : 1" * 5_000 + ";",
        "echo 1" + " ?? 1" * 5_000 + ";",
        "echo 1" + " and 1" * 5_000 + ";",
        "echo $messageid" + "[0]" * 5_000 + ";",
        "echo $messageid" + "->a" * 5_000 + ";",
        "if (1) " * 5_000 + ";",
        "if (1) ; else " * 5_000 + ";",
        "while (1) " * 100 + ";",
        "try { " * 60 + "} catch { }" * 60,
        "$f = function () { " * 500 + "};" * 500,
        "'a' " * 20_000,
        "'a " * 2_000,
        '"' * 9_999,
        "/*" * 5_000,
        "#/" * 5_000,
        "&& " * 5_000,
        "function f() {" * 1_000,
        "$a" * 300_000,
        "echo " + "9" * 100_000 + ";",
        "a" * 999_999,
        "x" * 1_000_001,
    ],
    ids=lambda text: text[:12],
)
def test_any_source_is_compiled_or_refused_in_time(text: str) -> None:
    start = time.process_time()
    try:
        compile_flow(Source("deep.hsl", text), VOCABULARY, "data", Loader())
    except FlowProblems as error:
        assert error.problems
        assert len(error.problems) < 200
    assert time.process_time() - start < 20  # on a busy machine too: what grows too fast takes minutes
