"""The reference, read from the things themselves: builtins, variables, functions of the stdlib, configuration keys."""

import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flowengine.language.functions import Builtin, Parameter, Vocabulary
from flowengine.services.config import pages as config_pages

TYPES: dict[Any, str] = {
    str: "string", bytes: "string", int: "number", float: "number", bool: "boolean", list: "array", dict: "array",
    type(None): "none", typing.NoReturn: "nothing: the script ends", Any: "any",
}  # fmt: skip


def type_text(annotation: Any) -> str:
    """A Python annotation in the language's words."""
    if annotation in TYPES:
        return TYPES[annotation]
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f'"{word}"' if isinstance(word, str) else str(word) for word in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_text(part) for part in parts))
    name = getattr(origin or annotation, "__name__", str(annotation))
    words = {
        "Array": "array",
        "Sequence": "array",
        "Mapping": "array",
        "Callable": "function",
        "Text": "string",
        "list": "array",
    }
    return words.get(name, "any" if name in ("Value", "object") else name)


def signature(builtin: Builtin) -> str:
    """How a builtin is called: `Reject(string or array $reason = "", array $options): nothing`."""
    parts: list[str] = []
    for index, parameter in enumerate(builtin.parameters):
        if builtin.options_at == index:
            parts.append("array $options = []")
        parts.append(_parameter(parameter))
    if builtin.options and builtin.options_at is None:
        parts.append("array $options = []")
    return f"{builtin.name}({', '.join(parts)}): {type_text(builtin.returns)}"


def _parameter(parameter: Parameter) -> str:
    words = f"{type_text(parameter.annotation)} {'...' if parameter.variadic else ''}${parameter.name}"
    return words if parameter.required or parameter.variadic else f"{words} = {_default(parameter.default)}"


def _default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, Sequence):
        return f"[{', '.join(_default(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, (int, float)) else "…"


def builtin_page(builtin: Builtin) -> str:
    """Everything about a builtin."""
    where = "anywhere" if builtin.phases is None else ", ".join(sorted(builtin.phases))
    lines = [signature(builtin), "", builtin.page.rstrip(), "", f"Phases: {where}."]
    if builtin.aliases:
        lines.append(f"Also called: {', '.join(builtin.aliases)}.")
    if builtin.options:
        options = (
            f"{one.name} ({type_text(one.annotation)}, {_default(one.default)})" for one in builtin.options.values()
        )
        lines.append(f"Options: {', '.join(options)}.")
    if builtin.deprecated:
        lines.append(f"Old: write {builtin.deprecated}.")
    return "\n".join(lines) + "\n"


def pages(name: str, vocabulary: Vocabulary, stdlib: Path) -> list[str]:
    """The pages of a name: a builtin in each of its meanings, `$variable`, or a function of the stdlib."""
    found = [builtin_page(one) for one in vocabulary.builtins.get(name, ())]
    variable = name.removeprefix("$")
    for phase in vocabulary.phases.values():
        if variable in phase.variables and not found:
            one = vocabulary.phases[phase.name].variables[variable]
            phases = ", ".join(p.name for p in vocabulary.phases.values() if variable in p.variables)
            kind = "writable" if one.writable else "read-only"
            found.append(f"${variable}: {type_text(one.annotation)}, {kind}\n\n{one.page}\n\nPhases: {phases}.\n")
    found += [page for module, function, page in stdlib_pages(stdlib) if function == name or module == name]
    return found


def option_pages(name: str) -> list[str]:
    """The pages of a configuration key (`limits.recipients`, `recipients`) or table (`listeners.inbound`)."""
    found: list[str] = []
    for section in config_pages.reference().split("\n## ")[1:]:
        header, _, rest = section.partition("\n")
        table = header.strip("[]")
        if table == name:
            found.append(f"[{table}]\n{rest.rstrip()}\n")
        for row in re.finditer(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", rest, re.MULTILINE):
            if name in (row[1], f"{table}.{row[1]}"):
                default = f"\nDefault: {row[3].strip('` ')}." if row[3].strip("` ") else ""
                found.append(f"{row[1]}: {row[2]}\n\n{row[4]}{default}\n\nTable: [{table}].\n")
    return found


def names(vocabulary: Vocabulary, stdlib: Path) -> list[str]:
    """Every name that has a page."""
    variables = {f"${name}" for phase in vocabulary.phases.values() for name in phase.variables}
    return sorted({*vocabulary.builtins, *variables, *(function for _, function, _ in stdlib_pages(stdlib))})


def stdlib_pages(stdlib: Path) -> Iterator[tuple[str, str, str]]:
    """(module, function, page) for every function of the stdlib with a `///` comment."""
    for file in sorted(stdlib.glob("*.hsl")):
        text = file.read_text("utf-8")
        for match in re.finditer(r"((?:^///.*\n)+)function (\w+)(\([^\n]*\))", text, re.MULTILINE):
            comment = "\n".join(line.removeprefix("///").removeprefix(" ") for line in match[1].splitlines())
            page = f'{match[2]}{match[3]}\n\n{comment}\n\nimport {{ {match[2]} }} from "stdlib/{file.stem}";\n'
            yield file.stem, match[2], page
