"""YAML as a flow's value, for data imports. Needs the package pyyaml; without it such an import says so.

The safe loader only, no timestamps; of the tags only `!Regex` (a pattern string) has a counterpart.
"""

import importlib
from typing import Any

from flowengine.language.loader import Unresolved
from flowengine.language.values import Value, from_python

MOST_VALUES = 200_000  # after aliases are followed: a few lines can name billions
DEEPEST = 100


def load_yaml(data: bytes) -> Value:
    """The first document. Raises Unresolved for what cannot be read."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise Unresolved("reading YAML needs the package pyyaml", "install it, or write the data as JSON") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # the package is optional, so its types are not known here
        """The safe loader without dates: they have no counterpart in a flow."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith("timestamp")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_constructor("!Regex", lambda loader, node: loader.construct_scalar(node))
    try:
        return from_python(counted(yaml.load(data, Loader)))  # a subclass of the safe loader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise Unresolved(f"this is no YAML that a flow can use: {reason}") from None


def counted(value: Any) -> Any:
    """The value itself. Raises ValueError when it is too deep or, with its aliases written out, too large."""
    pending, seen = [(value, 0)], 0
    while pending:
        one, level = pending.pop()
        seen += 1
        if level > DEEPEST or seen > MOST_VALUES:
            raise ValueError("too deep" if level > DEEPEST else f"more than {MOST_VALUES} values")
        if isinstance(one, (dict, list)):
            pending.extend((item, level + 1) for item in (one.values() if isinstance(one, dict) else one))
    return value
