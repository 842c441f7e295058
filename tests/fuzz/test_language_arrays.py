"""Arrays are values: any sequence of copies and writes gives what copying everything at once would give."""

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowengine.language.compiler import compile_flow
from flowengine.language.loader import Loader, Source
from flowengine.language.values import Array
from tests.language.host import TestHost
from tests.language.vocabulary import predefined, vocabulary

VOCABULARY = vocabulary()
HEAD = """
function change($p) { $p["n"] = 77; $p["k"]["n"] = 78; return $p; }
function keep($p) { return $p; }
function outside($v) { global $g; $g["k"] = $v; $g["n"] = 79; return $g; }
$push = function ($v) closure ($c) { $c["l"] = $v; return $c; };
$a = ["k" => ["n" => 1], "l" => []]; $b = []; $c = ["l" => $a]; $g = [];
"""
NAMES = st.sampled_from("abcg")
WAYS = st.sampled_from(
    """copy part put deep leaf append change keep same literal loop outside push map merge slice take unset
    filter""".split()  # noqa: SIM905  # easier to read
)


def line(way: str, x: str, y: str, n: int) -> str:
    return {
        "copy": f"${x} = ${y};",
        "part": f'${x} = ${y}["k"] ?? [];',
        "put": f'${x}["k"] = ${y};',
        "deep": f'${x}["k"]["l"] = ${y};',
        "leaf": f'${x}["k"]["l"]["n"] = {n};',
        "append": f'${x}["l"][] = ${y};',
        "change": f"${x} = change(${y});",
        "keep": f"${x} = keep(${y});",
        "same": f"${x} = same(${y});",
        "literal": f'${x} = ["k" => ${y}, "l" => [${y}]];',
        "loop": f'foreach (${x} as $v) {{ if (typeof($v) == "array") {{ $v["n"] = {n}; ${y}["l"] = $v; }} }}',
        "outside": f"${x} = outside(${y});",
        "push": f"${x} = $push(${y});",
        "map": f'${x} = array_map(function ($i) {{ if (typeof($i) == "array") $i["n"] = {n}; return $i; }}, ${y});',
        "merge": f"${x} += ${y};",
        "slice": f'${x}["l"][0:1] = ${y};',
        "take": f'["k" => $t, "l" => ${x}["l"]] = ${y}; $t["n"] = {n};',
        "unset": f'unset(${x}["k"]["n"]); $t = ${y};',
        "filter": f"${x} = array_filter(function ($i) {{ return true; }}, ${y});",
    }[way]


def writable(holder: Any, name: str) -> Any:
    if not isinstance(holder.get(name), dict):
        holder[name] = {}
    return holder[name]


def append(target: dict[Any, Any], value: Any) -> None:
    target[max([key for key in target if isinstance(key, int)], default=-1) + 1] = value


def model(v: dict[str, Any], way: str, x: str, y: str, n: int) -> None:
    """The same with everything copied at every step."""
    own = copy.deepcopy(v[y])
    if way in ("copy", "keep", "same", "filter"):
        v[x] = own
    elif way == "part":
        v[x] = own.get("k") if own.get("k") is not None else {}
    elif way == "put":
        v[x]["k"] = own
    elif way == "deep":
        writable(v[x], "k")["l"] = own
    elif way == "leaf":
        writable(writable(v[x], "k"), "l")["n"] = n
    elif way == "append":
        append(writable(v[x], "l"), own)
    elif way == "change":
        own["n"] = 77
        writable(own, "k")["n"] = 78
        v[x] = own
    elif way == "literal":
        v[x] = {"k": own, "l": {0: copy.deepcopy(own)}}
    elif way == "loop":
        for item in list(copy.deepcopy(v[x]).values()):
            if isinstance(item, dict):
                item["n"] = n
                v[y]["l"] = copy.deepcopy(item)
    elif way == "outside":
        v["g"]["k"] = own
        v["g"]["n"] = 79
        v[x] = copy.deepcopy(v["g"])
    elif way == "push":
        v["c"]["l"] = own
        v[x] = copy.deepcopy(v["c"])
    elif way == "map":
        for item in own.values():
            if isinstance(item, dict):
                item["n"] = n
        v[x] = own
    elif way == "merge":
        for key, item in own.items():
            if isinstance(key, int):
                append(v[x], item)
            else:
                v[x][key] = item
    elif way == "slice":
        items = list(writable(v[x], "l").values())
        items[0:1] = list(own.values())
        v[x]["l"] = dict(enumerate(items))
    elif way == "take":
        v[x]["l"] = own.get("l")
    else:
        if isinstance(v[x].get("k"), dict):
            v[x]["k"].pop("n", None)


def plain(value: Any) -> Any:
    return {key: plain(item) for key, item in value.items()} if isinstance(value, (dict, Array)) else value


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(WAYS, NAMES, NAMES, st.integers(0, 9)), max_size=12))
def test_copies_and_writes_do_not_meet(steps: list[tuple[str, str, str, int]]) -> None:
    values: dict[str, Any] = {"a": {"k": {"n": 1}, "l": {}}, "b": {}, "g": {}}
    values["c"] = {"l": copy.deepcopy(values["a"])}
    lines = []
    for way, x, y, n in steps:
        if sum(map(size, values.values())) > 300:
            break
        lines.append(line(way, x, y, n))
        model(values, way, x, y, n)
    host = TestHost(**predefined())
    text = "\n".join([HEAD, *lines, "$context = [$a, $b, $c, $g];"])
    compile_flow(Source("arrays.hsl", text), VOCABULARY, "data", Loader()).run(host)
    assert [plain(one) for one in host.variables.context.values()] == [values[name] for name in "abcg"], text


def size(value: Any) -> int:
    return 1 + sum(map(size, value.values())) if isinstance(value, dict) else 1
