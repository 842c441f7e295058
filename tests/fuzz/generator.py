"""Flows that nobody would write: from the grammar, from scripts that are there, from nothing.

Every text follows from a seed, so a case that fails can be made again.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from flowengine.language.functions import Builtin, Vocabulary
from flowengine.language.natives import native_class

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
TOKENS = """( ) [ ] { } ; , : :: -> => = == === != + - * / % ** . ... ?? ? ! & | ^ ~ << >> >>> < > ++ -- += .= ??= $a $b $c
    $recipient "x" "$a" "${b}" ''r'' #/x+/i 1 2.5 0x1f 1e308 true false and or not if else foreach as while for forever
    switch case default break continue return function closure global include import from with class private static
    readonly constructor try catch throw yield match isset unset cache builtin barrier echo array length none \x00 \\ " '
    /* // é \U0001f600""".split()  # noqa: SIM905  # easier to read
LITERALS = (
    "0", "1", "-1", "2.5", "1e15", "9007199254740993", '""', '"a"', '"abc@example.org"', '"192.0.2.1"', '"\\x00\\xff"',
    "none", "true", "false", "[]", "[1, 2]", '["k" => [1], 2 => "x"]', "''^(a+)+$''", '"%d %s"', "[[[]]]", "length",
    "function ($x) { return $x; }", "function () { return [1]; }", '"2026-01-01"', '"{\\"a\\":[1]}"', '"=?utf-8?q?=41?="',
)  # fmt: skip
BINARY = ". + - * / % ** == != === !== < > <= >= and or ?? & | ^ << >> >>> =~ !~ ?:".split()  # noqa: SIM905  # easier to read
ASSIGNED = ("=", "+=", ".=", "??=", "-=", "*=")
TURNS = ("3", "100", "1e9")
PREFIXES = ("!", "-", "~", "not ")
FORMATS = ("%s", "%05.2f", "%x", "%[1]>9s", "%c%b")
SLICES = ("0", "-1", ":", "::-1", "1:2")
GROWING = ("break;", "$a = [$a];", '$s = ($s ?? "x") . ($s ?? "x");', "$b[] = $b;")
VARIABLES = ("$a", "$b", "$c", "$a[0]", '$b["k"]', '$c["k"]["l"]', "$o->x", "A::$s", '$a[...["k", 0]]')


def corpus() -> list[str]:
    """Scripts to change: those of the project."""
    places = [ROOT / "flows", ROOT / "stdlib", ROOT / "tests" / "language"]
    return [path.read_text("utf-8", "replace") for place in places for path in sorted(place.rglob("*.hsl"))]


class Generator:
    """Makes one text a seed. words: builtins to call; phase decides which exist."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.scripts = corpus()
        self.builtins: dict[str, list[Builtin]] = {}
        for phase in vocabulary.phases:
            found = (vocabulary.find(name, phase) for name in sorted(vocabulary.builtins))
            self.builtins[phase] = [one for one in found if one is not None and one.name != "sleep"]
        self.methods = sorted(
            {"m", "x"} | {name for one in vocabulary.classes.values() for name in native_class(one).methods}
        )
        self.statics = sorted(
            (method.name, method.least)
            for one in vocabulary.classes.values()
            for method in native_class(one).statics.values()
        )

    def text(self, seed: int) -> tuple[str, str]:
        """A phase and a text."""
        chance = random.Random(seed)  # noqa: S311  # a case follows from its seed
        phase = chance.choice(sorted(self.vocabulary.phases))
        way: Callable[[random.Random, str], str] = chance.choice(
            [self.program, self.program, self.program, self.mutant, self.mutant, self.soup, self.noise]
        )
        return phase, way(chance, phase)

    def noise(self, chance: random.Random, phase: str) -> str:
        """Characters."""
        return "".join(
            chr(chance.choice((chance.randrange(32, 127), chance.randrange(0x250))))
            for _ in range(chance.randrange(300))
        )

    def soup(self, chance: random.Random, phase: str) -> str:
        """Tokens."""
        return " ".join(chance.choice(TOKENS) for _ in range(chance.randrange(80)))

    def mutant(self, chance: random.Random, phase: str) -> str:
        """A script with pieces taken out, doubled, moved, or replaced by tokens."""
        text = chance.choice(self.scripts)
        for _ in range(chance.randrange(1, 6)):
            if not text:
                break
            at, size = chance.randrange(len(text)), chance.randrange(1, 40)
            piece = text[at : at + size]
            kind = chance.randrange(4)
            if kind == 0:
                text = text[:at] + text[at + size :]
            elif kind == 1:
                text = text[:at] + piece * chance.randrange(2, 5) + text[at + size :]
            elif kind == 2:
                to = chance.randrange(len(text))
                text = text[:to] + piece + text[to:]
            else:
                text = text[:at] + " " + chance.choice(TOKENS) + " " + text[at:]
        return text[:20_000]

    def program(self, chance: random.Random, phase: str) -> str:
        """Statements that parse, about anything."""
        head = "class A { static $s = 1; $x = [2]; function m($p = 1) { $this->x = $p; return $this; } } $o = A();\n"
        head += '$a = 1; $b = [1, "k" => 2]; $c = [];\nfunction f($p, ...$r) { $p[0] = $r; return $p; }\n'
        head += "function g() { yield 1; yield [2]; }\n"
        return head + "\n".join(self.statement(chance, phase, 3) for _ in range(chance.randrange(1, 9)))

    def statement(self, chance: random.Random, phase: str, depth: int) -> str:
        """One statement."""
        e = lambda: self.expression(chance, phase, depth)  # noqa: E731  # short, and used on every line
        s = lambda: self.statement(chance, phase, depth - 1)  # noqa: E731
        place = chance.choice(VARIABLES)
        simple = [
            lambda: f"{place} {chance.choice(ASSIGNED)} {e()};",
            lambda: f"echo {e()};",
            lambda: f"{e()};",
            lambda: f"throw {e()};",
            lambda: f'[$a, "k" => $b = 2, ...$c] = {e()};',
            lambda: f"$a[{chance.randrange(-2, 3)}:] = {e()};",
            lambda: f"unset({chance.choice(VARIABLES[:6])});",
            lambda: f"{chance.choice(VARIABLES[:6])}++;",
        ]
        deep = [
            lambda: f"if ({e()}) {{ {s()} }} else {{ {s()} }}",
            lambda: f"foreach ({e()} as $k => $v) {{ {s()} }}",
            lambda: f"while ({e()}) {{ {s()} break; }}",
            lambda: f"for ($i = 0; $i < {chance.choice(TURNS)}; $i += 1) {{ {s()} }}",
            lambda: f"try {{ {s()} }} catch ($e) {{ echo $e; {s()} }}",
            lambda: f"switch ({e()}) {{ case {e()}: {s()} break; default: {s()} }}",
            lambda: f"barrier {e()} => $w {{ {s()} }}",
            lambda: f"forever {{ {s()} {chance.choice(GROWING)} }}",
            lambda: f"function h{chance.randrange(10**6)}($x = 1) {{ global $a, $b, $c, $o; {s()} return {e()}; }}",
        ]
        return chance.choice(simple + (deep if depth > 0 else []))()

    def expression(self, chance: random.Random, phase: str, depth: int) -> str:
        """One expression."""
        if depth <= 0:
            return chance.choice(LITERALS) if chance.random() < 0.6 else f"({chance.choice(VARIABLES)} ?? 1)"
        e = lambda: self.expression(chance, phase, depth - 1)  # noqa: E731  # as above
        ways = [
            lambda: chance.choice(LITERALS),
            lambda: f"({chance.choice(VARIABLES)} ?? {e()})",
            lambda: f"({e()} {chance.choice(BINARY)} {e()})",
            lambda: f"({chance.choice(PREFIXES)}{e()})",
            lambda: f"({e()} ? {e()} : {e()})",
            lambda: f'[{e()}, "k" => {e()}]',
            lambda: f"[...({e()})]",
            lambda: f"match ({e()}) {{ {e()} => {e()}, default => {e()} }}",
            lambda: f"f({e()}, {e()})",
            lambda: f"({e()})[{chance.choice((*SLICES, e()))}]",
            lambda: f'cache ["ttl" => {e()}, "size" => 3] f({e()})',
            lambda: f'"{chance.choice(FORMATS)}" % [{e()}, {e()}]',
            lambda: f"function ($x) closure ($a) {{ $a = $x; return {e()}; }}({e()})",
            lambda: f"$o->{chance.choice(self.methods)}({self.arguments(chance, phase, depth, 2)})",
            lambda: self.static(chance, phase, depth),
            *[lambda: self.call(chance, phase, depth)] * 6,
        ]
        return chance.choice(ways)()

    def call(self, chance: random.Random, phase: str, depth: int) -> str:
        """A builtin of the phase with arguments, mostly as many as it takes."""
        one = chance.choice(self.builtins[phase])
        most = one.most if one.most is not None else one.least + 2
        count = chance.randrange(one.least, most + 1) if chance.random() < 0.95 else chance.randrange(6)
        given = [self.argument(chance, phase, depth) for _ in range(count)]
        if one.options and given and chance.random() < 0.4:
            name = chance.choice(sorted(one.options))
            given[-1] = f'["{name}" => {self.argument(chance, phase, depth)}]'
        return f"{one.name}({', '.join(given)})"

    def static(self, chance: random.Random, phase: str, depth: int) -> str:
        """A static function of a native class."""
        name, count = chance.choice(self.statics)
        return f"{name}({', '.join(self.argument(chance, phase, depth) for _ in range(count))})"

    def arguments(self, chance: random.Random, phase: str, depth: int, most: int) -> str:
        """So many arguments."""
        return ", ".join(self.argument(chance, phase, depth) for _ in range(chance.randrange(most + 1)))

    def argument(self, chance: random.Random, phase: str, depth: int) -> str:
        """One argument; sometimes a large or an odd one."""
        if chance.random() < 0.1:
            odd: Sequence[str] = (
                '"x" * 100000', "1e308", "-1e308", "0 - 2147483648", "array_range(0, 10000)", '"\\xff" * 300', "$b", "f",
                '"a\\r\\nb: c"', '"(" * 5000', '"[" * 5000', '"," * 9999',
            )  # fmt: skip
            return chance.choice(odd)
        return self.expression(chance, phase, depth - 1)
