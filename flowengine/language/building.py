"""What lark calls while it parses: from the children of a rule to a node of the tree.

Rules keep all their tokens, so the place of a node is from its first child to its last. Habits of other languages that
the grammar reads are reported here, with the HSL way.
"""

from typing import Any

from lark import Token, Transformer

from flowengine.language import strings, tree
from flowengine.language.precedence import Chain, Choice, is_place, span_of
from flowengine.language.problems import Problem, Severity, Span
from flowengine.language.values import from_text

MOST_PROBLEMS = 50
MOST_SUFFIXES = 100
MOST_BRANCHES = 200
_WORDS = {"true": True, "false": False, "none": None}
_QUOTES = "strings take double quotes, or two single ones on each side: \"text\", ''text''"

Children = list[Any]


class TooMany(Exception):  # named by what it says
    """So many problems that more would not help anybody."""


class Builder(Transformer[Token, Any]):
    """Makes the nodes of one file at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.begin("")

    def begin(self, file: str) -> None:
        """Start with a new file."""
        self.file = file
        self.problems: list[Problem] = []
        self.yields: list[Span] = []

    def report(
        self, span: Span, message: str, hint: str = "", severity: Severity = "error", id_: str = "syntax"
    ) -> None:
        """Note a problem. Raises TooMany."""
        self.problems.append(Problem(span, id_, severity, message, hint))
        if len(self.problems) >= MOST_PROBLEMS:
            raise TooMany

    def place(self, first: Any, last: Any) -> Span:
        """From the start of one child to the end of another."""
        start = span_of(self.file, first) if isinstance(first, Token) else first.span
        end = span_of(self.file, last) if isinstance(last, Token) else last.span
        return Span(self.file, start.line, start.column, end.end_line, end.end_column)

    def token_place(self, token: Token) -> Span:
        """The place of a token."""
        return span_of(self.file, token)

    # statements

    def start(self, c: Children) -> tuple[tree.Statement, ...]:
        return tuple(one for one in c if one is not None)

    def block(self, c: Children) -> tree.Block:
        return tree.Block(self.place(c[0], c[-1]), self.start(c[1:-1]))

    def last(self, c: Children) -> tree.Evaluate:
        return tree.Evaluate(self.unfinished(c), c[0])

    def last_echo(self, c: Children) -> tree.Echo:
        return tree.Echo(self.unfinished(c), c[1])

    def last_return(self, c: Children) -> tree.Return:
        return tree.Return(self.unfinished(c), c[1] if len(c) > 1 else None)

    def unfinished(self, c: Children) -> Span:
        """The place of a statement that ends with its block, as published examples write it; noted."""
        place = self.place(c[0], c[-1])
        end = Span(place.file, place.end_line, place.end_column, place.end_line, place.end_column + 1)
        hint = "every statement ends with `;`"
        self.report(end, "`;` is missing before `}`", hint, "warning", "missing-semicolon")
        return place

    def evaluate(self, c: Children) -> tree.Evaluate:
        return tree.Evaluate(self.place(c[0], c[-1]), c[0])

    def empty(self, c: Children) -> None:
        return None

    def echo(self, c: Children) -> tree.Echo:
        return tree.Echo(self.place(c[0], c[-1]), c[1])

    def if_(self, c: Children) -> tree.If:
        branches, otherwise = [(c[2], self.body(c[4], c[3]))], None
        if len(c) > 5:
            more, otherwise = c[5]
            branches += self.few(more)
        last = otherwise or branches[-1][1]
        return tree.If(self.place(c[0], last), tuple(branches), otherwise)

    def else_(self, c: Children) -> Any:
        body = self.body(c[1], c[0])
        if isinstance(body, tree.If):
            return list(body.branches), body.otherwise
        return [], body

    def else_if(self, c: Children) -> Any:
        self.report(self.token_place(c[0]), "there is no `elseif`", "write `else if`")
        branches = [(c[2], self.body(c[4], c[3]))]
        return (branches + self.few(c[5][0]), c[5][1]) if len(c) > 5 else (branches, None)

    def few(self, branches: list[Any]) -> list[Any]:
        """The branches of an if, no more than can be compiled."""
        if len(branches) == MOST_BRANCHES:
            self.report(branches[0][0].span, f"an if with more than {MOST_BRANCHES} branches", "use switch or an array")
        return branches[:MOST_BRANCHES]

    def body(self, statement: tree.Statement | None, before: Token) -> tree.Statement:
        """The body of an if or a loop; `;` alone is an empty one."""
        return statement if statement is not None else tree.Block(self.token_place(before), ())

    def foreach(self, c: Children) -> tree.Foreach:
        key, value = (c[4], c[6]) if len(c) > 7 else (None, c[4])
        for one in (key, value):
            if one is not None and not is_place(one):
                self.report(
                    one.span,
                    "foreach puts keys and values into variables",
                    "write `foreach ($array as $key => $value)`",
                )
        if isinstance(value, tree.ArrayLiteral):
            value = Chain([], self.file, self.report).pattern(value)
        body = self.body(c[-1], c[-2])
        return tree.Foreach(self.place(c[0], body), c[2], key, value, body)

    def foreach_in(self, c: Children) -> tree.Statement:
        self.report(self.place(c[1], c[3]), "foreach has no `as`", "write `foreach ($array as $value)`")
        return self.body(c[-1], c[-2])

    def for_(self, c: Children) -> tree.For:
        first, second = [i for i, one in enumerate(c) if isinstance(one, Token) and one.type == "SEMICOLON"][:2]
        before = c[2] if first > 2 else ()
        condition = c[first + 1] if second > first + 1 else None
        after = c[second + 1] if isinstance(c[second + 1], tuple) else ()
        body = self.body(c[-1], c[-2])
        return tree.For(self.place(c[0], body), before, condition, after, body)

    def while_(self, c: Children) -> tree.While:
        body = self.body(c[4], c[3])
        return tree.While(self.place(c[0], body), c[2], body)

    def forever(self, c: Children) -> tree.While:
        body = self.body(c[1], c[0])
        return tree.While(self.place(c[0], body), None, body)

    def switch(self, c: Children) -> tree.Switch:
        cases = tuple(one for one in c if isinstance(one, tree.Case))
        self.one_default([one for one in cases if one.label is None])
        return tree.Switch(self.place(c[0], c[-1]), c[2], cases)

    def one_default(self, defaults: list[Any]) -> None:
        for one in defaults[1:]:
            self.report(one.span, "a second `default`", "one is enough", id_="duplicate-default")

    def case(self, c: Children) -> tree.Case:
        label, rest = (c[1], c[3:]) if c[0].type == "CASE" else (None, c[2:])
        return tree.Case(self.place(c[0], [one for one in c if one is not None][-1]), label, self.start(rest))

    def break_(self, c: Children) -> tree.Break:
        return tree.Break(self.place(c[0], c[-1]))

    def continue_(self, c: Children) -> tree.Continue:
        return tree.Continue(self.place(c[0], c[-1]))

    def return_(self, c: Children) -> tree.Return:
        return tree.Return(self.place(c[0], c[-1]), c[1] if len(c) > 2 else None)

    def throw(self, c: Children) -> tree.Throw:
        return tree.Throw(self.place(c[0], c[-1]), c[1])

    def try_(self, c: Children) -> tree.Try:
        variable = next((self.variable([one]) for one in c if isinstance(one, Token) and one.type == "VARIABLE"), None)
        return tree.Try(self.place(c[0], c[-1]), c[1], variable, c[-1])

    def barrier(self, c: Children) -> tree.Barrier:
        shared = self.variable([c[3]]) if len(c) > 3 else None
        return tree.Barrier(self.place(c[0], c[-1]), c[1], shared, c[-1])

    def global_(self, c: Children) -> tree.Global:
        return tree.Global(self.place(c[0], c[-1]), self.variables(c))

    def variables(self, c: Children) -> tuple[tree.Variable, ...]:
        return tuple(self.variable([one]) for one in c if isinstance(one, Token) and one.type == "VARIABLE")

    def include(self, c: Children) -> tree.Include:
        return tree.Include(
            self.place(c[0], c[-1]), self.text(c[1]), c[0].type == "INCLUDE_ONCE", self.token_place(c[1])
        )

    def import_names(self, c: Children) -> tree.Import:
        names = tuple(one for one in c if isinstance(one, tree.Imported))
        return self.import_(c, names, None, None)

    def import_all(self, c: Children) -> tree.Import:
        return self.import_(c, (), str(c[3]), None)

    def import_data(self, c: Children) -> tree.Import:
        return self.import_(c, (), None, self.variable([c[1]]))

    def import_(
        self, c: Children, names: tuple[tree.Imported, ...], namespace: str | None, data: tree.Variable | None
    ) -> tree.Import:
        at = next(i for i, one in enumerate(c) if isinstance(one, Token) and one.type == "FROM") + 1
        options = c[at + 2] if len(c) > at + 2 else None
        return tree.Import(
            self.place(c[0], c[-1]), names, namespace, data, self.text(c[at]), self.token_place(c[at]), options
        )

    def imported(self, c: Children) -> tree.Imported:
        alias = c[2] if len(c) > 2 else c[0]
        return tree.Imported(self.place(c[0], c[-1]), c[0].lstrip("$"), alias.lstrip("$"), c[0].type == "VARIABLE")

    def text(self, token: Token) -> str:
        """The text of a file's name, which has no variables."""
        if token.type == "RAW":
            return strings.raw(token)
        if token.type == "SINGLE":
            self.report(self.token_place(token), "a string in single quotes", _QUOTES)
            return str(token)[1:-1]
        pieces = list(strings.parts(token))
        if any(one.variable for one in pieces):
            self.report(
                self.token_place(token), "the name of a file has no variables", "files are known before a flow runs"
            )
        return "".join(one.text for one in pieces)

    def function_def(self, c: Children) -> tree.FunctionDef:
        function = self.make_function(c, str(c[1]), self.token_place(c[1]))
        return tree.FunctionDef(function.span, function)

    def class_(self, c: Children) -> tree.ClassDef:
        properties = tuple(one for one in c if isinstance(one, tree.Property))
        methods = tuple(one for one in c if isinstance(one, tree.Method))
        return tree.ClassDef(self.place(c[0], c[-1]), str(c[1]), self.token_place(c[1]), properties, methods)

    def property(self, c: Children) -> tree.Property:
        words = {one.type for one in c if isinstance(one, Token)}
        name = next(one for one in c if isinstance(one, Token) and one.type == "VARIABLE")
        default = next((one for one in c if isinstance(one, tree.Expression)), None)
        return tree.Property(
            self.place(c[0], c[-1]), str(name)[1:], default, "PRIVATE" in words, "READONLY" in words, "STATIC" in words
        )

    def method(self, c: Children) -> tree.Method:
        at = next(i for i, one in enumerate(c) if isinstance(one, Token) and one.type in ("FUNCTION", "CONSTRUCTOR"))
        words = {one.type for one in c[:at]}
        if "READONLY" in words:
            self.report(self.token_place(c[0]), "a function is not `readonly`", "only variables are")
        name = "constructor" if c[at].type == "CONSTRUCTOR" else str(c[at + 1])
        name_token = c[at] if c[at].type == "CONSTRUCTOR" else c[at + 1]
        function = self.make_function(c, name, self.token_place(name_token))
        return tree.Method(function.span, function, "PRIVATE" in words, "STATIC" in words)

    constructor = method

    def parameters(self, c: Children) -> tuple[tree.Parameter, ...]:
        found = tuple(one for one in c if isinstance(one, tree.Parameter))
        names: set[str] = set()
        optional = False
        for index, one in enumerate(found):
            if one.name in names:
                self.report(one.span, f"a second parameter ${one.name}", "", id_="duplicate-parameter")
            names.add(one.name)
            if one.variadic and index + 1 < len(found):
                self.report(one.span, f"...${one.name} takes the rest, so it comes last")
            if optional and one.default is None and not one.variadic:
                self.report(one.span, f"${one.name} comes after a parameter with a default, so it needs one too")
            optional = optional or one.default is not None
        return found

    def parameter(self, c: Children) -> tree.Parameter:
        variadic = c[0].type == "SPREAD"
        name = c[1] if variadic else c[0]
        default = c[-1] if isinstance(c[-1], tree.Expression) else None
        if variadic and default is not None:
            self.report(self.place(c[0], c[-1]), "`...` has no default", "without arguments it is an empty array")
        return tree.Parameter(self.place(c[0], c[-1]), str(name)[1:], default, variadic)

    def function(self, c: Children) -> tree.Function:
        return self.make_function(c, "", None)

    def make_function(self, c: Children, name: str, name_span: Span | None) -> tree.Function:
        captured: tuple[tree.Variable, ...] = ()
        lists = [one for one in c if type(one) is tuple]
        for one in c:
            if isinstance(one, Token) and one.type == "USE":
                self.report(self.token_place(one), "there is no `use`", "write `function (...) closure ($a) { ... }`")
        if len(lists) > 1:
            captured = lists[1]
        span = self.place(c[0], c[-1])
        # a yield belongs to the innermost function around it, and that is the first to be finished
        inside = [one for one in self.yields if (span.line, span.column) <= (one.line, one.column)]
        self.yields = [one for one in self.yields if one not in inside]
        return tree.Function(
            span, name, lists[0] if lists else (), captured, c[-1].body, bool(inside), not lists, name_span
        )

    def captured(self, c: Children) -> tuple[tree.Variable, ...]:
        return self.variables(c)

    # expressions

    def expr(self, c: Children) -> tree.Expression:
        expression = Chain(c, self.file, self.report).whole()
        self.yields.extend(self.token_place(one) for one in c if isinstance(one, Token) and one.type == "YIELD")
        return expression

    def exprs(self, c: Children) -> tuple[tree.Expression, ...]:
        return tuple(c[::2])

    def choice(self, c: Children) -> Choice:
        return Choice(c[1] if len(c) > 2 else None, c[0])

    def variable(self, c: Children) -> tree.Variable:
        return tree.Variable(self.token_place(c[0]), str(c[0])[1:])

    def number(self, c: Children) -> tree.Literal:
        span = self.token_place(c[0])
        try:
            return tree.Literal(span, strings.number(c[0]))
        except ValueError:
            self.report(span, f"`{str(c[0])[:40]}` is no number")
            return tree.Literal(span, 0)

    def string(self, c: Children) -> tree.Expression:
        token: Token = c[0]
        if "$" not in token and "\\" not in token:
            return tree.Literal(self.token_place(token), from_text(str(token)[1:-1]))
        found: list[tree.Expression] = []
        text = ""
        for part in strings.parts(token):
            if part.unknown_escape:
                hint = f"write `\\\\{part.text[1:]}` for a backslash, or use a raw string ''...''"
                self.report(
                    self.inside(token, part), f"there is no escape `{part.text}`", hint, "warning", "unknown-escape"
                )
            if not part.variable:
                text += part.text
                continue
            if text:
                found.append(tree.Literal(self.token_place(token), text))
                text = ""
            found.append(tree.Variable(self.inside(token, part), part.text))
        span = self.token_place(token)
        if not found:
            return tree.Literal(span, text)
        if text:
            found.append(tree.Literal(span, text))
        return tree.Concat(span, tuple(found), quoted=True)

    def inside(self, token: Token, part: strings.Part) -> Span:
        """The place of a piece of a string."""
        before = str(token)[: part.offset]
        line = (token.line or 1) + before.count("\n")
        column = part.offset - before.rfind("\n") if "\n" in before else (token.column or 1) + part.offset
        return Span(self.file, line, column, line, column + part.length)

    def raw(self, c: Children) -> tree.Literal:
        return tree.Literal(self.token_place(c[0]), strings.raw(c[0]))

    def single(self, c: Children) -> tree.Literal:
        span = self.token_place(c[0])
        self.report(span, "a string in single quotes", _QUOTES)
        return tree.Literal(span, from_text(str(c[0])[1:-1]))

    def regex(self, c: Children) -> tree.Literal:
        return tree.Literal(self.token_place(c[0]), strings.regex(c[0]))

    def word(self, c: Children) -> tree.Literal:
        return tree.Literal(self.token_place(c[0]), _WORDS[str(c[0])])

    def name(self, c: Children) -> tree.Name:
        return tree.Name(self.token_place(c[0]), str(c[0]))

    def builtin_name(self, c: Children) -> tree.Name:
        return tree.Name(self.place(c[0], c[1]), str(c[1]), builtin=True)

    def static_name(self, c: Children) -> tree.Static:
        return tree.Static(self.place(c[0], c[2]), str(c[0]), c[2].lstrip("$"), c[2].type == "VARIABLE")

    def paren(self, c: Children) -> tree.Expression:
        inner: tree.Expression = c[1]
        return inner

    def array(self, c: Children) -> tree.ArrayLiteral:
        return tree.ArrayLiteral(self.place(c[0], c[-1]), c[-2])

    def items(self, c: Children) -> tuple[tree.Item, ...]:
        return tuple(c[::2])

    def item(self, c: Children) -> tree.Item:
        if len(c) == 1:
            return tree.Item(c[0].span, c[0])
        if len(c) == 2:
            return tree.Item(self.place(c[0], c[1]), c[1], spread=True)
        return tree.Item(self.place(c[0], c[2]), c[2], c[0])

    def arguments(self, c: Children) -> tuple[tree.Item, ...]:
        return tuple(c[::2])

    def argument(self, c: Children) -> tree.Item:
        if len(c) == 1:
            return tree.Item(c[0].span, c[0])
        return tree.Item(self.place(c[0], c[1]), c[1], spread=True)

    def match(self, c: Children) -> tree.Match:
        arms = tuple(one for one in c if isinstance(one, tree.Arm))
        self.one_default([one for one in arms if not one.labels])
        return tree.Match(self.place(c[0], c[-1]), c[2], arms)

    def arm(self, c: Children) -> tree.Arm:
        labels = c[0] if type(c[0]) is tuple else ()
        return tree.Arm(self.place(labels[0] if labels else c[0], c[2]), labels, c[2])

    def isset(self, c: Children) -> tree.Isset:
        return tree.Isset(self.place(c[0], c[-1]), self.places(c, "isset"))

    def unset(self, c: Children) -> tree.Unset:
        return tree.Unset(self.place(c[0], c[-1]), self.places(c, "unset"))

    def places(self, c: Children, word: str) -> tuple[tree.Expression, ...]:
        for one in c[2]:
            if not is_place(one) or isinstance(one, tree.ArrayLiteral):
                self.report(one.span, f"{word} takes variables and paths only", "")
        found: tuple[tree.Expression, ...] = c[2]
        return found

    def cached(self, c: Children) -> tree.Cached:
        options = c[1] if isinstance(c[1], tree.ArrayLiteral) else None
        function = c[2] if options is not None else c[1]
        call = tree.Call(self.place(function, c[-1]), function, c[-2])
        return tree.Cached(self.place(c[0], c[-1]), options, call)

    def postfix(self, c: Children) -> tree.Expression:
        if len(c) > MOST_SUFFIXES:
            self.report(c[0].span, f"more than {MOST_SUFFIXES} subscripts and calls in a row")
        one: tree.Expression = c[0]
        for kind, end, payload in c[1:]:
            span = Span(self.file, one.span.line, one.span.column, end.end_line, end.end_column)
            if kind == "call":
                one = tree.Call(span, one, payload)
            elif kind == "subscript":
                one = tree.Subscript(span, one, payload)
            elif kind == "path":
                one = tree.Path(span, one, payload)
            elif kind == "slice":
                one = tree.Slice(span, one, *payload)
            elif kind == "member":
                one = tree.Member(span, one, payload)
            else:
                one = Chain([], self.file, self.report).increment(span, one, payload, prefix=False)
        return one

    # suffixes: (kind, end, what)

    def call(self, c: Children) -> Any:
        return "call", self.token_place(c[-1]), c[1]

    def subscript(self, c: Children) -> Any:
        return "subscript", self.token_place(c[-1]), c[1]

    def append(self, c: Children) -> Any:
        return "subscript", self.token_place(c[-1]), None

    def path(self, c: Children) -> Any:
        return "path", self.token_place(c[-1]), c[2]

    def slice(self, c: Children) -> Any:
        bounds: list[tree.Expression | None] = [None, None, None]
        at = 0
        for one in c[1:-1]:
            if isinstance(one, Token) and one.type == "COLON":
                at += 1
            else:
                bounds[at] = one
        return "slice", self.token_place(c[-1]), tuple(bounds)

    def member_of(self, c: Children) -> Any:
        return "member", self.token_place(c[-1]), str(c[1])

    def increment(self, c: Children) -> Any:
        return "increment", self.token_place(c[0]), 1 if c[0] == "++" else -1
