"""What a flow of bad will tries: it fails with its place, its recipients are deferred, and the neighbours go on."""

import asyncio
import resource
import time

import pytest

from flowengine.mail.addresses import parse_path
from flowengine.mail.message import Message
from flowengine.runtime.services import RunLimits
from tests.runtime.stage import MAIL, Stage

PATIENCE = 20.0
"""Seconds of computing for any of these: several times what they take on a busy machine."""

ENDLESS = [
    "while (true) { }",
    "forever { foreach (array_range(0, 1000) as $i) ; }",
    "for (;;) { try { throw 1; } catch { } }",
    "$a = array_range(0, 1e12);",
    '$s = "x"; while (true) $s .= $s;',
    '$s = "x" * 1e12;',
    '$s = str_repeat("x", 1e12);',
    '$s = "%999999999s" % ["x"];',
    "forever { $a = [$a ?? 1]; }",
    'forever { $a = [$a ?? 1, "x" * 4000]; }',
    "forever { $a[] = function () { }; }",
    'echo ("a" * 40 . "!") =~ "^(a+)+$";',
    'echo pcre_match("^(x+x+)+[yz]$", "x" * 10000);',
    'echo pcre_replace("(a|aa)+$", "", "a" * 10000 . "b");',
    'echo ("a" * 5000000) =~ "(.*)*x";',
    "function f($n) { return f($n + 1); } f(0);",
    "function f($n) { return $n ? f($n - 1) + f($n - 1) : 0; } f(150);",
    "function a() { b(); b(); } function b() { for ($i = 0; $i < 1000000; $i++) ; } forever a();",
    "class A { constructor() { A(); } } A();",
    '$x = json_decode("[" . "1," * 5000000 . "1]"); forever { $y[] = $x; $x[] = 1; }',
    'while (true) json_decode("[" * 1000000);',
    'forever { $k = sha2(($k ?? "") * 2 . "x" * 1000000, 512); }',
    'forever { AddHeader("X-A", "x" * 10000); }',
    "forever { $m = MIME(); $m->addHeader(\"X\", \"y\"); $all[] = $m; }",
    'forever memory_store(rand() . "", "x" * 100000);',
    'forever cache [] rand(); ',
]  # fmt: skip


@pytest.mark.parametrize("flow", ENDLESS, ids=lambda flow: flow[:40])
def test_it_fails_and_the_neighbours_go_on(flow: str) -> None:
    stage = Stage(limits=RunLimits(script_steps=300_000, script_value_size=8 << 20))
    slowest = 0.0

    async def neighbour() -> None:
        """Calls again and again, and looks how long an answer takes."""
        nonlocal slowest
        while True:
            begun = time.monotonic()
            session = stage.session({"rcptto": 'if ($recipient == "") Reject();', "helo": "Accept();"})
            assert (await now(session.helo("EHLO", "other.example"))).positive
            assert (await now(session.mail_from(parse_path("<a@example.org>"), {}))).positive
            assert (await now(session.rcpt_to(parse_path("<b@example.net>"), {}))).positive
            await asyncio.sleep(0.001)
            slowest = max(slowest, time.monotonic() - begun)

    async def visit() -> None:
        other = asyncio.create_task(neighbour())
        session = stage.session({"data": flow})
        await now(session.helo("EHLO", "mx.example.org"))
        await now(session.mail_from(parse_path("<alice@example.org>"), {}))
        await now(session.rcpt_to(parse_path("<bob@example.net>"), {}))
        await asyncio.sleep(0.01)
        reply = await session.data(Message(MAIL))
        assert reply.code // 100 == 4
        assert "Traceback" not in str(reply.text)
        assert not other.done()
        other.cancel()

    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(visit())
    (run,) = stage.outbox.outcomes[-1].runs
    assert run.error is not None
    assert run.error.span is not None
    assert "internal" not in run.error.message
    assert time.process_time() - begun < PATIENCE
    assert slowest < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KiB


@pytest.mark.parametrize(
    "flow",
    [
        "echo $x->__class__;",
        'echo "".__class__;',
        "echo length->__globals__;",
        "echo length.__globals__;",
        'echo GetMailMessage()["__class__"];',
        'echo GetMailMessage()->__init__;',
        'echo GetMailMessage()->__dict__;',
        "echo MIME->__subclasses__;",
        "class A { } echo A()->__class__ . A::__init__;",
        'import os from "os";',
        "__import__(\"os\");",
        'eval("1");',
        "exec();",
        "globals();",
        'echo "%s" % [GetMailMessage()->_message];',
        "throw GetMailMessage()->__reduce__;",
    ],
)  # fmt: skip
def test_there_is_no_way_to_python(flow: str) -> None:
    from flowengine.language.problems import FlowProblems

    try:
        run = Stage().one("$x = [];" + flow)
    except FlowProblems:
        return
    said = str(run.error) + "".join(run.output)
    assert "<class" not in said and "object at 0x" not in said and "built-in" not in said and "internal" not in said


@pytest.mark.parametrize(
    "flow",
    [
        'echo file_get_contents("/etc/passwd");',
        'echo file("/etc/passwd");',
        'echo file("../../../../etc/passwd");',
        'echo in_file("root", "/etc/passwd");',
        'echo File("/etc/passwd")->read(10);',
        'echo File("file:///etc/passwd")->read(10);',
        'import $x from "/etc/passwd" with ["type" => "txt"]; echo $x;',
        'import $x from "txt!/etc/passwd"; echo $x;',
        'import $x from "txt!../../../../etc/passw*"; echo $x;',
        'include "/etc/passwd";',
        'include "../../../../../etc/passwd";',
        'echo X509("/etc/passwd");',
        'echo MailMessage::File("/etc/passwd");',
    ],
)  # fmt: skip
def test_the_disk_is_out_of_reach(flow: str) -> None:
    from flowengine.language.problems import FlowProblems

    try:
        run = Stage().one(flow)
    except FlowProblems as problems:
        assert "root:" not in str(problems)
        return
    assert "root:" not in str(run.error) + "".join(run.output)
    assert "internal" not in str(run.error)


async def now(answer):
    """A reply, whether it was there at once or not."""
    return await answer if asyncio.iscoroutine(answer) else answer
