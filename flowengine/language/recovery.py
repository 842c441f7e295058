"""Every syntax error of a file at once: after each one the parser goes on with the next statement.

The stack of the parser is taken back to where a statement may begin, and the text is skipped to the end of the broken
one. What is skipped is not looked at again, so one mistake gives one message.
"""

import re
from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from flowengine.language.building import Builder, TooMany
from flowengine.language.precedence import TooDeep
from flowengine.language.problems import Problem, Span

_SKIP = re.compile(
    r"""//[^\n]*|/\*[\s\S]*?\*/|"(?:[^"\\]|\\[\s\S])*"|'(?P<tag>[!-&(-~]*)'[\s\S]*?'(?P=tag)'|[{};]|[^"'/{};]+|[\s\S]"""
)
_STATEMENT = "ECHO"  # where this word may stand a statement may begin
_SHOWN = {
    "SEMICOLON": "`;`", "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`", "LPAR": "`(`", "LBRACE": "`{`",
    "COLON": "`:`", "ARROW": "`=>`", "NAME": "a name", "VARIABLE": "a variable", "FROM": "`from`", "CATCH": "`catch`",
}  # fmt: skip
_CHARACTERS = {
    "\u201c": ("curly quotes", 'strings take straight quotes: "text"'),
    "\u201d": ("curly quotes", 'strings take straight quotes: "text"'),
    "\u2018": ("curly quotes", 'strings take straight quotes: "text"'),
    "\u2019": ("curly quotes", 'strings take straight quotes: "text"'),
    "\xa0": ("a non-breaking space", "write an ordinary space"),
    '"': ("a string that does not end", 'close it with `"`'),
    "'": ("a string that does not end", 'strings take double quotes: "text"'),
    "/": ("a comment that does not end", "close it with `*/`"),
    "#": ("a stray `#`", "comments start with `//`, regular expressions look like #/.../i"),
    "$": ("a `$` without a name", "a variable is $ and a name of letters, digits and `_`"),
    "@": ("a stray `@`", "errors are handled with try and catch"),
}  # fmt: skip
_WORDS = {
    "finally": "there is no `finally`",
    "function": "a function here needs a body in braces",
    "extends": "there is no inheritance",
    "public": "members are public when nothing is said",
    "protected": "members are public or `private`",
    "var": "a variable of a class is written `$name = value;`",
    "let": "a variable is made by assigning: `$name = value;`",
    "const": "there are no constants; write `readonly $name = value;` in a class",
    "do": "there is no `do`; write `forever { ... if (...) break; }`",
    "print": "write `echo value;`",
    "new": "an object is made by calling its class: `Name(...)`",
    "as": "write `foreach ($array as $key => $value)`",
}


def problems_of(text: str, file: str, parser: Lark, builder: Builder) -> list[Problem]:
    """What is wrong with a text that did not parse; at least one error."""
    builder.begin(file)
    try:
        _Recovery(text, parser, builder).read()
    except TooMany:
        pass
    except TooDeep as error:
        builder.problems.append(Problem(error.span, "syntax", "error", "operators nested too deep"))
    return builder.problems


class _Recovery:
    def __init__(self, text: str, parser: Lark, builder: Builder) -> None:
        self.text, self.builder = text, builder
        self.interactive = parser.parse_interactive(text)
        self.last: Token | None = None

    def read(self) -> None:
        """Parse to the end, over every error."""
        thread: Any = self.interactive.lexer_thread
        state: Any = self.interactive.parser_state
        while True:
            try:
                for token in thread.lex(state):
                    state.feed_token(token)
                    self.last = token
                end = Token.new_borrow_pos("$END", "", self.last) if self.last else Token("$END", "", 0, 1, 1)
                state.feed_token(end, True)
                return
            except UnexpectedToken as error:
                self.report_token(error)
                if error.token.type == "$END":
                    return
                if not self.insert_semicolon(error):
                    self.resume(error.token.start_pos or 0)
            except UnexpectedCharacters as error:
                self.report_character(error)
                self.resume(error.pos_in_stream or 0)

    def missing_semicolon(self, error: UnexpectedToken) -> bool:
        """Whether a statement goes on in the next line with what would begin another."""
        after = self.last is not None and (self.last.end_line or 0) < (error.token.line or 0)
        return after and "SEMICOLON" in (error.expected or ())

    def insert_semicolon(self, error: UnexpectedToken) -> bool:
        """Go on as if the `;` that is missing were there; whether that works."""
        if not self.missing_semicolon(error):
            return False
        state: Any = self.interactive.parser_state
        try:
            state.feed_token(Token("SEMICOLON", ";", error.token.start_pos, error.token.line, error.token.column))
            state.feed_token(error.token)
        except UnexpectedToken:
            return False
        self.last = error.token
        return True

    def resume(self, position: int) -> None:
        """Back to where a statement may begin, on to the end of the broken one."""
        thread: Any = self.interactive.lexer_thread
        state: Any = self.interactive.parser_state
        states = state.parse_conf.states
        while _STATEMENT not in states[state.state_stack[-1]]:
            state.state_stack.pop()
            state.value_stack.pop()
        at = self.end_of_statement(position)
        if at < len(self.text) and self.text[at] == "}" and "RBRACE" not in states[state.state_stack[-1]]:
            at += 1
        counter = thread.state.line_ctr
        counter.char_pos = at
        counter.line = self.text.count("\n", 0, at) + 1
        counter.line_start_pos = self.text.rfind("\n", 0, at) + 1
        counter.column = at - counter.line_start_pos + 1

    def end_of_statement(self, position: int) -> int:
        """Where the statement that goes wrong at `position` ends: after its `;` or block, before a `}` around it."""
        depth, at = 0, position
        while match := _SKIP.match(self.text, at):
            piece, at = match[0], match.end()
            if piece == ";" and depth == 0:
                return at
            if piece == "{":
                depth += 1
            elif piece == "}":
                if depth == 0:
                    return at - 1
                depth -= 1
                if depth == 0:
                    return at
        return len(self.text)

    def report_token(self, error: UnexpectedToken) -> None:
        token, expected = error.token, set(error.expected or ())
        span = self.builder.token_place(token)
        if token.type == "$END":
            last = span if self.last is None else self.builder.token_place(self.last)
            span = Span(last.file, last.end_line, last.end_column, last.end_line, last.end_column)
            interactive: Any = self.interactive
            fitting = interactive.accepts()  # `expected` has what would fit elsewhere, too
            wanted = next((_SHOWN[one] for one in ("RBRACE", "SEMICOLON", "RPAR", "RSQB") if one in fitting), "")
            self.builder.report(span, "the file ends too early" + (f": {wanted} is missing" if wanted else ""))
            return
        if self.missing_semicolon(error) and self.last is not None:
            last = self.builder.token_place(self.last)
            at = Span(last.file, last.end_line, last.end_column, last.end_line, last.end_column + 1)
            self.builder.report(at, "`;` is missing", "every statement ends with `;`")
            return
        if str(token).startswith("/") and self.text.startswith("/*", token.start_pos or 0):
            self.builder.report(span, *_CHARACTERS["/"])
            return
        hint = _WORDS.get(str(token), "")
        if not hint and self.last is not None:
            hint = _WORDS.get(str(self.last), "")
        fitting = [_SHOWN[one] for one in _SHOWN if one in expected]
        if not hint and fitting and len(fitting) <= 3:
            hint = f"here comes {' or '.join(fitting)}"
        elif not hint and self.last is not None and self.last.type == "NAME" and token.type in ("VARIABLE", "STRING"):
            hint = f"a function is called with parentheses: `{self.last}(...)`"
        self.builder.report(span, f"unexpected `{_short(token)}`", hint)

    def report_character(self, error: UnexpectedCharacters) -> None:
        at = error.pos_in_stream or 0
        character = self.text[at : at + 1]
        span = Span(self.builder.file, error.line, error.column, error.line, error.column + 1)
        message, hint = _CHARACTERS.get(character, (f"unexpected `{_short(character)}`", ""))
        if character == "/" and not self.text.startswith("/*", at):
            message, hint = "unexpected `/`", ""
        if "SEMICOLON" in (error.allowed or ()) and self.last and (self.last.end_line or 0) < error.line:
            self.builder.report(self.builder.token_place(self.last), "`;` is missing", "every statement ends with `;`")
        self.builder.report(span, message, hint)


def _short(text: str) -> str:
    printable = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text[:30])
    return printable + ("..." if len(text) > 30 else "")
