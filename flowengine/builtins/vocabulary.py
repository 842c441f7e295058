"""Every word of the language of flows, in one place: checker, compiler, reference and editor read this."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import flowengine.builtins
from flowengine.language.functions import Vocabulary
from flowengine.language.natives import native_classes
from flowengine.runtime.phases import PHASES, specification

PRELUDE = {"api_call": "stdlib/api"}
"""Functions written in HSL that every flow knows without an import."""


@cache
def vocabulary() -> Vocabulary:
    """All builtins, native classes and phases."""
    names = sorted(one.name for one in iter_modules(flowengine.builtins.__path__) if one.name != "vocabulary")
    modules = [import_module(f"flowengine.builtins.{name}") for name in names]
    return Vocabulary(modules, map(specification, PHASES.values()), native_classes(modules), PRELUDE)
