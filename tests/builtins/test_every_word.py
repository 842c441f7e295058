"""Every name of the vocabulary, in every phase it belongs to: its page, its examples, and how it fails.

The examples of words that work anywhere are run by test_examples.py in a small world; here those that belong to a phase.
"""

import asyncio
import re
from collections.abc import Iterator

import pytest

from flowengine.builtins.vocabulary import vocabulary
from flowengine.language.compiler import compile_flow
from flowengine.language.functions import Builtin
from flowengine.language.host import Final
from flowengine.language.loader import Loader, Source
from flowengine.language.natives import native_class
from flowengine.language.problems import FlowError, FlowProblems
from flowengine.mail.dkim import Seal, sealed
from flowengine.mail.message import Message
from flowengine.runtime.run import carry_out
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Services, Settings
from flowengine.services.fakes import FakeKeys, FakeQueue, FakeResolver, fake_services
from tests.runtime.stage import MAIL, key, run_in

VOCABULARY = vocabulary()
WORDS = sorted(
    {(one.name, phase): one for words in VOCABULARY.builtins.values() for one in words
     for phase in sorted(one.phases or ["data"])}.items(),
    key=lambda item: item[0],
)  # fmt: skip
OF_PHASES = [(name, phase, one) for (name, phase), one in WORDS if one.phases is not None]
_EXAMPLE = re.compile(r" *(\S.*); *// (.*)")


def examples(word: Builtin) -> Iterator[tuple[str, str]]:
    for line in word.page.splitlines():
        if found := _EXAMPLE.fullmatch(line):
            yield found[1], found[2]


OWN = key("example")
SIGNED = Message(MAIL)
SIGNED = sealed(SIGNED, Seal(selector="s1", domain="example.org", key=OWN), 1_767_225_600.0)


def services() -> Services:
    records = {"_dmarc.example.org": "v=DMARC1; p=reject", "s1._domainkey.example.org": OWN.record()}
    dns = FakeResolver({"example.org": "v=spf1 -all", **records}, strict=False)
    settings = Settings(
        hostname="mx.example.net", transports={"out": None, "local": None}, quarantines=frozenset({"spam"})
    )
    keys = FakeKeys({"example": OWN})
    return fake_services(dns=dns, settings=settings, keys=keys, queue=FakeQueue((3, 0)))


def play(flow: str, phase: str) -> tuple[str, list[str], str]:
    """The name of the last action, what was echoed, and the error or ""."""
    program = compile_flow(Source("example.hsl", flow), VOCABULARY, phase, Loader())
    result = asyncio.run(carry_out(program, run_in(phase, services(), program, SIGNED.render()), Runner()))
    return (
        result.actions[-1].name if result.actions else "",
        list(result.output),
        "" if result.error is None else result.error.message,
    )


EXAMPLES = [
    pytest.param(phase, *one, id=f"{phase}-{name}-{n}")
    for name, phase, word in OF_PHASES
    for n, one in enumerate(examples(word))
]


@pytest.mark.parametrize(("phase", "expression", "value"), EXAMPLES)
def test_an_example_of_a_phase_is_true(phase, expression, value):
    if value.startswith("ends: "):
        verdict, _, error = play(f"{expression};", phase)
        assert (error, verdict) == ("", value.removeprefix("ends: "))
        return
    if "…" in value:
        _, said, error = play(f"echo {expression};", phase)
        assert error == "" and said[0].startswith(value.strip('"').partition("…")[0].strip())
        return
    _, said, error = play(f'$found = {expression}; $said = {value}; echo $found === $said ? "true" : $found;', phase)
    assert (error, said) == ("", ["true"])


@pytest.mark.parametrize(("name", "phase", "word"), OF_PHASES, ids=[f"{p}-{n}" for n, p, _ in OF_PHASES])
def test_a_word_of_a_phase_has_a_page_and_an_example(name, phase, word):
    assert word.page.partition("\n\n")[0].endswith("."), "it does not begin with a sentence"
    assert [*examples(word)], "no example"


def misuse(word: Builtin) -> str:
    """A call that cannot be right: too many arguments, or for a variadic word one of a type that nothing takes."""
    if word.most is not None:
        return f"{word.name}({', '.join(['1'] * (word.most + 1))})"
    return f"{word.name}()" if word.least else ""


@pytest.mark.parametrize(("name", "word"), WORDS, ids=[f"{phase}-{name}" for (name, phase), _ in WORDS])
def test_a_word_that_is_misused_says_so(name, word):
    """Too many arguments are found by the checker, and by the call when nothing was known before."""
    phase = name[1]
    call = misuse(word)
    if not call:
        pytest.skip("it takes whatever there is")
    with pytest.raises(FlowProblems) as refused:
        play(f"{call};", phase)
    assert {one.id for one in refused.value.problems if one.severity == "error"} == {"arity"}
    arguments = call.partition("(")[2].rstrip(")")
    _, _, error = play(f"$f = {word.name}; $f({arguments});", phase)
    assert "argument" in error


@pytest.mark.parametrize(("name", "word"), WORDS, ids=[f"{phase}-{name}" for (name, phase), _ in WORDS])
def test_a_word_given_what_it_does_not_take_fails_as_a_flow_does(name, word):
    """An object in place of every argument: a script error with the word's name, or a result where anything will do."""
    program = compile_flow(Source("example.hsl", ""), VOCABULARY, name[1], Loader())
    run = run_in(name[1], services(), program)
    odd = VOCABULARY.classes["Map"]("string", "any")
    given = [odd] * max(word.least, 1 if word.parameters else 0)
    try:
        found = "waits" if word.waits else word.call(run, *given)
    except (FlowError, Final):
        return
    assert found is None or isinstance(found, (str, int, float, bool, dict)) or hasattr(found, "class_name")


MEMBERS = [
    (cls, member)
    for cls, one in sorted(VOCABULARY.classes.items())
    for member in [*native_class(one).methods.values(), *native_class(one).statics.values()]
]


@pytest.mark.parametrize(("cls", "member"), MEMBERS, ids=[f"{cls}-{member.name}" for cls, member in MEMBERS])
def test_a_member_of_a_class_has_a_page(cls, member):
    assert member.page.rstrip().endswith((".", "`")), member.page
    for option in member.options:
        shared = "DKIMSign" in member.page or "queue" in member.page or "prependPart" in member.page
        assert shared or re.search(rf"\b{option}\b", member.page), f"nothing about the option {option}"
