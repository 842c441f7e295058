"""A flat chain of operands and operators into a tree (HSL reference §1.4 and the decisions of docs/language.md).

From loose to tight: `? :`, `??`, `or`, `and`, `not`, comparisons, `|`, `^`, `&`, shifts, `.`, `+ -`, `* / %`, `**`,
prefix operators. An assignment takes everything to its right, wherever its target stands: `!$x = f()`.
"""

from collections.abc import Callable
from typing import NamedTuple

from lark import Token

from flowengine.language import tree
from flowengine.language.problems import Span

TERNARY, COALESCE, OR, AND, NOT, COMPARE = 2, 3, 4, 5, 6, 7
LEVELS = {
    "??": COALESCE,
    "or": OR,
    "and": AND,
    **dict.fromkeys(("==", "!=", "===", "!==", "=~", "!~", "<", ">", "<=", ">="), COMPARE),
    "|": 8,
    "^": 9,
    "&": 10,
    **dict.fromkeys(("<<", ">>", ">>>"), 11),
    ".": 12,
    "+": 13,
    "-": 13,
    **dict.fromkeys(("*", "/", "%"), 14),
    "**": 15,
}
RIGHT = ("??", "**")
FLAT = (".", "and", "or")
HABITS = {
    "&&": ("and", "write `and`"),
    "||": ("or", "write `or`"),
    "<>": ("!=", "write `!=`"),
    "in": ("==", "write `array_includes($needle, $array)`"),
}
DEEPEST = 150


class Choice(NamedTuple):
    """`? then :` as one operator."""

    then: tree.Expression | None
    token: Token


class TooDeep(Exception):  # named by what it says
    """More operators inside one another than the parser follows."""

    def __init__(self, span: Span) -> None:
        self.span = span


Piece = Token | tree.Expression | Choice
Report = Callable[[Span, str, str], None]


class Chain:
    """One chain on its way to a tree. report: called with place, message and hint for what is wrong but readable."""

    def __init__(self, pieces: list[Piece], file: str, report: Report) -> None:
        self.pieces, self.file, self.report = pieces, file, report
        self.at = self.depth = 0

    def whole(self) -> tree.Expression:
        """The expression. Raises TooDeep."""
        return self.binary(0)

    def binary(self, loosest: int) -> tree.Expression:
        """An expression of operators that bind at least as tightly as `loosest`."""
        self.depth += 1
        if self.depth > DEEPEST:
            piece = self.pieces[min(self.at, len(self.pieces) - 1)]
            token = piece.token if isinstance(piece, Choice) else piece
            raise TooDeep(self.span(token) if isinstance(token, Token) else token.span)
        left = self.operand()
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            if isinstance(piece, Choice):
                if loosest > TERNARY:
                    break
                self.at += 1
                other = self.binary(TERNARY)
                left = tree.Ternary(_join(left, other), left, piece.then, other)
                continue
            if not isinstance(piece, Token):
                break  # the grammar alternates operands and operators
            if piece.type == "ASSIGN":
                self.report(self.span(piece), f"`{piece}` needs a variable on its left", "")
                self.at += 1
                self.binary(0)
                continue
            operator = self.operator(piece)
            level = LEVELS[operator]
            if level < loosest:
                break
            self.at += 1
            if operator in FLAT:
                left = self.flat(operator, level, left)
                continue
            right = self.binary(level if operator in RIGHT else level + 1)
            left = _combine(operator, left, right)
        self.depth -= 1
        return left

    def flat(self, operator: str, level: int, left: tree.Expression) -> tree.Expression:
        """The operands of `a . b . c` side by side: long chains do not make deep trees."""
        operands = [left, self.binary(level + 1)]
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            if not isinstance(piece, Token) or piece.type == "ASSIGN" or self.operator(piece) != operator:
                break
            self.at += 1
            operands.append(self.binary(level + 1))
        span = _join(left, operands[-1])
        if operator == ".":
            return tree.Concat(span, tuple(operands))
        return tree.Logical(span, operator, tuple(operands))

    def operator(self, token: Token) -> str:
        """The operator that a token means; habits of other languages are reported."""
        word = str(token)
        if word in HABITS:
            own, hint = HABITS[word]
            if not isinstance(token, _Reported):
                self.report(self.span(token), f"there is no operator `{word}`", hint)
                self.pieces[self.at] = _Reported.new_borrow_pos(token.type, word, token)
            return own
        return word

    def operand(self) -> tree.Expression:
        """An operand with the prefix operators before it and the assignment after it."""
        piece = self.pieces[self.at]
        self.at += 1
        if isinstance(piece, Token):
            return self.prefixed(piece)
        if isinstance(piece, Choice):
            raise TooDeep(self.span(piece.token))  # the grammar puts an operand here
        if self.at < len(self.pieces):
            following = self.pieces[self.at]
            if isinstance(following, Token) and following.type == "ASSIGN" and is_place(piece):
                self.at += 1
                value = self.binary(0)
                target = self.target(piece, following)
                return tree.Assign(_join(piece, value), target, str(following), value)
        return piece

    def prefixed(self, token: Token) -> tree.Expression:
        """What a prefix operator and its operand make."""
        start = self.span(token)
        if token.type == "NOT":
            operand = self.binary(COMPARE)
            return tree.Unary(_join(start, operand), "!", operand)
        if token.type == "YIELD":
            value = self.binary(0)
            return tree.Yield(_join(start, value), value)
        self.depth += 1
        if self.depth > DEEPEST:
            raise TooDeep(start)
        operand = self.operand()
        self.depth -= 1
        span = _join(start, operand)
        if token.type == "INCREMENT":
            return self.increment(span, operand, 1 if str(token)[0] == "+" else -1, prefix=True)
        if token.type == "NEW":
            self.report(start, "there is no `new`", "an object is made by calling its class: `Name(...)`")
            return operand
        if token.type == "MINUS" and isinstance(operand, tree.Literal) and type(operand.value) in (int, float):
            return tree.Literal(span, -operand.value or 0)  # type: ignore[operator]  # the type was just looked at
        return tree.Unary(span, str(token), operand)

    def increment(self, span: Span, place: tree.Expression, by: int, *, prefix: bool) -> tree.Expression:
        """`++x`; reports what cannot be counted up."""
        if not is_place(place) or isinstance(place, (tree.ArrayLiteral, tree.Slice)):
            self.report(span, "`++` and `--` need a variable", "")
        return tree.Increment(span, place, by, prefix)

    def target(self, place: tree.Expression, operator: Token) -> tree.Expression:
        """The left side of an assignment."""
        if isinstance(place, tree.ArrayLiteral):
            if operator != "=":
                self.report(self.span(operator), f"`{operator}` cannot take an array apart", "write `=`")
            return self.pattern(place)
        if isinstance(place, tree.Slice) and operator != "=":
            self.report(self.span(operator), f"`{operator}` cannot assign to a slice", "write `=`")
        return place

    def pattern(self, literal: tree.ArrayLiteral) -> tree.Pattern:
        """An array literal on the left of `=`."""
        items: list[tree.Item] = []
        for index, item in enumerate(literal.items):
            value: tree.Expression = item.value
            default: tree.Expression | None = None
            if isinstance(value, tree.Assign) and value.operator == "=" and not item.spread:
                default = value.value
                value = value.target
            if isinstance(value, tree.ArrayLiteral):
                value = self.pattern(value)
            elif not isinstance(value, tree.Pattern) and (not is_place(value) or isinstance(value, tree.Slice)):
                self.report(value.span, "an array is taken apart into variables only", "write `[$a, $b] = ...`")
            if item.spread and index + 1 < len(literal.items):
                self.report(item.span, "`...` takes the rest, so it comes last", "")
            items.append(tree.Item(item.span, value, item.key, item.spread, default))
        return tree.Pattern(literal.span, tuple(items))

    def span(self, token: Token) -> Span:
        """The place of a token."""
        return span_of(self.file, token)


class _Reported(Token):
    """An operator whose habit has been reported already."""


def span_of(file: str, token: Token) -> Span:
    """The place of a token."""
    return Span(file, token.line or 1, token.column or 1, token.end_line or 1, token.end_column or 1)


def is_place(one: tree.Expression) -> bool:
    """Whether something can stand left of `=`."""
    if isinstance(one, tree.Static):
        return one.variable
    return isinstance(one, (tree.Variable, tree.Subscript, tree.Path, tree.Slice, tree.Member, tree.ArrayLiteral))


def _join(first: tree.Node | Span, last: tree.Node) -> Span:
    start = first.span if isinstance(first, tree.Node) else first
    return Span(start.file, start.line, start.column, last.span.end_line, last.span.end_column)


def _combine(operator: str, left: tree.Expression, right: tree.Expression) -> tree.Expression:
    span = _join(left, right)
    if operator == "??":
        return tree.Coalesce(span, left, right)
    return tree.Binary(span, operator, left, right)
