"""Keys of the contract whose work is not built yet: `check` warns of them, and `serve` does not start with them.

A key that is read and then ignored would be an empty promise.
"""

from collections.abc import Iterator

from flowengine.services.config.listeners import Listener
from flowengine.services.config.model import Config
from flowengine.services.config.positions import Path as KeyPath
from flowengine.services.config.problems import Problems

ID = "not-built"
LATER_PHASES = ("predelivery", "postdelivery")


def check_unbuilt(config: Config, problems: Problems) -> None:
    """Note every key whose work is not built yet."""
    for name, listener in config.listeners.items():
        for key, why in _of_listener(listener):
            _note(problems, ("listeners", name, key), why)


def _note(problems: Problems, path: KeyPath, why: str) -> None:
    problems.add(path, f"not built yet: {why}; `serve` does not start with it", id=ID, severity="warning")


def _of_listener(listener: Listener) -> Iterator[tuple[str, str]]:
    if listener.protocol != "smtp":
        yield "protocol", f"the {listener.protocol} door"
    flows = {*listener.flows, *(phase for route in listener.routes for phase in route.flows)}
    if later := sorted(flows & set(LATER_PHASES)):
        yield "flows", f"the phase {' and '.join(later)}"
