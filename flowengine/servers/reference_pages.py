"""docs/reference/*.md, written from the things themselves: `python -m flowengine.servers.reference_pages [DIRECTORY]`.

One file for each kind of words, one for the variables of the phases, one for the classes, one for the stdlib. A test
compares them with what is there, so the reference cannot drift from the functions.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from flowengine.builtins.vocabulary import vocabulary
from flowengine.language.functions import Builtin, Vocabulary
from flowengine.language.natives import NativeClass, native_class
from flowengine.servers.reference import builtin_page, signature, stdlib_pages, type_text
from flowengine.services import resources

GROUPS = {
    "actions": "What becomes of a message, a recipient, a visit: `actions`, `dialogue`, `challenges`, `queue_actions`",
    "message": "The message and its parts: `headers`, `mail_messages`, `mime_builder`, `classic`, `routing`, `letters`",
    "authentication": "SPF, DKIM, DMARC, ARC: `authentication`, `signing`, `stamping`, `historic`",
    "queue": "The queue: `queue_words`, `queue_course`",
    "scanners": "Scanners: `scanners`",
    "text": "Text, arrays, numbers, types: `strings`, `arrays`, `numbers`, `types`, `regular_expressions`, `charsets`",
    "data": "Encodings and formats: `encodings`, `json_`, `csv_`, `yaml_`, `packing`, `files`",
    "time": "Time: `times`, `dates`",
    "cryptography": "Digests, keys, certificates: `hashes`, `crypto`, `cms`, `passwords`, `certificates`",
    "network": "The connection, and others that are asked: "
    "`connection`, `dns`, `http`, `network`, `smtp_words`, `ldap_words`, `old_lookups`, `addresses`, `api`",
    "state": "State, limits, logs: `state`, `metrics_words`, `system`, `collections_`",
}
_HEAD = "<!-- made by `make reference` from the functions themselves; change these instead -->\n\n"


def files(known: Vocabulary, stdlib: Path) -> dict[str, str]:
    """The text of every file by its name."""
    made = {f"{name}.md": _group(known, name) for name in GROUPS}
    made["variables.md"] = _variables(known)
    made["classes.md"] = _classes(known)
    made["stdlib.md"] = _stdlib(stdlib)
    made["README.md"] = _index(known, made)
    return made


def _words(known: Vocabulary, group: str) -> list[Builtin]:
    modules = {f"flowengine.builtins.{name}" for name in GROUPS[group].split("`")[1::2]}
    found = {
        (one.name, tuple(sorted(one.phases or ()))): one
        for words in known.builtins.values()
        for one in words
        if one.function.__module__ in modules
    }
    return [found[name] for name in sorted(found)]


def left_out(known: Vocabulary) -> set[str]:
    """Words that no group has; a test says that there are none."""
    grouped = {one.name for group in GROUPS for one in _words(known, group)}
    return {one.name for words in known.builtins.values() for one in words} - grouped


def _group(known: Vocabulary, group: str) -> str:
    title = GROUPS[group].partition(":")[0]
    return _HEAD + f"# {title}\n\n" + "\n".join(_section(one) for one in _words(known, group))


def _section(one: Builtin) -> str:
    head, _, rest = builtin_page(one).partition("\n\n")
    where = f" ({', '.join(sorted(one.phases))})" if one.phases is not None else ""
    return f"## {one.name}{where}\n\n```\n{head}\n```\n\n{_marked(rest)}"


def _marked(page: str) -> str:
    """A docstring as Markdown: what is indented once belongs to a parameter, examples stay code."""
    lines: list[str] = []
    code = False
    for line in page.rstrip().split("\n"):
        example = ";" in line and "//" in line
        if example and not code:
            lines.append("```")
        if code and not example:
            lines.append("```")
        code = example
        lines.append(line.strip() if example or not line.startswith("    ") else f"  {line.strip()}")
    text = "\n".join([*lines, *(["```"] if code else [])]) + "\n"
    return text.replace("\r", "\\r").replace("\t", "\\t")


def _variables(known: Vocabulary) -> str:
    lines = ["# Variables", "", "Read-only unless they say otherwise.", ""]
    for phase in known.phases.values():
        lines += [f"## {phase.name}", "", "| variable | type | what |", "|---|---|---|"]
        for name, one in sorted(phase.variables.items()):
            page = " ".join(one.page.split()) + (" Writable." if one.writable else "")
            lines.append(f"| `${name}` | {type_text(one.annotation)} | {page} |")
        lines.append("")
    return _HEAD + "\n".join(lines)


def _classes(known: Vocabulary) -> str:
    parts = ["# Classes", ""]
    for name in sorted(known.classes):
        one = known.classes[name]
        members = native_class(one)
        parts += [f"## {name}", "", _marked(_page(one)), *_members(members), ""]
    return _HEAD + "\n".join(parts)


def _page(one: type) -> str:
    lines = (one.__doc__ or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines)


def _members(one: NativeClass) -> Iterator[str]:
    listed = ([one.constructor] if one.constructor is not None else []) + [*one.statics.values(), *one.methods.values()]
    for member in listed:
        yield f"### {member.name}\n\n```\n{signature(member)}\n```\n\n{_marked(member.page)}"


def _stdlib(stdlib: Path) -> str:
    parts = ["# The standard library in HSL", ""]
    for _, function, page in stdlib_pages(stdlib):
        head, _, rest = page.partition("\n\n")
        parts += [f"## {function}", "", f"```\n{head}\n```", "", rest]
    return _HEAD + "\n".join(parts)


def _index(known: Vocabulary, made: dict[str, str]) -> str:
    words = sorted({one.name for listed in known.builtins.values() for one in listed})
    lines = [
        "# Reference",
        "",
        f"{len(words)} functions, {len(known.classes)} classes, {len(known.phases)} phases.",
        "",
    ]
    for name in made:
        title = made[name].partition("# ")[2].partition("\n")[0]
        lines.append(f"* [{title}]({name})")
    places = {one.name: f"{group}.md" for group in GROUPS for one in _words(known, group)}
    lines += ["", "## All functions", "", ", ".join(f"[{word}]({places[word]})" for word in words if word in places)]
    return _HEAD + "\n".join(lines) + "\n"


def main(directory: Path) -> None:
    """Write the files, and take out those that are no longer made."""
    directory.mkdir(parents=True, exist_ok=True)
    made = files(vocabulary(), resources.find("stdlib"))
    for old in directory.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (directory / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
