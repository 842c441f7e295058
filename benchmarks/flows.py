"""Flows: reading, compiling, and running them with and without waits."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

from benchmarks.fixtures import SENDER, plain
from benchmarks.timing import ROUND, ROUNDS, Row, Rows, measure, raw_cost
from flowengine.builtins.vocabulary import vocabulary
from flowengine.language.compiler import Program, compile_flow
from flowengine.language.loader import Loader, Source
from flowengine.language.parser import parse
from flowengine.mail.addresses import parse_path
from flowengine.mail.message import Message
from flowengine.runtime.run import Run, carry_out
from flowengine.runtime.runner import Runner
from flowengine.runtime.visit import Client, Connection, Recipient, Transaction
from flowengine.runtime.world import World
from flowengine.services.fakes import FakeResolver, fake_services

_TWENTY = """\
$author = strtolower(GetHeader("From"));
$subject = GetHeader("Subject");
$score = 0;
$words = ["quarterly", "figures", "invoice", "urgent"];
foreach ($words as $word) {
    if (strpos(strtolower($subject), $word) >= 0)
        $score += 1;
}
%s
$tag = "score $score for $author";
function heavy($n) {
    return $n > 3;
}
if (heavy($score))
    Reject("too many words");
for ($i = 0; $i < 3; $i += 1)
    $score += $i;
if ($author =~ #/^bench .*<([^>]+)>$/)
    $tag = "$tag again";
$headers = ["X-Score" => $score, "X-Tag" => $tag];
Deliver();
"""
_WAITS = """\
$txt = dns_query("example.com", ["type" => "TXT"]);
$txt = dns_query("example.com", ["type" => "TXT"]);
$txt = dns_query("example.com", ["type" => "TXT"]);"""
_STILL = """\
$txt = strtoupper("example.com");
$txt = strtoupper("example.com");
$txt = strtoupper("example.com");"""
FLOWS = {
    "of no line": "",
    "of 20 lines, no waits": _TWENTY % _STILL,
    "of 20 lines, three waits": _TWENTY % _WAITS,
}
_GOALS = {"of 20 lines, no waits": "must ≤ 10 µs, aim ≤ 4 µs more than no line"}


def rows() -> Rows:
    """All of them."""
    text = long_flow(500)
    yield measure("flow of 500 lines, parse", lambda: parse(text, "long.hsl"), rounds=3)
    yield measure("flow of 500 lines, compile", lambda: compiled(text), rounds=3)
    for name, flow in FLOWS.items():
        yield _run(f"run of a flow {name}", compiled(flow), _GOALS.get(name, ""))


def long_flow(lines: int) -> str:
    """A flow of about so many lines, functions and statements mixed."""
    parts: list[str] = []
    while sum(part.count("\n") for part in parts) < lines - 1:
        number = len(parts)
        parts.append(
            f"function step_{number}($value, $limit = {number}) {{\n"
            '    $seen = ["count" => 0, "names" => []];\n'
            "    foreach ($value as $key => $item) {\n"
            f'        if ($item == "x{number}" and $key > $limit)\n'
            '            $seen["count"] += 1;\n'
            '        else $seen["names"][] = "$key: $item";\n'
            "    }\n"
            '    return $seen["count"] * 2 + count($seen["names"]);\n'
            "}\n"
        )
        parts.append(f'if (step_{number}(["a", "b"]) > 5) SetMetaData(["n{number}" => "yes"]);\n')
    return "".join(parts)


def compiled(text: str) -> Program:
    """The program of a flow for the data phase. Raises FlowProblems."""
    return compile_flow(Source("bench.hsl", text), _vocabulary, "data", Loader())


_vocabulary = vocabulary()


def _run(name: str, program: Program, goal: str) -> Row:
    """A run from its making to its result, in one Task, as the server carries it out."""
    services = fake_services(dns=FakeResolver({"example.com": "v=spf1 -all"}))
    message, path, runner = Message(plain(2048)), parse_path(f"<{SENDER}>"), Runner()
    connection = Connection(Client(), "bench")

    async def once() -> None:
        transaction = Transaction("bench", 0.0, World(services), path)
        run = Run(services, connection, "data", transaction, Recipient(path), message)
        result = await carry_out(program, run, runner)
        if result.error is not None:
            raise RuntimeError(f"{name}: {result.error}")

    async def many(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            await once()
        return (time.process_time() - start) / count * 1e6

    return asyncio.run(_timed(name, many, goal))


async def _timed(name: str, many: Callable[[int], Awaitable[float]], goal: str) -> Row:
    first = await many(50)
    count = max(50, int(ROUND * 1e6 / first))
    raw = raw_cost()
    costs = [await many(count) for _ in range(ROUNDS)]
    return Row(name, median(costs), median(costs) / ((raw + raw_cost()) / 2), goal)
