"""Every word of the language of flows, in one place: checker, compiler, reference and editor read this."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import flowengine.builtins
from flowengine.language.functions import Vocabulary
from flowengine.runtime.phases import PHASES, specification


@cache
def vocabulary() -> Vocabulary:
    """All builtins, native classes and phases."""
    names = sorted(one.name for one in iter_modules(flowengine.builtins.__path__) if one.name != "vocabulary")
    modules = [import_module(f"flowengine.builtins.{name}") for name in names]
    classes = [
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type) and thing.__module__ == module.__name__ and hasattr(thing, "class_name")
    ]
    return Vocabulary(modules, map(specification, PHASES.values()), classes)
